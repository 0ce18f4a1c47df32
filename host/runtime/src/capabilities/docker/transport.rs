//! Carries the requests of the client library to the engine of a target.
//!
//! The library writes requests and reads answers. It opens no connection and reads no variable of
//! the environment: each request has a connection of its own, to the socket of the target or to an
//! address that the gate has allowed. An engine cannot fill the memory of the host: what was read
//! of an answer and not yet used has a limit.

use crate::net::allowed_addresses::{AllowedAddresses, ConnectError};
use crate::net::handshake::TlsFailure;
use crate::net::tls::encrypt;
use bollard::{BollardRequest, errors::Error};
use futures_util::future::BoxFuture;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper::{Response, Uri};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::task::JoinSet;

/// How long connecting and the handshake of TLS may take together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// How an answer is read, which limits what may have been read of it and not yet used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// As a whole: a list of containers, of about 2 KiB each.
    Whole,
    /// By the library, part by part. It looks at a part again whenever more of it comes, and the
    /// parts of honest engines have at most 1 MiB.
    Parts,
}

impl Reading {
    /// How many bytes may have been read and not yet used.
    fn max_unused(self) -> usize {
        match self {
            Self::Whole => 32 << 20,
            Self::Parts => 4 << 20,
        }
    }
}

/// The largest head of an answer, in bytes.
const MAX_HEAD: usize = 64 << 10;

/// The way to an engine that the gate has allowed.
pub(super) enum Way {
    /// A Unix socket of this host.
    Socket(PathBuf),
    /// A server at allowed addresses.
    Server {
        /// Its addresses.
        addresses: AllowedAddresses,
        /// The name that its certificate must have.
        host: String,
        /// Its name and port, for the head of requests.
        authority: HeaderValue,
        /// How the connection is encrypted, if it is.
        tls: Option<Arc<ClientConfig>>,
    },
}

/// Why a request could not be sent, or an answer not be read to its end.
#[derive(Debug)]
pub(super) enum TransportFailure {
    /// There is no socket, or nobody listens.
    Socket(io::Error),
    /// No connection to an allowed address.
    Connect(ConnectError),
    /// No encrypted connection.
    Tls(TlsFailure),
    /// The connection took longer than this.
    TimedOut(Duration),
    /// The answer is too large.
    TooLarge,
}

impl TransportFailure {
    /// Whether no byte of a request was sent.
    pub(super) fn is_before_the_request(&self) -> bool {
        match self {
            Self::Socket(_) | Self::Connect(_) | Self::Tls(_) | Self::TimedOut(_) => true,
            Self::TooLarge => false,
        }
    }
}

impl fmt::Display for TransportFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(error) => error.fmt(f),
            Self::Connect(_) => f.write_str("it cannot be connected to"),
            Self::Tls(failure) => f.write_str(failure.reason()),
            Self::TimedOut(timeout) => write!(f, "no connection within {timeout:?}"),
            Self::TooLarge => f.write_str("its answer is too large"),
        }
    }
}

impl std::error::Error for TransportFailure {}

impl From<TransportFailure> for Error {
    fn from(failure: TransportFailure) -> Self {
        io::Error::other(failure).into()
    }
}

/// The connections to one engine. Dropping it ends them.
pub(super) struct Transport {
    way: Arc<Way>,
    unused: UnusedBytes,
    drivers: Arc<Mutex<JoinSet<()>>>,
}

impl Transport {
    pub(super) fn new(way: Way) -> Self {
        Self { way: Arc::new(way), unused: UnusedBytes::default(), drivers: Arc::default() }
    }

    /// All that was read of the current answer has been used.
    pub(super) fn mark_used(&self) {
        self.unused.reset();
    }

    /// Whether the current answer has broken off because it is too large.
    pub(super) fn is_exceeded(&self) -> bool {
        self.unused.is_exceeded()
    }

    /// Sends one request on a connection of its own.
    pub(super) fn send(
        &self,
        request: BollardRequest,
        reading: Reading,
    ) -> BoxFuture<'static, Result<Response<Incoming>, Error>> {
        let (way, unused) = (Arc::clone(&self.way), self.unused.clone());
        let drivers = Arc::clone(&self.drivers);
        Box::pin(async move {
            let request = addressed(request, &way)?;
            let opening = tokio::time::timeout(CONNECT_TIMEOUT, open(&way));
            let stream =
                opening.await.unwrap_or(Err(TransportFailure::TimedOut(CONNECT_TIMEOUT)))?;
            unused.begin(reading);
            let stream = TokioIo::new(LimitedStream { stream, unused });
            let mut builder = http1::Builder::new();
            builder.max_buf_size(MAX_HEAD).max_headers(100);
            let (mut sender, connection) = builder.handshake(stream).await?;
            // An error of the connection is also reported to the sender or to the reader of the
            // body.
            drivers.lock().unwrap_or_else(PoisonError::into_inner).spawn(async move {
                let _ = connection.with_upgrades().await;
            });
            Ok(sender.send_request(request).await?)
        })
    }
}

/// The request with the path alone, and the name of the engine in its head.
fn addressed(mut request: BollardRequest, way: &Way) -> Result<BollardRequest, Error> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let uri: Uri = path.parse()?;
    let authority = match way {
        Way::Socket(_) => HeaderValue::from_static("docker"),
        Way::Server { authority, .. } => authority.clone(),
    };
    *request.uri_mut() = uri;
    request.headers_mut().insert(HOST, authority);
    Ok(request)
}

/// A connection to an engine, encrypted or not.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn open(way: &Way) -> Result<Box<dyn Stream>, TransportFailure> {
    match way {
        Way::Socket(path) => {
            let stream = UnixStream::connect(path).await.map_err(TransportFailure::Socket)?;
            Ok(Box::new(stream))
        }
        Way::Server { addresses, host, tls, .. } => {
            let stream = addresses.connect().await.map_err(TransportFailure::Connect)?;
            match tls {
                None => Ok(Box::new(stream)),
                Some(config) => {
                    let encrypted = encrypt(stream, host, Arc::clone(config)).await;
                    Ok(Box::new(encrypted.map_err(TransportFailure::Tls)?))
                }
            }
        }
    }
}

/// How many bytes of an answer were read and not yet used.
#[derive(Debug, Clone, Default)]
struct UnusedBytes(Arc<Counter>);

#[derive(Debug, Default)]
struct Counter {
    unused: AtomicUsize,
    limit: AtomicUsize,
}

impl UnusedBytes {
    /// Begins to count an answer.
    fn begin(&self, reading: Reading) {
        self.0.limit.store(reading.max_unused(), Ordering::Relaxed);
        self.reset();
    }

    /// All that was read has been used.
    fn reset(&self) {
        self.0.unused.store(0, Ordering::Relaxed);
    }

    /// Adds bytes that were read.
    fn add(&self, count: usize) {
        self.0.unused.fetch_add(count, Ordering::Relaxed);
    }

    /// Whether more was read than may be kept.
    fn is_exceeded(&self) -> bool {
        self.0.unused.load(Ordering::Relaxed) > self.0.limit.load(Ordering::Relaxed)
    }
}

/// A stream that ends with an error when too much was read and not used.
struct LimitedStream {
    stream: Box<dyn Stream>,
    unused: UnusedBytes,
}

impl AsyncRead for LimitedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut *self.stream).poll_read(context, buffer);
        self.unused.add(buffer.filled().len() - before);
        if self.unused.is_exceeded() {
            return Poll::Ready(Err(io::Error::other(TransportFailure::TooLarge)));
        }
        polled
    }
}

impl AsyncWrite for LimitedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_shutdown(context)
    }
}
