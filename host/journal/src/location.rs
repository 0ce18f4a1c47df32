//! Where a journal is: one SQLite file, or a PostgreSQL database that a team shares.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use url::{Host, Url};

/// Where a journal is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalLocation {
    /// The path of one SQLite file.
    File(PathBuf),
    /// A PostgreSQL database. Boxed, because nearly every journal is a file.
    Server(Box<ServerUrl>),
}

/// `postgres://user@host:port/database?sslmode=…`, without a password, because the URL is visible
/// in `ps`, in files and in messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUrl(Url);

/// Why a text is no location of a journal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// It begins like a URL but is not one.
    #[error(
        "this is no URL of a PostgreSQL database: {reason}; write it as in \
             `postgres://runbook@db.internal/runbook`"
    )]
    Url {
        /// What is wrong with the URL, as a clause for the message.
        reason: String,
    },
    /// It has a password in it.
    #[error(
        "the URL of the journal holds a password; put that into `PGPASSWORD` or `~/.pgpass`, \
             where `ps` does not show it"
    )]
    Password,
    /// A variable of the environment would change the connection, and the URL does not show it.
    #[error("`{variable}` is set, and the journal's connection would follow it unseen; {help}")]
    Environment {
        /// The name of the environment variable, such as `PGHOST`.
        variable: &'static str,
        /// What to do about it, as an imperative.
        help: &'static str,
    },
}

/// A variable of the environment that the driver uses for a part of the connection that the URL
/// does not give.
struct EnvironmentOverride {
    variable: &'static str,
    /// Whether the URL gives that part, so that the variable has no effect.
    is_in_url: fn(&ServerUrl) -> bool,
    help: &'static str,
}

/// The variables of PostgreSQL's own programs that the driver reads. `PGPASSWORD` and `PGPASSFILE`
/// are not listed, because they are the way to give the password. `PGPORT`, `PGSSLMODE`,
/// `PGAPPNAME` and `PGDATABASE` are not listed either, because the URL for the driver always has
/// those parts.
const ENVIRONMENT_OVERRIDES: &[EnvironmentOverride] = &[
    EnvironmentOverride {
        variable: "PGHOST",
        is_in_url: ServerUrl::names_host,
        help: "write the server into the URL, or unset it",
    },
    EnvironmentOverride {
        variable: "PGHOSTADDR",
        is_in_url: ServerUrl::names_host,
        help: "write the server into the URL, or unset it",
    },
    EnvironmentOverride {
        variable: "PGUSER",
        is_in_url: ServerUrl::names_user,
        help: "write the user into the URL, or unset it",
    },
    EnvironmentOverride {
        variable: "PGSSLROOTCERT",
        is_in_url: |url| {
            url.disables_tls() || url.has_parameter(&["sslrootcert", "ssl-root-cert", "ssl-ca"])
        },
        help: "write `sslrootcert=FILE` into the URL, or unset it",
    },
    EnvironmentOverride {
        variable: "PGSSLCERT",
        is_in_url: |url| url.disables_tls() || url.has_parameter(&["sslcert", "ssl-cert"]),
        help: "write `sslcert=FILE` into the URL, or unset it",
    },
    EnvironmentOverride {
        variable: "PGSSLKEY",
        is_in_url: |url| url.disables_tls() || url.has_parameter(&["sslkey", "ssl-key"]),
        help: "write `sslkey=FILE` into the URL, or unset it",
    },
    EnvironmentOverride {
        variable: "PGOPTIONS",
        is_in_url: |_| false,
        help: "unset it; write `options=…` into the URL if the journal needs it",
    },
];

impl JournalLocation {
    /// Parses a URL that begins with `postgres://` or `postgresql://`, or else a path.
    ///
    /// If the server is on another machine and the URL has no `sslmode`, the location has
    /// `sslmode=verify-full`.
    ///
    /// # Errors
    /// [`LocationError::Url`] if the text begins like a URL of PostgreSQL and is none, or names no
    /// database; [`LocationError::Password`] if it holds a password.
    pub fn parse(text: &str) -> Result<Self, LocationError> {
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Ok(Self::File(PathBuf::from(text)));
        }
        let mut url =
            Url::parse(text).map_err(|error| LocationError::Url { reason: error.to_string() })?;
        if url.password().is_some() || url.query_pairs().any(|(key, _)| key == "password") {
            return Err(LocationError::Password);
        }
        if url.path().trim_matches('/').is_empty() {
            return Err(LocationError::Url { reason: "it names no database".to_owned() });
        }
        let has_parameter =
            |wanted: &[&str]| url.query_pairs().any(|(key, _)| wanted.contains(&&*key));
        if !has_parameter(&["sslmode", "ssl-mode"])
            && !has_parameter(&["host", "hostaddr"])
            && !is_local(url.host())
        {
            url.query_pairs_mut().append_pair("sslmode", "verify-full");
        }
        Ok(Self::Server(Box::new(ServerUrl(url))))
    }

    /// Checks that no variable of the environment would change the connection.
    ///
    /// # Errors
    /// [`LocationError::Environment`] with the first variable that is set and would change the
    /// connection.
    pub fn check_environment(&self, is_set: impl Fn(&str) -> bool) -> Result<(), LocationError> {
        let Self::Server(url) = self else { return Ok(()) };
        let found = ENVIRONMENT_OVERRIDES
            .iter()
            .find(|env_override| is_set(env_override.variable) && !(env_override.is_in_url)(url));
        found.map_or(Ok(()), |EnvironmentOverride { variable, help, .. }| {
            Err(LocationError::Environment { variable, help })
        })
    }

    /// The path, if the journal is a file.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Server(_) => None,
        }
    }
}

/// Whether a host is this machine: loopback, or a Unix socket (`%2Fvar%2Frun…`).
fn is_local(host: Option<Host<&str>>) -> bool {
    match host {
        None => true,
        Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
        // The URL parser reads the host of a `postgres` URL always as a name.
        Some(Host::Domain(name)) => {
            let is_socket = name.to_ascii_lowercase().starts_with("%2f");
            name == "localhost"
                || is_socket
                || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    }
}

impl ServerUrl {
    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The URL with the defaults of port, `sslmode` and `application_name` written out. Otherwise
    /// the driver would look for them in the environment first.
    pub(crate) fn with_defaults(&self) -> String {
        let mut url = self.0.clone();
        let defaults = [
            (self.0.port().is_none() && !self.has_parameter(&["port"])).then_some(("port", "5432")),
            (!self.has_parameter(&["sslmode", "ssl-mode"])).then_some(("sslmode", "prefer")),
            (!self.has_parameter(&["application_name"])).then_some(("application_name", "runbook")),
        ];
        for (key, value) in defaults.into_iter().flatten() {
            url.query_pairs_mut().append_pair(key, value);
        }
        url.into()
    }

    fn has_parameter(&self, keys: &[&str]) -> bool {
        self.0.query_pairs().any(|(key, _)| keys.contains(&&*key))
    }

    fn names_host(&self) -> bool {
        self.0.host_str().is_some_and(|host| !host.is_empty())
            || self.has_parameter(&["host", "hostaddr"])
    }

    fn names_user(&self) -> bool {
        !self.0.username().is_empty() || self.has_parameter(&["user"])
    }

    /// Whether it has `sslmode=disable`.
    fn disables_tls(&self) -> bool {
        self.0
            .query_pairs()
            .any(|(key, value)| matches!(&*key, "sslmode" | "ssl-mode") && value == "disable")
    }
}

impl fmt::Display for JournalLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Server(url) => url.as_str().fmt(f),
        }
    }
}

impl From<&Path> for JournalLocation {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_elsewhere_must_prove_who_it_is_unless_the_url_says_otherwise() {
        let shown = |text: &str| JournalLocation::parse(text).unwrap().to_string();
        assert_eq!(
            shown("postgres://ops@db.internal/runbook"),
            "postgres://ops@db.internal/runbook?sslmode=verify-full"
        );
        for kept in [
            "postgres://ops@db.internal/runbook?sslmode=require",
            "postgres://ops@127.0.0.1:5433/runbook",
            "postgres://ops@localhost/runbook",
            "postgres://ops@[::1]/runbook",
            "postgres://ops@%2Fvar%2Frun%2Fpostgresql/runbook",
        ] {
            assert_eq!(shown(kept), kept);
        }
    }

    #[test]
    fn a_password_in_the_url_is_refused_and_never_shown() {
        for text in
            ["postgres://ops:hunter2@db/runbook", "postgres://ops@db/runbook?password=hunter2"]
        {
            let error = JournalLocation::parse(text).unwrap_err();
            assert!(error == LocationError::Password && !error.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn what_is_no_url_is_a_path() {
        assert_eq!(
            JournalLocation::parse("runs.db").unwrap(),
            JournalLocation::File(PathBuf::from("runs.db"))
        );
        assert!(matches!(JournalLocation::parse("postgres://db"), Err(LocationError::Url { .. })));
    }

    #[test]
    fn a_variable_that_the_url_does_not_override_is_refused_by_its_name() {
        let bare_url = JournalLocation::parse("postgres:///runbook").unwrap();
        let full_url = "postgres://ops@db.internal/runbook?sslrootcert=a&sslcert=b&sslkey=c&sslmode=verify-full";
        let full_url = JournalLocation::parse(full_url).unwrap();
        for env_override in ENVIRONMENT_OVERRIDES {
            let message = bare_url
                .check_environment(|name| name == env_override.variable)
                .unwrap_err()
                .to_string();
            assert!(
                message.contains(env_override.variable) && message.contains("unset it"),
                "{message}"
            );
            assert_eq!(
                full_url.check_environment(|name| name == env_override.variable).is_ok(),
                env_override.variable != "PGOPTIONS"
            );
            JournalLocation::parse("runs.db").unwrap().check_environment(|_| true).unwrap();
        }
        for password in ["PGPASSWORD", "PGPASSFILE"] {
            bare_url.check_environment(|name| name == password).unwrap();
        }
    }

    #[test]
    fn what_has_a_default_is_written_out_for_the_driver() {
        let url_for_driver = |text: &str| match JournalLocation::parse(text).unwrap() {
            JournalLocation::Server(url) => url.with_defaults(),
            JournalLocation::File(path) => panic!("{}", path.display()),
        };
        assert_eq!(
            url_for_driver("postgres://ops@127.0.0.1/runbook"),
            "postgres://ops@127.0.0.1/runbook?port=5432&sslmode=prefer&application_name=runbook"
        );
        let explicit_url =
            "postgres://ops@127.0.0.1:5433/runbook?sslmode=disable&application_name=x";
        assert_eq!(url_for_driver(explicit_url), explicit_url);
    }
}
