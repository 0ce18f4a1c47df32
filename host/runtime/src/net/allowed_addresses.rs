//! Resolves the name of a server and lets the gate decide about each address.
//!
//! Invariant: only the gate's decision creates [`AllowedAddresses`], and a capability can connect
//! to nothing else.

use super::connect::connect;
use crate::fault::{Fault, FaultClass};
use crate::host::Host;
use runbook_authority::gate::ConnectionState;
use runbook_authority::{GateRequest, Verb};
use std::io;
use std::net::{IpAddr, SocketAddr};
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
    /// The name or the address of the server, with or without brackets.
    pub(crate) host: &'a str,
    /// Its TCP port.
    pub(crate) port: u16,
    /// How long resolving and connecting may take together.
    pub(crate) timeout: Duration,
}

/// The addresses of one server that the gate has allowed.
#[derive(Debug)]
pub(crate) struct AllowedAddresses {
    addresses: Vec<SocketAddr>,
    timeout: Duration,
    deadline: Instant,
    /// How long the resolver took.
    pub(crate) dns: Duration,
}

/// The address of a DNS resolver that the gate has allowed.
#[derive(Debug)]
pub(crate) struct AllowedResolver(SocketAddr);

impl AllowedResolver {
    /// Its address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.0
    }
}

/// Why a connection could not be made. Nothing was sent.
#[derive(Debug)]
pub(crate) enum ConnectError {
    /// The name has no address, or cannot be resolved.
    Resolve(io::Error),
    /// The gate has allowed no address, or a limit or the audit log has stopped the call.
    Refused(Fault),
    /// No allowed address could be connected to.
    Connect(io::Error),
    /// The connection took longer than this timeout.
    TimedOut(Duration),
}

/// How much earlier than a call the look-up of a name ends.
const RESOLVER_SLACK: Duration = Duration::from_millis(100);

fn no_resolver_answered(timeout: Duration) -> io::Error {
    let limit = crate::limits::format_limit(timeout);
    let message = format!("no resolver answered within {limit}");
    io::Error::new(io::ErrorKind::TimedOut, message)
}

impl Host {
    /// Resolves the name of a server and lets the gate decide about every address. One allowed
    /// address is enough: a name with a public and a private address is connected to at the public
    /// one.
    pub(crate) async fn allowed_addresses(
        &mut self,
        server: &Server<'_>,
    ) -> Result<AllowedAddresses, ConnectError> {
        let Server { slot, verb, host, port, timeout } = *server;
        let started = Instant::now();
        let deadline = started + timeout;
        let connection = ConnectionState::New;
        let connect = |address| GateRequest::Connect { slot, verb, host, address, connection };
        let addresses = self.judged_addresses((host, port), (timeout, deadline), connect).await?;
        Ok(AllowedAddresses { addresses, timeout, deadline, dns: started.elapsed() })
    }

    /// Resolves a name and makes a request to the gate about every address. At least one is
    /// allowed. `timeout` is for messages.
    pub(super) async fn judged_addresses<'a>(
        &mut self,
        (host, port): (&str, u16),
        (timeout, deadline): (Duration, Instant),
        request: impl Fn(IpAddr) -> GateRequest<'a>,
    ) -> Result<Vec<SocketAddr>, ConnectError> {
        // A little earlier than the limit of the call, so that it is the resolver that is named.
        let resolver_deadline = deadline - RESOLVER_SLACK.min(timeout / 10);
        let resolved_addresses =
            tokio::time::timeout_at(resolver_deadline, self.resolver().resolve(host, port))
                .await
                .unwrap_or_else(|_| Err(no_resolver_answered(timeout)))
                .map_err(ConnectError::Resolve)?;
        let mut addresses = Vec::new();
        for address in resolved_addresses {
            match self.enter(&request(address.ip())) {
                Ok(()) => addresses.push(address),
                Err(fault) if fault.class == FaultClass::Denied => {}
                Err(fault) => return Err(ConnectError::Refused(fault)),
            }
        }
        if addresses.is_empty() {
            return Err(ConnectError::Refused(Fault::denied()));
        }
        Ok(addresses)
    }
}

impl Host {
    /// Asks the gate about a resolver.
    pub(crate) fn allowed_resolver(
        &mut self,
        slot: &str,
        verb: Verb,
        resolver: SocketAddr,
    ) -> Result<AllowedResolver, Fault> {
        self.enter(&GateRequest::Resolver { slot, verb, resolver })?;
        Ok(AllowedResolver(resolver))
    }
}

impl AllowedAddresses {
    /// The addresses as text, for a program that connects by itself.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.addresses.iter().map(|address| address.ip().to_string()).collect()
    }

    /// Connects to the address that answers first.
    pub(crate) async fn connect(&self) -> Result<TcpStream, ConnectError> {
        tokio::time::timeout_at(self.deadline, connect(&self.addresses))
            .await
            .map_err(|_| ConnectError::TimedOut(self.timeout))?
            .map_err(ConnectError::Connect)
    }
}

#[cfg(test)]
mod tests;
