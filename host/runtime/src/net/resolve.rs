//! Resolves names to addresses.

use runbook_authority::targets::ServerName;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Resolves names to addresses.
#[derive(Debug, Clone, Default)]
pub enum Resolver {
    /// The resolver of the system: its files and its name servers.
    #[default]
    System,
    /// These names and no others.
    Fixed(Arc<BTreeMap<String, Vec<IpAddr>>>),
}

impl Resolver {
    /// Every address of a server. A host that is an IP address is returned as it is, so that the
    /// gate decides about it too.
    pub(crate) async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let name = match ServerName::of(host) {
            ServerName::Address(address) => return Ok(vec![SocketAddr::new(address, port)]),
            ServerName::Localhost => "localhost",
            ServerName::Name(name) => name,
        };
        let addresses: Vec<_> = match self {
            Self::System => tokio::net::lookup_host((name, port)).await?.collect(),
            Self::Fixed(names) => names
                .get(name)
                .into_iter()
                .flatten()
                .map(|address| SocketAddr::new(*address, port))
                .collect(),
        };
        if addresses.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        }
        Ok(addresses)
    }
}
