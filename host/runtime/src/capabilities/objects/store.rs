//! Requests to a store and their answers.

use super::failure::{Problem, Refusal};
use super::xml;
use crate::bindings::runbook::objects::types::{Condition, ObjectInfo};
use crate::capabilities::http::{S3_PATH, SignedRequest, SignedResponse};
use crate::fault::{Fault, FaultClass};
use crate::host::{Commit, Host};
use http_body_util::BodyExt as _;
use hyper::Method;
use hyper::body::Bytes;
use hyper::header::{CONTENT_LENGTH, ETAG, HeaderMap, HeaderName, HeaderValue, LAST_MODIFIED};
use percent_encoding::{AsciiSet, utf8_percent_encode};
use runbook_authority::Verb;
use runbook_authority::targets::ObjectsTarget;
use std::time::Duration;

/// What is encoded in a value of a query.
const QUERY: &AsciiSet = &S3_PATH.add(b'/');

/// The most bytes of an answer that is no object and no list.
pub(super) const MAX_ANSWER: u64 = 64 << 10;

/// The header of an object that holds its digest, as whoever wrote it has said.
const DIGEST: HeaderName = HeaderName::from_static("x-amz-meta-sha256");

const STORAGE_CLASS: HeaderName = HeaderName::from_static("x-amz-storage-class");

/// The store of a slot, for one host call.
#[derive(Clone, Copy)]
pub(super) struct Store<'a> {
    pub(super) slot: &'a str,
    pub(super) verb: Verb,
    pub(super) target: &'a ObjectsTarget,
}

/// One request.
pub(super) struct StoreRequest<'a> {
    pub(super) method: Method,
    /// The whole key; empty for the bucket itself.
    pub(super) key: &'a str,
    pub(super) query: &'a [(&'a str, &'a str)],
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl<'a> StoreRequest<'a> {
    /// A request without query, headers and body.
    pub(super) fn new(method: Method, key: &'a str) -> Self {
        let (headers, body) = (HeaderMap::new(), Bytes::new());
        Self { method, key, query: &[], headers, body }
    }
}

impl Host {
    /// Sends a request and returns the head of a good answer. A change that the store says it did
    /// not make has no effect.
    pub(super) async fn ask(
        &mut self,
        store: Store<'_>,
        request: StoreRequest<'_>,
        commit: &Commit,
    ) -> Result<SignedResponse, Problem> {
        let StoreRequest { method, key, query, headers, body } = request;
        let target = store.target;
        let within = self.remaining(target.timeout);
        let mut url = target.endpoint.clone();
        let bucket = &target.bucket;
        url.set_path(&match key {
            "" => format!("/{bucket}"),
            key => format!("/{bucket}/{}", utf8_percent_encode(key, S3_PATH)),
        });
        if !query.is_empty() {
            let pairs: Vec<_> = query
                .iter()
                .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, QUERY)))
                .collect();
            url.set_query(Some(&pairs.join("&")));
        }
        let request = SignedRequest {
            caller: (store.slot, store.verb),
            method: &method,
            url: &url,
            headers,
            body,
            keys: &target.keys,
            tls_keys: &target.tls_keys,
            timeout: within,
        };
        let sent = tokio::time::timeout(within, self.send_signed(request, commit)).await;
        let mut response = sent.map_err(|_| Problem::TimedOut(within))?.map_err(Problem::Http)?;
        let status = response.head.status.as_u16();
        if (200..300).contains(&status) {
            return Ok(response);
        }
        let refusal = refusal(status, &mut response, within).await;
        if refusal.is_without_effect() {
            commit.mark_rolled_back();
        }
        Err(Problem::Status(refusal))
    }

    /// Size, time and tag of an object.
    pub(super) async fn object_head(
        &mut self,
        store: Store<'_>,
        key: &str,
    ) -> Result<ObjectInfo, Problem> {
        let full_key = store.target.full_key(key);
        let request = StoreRequest::new(Method::HEAD, &full_key);
        let response = self.ask(store, request, &Commit::default()).await?;
        info(key, &response.head.headers)
    }
}

/// What an answer says that is no success. Its body may be of any form, and may not come.
async fn refusal(status: u16, response: &mut SignedResponse, within: Duration) -> Refusal {
    let body = read_all(response, MAX_ANSWER, within).await.unwrap_or_default();
    let found = xml::fields(&body).ok().filter(|fields| fields.root == "Error");
    let text = |name| found.as_ref().map(|fields| fields.get(name).to_owned()).unwrap_or_default();
    Refusal { status, code: text("Code"), message: text("Message") }
}

/// The error that an answer with status 200 may hold: a store answers before it has put parts
/// together.
pub(super) fn error_inside(fields: &xml::Fields) -> Option<Problem> {
    let text = |name| fields.get(name).to_owned();
    (fields.root == "Error").then(|| {
        let status = match fields.get("Code") {
            "PreconditionFailed" | "ConditionalRequestConflict" => 412,
            _ => 500,
        };
        Problem::Status(Refusal { status, code: text("Code"), message: text("Message") })
    })
}

/// The next bytes of a body; `None` at its end.
pub(super) async fn next_bytes(
    response: &mut SignedResponse,
    within: Duration,
) -> Result<Option<Bytes>, Problem> {
    loop {
        let frame = tokio::time::timeout(within, response.body.frame()).await;
        match frame.map_err(|_| Problem::TimedOut(within))?.transpose() {
            Err(error) => return Err(Problem::broken(error)),
            Ok(None) => return Ok(None),
            Ok(Some(frame)) => {
                if let Ok(data) = frame.into_data()
                    && !data.is_empty()
                {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// A whole body of at most `limit` bytes.
pub(super) async fn read_all(
    response: &mut SignedResponse,
    limit: u64,
    within: Duration,
) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    while let Some(data) = next_bytes(response, within).await? {
        if (bytes.len() + data.len()) as u64 > limit {
            return Err(Problem::Protocol(format!("the answer has more than {limit} bytes")));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// What the headers of an answer say of an object.
pub(super) fn info(key: &str, headers: &HeaderMap) -> Result<ObjectInfo, Problem> {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let missing = |what: &str| Problem::Protocol(format!("the answer does not say {what}"));
    let size = text(&CONTENT_LENGTH).and_then(|text| text.parse().ok());
    let modified = text(&LAST_MODIFIED)
        .and_then(|text| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok());
    Ok(ObjectInfo {
        key: key.to_owned(),
        size_bytes: size.ok_or_else(|| missing("how large the object is"))?,
        modified_ms: modified.map(milliseconds).ok_or_else(|| missing("how old the object is"))?,
        etag: etag(headers)?,
        storage_class: text(&STORAGE_CLASS).unwrap_or_default().to_owned(),
        sha256: text(&DIGEST).filter(|text| is_digest(text)).map(|hex| format!("sha256:{hex}")),
    })
}

/// The tag of an answer, without quotes.
pub(super) fn etag(headers: &HeaderMap) -> Result<String, Problem> {
    let text = headers.get(ETAG).and_then(|value| value.to_str().ok());
    text.and_then(plain_etag)
        .ok_or_else(|| Problem::Protocol("the answer has no tag of the object".to_owned()))
}

/// A tag as a store writes it, without quotes; `None` if it cannot be one.
pub(super) fn plain_etag(text: &str) -> Option<String> {
    let text = text.trim_matches('"');
    let is_tag = (1..=200).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\');
    is_tag.then(|| text.to_owned())
}

pub(super) fn milliseconds(time: jiff::Timestamp) -> u64 {
    u64::try_from(time.as_millisecond()).unwrap_or_default()
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The headers of what is put: its digest, and the storage class of the target.
pub(super) fn put_headers(target: &ObjectsTarget, digest: &str) -> Result<HeaderMap, Problem> {
    let mut headers = HeaderMap::new();
    let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
    headers.insert(DIGEST, header(hex)?);
    if let Some(class) = &target.storage_class {
        headers.insert(STORAGE_CLASS, header(class)?);
    }
    Ok(headers)
}

/// Adds a condition, which the store checks.
pub(super) fn add_condition(headers: &mut HeaderMap, condition: &Condition) -> Result<(), Problem> {
    match condition {
        Condition::Absent => {
            headers.insert(hyper::header::IF_NONE_MATCH, HeaderValue::from_static("*"));
        }
        Condition::Tagged(tag) => {
            headers.insert(hyper::header::IF_MATCH, quoted(tag)?);
        }
    }
    Ok(())
}

/// A tag of the plugin as a header has it.
pub(super) fn quoted(tag: &str) -> Result<HeaderValue, Problem> {
    let plain = plain_etag(tag).filter(|plain| plain == tag).ok_or_else(|| {
        let message = format!("`{}` is no tag of an object", tag.escape_debug());
        Problem::Fault(Fault::new(FaultClass::Invalid, "objects.tag", message))
    })?;
    header(&format!("\"{plain}\""))
}

fn header(text: &str) -> Result<HeaderValue, Problem> {
    HeaderValue::from_str(text)
        .map_err(|_| Problem::Protocol("a header would not be ASCII".to_owned()))
}
