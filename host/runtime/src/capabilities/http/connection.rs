//! Open connections, and those that one call of a plugin keeps for its next requests.

use super::failure::Failure;
use super::timed::{Timed, Turn};
use crate::net::judged::{Judged, Unreached};
use crate::net::tls::encrypt;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use url::Url;

/// The head of an answer is never larger than this.
const MAX_HEAD: u32 = 64 << 10;

/// Connections that one call keeps. A plugin has few slots, and a slot has one server.
const MAX_KEPT: usize = 8;

/// Bytes of a request body that are copied before it is sent.
pub(super) type Sent = Full<Bytes>;

/// How long each part of opening a connection took; nothing for one that was open.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Opening {
    pub(super) dns: Duration,
    pub(super) connect: Duration,
    pub(super) tls: Duration,
}

/// An open connection, on which one exchange follows the other.
pub(super) struct Connection {
    sender: Sender,
    turn: Turn,
    pub(super) peer: SocketAddr,
    pub(super) opening: Opening,
    _driver: Driver,
}

enum Sender {
    Http1(http1::SendRequest<Sent>),
    Http2(http2::SendRequest<Sent>),
}

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    Http1,
    Http2,
}

/// Ends the task that drives a connection.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    /// Opens a connection to one of the judged addresses; the name in the certificate and in `Host`
    /// stays that of the URL.
    pub(super) async fn open(
        url: &Url,
        judged: &Judged,
        tls: Option<Arc<ClientConfig>>,
    ) -> Result<Self, Failure> {
        let started = Instant::now();
        let stream = judged.connect().await.map_err(Failure::Unreached)?;
        let mut opening =
            Opening { dns: judged.dns, connect: started.elapsed(), tls: Duration::ZERO };
        let peer =
            stream.peer_addr().map_err(|error| Failure::Unreached(Unreached::Connect(error)))?;
        let Some(config) = tls else {
            return Self::over(stream, Version::Http1, peer, opening).await;
        };
        let started = Instant::now();
        let host = url.host_str().unwrap_or_default();
        let stream = encrypt(stream, host, config).await.map_err(Failure::Tls)?;
        opening.tls = started.elapsed();
        let version = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Version::Http2,
            Some(_) | None => Version::Http1,
        };
        Self::over(stream, version, peer, opening).await
    }

    async fn over<S>(
        inner: S,
        version: Version,
        peer: SocketAddr,
        opening: Opening,
    ) -> Result<Self, Failure>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let turn = Turn::default();
        let stream = TokioIo::new(Timed::new(inner, turn.clone()));
        // What goes wrong in a task is reported to the sender or to the reader of the body too.
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
        Ok(Self { sender, turn, peer, opening, _driver: Driver(driver) })
    }

    pub(super) fn version(&self) -> Version {
        match self.sender {
            Sender::Http1(_) => Version::Http1,
            Sender::Http2(_) => Version::Http2,
        }
    }

    /// Whose request the connection carries from here on.
    pub(super) fn turn(&self) -> &Turn {
        &self.turn
    }

    pub(super) async fn send(
        &mut self,
        request: Request<Sent>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        match &mut self.sender {
            Sender::Http1(sender) => sender.send_request(request).await,
            Sender::Http2(sender) => sender.send_request(request).await,
        }
    }

    /// Waits until the connection can carry another request. Whether it can: the server may have
    /// closed it, or said that it will.
    async fn is_ready(&mut self) -> bool {
        match &mut self.sender {
            Sender::Http1(sender) => sender.ready().await.is_ok(),
            Sender::Http2(sender) => sender.ready().await.is_ok(),
        }
    }
}

/// To whom a kept connection belongs: never to another slot or another server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    slot: String,
    origin: String,
}

impl Owner {
    pub(super) fn new(slot: &str, url: &Url) -> Self {
        Self { slot: slot.to_owned(), origin: url.origin().ascii_serialization() }
    }
}

/// The connections that one call keeps open. They end with it.
#[derive(Default)]
pub(super) struct KeptConnections(Vec<(Owner, Connection)>);

impl KeptConnections {
    /// Keeps a connection for the next request of its owner.
    pub(super) fn put(&mut self, owner: Owner, connection: Connection) {
        self.0.retain(|(known, _)| *known != owner);
        if self.0.len() < MAX_KEPT {
            self.0.push((owner, connection));
        }
    }

    /// Ends the connection that is kept for this owner.
    pub(super) fn end(&mut self, owner: &Owner) {
        self.0.retain(|(known, _)| known != owner);
    }

    /// The connection that is kept for this owner, if it is still open.
    pub(super) async fn reuse(&mut self, owner: &Owner) -> Option<Connection> {
        let index = self.0.iter().position(|(known, _)| known == owner)?;
        let (_, mut connection) = self.0.swap_remove(index);
        connection.is_ready().await.then_some(connection)
    }
}
