//! The one way of a capability to a server over TCP: its name is resolved once, the gate judges
//! each address, and only what it let through is connected to.
//!
//! Invariant: [`Judged`] cannot be had without the gate, and nothing else can be connected to.

use super::connect::connect;
use crate::fault::{Fault, FaultClass};
use crate::host::Host;
use runbook_authority::gate::ConnectionState;
use runbook_authority::{Operation, Verb};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// The server of a target that a host function connects to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Server<'a> {
    /// The slot whose target it is.
    pub(crate) slot: &'a str,
    /// The verb that the connection is for.
    pub(crate) verb: Verb,
    /// Its name or address, with or without brackets.
    pub(crate) host: &'a str,
    /// Its TCP port.
    pub(crate) port: u16,
    /// How long resolving and connecting may take together.
    pub(crate) within: Duration,
}

/// The addresses of one server that the gate let through.
#[derive(Debug)]
pub(crate) struct Judged {
    addresses: Vec<SocketAddr>,
    within: Duration,
    until: Instant,
    /// How long the resolver took.
    pub(crate) dns: Duration,
}

/// A DNS resolver that the gate let through.
#[derive(Debug)]
pub(crate) struct JudgedResolver(SocketAddr);

impl JudgedResolver {
    /// Where it is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.0
    }
}

/// Why there is no connection. Nothing was sent.
#[derive(Debug)]
pub(crate) enum Unreached {
    /// The name has no address, or the resolver did not tell.
    Resolve(io::Error),
    /// The gate lets no address of it through, or a limit or the audit stopped the call.
    Refused(Fault),
    /// No address that was let through could be connected to.
    Connect(io::Error),
    /// It took longer than this.
    Late(Duration),
}

impl Host {
    /// Resolves the name of a server and asks the gate about every address. One that may be
    /// connected to is enough: a name with a public and a private address is reached at the
    /// public one.
    pub(crate) async fn judged(&mut self, server: &Server<'_>) -> Result<Judged, Unreached> {
        let Server { slot, verb, host, port, within } = *server;
        let began = Instant::now();
        let until = began + within;
        let all = tokio::time::timeout_at(until, self.resolver().resolve(host, port))
            .await
            .map_err(|_| Unreached::Late(within))?
            .map_err(Unreached::Resolve)?;
        let dns = began.elapsed();
        let mut addresses = Vec::new();
        for address in all {
            let connect = Operation::Connect {
                slot,
                verb,
                host,
                address: address.ip(),
                connection: ConnectionState::New,
            };
            match self.enter(&connect) {
                Ok(()) => addresses.push(address),
                Err(fault) if fault.class == FaultClass::Denied => {}
                Err(fault) => return Err(Unreached::Refused(fault)),
            }
        }
        if addresses.is_empty() {
            return Err(Unreached::Refused(Fault::denied()));
        }
        Ok(Judged { addresses, within, until, dns })
    }
}

impl Host {
    /// Asks the gate about a resolver.
    pub(crate) fn judged_resolver(
        &mut self,
        slot: &str,
        verb: Verb,
        resolver: SocketAddr,
    ) -> Result<JudgedResolver, Fault> {
        self.enter(&Operation::Resolver { slot, verb, resolver })?;
        Ok(JudgedResolver(resolver))
    }
}

impl Judged {
    /// The addresses, as texts, for a program that connects by itself.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.addresses.iter().map(|address| address.ip().to_string()).collect()
    }

    /// Connects to the address that answers first.
    pub(crate) async fn connect(&self) -> Result<TcpStream, Unreached> {
        tokio::time::timeout_at(self.until, connect(&self.addresses))
            .await
            .map_err(|_| Unreached::Late(self.within))?
            .map_err(Unreached::Connect)
    }
}

#[cfg(test)]
mod tests;
