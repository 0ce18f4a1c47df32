//! Connections, and the pool in which one call of a plugin keeps them for its next requests.

use super::failure::Failure;
use super::timed_stream::{CurrentExchange, TimedStream};
use crate::net::handshake::TlsFailure;
use crate::net::peer::Peer;
use crate::net::route::Route;
use crate::net::tls::{self, encrypt};
use crate::net::unix_socket::AllowedSocket;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use url::Url;

/// The largest head of a response, in bytes.
const MAX_HEAD: u32 = 64 << 10;

/// Connections that one call keeps. A plugin has few slots, and a slot has one server.
const MAX_POOLED: usize = 8;

/// The body of a request, copied before it is sent.
pub(super) type RequestBody = Full<Bytes>;

/// How long each part of opening a connection took; zero for a reused connection.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ConnectTiming {
    pub(super) dns: Duration,
    pub(super) connect: Duration,
    pub(super) tls: Duration,
}

/// An open connection, which carries one exchange after the other.
pub(super) struct Connection {
    sender: Sender,
    current_exchange: CurrentExchange,
    pub(super) peer: Peer,
    pub(super) connect_timing: ConnectTiming,
    _driver: DriverTask,
}

enum Sender {
    Http1(http1::SendRequest<RequestBody>),
    Http2(http2::SendRequest<RequestBody>),
}

/// The HTTP version of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    Http1,
    Http2,
}

/// The protocols that a connection may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocols {
    /// HTTP/2 if the server chooses it over TLS, or else HTTP/1.1.
    Any,
    /// HTTP/2 alone, without TLS by prior knowledge (RFC 9113, section 3.3).
    Http2,
}

impl Protocols {
    /// The names for ALPN.
    pub(super) fn alpn(self) -> &'static [&'static [u8]] {
        match self {
            Self::Any => tls::HTTP_PROTOCOLS,
            Self::Http2 => &[b"h2"],
        }
    }

    fn without_tls(self) -> Version {
        match self {
            Self::Any => Version::Http1,
            Self::Http2 => Version::Http2,
        }
    }

    /// The version after TLS, by the protocol that the server has chosen.
    fn chosen(self, protocol: Option<&[u8]>) -> Result<Version, Failure> {
        match (self, protocol) {
            (_, Some(b"h2")) => Ok(Version::Http2),
            (Self::Any, Some(_) | None) => Ok(Version::Http1),
            (Self::Http2, Some(_) | None) => Err(Failure::Tls(TlsFailure::Protocol(
                "it does not offer HTTP/2 over TLS, which gRPC needs".to_owned(),
            ))),
        }
    }
}

/// The task that drives a connection; dropping this ends it.
struct DriverTask(JoinHandle<()>);

impl Drop for DriverTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    /// Opens a connection on an allowed route. The certificate and the `Host` header
    /// must have the host name of the URL.
    pub(super) async fn open(
        url: &Url,
        route: &Route,
        tls_config: Option<Arc<ClientConfig>>,
        protocols: Protocols,
    ) -> Result<Self, Failure> {
        let started = Instant::now();
        let (stream, peer) = route.connect().await.map_err(Failure::ConnectError)?;
        let mut connect_timing =
            ConnectTiming { dns: route.dns(), connect: started.elapsed(), tls: Duration::ZERO };
        let Some(config) = tls_config else {
            let version = protocols.without_tls();
            return Self::with_protocol(stream, version, peer, connect_timing).await;
        };
        let started = Instant::now();
        let host = url.host_str().unwrap_or_default();
        let stream = encrypt(stream, host, config).await.map_err(Failure::Tls)?;
        connect_timing.tls = started.elapsed();
        let version = protocols.chosen(stream.get_ref().1.alpn_protocol())?;
        Self::with_protocol(stream, version, peer, connect_timing).await
    }

    /// Opens a connection to a Unix socket. It is not encrypted.
    pub(super) async fn open_socket(
        socket: &AllowedSocket,
        timeout: Duration,
        protocols: Protocols,
    ) -> Result<Self, Failure> {
        let started = Instant::now();
        let stream = socket.connect(timeout).await.map_err(Failure::Socket)?;
        let connect_timing =
            ConnectTiming { connect: started.elapsed(), ..ConnectTiming::default() };
        let peer = Peer::Socket(socket.path().to_owned());
        Self::with_protocol(stream, protocols.without_tls(), peer, connect_timing).await
    }

    async fn with_protocol<S>(
        inner: S,
        version: Version,
        peer: Peer,
        connect_timing: ConnectTiming,
    ) -> Result<Self, Failure>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let current_exchange = CurrentExchange::default();
        let stream = TokioIo::new(TimedStream::new(inner, current_exchange.clone()));
        // An error of the task is also reported to the sender or to the reader of the body.
        let (sender, driver) = match version {
            Version::Http1 => {
                let mut builder = http1::Builder::new();
                builder.max_buf_size(MAX_HEAD as usize).max_headers(100);
                let (sender, connection) =
                    builder.handshake(stream).await.map_err(Failure::Unsent)?;
                let driver = tokio::spawn(async move {
                    let _ = connection.await;
                });
                (Sender::Http1(sender), driver)
            }
            Version::Http2 => {
                let mut builder = http2::Builder::new(TokioExecutor::new());
                builder.max_header_list_size(MAX_HEAD);
                let (sender, connection) =
                    builder.handshake(stream).await.map_err(Failure::Unsent)?;
                let driver = tokio::spawn(async move {
                    let _ = connection.await;
                });
                (Sender::Http2(sender), driver)
            }
        };
        Ok(Self { sender, current_exchange, peer, connect_timing, _driver: DriverTask(driver) })
    }

    pub(super) fn version(&self) -> Version {
        match self.sender {
            Sender::Http1(_) => Version::Http1,
            Sender::Http2(_) => Version::Http2,
        }
    }

    /// The exchange that the connection carries now.
    pub(super) fn current_exchange(&self) -> &CurrentExchange {
        &self.current_exchange
    }

    pub(super) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        match &mut self.sender {
            Sender::Http1(sender) => sender.send_request(request).await,
            Sender::Http2(sender) => sender.send_request(request).await,
        }
    }

    /// Waits until the connection can carry another request. Returns false if the server has closed
    /// it, or has announced that it will.
    async fn is_ready(&mut self) -> bool {
        match &mut self.sender {
            Sender::Http1(sender) => sender.ready().await.is_ok(),
            Sender::Http2(sender) => sender.ready().await.is_ok(),
        }
    }
}

/// The key of a pooled connection: it is reused only by the same slot for the same server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ConnectionKey {
    slot: String,
    origin: String,
}

impl ConnectionKey {
    pub(super) fn new(slot: &str, url: &Url) -> Self {
        Self { slot: slot.to_owned(), origin: url.origin().ascii_serialization() }
    }
}

/// The connections that one call of a plugin keeps open until it ends.
#[derive(Default)]
pub(super) struct ConnectionPool(Vec<(ConnectionKey, Connection)>);

impl ConnectionPool {
    /// Keeps a connection for the next request with this key.
    pub(super) fn put(&mut self, key: ConnectionKey, connection: Connection) {
        self.0.retain(|(known, _)| *known != key);
        if self.0.len() < MAX_POOLED {
            self.0.push((key, connection));
        }
    }

    /// Closes the connection that is kept for this key.
    pub(super) fn end(&mut self, key: &ConnectionKey) {
        self.0.retain(|(known, _)| known != key);
    }

    /// Takes the connection that is kept for this key, if it is still open.
    pub(super) async fn reuse(&mut self, key: &ConnectionKey) -> Option<Connection> {
        let index = self.0.iter().position(|(known, _)| known == key)?;
        let (_, mut connection) = self.0.swap_remove(index);
        connection.is_ready().await.then_some(connection)
    }
}
