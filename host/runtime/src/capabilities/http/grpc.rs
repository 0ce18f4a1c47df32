//! The health of a service over gRPC: `grpc.health.v1.Health/Check`, one call over HTTP/2 to the
//! base address of an `http` target. It changes nothing.

use super::connection::{Connection, Protocols};
use super::exchange::send;
use super::failure::{self, Failure};
use super::{Request, http_target, timing};
use crate::bindings::runbook::http::health;
use crate::bindings::runbook::http::health::{HealthAnswer, ServingStatus};
use crate::fault::{Fault, FaultClass};
use crate::host::{Commit, Host, HostCall};
use http_body_util::{BodyExt as _, Full};
use hyper::Method;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, TE};
use prost::Message;
use runbook_authority::targets::HttpTarget;
use runbook_authority::{GateRequest, Target, Verb, VerbEffect};
use runbook_secrets::Secret;
use std::time::Duration;
use tokio::time::Instant;
use url::{Position, Url};

/// The path of the call, below the base address.
const PATH: &str = "/grpc.health.v1.Health/Check";

/// The most bytes of an answer. That of a health service has less than ten.
const MAX_ANSWER: usize = 64 << 10;

/// The bytes before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// `grpc.health.v1.HealthCheckRequest`
#[derive(Clone, PartialEq, Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`
#[derive(Clone, PartialEq, Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// Each status of a gRPC call: its number, its name, and the class of the fault. `NOT_FOUND` is the
/// answer of a health service to the name of a service that it does not know.
const STATUSES: &[(u32, &str, FaultClass)] = &[
    (1, "CANCELLED", FaultClass::Transient),
    (2, "UNKNOWN", FaultClass::Assertion),
    (3, "INVALID_ARGUMENT", FaultClass::Invalid),
    (4, "DEADLINE_EXCEEDED", FaultClass::Timeout),
    (NOT_FOUND, "NOT_FOUND", FaultClass::NotFound),
    (6, "ALREADY_EXISTS", FaultClass::Assertion),
    (7, "PERMISSION_DENIED", FaultClass::Invalid),
    (8, "RESOURCE_EXHAUSTED", FaultClass::Transient),
    (9, "FAILED_PRECONDITION", FaultClass::Assertion),
    (10, "ABORTED", FaultClass::Transient),
    (11, "OUT_OF_RANGE", FaultClass::Assertion),
    (12, "UNIMPLEMENTED", FaultClass::Invalid),
    (13, "INTERNAL", FaultClass::Assertion),
    (14, "UNAVAILABLE", FaultClass::Transient),
    (15, "DATA_LOSS", FaultClass::Assertion),
    (16, "UNAUTHENTICATED", FaultClass::Invalid),
];

const NOT_FOUND: u32 = 5;

/// The end of a call, as the server tells it.
#[derive(Debug)]
struct Reply {
    /// The number of the status; `None` if the answer has none.
    status: Option<u32>,
    /// What the server says about it.
    message: String,
    body: Vec<u8>,
}

impl health::Host for HostCall<'_> {
    async fn check(&mut self, slot: String, service: String) -> Result<HealthAnswer, Fault> {
        self.health(slot, &service).await
    }
}

impl Host {
    pub(super) async fn health(
        &mut self,
        slot: String,
        service: &str,
    ) -> Result<HealthAnswer, Fault> {
        let verb = Verb::HttpHealth;
        self.enter(&GateRequest::Health { slot: &slot, verb, service })?;
        let target = self.target(&slot)?;
        let http = http_target(&target)?;
        let request = Request {
            slot,
            verb,
            method: Method::POST,
            path: PATH.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            secrets: Vec::new(),
        };
        let message = frame(&HealthCheckRequest { service: service.to_owned() });
        let timeout = self.remaining(http.timeout);
        let call = self.call(http, &target, &request, (&message, timeout));
        let answer = tokio::time::timeout(timeout, call)
            .await
            .unwrap_or_else(|_| Err(failure::timeout_fault(&target.describe(), timeout)));
        self.count_transferred(message.expose().len());
        answer.map_err(|fault| self.scrubbed_fault(fault))
    }

    async fn call(
        &mut self,
        http: &HttpTarget,
        target: &Target,
        request: &Request,
        (message, timeout): (&Secret, Duration),
    ) -> Result<HealthAnswer, Fault> {
        let started = Instant::now();
        let invalid = |error: runbook_authority::pattern::PathError| {
            Fault::new(FaultClass::Invalid, "http.path", error.to_string())
        };
        let url = http.url(&self.base(http).await?, &request.path).map_err(invalid)?;
        let mut headers = self.head(http, request).await?.headers;
        set_grpc_headers(&mut headers, timeout);
        self.authenticate((http, target), request, (&url, message), &mut headers).await?;
        let to_fault = |failure: Failure| fault_of(failure, &target.describe());
        let caller = (request.slot.as_str(), request.verb);
        let mut connection = self
            .connect(http, caller, (&url, &http.tls_keys), Protocols::Http2)
            .await
            .map_err(to_fault)?;
        let sent_at = Instant::now();
        let request = grpc_request(&url, headers, message);
        let (response, _) =
            send(&mut connection, request, &Commit::default()).await.map_err(to_fault)?;
        let first_byte = sent_at.elapsed();
        let reply = read_reply(response).await.map_err(to_fault)?;
        let answer = |status| {
            let Connection { peer, connect_timing, .. } = &connection;
            let timing = timing(connect_timing, first_byte, started.elapsed());
            HealthAnswer { status, peer: peer.to_string(), timing }
        };
        reply.serving_status().map(answer).map_err(|(class, what)| {
            Fault::new(class, "http.grpc", format!("{}: {what}", target.describe()))
        })
    }
}

/// A message with its prefix, not compressed.
fn frame(message: &impl Message) -> Secret {
    let payload = message.encode_to_vec();
    let length = u32::try_from(payload.len()).expect("the name of a service is short");
    let mut framed = vec![0];
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(&payload);
    Secret::new(framed)
}

fn set_grpc_headers(headers: &mut HeaderMap, timeout: Duration) {
    headers.remove(ACCEPT_ENCODING);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.insert("grpc-accept-encoding", HeaderValue::from_static("identity"));
    // At most eight digits.
    let milliseconds = timeout.as_millis().clamp(1, 99_999_999);
    let timeout = HeaderValue::from_str(&format!("{milliseconds}m")).expect("digits and a letter");
    headers.insert("grpc-timeout", timeout);
}

fn grpc_request(url: &Url, headers: HeaderMap, message: &Secret) -> hyper::Request<Full<Bytes>> {
    let mut request = hyper::Request::new(Full::new(Bytes::copy_from_slice(message.expose())));
    *request.method_mut() = Method::POST;
    *request.headers_mut() = headers;
    *request.uri_mut() =
        url[..Position::AfterPath].parse().expect("a base address is one of a request too");
    request
}

async fn read_reply(response: hyper::Response<Incoming>) -> Result<Reply, Failure> {
    let (head, mut body) = response.into_parts();
    let (mut bytes, mut trailers) = (Vec::new(), HeaderMap::new());
    while let Some(frame) = body.frame().await.transpose().map_err(Failure::Broken)? {
        match frame.into_data() {
            Ok(data) => {
                let left = MAX_ANSWER - bytes.len();
                bytes.extend_from_slice(&data[..data.len().min(left)]);
                if bytes.len() == MAX_ANSWER {
                    break;
                }
            }
            Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
    let is_grpc = head
        .headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    // A call that fails at once has its status in the head.
    let end = if trailers.contains_key("grpc-status") { &trailers } else { &head.headers };
    let text = |name: &str| {
        let value = end.get(name).map(HeaderValue::as_bytes).unwrap_or_default();
        percent_encoding::percent_decode(value).decode_utf8_lossy().into_owned()
    };
    if is_grpc && head.status == hyper::StatusCode::OK {
        let status = text("grpc-status").parse().ok();
        return Ok(Reply { status, message: text("grpc-message"), body: bytes });
    }
    // What is not gRPC is an answer of something before the server, such as a proxy.
    let message = format!("not gRPC, HTTP status {}", head.status.as_u16());
    Ok(Reply { status: Some(status_of_http(head.status.as_u16())), message, body: Vec::new() })
}

/// The status of a call whose answer is not gRPC, by the table of the protocol.
fn status_of_http(status: u16) -> u32 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

impl Reply {
    /// How the service is; otherwise the class of the fault, and what went wrong.
    fn serving_status(&self) -> Result<ServingStatus, (FaultClass, String)> {
        let wrong = |what: &str| Err((FaultClass::Assertion, what.to_owned()));
        match self.status {
            Some(0) => match self.health_message() {
                Some(HealthCheckResponse { status: 1 }) => Ok(ServingStatus::Serving),
                Some(HealthCheckResponse { status: 2 }) => Ok(ServingStatus::NotServing),
                Some(HealthCheckResponse { status: 3 }) => Ok(ServingStatus::ServiceUnknown),
                Some(_) => Ok(ServingStatus::Unknown),
                None => wrong("its answer is not that of a health service"),
            },
            Some(NOT_FOUND) => Ok(ServingStatus::ServiceUnknown),
            Some(number) => {
                let found = STATUSES.iter().find(|(known, ..)| *known == number);
                let Some((_, name, class)) = found else {
                    return wrong(&format!("it answered with the unknown gRPC status {number}"));
                };
                let message = if self.message.is_empty() {
                    String::new()
                } else {
                    format!(" ({})", self.message)
                };
                Err((*class, format!("it answered {name}{message}")))
            }
            None => wrong("its answer has no gRPC status"),
        }
    }

    /// The only message of the answer, which must not be compressed.
    fn health_message(&self) -> Option<HealthCheckResponse> {
        let (prefix, payload) = self.body.split_at_checked(PREFIX)?;
        let length = u32::from_be_bytes(prefix.get(1..)?.try_into().ok()?);
        let is_whole = prefix.first() == Some(&0) && usize::try_from(length) == Ok(payload.len());
        is_whole.then(|| HealthCheckResponse::decode(payload).ok())?
    }
}

/// The fault for a call without an answer. A server that speaks HTTP/1.1 breaks the rules of HTTP/2
/// with its first bytes, or closes the connection before they are read.
fn fault_of(failure: Failure, target: &str) -> Fault {
    match failure {
        Failure::Unsent(error) | Failure::Unanswered(error) | Failure::Broken(error)
            if breaks_http2(&error) =>
        {
            let message = format!("{target}: it does not speak HTTP/2, which gRPC needs");
            Fault::new(FaultClass::Assertion, "http.grpc", message)
        }
        failure @ (Failure::Unsent(_) | Failure::Unanswered(_)) => {
            let fault = failure.into_fault(target, VerbEffect::Read);
            let message = format!(
                "{}; a server that does not speak HTTP/2, which gRPC needs, may do that too",
                fault.message
            );
            Fault { message, ..fault }
        }
        failure => failure.into_fault(target, VerbEffect::Read),
    }
}

fn breaks_http2(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error);
    let http2 = source.and_then(|source| source.downcast_ref::<h2::Error>());
    http2.is_some_and(|error| error.is_library() && error.reason().is_some())
}
