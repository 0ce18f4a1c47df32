//! Resolves names to addresses, by the system's resolver.

use std::io;
use std::net::{IpAddr, SocketAddr};
use url::{Host, Url};

/// The port of a base address.
pub(crate) fn port(url: &Url) -> u16 {
    url.port_or_known_default().expect("a base address is http or https, which both have a port")
}

/// Every address that a base address leads to. A literal leads to itself: it takes the same way
/// through the gate.
pub(crate) async fn resolve(url: &Url) -> io::Result<Vec<SocketAddr>> {
    let port = port(url);
    match url.host() {
        Some(Host::Ipv4(address)) => Ok(vec![SocketAddr::new(IpAddr::V4(address), port)]),
        Some(Host::Ipv6(address)) => Ok(vec![SocketAddr::new(IpAddr::V6(address), port)]),
        Some(Host::Domain(name)) => {
            let addresses: Vec<_> = tokio::net::lookup_host((name, port)).await?.collect();
            if addresses.is_empty() {
                return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
            }
            Ok(addresses)
        }
        None => Err(io::Error::new(io::ErrorKind::InvalidInput, "the address has no host")),
    }
}
