//! Connections through the gateway of a target. The gate decides about the destination first, then
//! about the addresses of the gateway itself; nothing is sent before both are allowed.
//!
//! A session with a gateway is kept for one target until the call of the plugin ends.

use super::allowed_addresses::{ConnectError, Server};
use super::forward::ForwardError;
use super::peer::Peer;
use super::ssh::{self, Session};
use crate::fault::{Fault, FaultClass};
use crate::host::Host;
use runbook_authority::gate::ConnectionState;
use runbook_authority::targets::{Gateway, GatewayKind, NameResolution, ServerName};
use runbook_authority::{GateRequest, Target};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

pub(crate) use super::ssh::ForwardedStream;

/// An open session with a gateway, and the destinations that the gate has allowed behind it.
pub(crate) struct GatewayRoute {
    session: Arc<Session>,
    gateway: Arc<Gateway>,
    destinations: Vec<Destination>,
    timeout: Duration,
    deadline: Instant,
    /// How long the resolver took.
    pub(super) dns: Duration,
}

/// Where a gateway is asked to connect to.
struct Destination {
    host: String,
    address: Option<IpAddr>,
    port: u16,
}

impl GatewayRoute {
    pub(super) async fn connect(&self) -> Result<(ForwardedStream, Peer), ConnectError> {
        tokio::time::timeout_at(self.deadline, self.forward())
            .await
            .map_err(|_| ConnectError::TimedOut(self.timeout))?
            .map_err(ConnectError::Refused)
    }

    /// Asks the gateway for one destination after the other.
    async fn forward(&self) -> Result<(ForwardedStream, Peer), Fault> {
        let mut fault = Fault::denied();
        for Destination { host, address, port } in &self.destinations {
            match self.session.forward(host, *port).await {
                Ok(stream) => {
                    let (host, address, port) = (host.clone(), *address, *port);
                    let gateway = self.gateway.name.clone();
                    return Ok((stream, Peer::Forwarded { host, address, port, gateway }));
                }
                Err(error) => fault = self.fault_of(&error, &format!("{host}:{port}")),
            }
        }
        Err(fault)
    }

    fn fault_of(&self, error: &ForwardError, destination: &str) -> Fault {
        let (class, code, what) = match error {
            ForwardError::Forbidden => (
                FaultClass::Invalid,
                "ssh.forwarding",
                format!("its own rules forbid a connection to {destination}"),
            ),
            ForwardError::Unreachable => (
                FaultClass::Transient,
                "ssh.unreachable",
                format!("it could not connect to {destination}"),
            ),
            ForwardError::Lost => {
                (FaultClass::Transient, "ssh.lost", "the connection to it has ended".to_owned())
            }
        };
        Fault::new(class, code, format!("{}: {what}", self.gateway.describe()))
    }
}

/// The sessions that one call of a plugin keeps open until it ends.
#[derive(Default)]
struct Sessions(Vec<(SessionKey, Arc<Session>)>);

/// A session is kept for one gateway and one target.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SessionKey {
    gateway: String,
    target: String,
}

impl Sessions {
    /// The session for this key, if it is still open.
    fn reuse(&mut self, key: &SessionKey) -> Option<Arc<Session>> {
        self.0.retain(|(_, session)| session.is_open());
        self.0.iter().find(|(known, _)| known == key).map(|(_, session)| Arc::clone(session))
    }
}

impl Host {
    /// The route to a server behind the gateway of its target.
    pub(super) async fn gateway_route(
        &mut self,
        target: &Target,
        server: &Server<'_>,
    ) -> Result<GatewayRoute, ConnectError> {
        let gateway = self.gateway(server.slot).map_err(ConnectError::Refused)?;
        let timeout = server.timeout;
        let started = Instant::now();
        let deadline = started + timeout;
        let destinations = self.destinations(target, server, deadline).await?;
        let dns = started.elapsed();
        let key = SessionKey { gateway: gateway.name.clone(), target: target.name.clone() };
        let session = match self.storage.value::<Sessions>().reuse(&key) {
            Some(session) => session,
            None => {
                let session =
                    Arc::new(self.open_gateway_session(&gateway, server, deadline).await?);
                self.storage.value::<Sessions>().0.push((key, Arc::clone(&session)));
                session
            }
        };
        Ok(GatewayRoute { session, gateway, destinations, timeout, deadline, dns })
    }

    /// The destinations that the gate allows: the addresses of the server, or its name if the
    /// target lets the gateway resolve it.
    async fn destinations(
        &mut self,
        target: &Target,
        server: &Server<'_>,
        deadline: Instant,
    ) -> Result<Vec<Destination>, ConnectError> {
        let Server { slot, verb, host, port, timeout } = *server;
        let connection = ConnectionState::New;
        let is_remote =
            target.via.as_ref().is_some_and(|via| via.resolution == NameResolution::Remote);
        if let (true, ServerName::Name(name)) = (is_remote, ServerName::of(host)) {
            let request = GateRequest::Forward { slot, verb, host, address: None, connection };
            self.enter(&request).map_err(ConnectError::Refused)?;
            return Ok(vec![Destination { host: name.to_owned(), address: None, port }]);
        }
        let request = |address| {
            let address = Some(address);
            GateRequest::Forward { slot, verb, host, address, connection }
        };
        let allowed = self.judged_addresses((host, port), (timeout, deadline), request).await?;
        let destination = |address: std::net::SocketAddr| Destination {
            host: address.ip().to_string(),
            address: Some(address.ip()),
            port,
        };
        Ok(allowed.into_iter().map(destination).collect())
    }

    /// Connects to a gateway and logs in.
    async fn open_gateway_session(
        &mut self,
        gateway: &Gateway,
        server: &Server<'_>,
        deadline: Instant,
    ) -> Result<Session, ConnectError> {
        let GatewayKind::Ssh(ssh) = &gateway.kind;
        let refused = ConnectError::Refused;
        let (host, port) = gateway.server();
        let (slot, verb) = (server.slot, server.verb);
        let login = self.ssh_login(gateway, ssh).await.map_err(refused)?;
        let timeout = gateway.timeout().min(deadline.saturating_duration_since(Instant::now()));
        let deadline = Instant::now() + timeout;
        let request = |address| GateRequest::Gateway { slot, verb, host, address };
        let allowed = self
            .judged_addresses((host, port), (timeout, deadline), request)
            .await
            .map_err(|error| refused(fault_of(error, gateway)))?;
        let open = ssh::open(&allowed, login, gateway);
        let late = |_| refused(timeout_fault(gateway, timeout));
        tokio::time::timeout_at(deadline, open).await.map_err(late)?.map_err(refused)
    }
}

/// The fault for a gateway that cannot be found or connected to.
fn fault_of(error: ConnectError, gateway: &Gateway) -> Fault {
    let new = |code, what: String| {
        Fault::new(FaultClass::Transient, code, format!("{}: {what}", gateway.describe()))
    };
    match error {
        ConnectError::Refused(fault) => fault,
        ConnectError::Resolve(error) => {
            new("ssh.resolve", format!("its name cannot be resolved: {error}"))
        }
        ConnectError::Connect(error) => {
            new("ssh.connect", format!("cannot be connected to: {error}"))
        }
        ConnectError::TimedOut(timeout) => timeout_fault(gateway, timeout),
    }
}

fn timeout_fault(gateway: &Gateway, timeout: Duration) -> Fault {
    let what = format!("no session within {} ms", timeout.as_millis());
    let message = format!("{}: {what}", gateway.describe());
    Fault::new(FaultClass::Timeout, "ssh.timeout", message)
}
