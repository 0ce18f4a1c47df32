//! Where a journal is: one SQLite file, or a PostgreSQL database that a team shares.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use url::{Host, Url};

/// Where a journal is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// One SQLite file.
    File(PathBuf),
    /// A PostgreSQL database. Boxed, because nearly every journal is a file.
    Server(Box<ServerUrl>),
}

/// `postgres://user@host:port/database?sslmode=…`, without a password: the URL stands in `ps`, in files and in messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUrl(Url);

/// Why a text names no journal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// It begins like a URL and is none.
    #[error("this is no URL of a PostgreSQL database: {reason}; write it as in `postgres://runbook@db.internal/runbook`")]
    Url {
        /// Why.
        reason: String,
    },
    /// It has a password in it.
    #[error("the URL of the journal holds a password; put that into `PGPASSWORD` or `~/.pgpass`, where `ps` does not show it")]
    Password,
}

impl Location {
    /// A URL that begins with `postgres://` or `postgresql://`, or else a path.
    ///
    /// A server that is neither on this machine nor asked for with another `sslmode` must prove by its certificate who it is.
    pub fn parse(text: &str) -> Result<Self, LocationError> {
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Ok(Self::File(PathBuf::from(text)));
        }
        let mut url = Url::parse(text).map_err(|error| LocationError::Url { reason: error.to_string() })?;
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
            name == "localhost" || is_socket || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    }
}

impl ServerUrl {
    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Server(url) => url.as_str().fmt(f),
        }
    }
}

impl From<&Path> for Location {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_elsewhere_must_prove_who_it_is_unless_the_url_says_otherwise() {
        let shown = |text: &str| Location::parse(text).unwrap().to_string();
        assert_eq!(shown("postgres://ops@db.internal/runbook"), "postgres://ops@db.internal/runbook?sslmode=verify-full");
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
        for text in ["postgres://ops:hunter2@db/runbook", "postgres://ops@db/runbook?password=hunter2"] {
            let error = Location::parse(text).unwrap_err();
            assert!(error == LocationError::Password && !error.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn what_is_no_url_is_a_path() {
        assert_eq!(Location::parse("runs.db").unwrap(), Location::File(PathBuf::from("runs.db")));
        assert!(matches!(Location::parse("postgres://db"), Err(LocationError::Url { .. })));
    }
}
