//! One request and its answer on an open connection.

use super::body::{Body, Reading, Remainder};
use super::connection::{Connection, Opening, Sent, Version};
use super::failure::Failure;
use crate::host::Commit;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderValue};
use hyper::{Method, Request};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::Instant;
use url::{Position, Url};

/// One request, ready to be sent.
pub(super) struct Exchange<'a> {
    pub(super) method: &'a Method,
    pub(super) url: &'a Url,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
    /// How the answer's body is read.
    pub(super) reading: Reading,
}

/// The answer of a server to one request.
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
    pub(super) peer: SocketAddr,
    pub(super) opening: Opening,
    pub(super) first_byte: Duration,
}

/// An exchange that came to its end.
pub(super) struct Done {
    pub(super) answered: Answered,
    /// The connection, if it can carry another one.
    pub(super) connection: Option<Connection>,
}

impl Exchange<'_> {
    /// Sends the request and reads the answer. `commit` is sent before the first byte goes out:
    /// until then the server cannot have acted on it.
    pub(super) async fn run(
        &self,
        mut connection: Connection,
        commit: &Commit,
    ) -> Result<Done, Failure> {
        let version = connection.version();
        let opening = std::mem::take(&mut connection.opening);
        let marks = connection.turn().begin(commit);
        let started = Instant::now();
        let sent = connection.send(self.request(version)).await;
        let response = sent.map_err(|error| {
            if let Some(reason) = connection.turn().refused() {
                commit.void();
                Failure::RefusedClient(reason)
            } else if error.is_parse() {
                Failure::Broken(error)
            } else if marks.sent() {
                Failure::Unanswered(error)
            } else {
                Failure::Unsent(error)
            }
        })?;
        let first_byte = match version {
            Version::Http1 => marks.first_byte(),
            // Frames of the connection go to and fro as well.
            Version::Http2 => started.elapsed(),
        };
        let (mut head, body) = response.into_parts();
        let (body, remainder) = self.reading.read(&mut head, body).await?;
        connection.turn().end();
        let peer = connection.peer;
        let answered = Answered {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
            peer,
            opening,
            first_byte,
        };
        // Over HTTP/1.1 the rest of a body stands before the next answer.
        let is_usable = version == Version::Http2 || remainder == Remainder::None;
        Ok(Done { answered, connection: is_usable.then_some(connection) })
    }

    fn request(&self, version: Version) -> Request<Sent> {
        let mut request = Request::new(Full::new(Bytes::copy_from_slice(self.body)));
        self.method.clone_into(request.method_mut());
        *request.headers_mut() = self.headers.clone();
        let target = match version {
            Version::Http1 => {
                let authority = &self.url[Position::BeforeHost..Position::AfterPort];
                let host = HeaderValue::from_str(authority)
                    .expect("a URL's host and port are visible ASCII");
                request.headers_mut().insert(HOST, host);
                &self.url[Position::BeforePath..Position::AfterQuery]
            }
            // There the authority is a part of the target.
            Version::Http2 => &self.url[..Position::AfterQuery],
        };
        *request.uri_mut() = target.parse().expect("a base address is one of a request too");
        if matches!(*self.method, Method::POST | Method::PUT | Method::PATCH) {
            request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(self.body.len()));
        }
        request
    }
}
