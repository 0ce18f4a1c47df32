//! Connections through the gateway of a target. The gate decides about the destination first, then
//! about the addresses of the gateway itself; nothing is sent before both are allowed.
//!
//! A session with an SSH server is kept for one target until the call of the plugin ends. A proxy is
//! connected to for each connection.

use super::allowed_addresses::{ConnectError, Server};
use super::forward::{ForwardError, ForwardedStream};
use super::peer::Peer;
use super::proxy::{self, Proxy};
use super::ssh::{self, Session};
use super::tls::ServerVerification;
use crate::fault::{Fault, FaultClass};
use crate::host::Host;
use runbook_authority::gate::ConnectionState;
use runbook_authority::targets::{
    Gateway, GatewayKind, NameResolution, ProxyGateway, ProxyTransport, ServerName, SshGateway,
};
use runbook_authority::{GateRequest, Target};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The way to a gateway, and the destinations that the gate has allowed behind it.
pub(crate) struct GatewayRoute {
    way: Way,
    gateway: Arc<Gateway>,
    destinations: Vec<Destination>,
    timeout: Duration,
    deadline: Instant,
    /// How long the resolver took.
    pub(super) dns: Duration,
}

enum Way {
    /// An open session.
    Ssh(Arc<Session>),
    Proxy(Proxy),
}

/// Where a gateway is asked to connect to.
struct Destination {
    host: String,
    address: Option<IpAddr>,
    port: u16,
}

impl Destination {
    /// `host:port`, as URLs write it.
    fn authority(&self) -> String {
        match self.address {
            Some(address) => SocketAddr::new(address, self.port).to_string(),
            None => format!("{}:{}", self.host, self.port),
        }
    }
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
        for destination in &self.destinations {
            let asked = match &self.way {
                Way::Ssh(session) => self.forward_by_ssh(session, destination).await,
                Way::Proxy(proxy) => self.forward_by_proxy(proxy, destination).await,
            };
            match asked {
                Ok(stream) => {
                    let Destination { host, address, port } = destination;
                    let (host, address, port) = (host.clone(), *address, *port);
                    let gateway = self.gateway.name.clone();
                    return Ok((stream, Peer::Forwarded { host, address, port, gateway }));
                }
                Err(ForwardFault::Server(why)) => fault = why,
                Err(ForwardFault::Gateway(why)) => return Err(why),
            }
        }
        Err(fault)
    }

    async fn forward_by_ssh(
        &self,
        session: &Arc<Session>,
        destination: &Destination,
    ) -> Result<ForwardedStream, ForwardFault> {
        let Destination { host, port, .. } = destination;
        session.forward(host, *port).await.map_err(|error| {
            ForwardFault::Server(ssh_fault(&error, &self.gateway, &format!("{host}:{port}")))
        })
    }

    async fn forward_by_proxy(
        &self,
        proxy: &Proxy,
        destination: &Destination,
    ) -> Result<ForwardedStream, ForwardFault> {
        let server = destination.authority();
        let timeout = self.gateway.timeout();
        let asked = tokio::time::timeout(timeout, proxy.connect(&server)).await;
        let asked =
            asked.map_err(|_| ForwardFault::Gateway(timeout_fault(&self.gateway, timeout)))?;
        asked.map_err(|error| {
            let is_about_the_server = error.is_about_the_server();
            let fault = error.into_fault(&self.gateway.describe(), &server, self.gateway.user());
            if is_about_the_server {
                ForwardFault::Server(fault)
            } else {
                ForwardFault::Gateway(fault)
            }
        })
    }
}

/// Why a gateway has not made a connection.
enum ForwardFault {
    /// The next address of the server may be reachable.
    Server(Fault),
    /// It would be the same for every address.
    Gateway(Fault),
}

fn ssh_fault(error: &ForwardError, gateway: &Gateway, destination: &str) -> Fault {
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
    Fault::new(class, code, format!("{}: {what}", gateway.describe()))
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
        let way = match &gateway.kind {
            GatewayKind::Ssh(ssh) => {
                let key = SessionKey { gateway: gateway.name.clone(), target: target.name.clone() };
                Way::Ssh(match self.storage.value::<Sessions>().reuse(&key) {
                    Some(session) => session,
                    None => {
                        let session = self.open_gateway_session(&gateway, ssh, server, deadline);
                        let session = Arc::new(session.await?);
                        self.storage.value::<Sessions>().0.push((key, Arc::clone(&session)));
                        session
                    }
                })
            }
            GatewayKind::Proxy(proxy) => {
                Way::Proxy(self.proxy(&gateway, proxy, server, deadline).await?)
            }
        };
        Ok(GatewayRoute { way, gateway, destinations, timeout, deadline, dns })
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
        let destination = |address: SocketAddr| Destination {
            host: address.ip().to_string(),
            address: Some(address.ip()),
            port,
        };
        Ok(allowed.into_iter().map(destination).collect())
    }

    /// The addresses of a gateway that the gate allows.
    async fn gateway_addresses(
        &mut self,
        gateway: &Gateway,
        server: &Server<'_>,
        timeout: Duration,
    ) -> Result<Vec<SocketAddr>, ConnectError> {
        let (host, port) = gateway.server();
        let (slot, verb) = (server.slot, server.verb);
        let deadline = Instant::now() + timeout;
        let request = |address| GateRequest::Gateway { slot, verb, host, address };
        self.judged_addresses((host, port), (timeout, deadline), request)
            .await
            .map_err(|error| ConnectError::Refused(fault_of(error, gateway)))
    }

    /// Connects to a gateway and logs in.
    async fn open_gateway_session(
        &mut self,
        gateway: &Gateway,
        ssh: &SshGateway,
        server: &Server<'_>,
        deadline: Instant,
    ) -> Result<Session, ConnectError> {
        let refused = ConnectError::Refused;
        let login = self.ssh_login(gateway, ssh).await.map_err(refused)?;
        let timeout = gateway.timeout().min(deadline.saturating_duration_since(Instant::now()));
        let deadline = Instant::now() + timeout;
        let allowed = self.gateway_addresses(gateway, server, timeout).await?;
        let open = ssh::open(&allowed, login, gateway);
        let late = |_| refused(timeout_fault(gateway, timeout));
        tokio::time::timeout_at(deadline, open).await.map_err(late)?.map_err(refused)
    }

    /// Reads what is needed to ask a proxy, and lets the gate decide about it. Nothing is connected
    /// to.
    async fn proxy(
        &mut self,
        gateway: &Gateway,
        proxy: &ProxyGateway,
        server: &Server<'_>,
        deadline: Instant,
    ) -> Result<Proxy, ConnectError> {
        let refused = ConnectError::Refused;
        let tls = match &proxy.transport {
            ProxyTransport::Plain => None,
            ProxyTransport::Tls(keys) => {
                let verification = ServerVerification::Certificate;
                let config = self.client_config(keys, verification, &[], "proxy.tls-setup").await;
                Some(config.map_err(refused)?)
            }
        };
        let authorization = match &proxy.login {
            None => None,
            Some(login) => {
                let password = self.secret(&login.password).await.map_err(refused)?;
                let value = proxy::authorization(login, &password);
                Some(value.ok_or_else(|| refused(password_fault(gateway, &login.password)))?)
            }
        };
        let timeout = gateway.timeout().min(deadline.saturating_duration_since(Instant::now()));
        let addresses = self.gateway_addresses(gateway, server, timeout).await?;
        Ok(Proxy { host: proxy.host.clone(), addresses, tls, authorization })
    }
}

/// The fault for a gateway that cannot be found.
fn fault_of(error: ConnectError, gateway: &Gateway) -> Fault {
    let new = |code: &str, what: String| {
        let code = format!("{}.{code}", gateway.kind.key());
        Fault::new(FaultClass::Transient, &code, format!("{}: {what}", gateway.describe()))
    };
    match error {
        ConnectError::Refused(fault) => fault,
        ConnectError::Resolve(error) => {
            new("resolve", format!("its name cannot be resolved: {error}"))
        }
        ConnectError::Connect(error) => new("connect", format!("cannot be connected to: {error}")),
        ConnectError::TimedOut(timeout) => timeout_fault(gateway, timeout),
    }
}

fn timeout_fault(gateway: &Gateway, timeout: Duration) -> Fault {
    let (key, what) = match gateway.kind {
        GatewayKind::Ssh(_) => ("ssh", "no session"),
        GatewayKind::Proxy(_) => ("proxy", "no answer"),
    };
    let message = format!("{}: {what} within {} ms", gateway.describe(), timeout.as_millis());
    Fault::new(FaultClass::Timeout, &format!("{key}.timeout"), message)
}

fn password_fault(gateway: &Gateway, secret: &str) -> Fault {
    let what = format!("secret `{secret}` is not text that can be sent");
    Fault::new(FaultClass::Invalid, "proxy.password", format!("{}: {what}", gateway.describe()))
}
