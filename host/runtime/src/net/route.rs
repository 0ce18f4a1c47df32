//! The route to the server of a target: a direct connection, or one through the target's gateway.
//!
//! Invariant: a target that names a gateway is reached through it alone. [`Host::route`] reads it
//! from the target, so that no capability can choose.

use super::allowed_addresses::{AllowedAddresses, ConnectError, Server};
use super::forward::ForwardedStream;
use super::gateway::GatewayRoute;
use super::peer::Peer;
use crate::fault::Fault;
use crate::host::Host;
use runbook_authority::gate::ConnectionState;
use runbook_authority::{GateRequest, Verb};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// How a server is reached, after the gate has allowed it.
pub(crate) enum Route {
    /// At one of these addresses.
    Direct(AllowedAddresses),
    /// Through the gateway of the target, to which a session is open.
    Gateway(GatewayRoute),
}

/// An open connection to a server.
pub(crate) enum ServerStream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Through a gateway.
    Forwarded(ForwardedStream),
}

impl Route {
    /// Connects to the server. Nothing is sent.
    pub(crate) async fn connect(&self) -> Result<(ServerStream, Peer), ConnectError> {
        match self {
            Self::Direct(allowed_addresses) => {
                let stream = allowed_addresses.connect().await?;
                let peer = stream.peer_addr().map_err(ConnectError::Connect)?;
                Ok((ServerStream::Tcp(stream), Peer::Address(peer)))
            }
            Self::Gateway(route) => {
                let (stream, peer) = route.connect().await?;
                Ok((ServerStream::Forwarded(stream), peer))
            }
        }
    }

    /// How long the resolver took.
    pub(crate) fn dns(&self) -> Duration {
        match self {
            Self::Direct(allowed_addresses) => allowed_addresses.dns,
            Self::Gateway(route) => route.dns,
        }
    }
}

impl Host {
    /// The route to a server: resolves its name, and lets the gate decide about every address. If
    /// its target has a gateway, a session with the gateway is opened, or reused if the same call
    /// has opened it for the same target.
    pub(crate) async fn route(&mut self, server: &Server<'_>) -> Result<Route, ConnectError> {
        let target = self.target(server.slot).map_err(ConnectError::Refused)?;
        if target.via.is_none() {
            return self.allowed_addresses(server).await.map(Route::Direct);
        }
        self.gateway_route(&target, server).await.map(Route::Gateway)
    }

    /// Lets the gate decide about another use of an open connection.
    pub(crate) fn enter_reused(
        &mut self,
        (slot, verb): (&str, Verb),
        host: &str,
        peer: &Peer,
    ) -> Result<(), Fault> {
        let connection = ConnectionState::Reused;
        match peer {
            Peer::Address(address) => {
                let address = address.ip();
                self.enter(&GateRequest::Connect { slot, verb, host, address, connection })
            }
            Peer::Socket(path) => self.enter(&GateRequest::Socket { slot, verb, path, connection }),
            Peer::Forwarded { address, .. } => {
                let address = *address;
                self.enter(&GateRequest::Forward { slot, verb, host, address, connection })
            }
        }
    }
}

impl AsyncRead for ServerStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Forwarded(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for ServerStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Forwarded(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Forwarded(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Forwarded(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
