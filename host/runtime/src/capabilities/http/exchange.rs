//! One request and its response on an open connection.

use super::body::{Body, BodyReader, Remainder};
use super::connection::{ConnectTiming, Connection, RequestBody, Version};
use super::failure::Failure;
use super::timed_stream::ExchangeTimings;
use crate::host::Commit;
use crate::net::peer::Peer;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use url::{Position, Url};

/// One request, ready to be sent.
pub(super) struct Exchange<'a> {
    pub(super) method: &'a Method,
    pub(super) url: &'a Url,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
    /// Reads the body of the response.
    pub(super) body_reader: BodyReader,
}

/// The response of a server to one request.
pub(super) struct ServerResponse {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
    pub(super) peer: Peer,
    pub(super) connect_timing: ConnectTiming,
    pub(super) first_byte: Duration,
}

/// The result of an exchange.
pub(super) struct ExchangeOutcome {
    pub(super) server_response: ServerResponse,
    /// The connection, if it can carry another exchange.
    pub(super) connection: Option<Connection>,
}

/// Sends a request. `commit` is marked as sent before the first byte is written.
pub(super) async fn send(
    connection: &mut Connection,
    request: Request<RequestBody>,
    commit: &Commit,
) -> Result<(Response<Incoming>, Arc<ExchangeTimings>), Failure> {
    let timings = connection.current_exchange().begin(commit);
    let sent = connection.send(request).await;
    let response = sent.map_err(|error| {
        if let Some(reason) = connection.current_exchange().client_rejection_reason() {
            commit.mark_rolled_back();
            Failure::ClientRejected(reason)
        } else if error.is_parse() {
            Failure::Broken(error)
        } else if timings.has_sent() {
            Failure::Unanswered(error)
        } else {
            Failure::Unsent(error)
        }
    })?;
    Ok((response, timings))
}

impl Exchange<'_> {
    /// Sends the request and reads the response. `commit` is marked as sent before the first byte
    /// is written: until then the request has no effect.
    pub(super) async fn run(
        &self,
        mut connection: Connection,
        commit: &Commit,
    ) -> Result<ExchangeOutcome, Failure> {
        let version = connection.version();
        let connect_timing = std::mem::take(&mut connection.connect_timing);
        let started = Instant::now();
        let (response, timings) = send(&mut connection, self.request(version)?, commit).await?;
        let first_byte = match version {
            Version::Http1 => timings.first_byte(),
            // Other frames of the connection are read and written too, so `timings` does not tell.
            Version::Http2 => started.elapsed(),
        };
        let (mut head, body) = response.into_parts();
        let (body, remainder) = self.body_reader.read(&mut head, body).await?;
        connection.current_exchange().end();
        let peer = connection.peer.clone();
        let server_response = ServerResponse {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
            peer,
            connect_timing,
            first_byte,
        };
        // Over HTTP/1.1 the unread rest of a body would precede the next response.
        let is_usable = version == Version::Http2 || remainder == Remainder::None;
        Ok(ExchangeOutcome { server_response, connection: is_usable.then_some(connection) })
    }

    fn request(&self, version: Version) -> Result<Request<RequestBody>, Failure> {
        let body = Bytes::copy_from_slice(self.body);
        request((self.method, self.url), self.headers.clone(), body, version)
    }
}

/// A request in the form of an HTTP version.
pub(super) fn request(
    (method, url): (&Method, &Url),
    headers: HeaderMap,
    body: Bytes,
    version: Version,
) -> Result<Request<RequestBody>, Failure> {
    let length = body.len();
    let mut request = Request::new(Full::new(body));
    method.clone_into(request.method_mut());
    *request.headers_mut() = headers;
    let target = match version {
        Version::Http1 => {
            let authority = &url[Position::BeforeHost..Position::AfterPort];
            let host =
                HeaderValue::from_str(authority).expect("a URL's host and port are visible ASCII");
            request.headers_mut().insert(HOST, host);
            &url[Position::BeforePath..Position::AfterQuery]
        }
        // In HTTP/2 the authority is a part of the request target.
        Version::Http2 => &url[..Position::AfterQuery],
    };
    // The gate limits paths, but a base address may come from a secret.
    *request.uri_mut() = target.parse().map_err(Failure::Address)?;
    if matches!(*method, Method::POST | Method::PUT | Method::PATCH) {
        request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(request)
}
