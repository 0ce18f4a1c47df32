//! One request and its answer on a connection of its own.

use super::timed::{Marks, Timed};
use crate::fault::{Fault, FaultClass};
use crate::host::Commit;
use crate::net::handshake::{TlsFailure, refused_client};
use crate::net::judged::{Judged, Unreached};
use crate::net::tls::encrypt;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use runbook_authority::VerbEffect;
use rustls::ClientConfig;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;
use url::{Position, Url};

/// The head of an answer is never larger than this.
const MAX_HEAD: usize = 64 << 10;

/// How long it is waited for what stands behind the part of a body that is shown.
const WAIT_BEHIND: Duration = Duration::from_secs(1);

/// The body of an answer, as far as it was read.
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    pub(super) end: BodyEnd,
}

/// Where the reading of a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyEnd {
    /// At its end, or where enough of it was read.
    Known,
    /// Behind the part that is shown, because no more came.
    Silent,
}

/// Bytes of a request body that are copied before it is sent.
type Sent = Full<Bytes>;

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// An open connection, with the time that each part of opening it took.
pub(super) struct Connection {
    stream: Stream,
    peer: SocketAddr,
    dns: Duration,
    connect: Duration,
    tls: Duration,
}

/// One request, ready to be sent.
pub(super) struct Exchange<'a> {
    pub(super) method: &'a Method,
    pub(super) url: &'a Url,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
    /// Bytes of the answer's body that are shown to the guest.
    pub(super) shown: usize,
    /// Bytes after them that are read if they arrive, but not shown.
    pub(super) behind: usize,
}

/// The answer of a server to one request.
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
    pub(super) peer: SocketAddr,
    pub(super) dns: Duration,
    pub(super) connect: Duration,
    pub(super) tls: Duration,
    pub(super) first_byte: Duration,
}

/// Why there is no answer.
pub(super) enum Failure {
    Unreached(Unreached),
    Tls(TlsFailure),
    /// The server does not accept the certificate of this host, and so has not looked at the
    /// request.
    RefusedClient(String),
    /// It failed before any byte of the request went out.
    Unsent(hyper::Error),
    /// It failed after that: the other side may have acted.
    Broken(hyper::Error),
}

impl Failure {
    pub(super) fn into_fault(self, place: &str, effect: VerbEffect) -> Fault {
        let new = |class, code, what: String| Fault::new(class, code, format!("{place}: {what}"));
        match self {
            Self::Unreached(Unreached::Refused(fault)) => fault,
            Self::Unreached(Unreached::Late(within)) => Fault::new(
                FaultClass::Timeout,
                "http.timeout",
                format!("{place} did not answer within {within:?}"),
            ),
            Self::Unreached(Unreached::Resolve(error)) => new(
                FaultClass::Transient,
                "http.resolve",
                format!("its name cannot be resolved: {error}"),
            ),
            Self::Unreached(Unreached::Connect(error)) => new(
                FaultClass::Transient,
                "http.connect",
                format!("cannot be connected to: {error}"),
            ),
            // Nothing of the request was sent, so each of these is as harmless as no connection.
            Self::Tls(TlsFailure::Cut(reason)) => {
                new(FaultClass::Transient, "http.tls-broken", reason)
            }
            Self::Tls(TlsFailure::Certificate(reason)) => {
                new(FaultClass::Assertion, "http.certificate", reason)
            }
            Self::Tls(TlsFailure::Protocol(reason)) => {
                new(FaultClass::Assertion, "http.tls-protocol", reason)
            }
            Self::RefusedClient(reason) | Self::Tls(TlsFailure::Client(reason)) => {
                new(FaultClass::Invalid, "http.client-certificate", reason)
            }
            Self::Tls(TlsFailure::Here(reason)) => new(FaultClass::Invalid, "http.tls", reason),
            Self::Unsent(error) => new(FaultClass::Transient, "http.connect", chain(&error)),
            Self::Broken(error) if error.is_parse() => new(
                FaultClass::Invalid,
                "http.protocol",
                format!("the answer is not HTTP: {}", chain(&error)),
            ),
            Self::Broken(error) => {
                let class = match effect {
                    VerbEffect::Read => FaultClass::Transient,
                    VerbEffect::Change => FaultClass::Unknown,
                };
                new(
                    class,
                    "http.broken",
                    format!(
                        "the connection broke before the answer was complete: {}",
                        chain(&error)
                    ),
                )
            }
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

impl Connection {
    /// Opens a connection to one of the judged addresses; the name in the certificate and in `Host`
    /// stays that of the URL.
    pub(super) async fn open(
        url: &Url,
        judged: &Judged,
        tls: Option<Arc<ClientConfig>>,
    ) -> Result<Self, Failure> {
        let (started, dns) = (Instant::now(), judged.dns);
        let stream = judged.connect().await.map_err(Failure::Unreached)?;
        let connect = started.elapsed();
        let peer =
            stream.peer_addr().map_err(|error| Failure::Unreached(Unreached::Connect(error)))?;
        let Some(config) = tls else {
            return Ok(Self {
                stream: Stream::Plain(stream),
                peer,
                dns,
                connect,
                tls: Duration::ZERO,
            });
        };
        let started = Instant::now();
        let host = url.host_str().unwrap_or_default();
        let stream = encrypt(stream, host, config).await.map_err(Failure::Tls)?;
        Ok(Self {
            stream: Stream::Tls(Box::new(stream)),
            peer,
            dns,
            connect,
            tls: started.elapsed(),
        })
    }
}

/// Ends the task that drives a connection.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Exchange<'_> {
    /// Sends the request and reads the answer. `commit` is sent before the first byte goes out:
    /// until then the server cannot have acted on it.
    pub(super) async fn run(
        self,
        connection: Connection,
        commit: &Commit,
    ) -> Result<Answered, Failure> {
        let Connection { stream, peer, dns, connect, tls } = connection;
        let marks = Marks::new();
        let (response, driver) = match stream {
            Stream::Plain(inner) => {
                self.send(Timed { inner, commit: commit.clone(), marks: Arc::clone(&marks) }).await
            }
            Stream::Tls(inner) => {
                self.send(Timed { inner, commit: commit.clone(), marks: Arc::clone(&marks) }).await
            }
        }
        .map_err(|error| {
            if let Some(reason) = refused_client(&error) {
                commit.void();
                Failure::RefusedClient(reason)
            } else if marks.sent() {
                Failure::Broken(error)
            } else {
                Failure::Unsent(error)
            }
        })?;
        let (head, body) = response.into_parts();
        let body = take(body, self.shown, self.behind).await.map_err(Failure::Broken)?;
        drop(driver);
        Ok(Answered {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
            peer,
            dns,
            connect,
            tls,
            first_byte: marks.first_byte(),
        })
    }

    async fn send<S>(&self, stream: S) -> Result<(Response<Incoming>, Driver), hyper::Error>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let builder = http1::Builder::new().max_buf_size(MAX_HEAD).max_headers(100).clone();
        let (mut sender, connection) = builder.handshake::<_, Sent>(TokioIo::new(stream)).await?;
        let driver = Driver(tokio::spawn(async move {
            // What goes wrong here is reported to the sender or to the reader of the body too.
            let _ = connection.await;
        }));
        let response = sender.send_request(self.request()).await?;
        Ok((response, driver))
    }

    fn request(&self) -> Request<Sent> {
        let mut request = Request::new(Full::new(Bytes::copy_from_slice(self.body)));
        self.method.clone_into(request.method_mut());
        let path = &self.url[Position::BeforePath..Position::AfterQuery];
        *request.uri_mut() = path.parse().expect("a URL's path and query are a request target");
        *request.headers_mut() = self.headers.clone();
        let authority = &self.url[Position::BeforeHost..Position::AfterPort];
        let host =
            HeaderValue::from_str(authority).expect("a URL's host and port are visible ASCII");
        request.headers_mut().insert(HOST, host);
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        if matches!(*self.method, Method::POST | Method::PUT | Method::PATCH) {
            request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(self.body.len()));
        }
        request
    }
}

/// The first `shown` bytes of a body and, if they come, `behind` more. What is wrong behind what is
/// shown is no error.
async fn take(mut body: Incoming, shown: usize, behind: usize) -> Result<Body, hyper::Error> {
    let cap = shown.saturating_add(behind);
    let mut bytes = Vec::new();
    loop {
        let frame = if bytes.len() <= shown {
            body.frame().await.transpose()?
        } else {
            match tokio::time::timeout(WAIT_BEHIND, body.frame()).await {
                Ok(Some(Ok(frame))) => Some(frame),
                Ok(None) => None,
                Ok(Some(Err(_))) | Err(_) => return Ok(Body { bytes, end: BodyEnd::Silent }),
            }
        };
        let Some(frame) = frame else { return Ok(Body { bytes, end: BodyEnd::Known }) };
        let Ok(data) = frame.into_data() else { continue };
        let left = cap - bytes.len();
        bytes.extend_from_slice(&data[..data.len().min(left)]);
        if bytes.len() == cap {
            return Ok(Body { bytes, end: BodyEnd::Known });
        }
    }
}
