//! Connections that an HTTP proxy makes, by CONNECT and by nothing else.
//!
//! Every connection has one of its own to the proxy, which is asked once. No answer of a proxy leads
//! anywhere else: a redirect is a refusal.

use super::connect::connect;
use super::forward::ForwardedStream;
use super::handshake::{TlsFailure, client_rejection};
use super::tls::encrypt;
use crate::fault::{Fault, FaultClass};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue, PROXY_AUTHORIZATION};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use runbook_authority::targets::ProxyLogin;
use runbook_secrets::Secret;
use rustls::ClientConfig;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The largest head of an answer, in bytes, and the most headers that it may have.
const MAX_HEAD: usize = 16 << 10;
const MAX_HEADERS: usize = 100;

/// A proxy at addresses that the gate has allowed.
pub(super) struct Proxy {
    /// The name of the proxy, for its certificate.
    pub(super) host: String,
    pub(super) addresses: Vec<SocketAddr>,
    /// How the connection to the proxy is encrypted; `None` if it is not.
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) authorization: Option<HeaderValue>,
}

/// Why a proxy has not connected to a server.
#[derive(Debug)]
pub(super) enum ProxyError {
    /// It could not be connected to.
    Connect(io::Error),
    Tls(TlsFailure),
    /// It answered with something else than a connection.
    Answered(StatusCode),
    /// What answers is no HTTP proxy.
    Protocol(String),
    /// It ended the connection before it answered.
    Ended,
}

/// The value of `Proxy-Authorization` for a user. `None` if the password cannot stand there.
pub(super) fn authorization(login: &ProxyLogin, password: &Secret) -> Option<HeaderValue> {
    let password = password.expose_text()?.trim_end_matches(['\r', '\n']);
    let pair = STANDARD.encode(format!("{}:{password}", login.user));
    let mut value = HeaderValue::try_from(format!("Basic {pair}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

impl Proxy {
    /// Asks for a connection to `server`, which is `host:port`.
    pub(super) async fn connect(&self, server: &str) -> Result<ForwardedStream, ProxyError> {
        let stream = connect(&self.addresses).await.map_err(ProxyError::Connect)?;
        let stream: ForwardedStream = match &self.tls {
            None => Box::new(stream),
            Some(config) => {
                let encrypted = encrypt(stream, &self.host, Arc::clone(config)).await;
                Box::new(encrypted.map_err(ProxyError::Tls)?)
            }
        };
        self.ask(stream, server).await
    }

    async fn ask(
        &self,
        stream: ForwardedStream,
        server: &str,
    ) -> Result<ForwardedStream, ProxyError> {
        let mut request = Request::connect(server).header(HOST, server);
        if let Some(authorization) = &self.authorization {
            request = request.header(PROXY_AUTHORIZATION, authorization);
        }
        let request = request
            .body(Empty::<Bytes>::new())
            .map_err(|error| ProxyError::Protocol(format!("it cannot be asked: {error}")))?;
        let mut builder = http1::Builder::new();
        builder.max_buf_size(MAX_HEAD).max_headers(MAX_HEADERS);
        let (mut sender, connection) =
            builder.handshake(TokioIo::new(stream)).await.map_err(|error| failure(&error))?;
        let asked = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            // After 204 there is no connection.
            if !status.is_success() || status == StatusCode::NO_CONTENT {
                return Ok(Err(ProxyError::Answered(status)));
            }
            hyper::upgrade::on(response).await.map(Ok)
        };
        let mut asked = pin!(asked);
        let mut connection = pin!(connection.with_upgrades());
        let answer = tokio::select! {
            answer = &mut asked => answer,
            // Its end is told to the one who asked, with the reason.
            _ = &mut connection => asked.await,
        };
        let upgraded = answer.map_err(|error| failure(&error))??;
        let parts = upgraded
            .downcast::<TokioIo<ForwardedStream>>()
            .map_err(|_| ProxyError::Protocol("its answer is no connection".to_owned()))?;
        Ok(Box::new(Tunnel { unread: parts.read_buf, stream: parts.io.into_inner() }))
    }
}

fn failure(error: &hyper::Error) -> ProxyError {
    // A server of TLS 1.3 says only after the handshake that it refuses a certificate.
    if let Some(reason) = client_rejection(error) {
        return ProxyError::Tls(TlsFailure::ClientRejected(reason));
    }
    if error.is_parse() {
        ProxyError::Protocol(format!("what answers is no HTTP proxy: {error}"))
    } else {
        ProxyError::Ended
    }
}

impl ProxyError {
    /// Whether another address of the server may be asked for after this.
    pub(super) fn is_about_the_server(&self) -> bool {
        match self {
            Self::Answered(status) => !matches!(status.as_u16(), 401 | 407),
            Self::Connect(_) | Self::Tls(_) | Self::Protocol(_) | Self::Ended => false,
        }
    }

    /// `proxy` describes the proxy, `has_login` is whether it was shown one.
    pub(super) fn into_fault(self, proxy: &str, server: &str, login: Option<&str>) -> Fault {
        let new = |class, code, what: String| Fault::new(class, code, format!("{proxy}: {what}"));
        match self {
            Self::Connect(error) => {
                let what = format!("cannot be connected to: {error}");
                new(FaultClass::Transient, "proxy.connect", what)
            }
            Self::Tls(failure) => tls_fault(&failure, new),
            Self::Answered(status) => answer_fault(status, server, login, new),
            Self::Protocol(what) => new(FaultClass::Assertion, "proxy.protocol", what),
            Self::Ended => {
                let what = format!("it ended the connection before it connected to {server}");
                new(FaultClass::Transient, "proxy.ended", what)
            }
        }
    }
}

fn tls_fault(
    failure: &TlsFailure,
    new: impl Fn(FaultClass, &'static str, String) -> Fault,
) -> Fault {
    let (class, code) = match failure {
        TlsFailure::Interrupted(_) => (FaultClass::Transient, "proxy.tls-interrupted"),
        TlsFailure::Certificate(_) => (FaultClass::Assertion, "proxy.certificate"),
        TlsFailure::Protocol(_) => (FaultClass::Assertion, "proxy.tls"),
        TlsFailure::ClientRejected(_) => (FaultClass::Invalid, "proxy.client-certificate"),
        TlsFailure::LocalSetup(_) => (FaultClass::Invalid, "proxy.tls-setup"),
    };
    new(class, code, failure.reason().to_owned())
}

/// The fault for an answer that is no connection. Nothing of its body is shown.
fn answer_fault(
    status: StatusCode,
    server: &str,
    login: Option<&str>,
    new: impl Fn(FaultClass, &'static str, String) -> Fault,
) -> Fault {
    let (class, code, what) = match (status.as_u16(), login) {
        // Some proxies say 401.
        (401 | 407, Some(user)) => (
            FaultClass::Invalid,
            "proxy.login",
            format!("it does not accept the password of the user `{user}`"),
        ),
        (401 | 407, None) => (
            FaultClass::Invalid,
            "proxy.login",
            "it asks for a login: add `user` and `password`".to_owned(),
        ),
        (403, _) => (
            FaultClass::Invalid,
            "proxy.forbidden",
            format!("its own rules forbid a connection to {server}"),
        ),
        (300..=399, _) => (
            FaultClass::Invalid,
            "proxy.redirect",
            format!("it redirects elsewhere ({status}), which is never followed"),
        ),
        (429 | 500.., _) => (
            FaultClass::Transient,
            "proxy.unreachable",
            format!("it could not connect to {server} ({status})"),
        ),
        (_, _) => (
            FaultClass::Invalid,
            "proxy.refused",
            format!("it makes no connection to {server} ({status})"),
        ),
    };
    new(class, code, what)
}

/// A connection that a proxy has made. What came after the head of its answer is read first.
struct Tunnel {
    unread: Bytes,
    stream: ForwardedStream,
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unread.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let count = self.unread.len().min(buf.remaining());
        let bytes = self.unread.split_to(count);
        buf.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
