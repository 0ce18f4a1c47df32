//! The other end of a connection.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// The other end of a connection, as plugins and the audit log are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Peer {
    /// The server itself.
    Address(SocketAddr),
    /// A Unix socket of this host.
    Socket(PathBuf),
    /// A server behind a gateway.
    Forwarded {
        /// What the gateway was given: an address or a name.
        host: String,
        /// The address, if the gateway was given one.
        address: Option<IpAddr>,
        port: u16,
        /// The name of the gateway in the runbook.
        gateway: String,
    },
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Socket(path) => path.display().fmt(f),
            Self::Forwarded { address: Some(address), port, gateway, .. } => {
                write!(f, "{} through {gateway}", SocketAddr::new(*address, *port))
            }
            Self::Forwarded { host, address: None, port, gateway } => {
                write!(f, "{host}:{port} through {gateway}")
            }
        }
    }
}
