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

/// Why a text names no journal.
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
    /// The environment would change where the journal is or how it is reached, though nobody who
    /// reads the URL sees it.
    #[error("`{variable}` is set, and the journal's connection would follow it unseen; {help}")]
    Environment {
        /// The name of the environment variable, such as `PGHOST`.
        variable: &'static str,
        /// What to do about it, as an imperative.
        help: &'static str,
    },
}

/// A part of a connection that the driver takes from a variable of the environment if the URL does
/// not say it.
struct Followed {
    variable: &'static str,
    /// Whether the URL says it, so that the variable has no meaning.
    is_said: fn(&ServerUrl) -> bool,
    help: &'static str,
}

/// Variables of PostgreSQL's own programs that the driver reads. `PGPASSWORD` and `PGPASSFILE` are
/// not among them: they are how the password is given. Neither are `PGPORT`, `PGSSLMODE`,
/// `PGAPPNAME` and `PGDATABASE`: what the driver is given always says those.
const FOLLOWED: &[Followed] = &[
    Followed {
        variable: "PGHOST",
        is_said: ServerUrl::names_host,
        help: "write the server into the URL, or unset it",
    },
    Followed {
        variable: "PGHOSTADDR",
        is_said: ServerUrl::names_host,
        help: "write the server into the URL, or unset it",
    },
    Followed {
        variable: "PGUSER",
        is_said: ServerUrl::names_user,
        help: "write the user into the URL, or unset it",
    },
    Followed {
        variable: "PGSSLROOTCERT",
        is_said: |url| url.is_plain() || url.says(&["sslrootcert", "ssl-root-cert", "ssl-ca"]),
        help: "write `sslrootcert=FILE` into the URL, or unset it",
    },
    Followed {
        variable: "PGSSLCERT",
        is_said: |url| url.is_plain() || url.says(&["sslcert", "ssl-cert"]),
        help: "write `sslcert=FILE` into the URL, or unset it",
    },
    Followed {
        variable: "PGSSLKEY",
        is_said: |url| url.is_plain() || url.says(&["sslkey", "ssl-key"]),
        help: "write `sslkey=FILE` into the URL, or unset it",
    },
    Followed {
        variable: "PGOPTIONS",
        is_said: |_| false,
        help: "unset it; write `options=…` into the URL if the journal needs it",
    },
];

impl JournalLocation {
    /// A URL that begins with `postgres://` or `postgresql://`, or else a path.
    ///
    /// A server that is neither on this machine nor asked for with another `sslmode` must prove by
    /// its certificate who it is.
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
        let says = |wanted: &[&str]| url.query_pairs().any(|(key, _)| wanted.contains(&&*key));
        if !says(&["sslmode", "ssl-mode"]) && !says(&["host", "hostaddr"]) && !is_here(url.host()) {
            url.query_pairs_mut().append_pair("sslmode", "verify-full");
        }
        Ok(Self::Server(Box::new(ServerUrl(url))))
    }

    /// Whether the URL alone says where the journal is and how it is reached, given which variables
    /// are set.
    ///
    /// # Errors
    /// [`LocationError::Environment`] names the first variable that is set and would change the
    /// connection without the URL saying so.
    pub fn check_environment(&self, is_set: impl Fn(&str) -> bool) -> Result<(), LocationError> {
        let Self::Server(url) = self else { return Ok(()) };
        let heard =
            FOLLOWED.iter().find(|followed| is_set(followed.variable) && !(followed.is_said)(url));
        heard.map_or(Ok(()), |Followed { variable, help, .. }| {
            Err(LocationError::Environment { variable, help })
        })
    }

    /// The file, if it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Server(_) => None,
        }
    }
}

/// Whether nothing leaves this machine on the way there: loopback, or a socket (`%2Fvar%2Frun…`).
fn is_here(host: Option<Host<&str>>) -> bool {
    match host {
        None => true,
        Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
        // A scheme that the URL standard does not know has only names for hosts.
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

    /// With all that has a default written out: the driver would look for it in the environment
    /// first.
    pub(crate) fn written_out(&self) -> String {
        let mut url = self.0.clone();
        let defaults = [
            (self.0.port().is_none() && !self.says(&["port"])).then_some(("port", "5432")),
            (!self.says(&["sslmode", "ssl-mode"])).then_some(("sslmode", "prefer")),
            (!self.says(&["application_name"])).then_some(("application_name", "runbook")),
        ];
        for (key, value) in defaults.into_iter().flatten() {
            url.query_pairs_mut().append_pair(key, value);
        }
        url.into()
    }

    fn says(&self, keys: &[&str]) -> bool {
        self.0.query_pairs().any(|(key, _)| keys.contains(&&*key))
    }

    fn names_host(&self) -> bool {
        self.0.host_str().is_some_and(|host| !host.is_empty()) || self.says(&["host", "hostaddr"])
    }

    fn names_user(&self) -> bool {
        !self.0.username().is_empty() || self.says(&["user"])
    }

    /// Whether it says that there is no TLS.
    fn is_plain(&self) -> bool {
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
    fn a_variable_that_the_url_does_not_outweigh_is_refused_by_its_name() {
        let bare = JournalLocation::parse("postgres:///runbook").unwrap();
        let full = "postgres://ops@db.internal/runbook?sslrootcert=a&sslcert=b&sslkey=c&sslmode=verify-full";
        let full = JournalLocation::parse(full).unwrap();
        for followed in FOLLOWED {
            let refused =
                bare.check_environment(|name| name == followed.variable).unwrap_err().to_string();
            assert!(
                refused.contains(followed.variable) && refused.contains("unset it"),
                "{refused}"
            );
            assert_eq!(
                full.check_environment(|name| name == followed.variable).is_ok(),
                followed.variable != "PGOPTIONS"
            );
            JournalLocation::parse("runs.db").unwrap().check_environment(|_| true).unwrap();
        }
        for password in ["PGPASSWORD", "PGPASSFILE"] {
            bare.check_environment(|name| name == password).unwrap();
        }
    }

    #[test]
    fn what_has_a_default_is_written_out_for_the_driver() {
        let written = |text: &str| match JournalLocation::parse(text).unwrap() {
            JournalLocation::Server(url) => url.written_out(),
            JournalLocation::File(path) => panic!("{}", path.display()),
        };
        assert_eq!(
            written("postgres://ops@127.0.0.1/runbook"),
            "postgres://ops@127.0.0.1/runbook?port=5432&sslmode=prefer&application_name=runbook"
        );
        let said = "postgres://ops@127.0.0.1:5433/runbook?sslmode=disable&application_name=x";
        assert_eq!(written(said), said);
    }
}
