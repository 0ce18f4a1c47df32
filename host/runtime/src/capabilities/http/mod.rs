//! HTTP requests to the one base address that a slot is bound to. There are no proxies. A connection
//! is reused only by reads of the same slot in the same call of a plugin, and so are cookies, where
//! the target keeps them.

mod auth;
mod body;
mod connection;
mod cookies;
mod decoding;
mod exchange;
mod failure;
mod grpc;
mod reachability;
mod redirect;
mod request_secrets;
#[cfg(feature = "objects")]
mod signed_request;
mod timed_stream;
mod token;
mod vault;

use crate::bindings::runbook::http::types::{BodySecret, Header, HeaderValue, Response, Timing};
use crate::bindings::runbook::http::{reader, types, writer};
use crate::fault::{Fault, FaultClass};
use crate::host::{Commit, Host, HostCall};
use crate::net::allowed_addresses::{ConnectError, Server};
use crate::net::tls;
#[cfg(feature = "objects")]
pub(in crate::capabilities) use auth::S3_PATH;
use body::{Body, BodyEnd, BodyForm, BodyReader};
use connection::{ConnectTiming, Connection, ConnectionKey, ConnectionPool, Protocols};
use decoding::ACCEPTED_ENCODINGS;
use exchange::{Exchange, ExchangeOutcome, ServerResponse};
pub(in crate::capabilities) use failure::Failure;
use hyper::Method;
use hyper::header::{
    ACCEPT_ENCODING, HeaderMap, HeaderName, HeaderValue as Value, RANGE, SET_COOKIE,
};
use request_secrets::secret_place;
use runbook_authority::gate::HeaderValue as GateValue;
use runbook_authority::targets::{HttpBase, HttpTarget, SecretPlace, TlsKeys, parse_base};
use runbook_authority::{GateRequest, Target, Verb, VerbEffect};
use runbook_secrets::{Scrubber, Secret};
#[cfg(feature = "objects")]
pub(in crate::capabilities) use signed_request::{SignedRequest, SignedResponse};
use std::time::Duration;
pub use token::TokenCache;
use tokio::time::Instant;
use url::Url;
pub(crate) use vault::VaultAnswer;

impl types::Host for HostCall<'_> {}

impl reader::Host for HostCall<'_> {
    async fn get(
        &mut self,
        slot: String,
        path: String,
        headers: Vec<Header>,
    ) -> Result<Response, Fault> {
        self.http(Request {
            slot,
            verb: Verb::HttpGet,
            method: Method::GET,
            path,
            headers,
            body: Vec::new(),
            secrets: Vec::new(),
        })
        .await
    }

    async fn head(
        &mut self,
        slot: String,
        path: String,
        headers: Vec<Header>,
    ) -> Result<Response, Fault> {
        self.http(Request {
            slot,
            verb: Verb::HttpHead,
            method: Method::HEAD,
            path,
            headers,
            body: Vec::new(),
            secrets: Vec::new(),
        })
        .await
    }
}

impl writer::Host for HostCall<'_> {
    async fn post(
        &mut self,
        slot: String,
        path: String,
        headers: Vec<Header>,
        body: Vec<u8>,
        secrets: Vec<BodySecret>,
    ) -> Result<Response, Fault> {
        self.http(Request {
            slot,
            verb: Verb::HttpPost,
            method: Method::POST,
            path,
            headers,
            body,
            secrets,
        })
        .await
    }

    async fn put(
        &mut self,
        slot: String,
        path: String,
        headers: Vec<Header>,
        body: Vec<u8>,
        secrets: Vec<BodySecret>,
    ) -> Result<Response, Fault> {
        self.http(Request {
            slot,
            verb: Verb::HttpPut,
            method: Method::PUT,
            path,
            headers,
            body,
            secrets,
        })
        .await
    }

    async fn patch(
        &mut self,
        slot: String,
        path: String,
        headers: Vec<Header>,
        body: Vec<u8>,
        secrets: Vec<BodySecret>,
    ) -> Result<Response, Fault> {
        self.http(Request {
            slot,
            verb: Verb::HttpPatch,
            method: Method::PATCH,
            path,
            headers,
            body,
            secrets,
        })
        .await
    }

    async fn delete(
        &mut self,
        slot: String,
        path: String,
        headers: Vec<Header>,
    ) -> Result<Response, Fault> {
        self.http(Request {
            slot,
            verb: Verb::HttpDelete,
            method: Method::DELETE,
            path,
            headers,
            body: Vec::new(),
            secrets: Vec::new(),
        })
        .await
    }
}

/// A request as the guest made it.
struct Request {
    slot: String,
    verb: Verb,
    method: Method,
    path: String,
    headers: Vec<Header>,
    body: Vec<u8>,
    secrets: Vec<BodySecret>,
}

/// The headers of a request, what its connection shows of the host, and the form in which the guest
/// gets the body of the response.
#[derive(Clone)]
struct RequestHead {
    headers: HeaderMap,
    tls_keys: TlsKeys,
    form: BodyForm,
}

impl Host {
    async fn http(&mut self, request: Request) -> Result<Response, Fault> {
        let sent_bytes = request.body.len();
        let answer = self.http_answer(request).await;
        let response =
            answer.map(|(http, answer, total)| response(answer, &http, &self.scrubber(), total));
        self.count_transferred(
            sent_bytes + response.as_ref().map_or(0, |response| response.body.len()),
        );
        // The message of a fault may quote what was sent.
        response.map_err(|fault| self.scrubbed_fault(fault))
    }

    /// The answer to a request as the server sent it, with the target that it was sent to and how
    /// long it took. Its secrets are not removed.
    async fn http_answer(
        &mut self,
        mut request: Request,
    ) -> Result<(HttpTarget, ServerResponse, Duration), Fault> {
        let headers: Vec<_> = request
            .headers
            .iter()
            .map(|header| (header.name.as_str(), gate_value(&header.value)))
            .collect();
        let secrets: Vec<_> = request
            .secrets
            .iter()
            .map(|secret| (secret_place(&secret.place), secret.slot.as_str()))
            .collect();
        let Request { slot, verb, path, .. } = &request;
        self.enter(&GateRequest::Http {
            slot,
            verb: *verb,
            path,
            headers: &headers,
            secrets: &secrets,
        })?;
        let commit = self.begin_uncommitted(slot, *verb, 1);
        let target = self.target(slot)?;
        let body = std::mem::take(&mut request.body);
        let body = self.body(&request.slot, body, &request.secrets).await?;
        let http = http_target(&target)?;
        let timeout = self.remaining(http.timeout);
        let started = Instant::now();
        let exchange = self.send_with_redirects(http, &target, &request, &body, &commit);
        let answer = tokio::time::timeout(timeout, exchange)
            .await
            .unwrap_or_else(|_| Err(failure::timeout_fault(&target.describe(), timeout)))?;
        Ok((http.clone(), answer, started.elapsed()))
    }

    /// Sends one request. A read uses the connection that the call keeps for its slot, if that is
    /// still open. A change uses a new connection: the server may be about to close a kept one, and
    /// then it would be unknown whether the change was made.
    async fn exchange(
        &mut self,
        http: &HttpTarget,
        target: &Target,
        request: &Request,
        (url, head, body): (&Url, &RequestHead, &Secret),
        commit: &Commit,
    ) -> Result<ServerResponse, Fault> {
        let caller = (request.slot.as_str(), request.verb);
        let effect = request.verb.effect();
        let fault_of = |failure: Failure| failure.into_fault(&target.describe(), effect);
        // One byte more shows whether the body is longer.
        let lookahead = self.scrubber().lookahead() + 1;
        let body_reader =
            BodyReader { max_shown: max_shown_body(http), lookahead, form: head.form };
        let (headers, body) = (&head.headers, body.expose());
        let exchange = Exchange { method: &request.method, url, headers, body, body_reader };
        let key = ConnectionKey::new(&request.slot, url);
        let kept_connection = match effect {
            VerbEffect::Read => self.connections().reuse(&key).await,
            VerbEffect::Change => {
                self.connections().end(&key);
                None
            }
        };
        if let Some(connection) = kept_connection {
            let host = url.host_str().unwrap_or_default();
            self.enter_reused(caller, host, &connection.peer)?;
            match exchange.run(connection, commit).await {
                Ok(outcome) => return Ok(self.keep(key, outcome)),
                Err(failure) if failure.is_without_answer() => {}
                Err(failure) => return Err(fault_of(failure)),
            }
        }
        let connection = self
            .connect(http, caller, (url, &head.tls_keys), Protocols::Any)
            .await
            .map_err(fault_of)?;
        let outcome = exchange.run(connection, commit).await.map_err(fault_of)?;
        Ok(self.keep(key, outcome))
    }

    /// Opens a connection to the target: through its socket, or to the server of `url`.
    async fn connect(
        &mut self,
        http: &HttpTarget,
        caller: (&str, Verb),
        server: (&Url, &TlsKeys),
        protocols: Protocols,
    ) -> Result<Connection, Failure> {
        let Some(socket) = &http.socket else {
            return self.open_connection(http, caller, server, protocols).await;
        };
        let allowed_socket = self
            .allowed_socket(caller, socket.real())
            .map_err(|fault| Failure::ConnectError(ConnectError::Refused(fault)))?;
        Connection::open_socket(&allowed_socket, self.remaining(http.timeout), protocols).await
    }

    /// Opens a connection to the server of `url`, at an address that the gate has allowed.
    async fn open_connection(
        &mut self,
        http: &HttpTarget,
        caller: (&str, Verb),
        server: (&Url, &TlsKeys),
        protocols: Protocols,
    ) -> Result<Connection, Failure> {
        self.open_within(caller, server, protocols, self.remaining(http.timeout)).await
    }

    async fn open_within(
        &mut self,
        (slot, verb): (&str, Verb),
        (url, tls_keys): (&Url, &TlsKeys),
        protocols: Protocols,
        timeout: Duration,
    ) -> Result<Connection, Failure> {
        let server = Server {
            slot,
            verb,
            host: url.host_str().unwrap_or_default(),
            port: url.port_or_known_default().expect("a base address is http or https"),
            timeout,
        };
        let route = self.route(&server).await.map_err(Failure::ConnectError)?;
        let tls = match url.scheme() {
            "https" => {
                let config = self.client_config(
                    tls_keys,
                    tls::ServerVerification::Certificate,
                    protocols.alpn(),
                    "http.tls",
                );
                let refused = |fault| Failure::ConnectError(ConnectError::Refused(fault));
                Some(config.await.map_err(refused)?)
            }
            _ => None,
        };
        Connection::open(url, &route, tls, protocols).await
    }

    fn connections(&mut self) -> &mut ConnectionPool {
        self.storage.value()
    }

    /// Keeps the connection of an exchange for the next one.
    fn keep(&mut self, key: ConnectionKey, outcome: ExchangeOutcome) -> ServerResponse {
        if let Some(connection) = outcome.connection {
            self.connections().put(key, connection);
        }
        outcome.server_response
    }

    async fn base(&self, http: &HttpTarget) -> Result<Url, Fault> {
        match &http.base {
            HttpBase::Url(url) => Ok(url.clone()),
            HttpBase::Secret(name) => {
                let secret = self.secret(name).await?;
                let parsed_url = secret
                    .expose_text()
                    .ok_or("it is not text")
                    .and_then(|text| parse_base(text.trim()));
                let url = parsed_url.map_err(|reason| {
                    let message = format!("secret `{name}` cannot be a base address: {reason}");
                    Fault::new(FaultClass::Invalid, "http.base", message)
                })?;
                // The path of a webhook's address is secret by itself, and a response may quote the
                // path alone.
                if url.path().len() > 8 {
                    self.learn_part(name, url.path());
                }
                Ok(url)
            }
        }
    }

    /// The headers that the guest set, then those that the host sets.
    async fn head(&self, http: &HttpTarget, request: &Request) -> Result<RequestHead, Fault> {
        let mut headers = own_headers();
        for Header { name, value } in &request.headers {
            let value = match value {
                HeaderValue::Plain(text) => header_value(name, text.as_bytes())?,
                HeaderValue::Secret(slot) => {
                    let place = SecretPlace::Header(name.to_ascii_lowercase());
                    header_value(
                        name,
                        self.formatted_secret(&request.slot, slot, &place).await?.expose(),
                    )?
                }
            };
            headers.insert(header_name(name)?, value);
        }
        for (name, header) in &http.headers {
            let value = self.target_header(header).await?;
            headers.insert(header_name(name)?, header_value(name, value.expose())?);
        }
        let form = ask_for_encoding(&mut headers, &request.method);
        Ok(RequestHead { headers, tls_keys: http.tls_keys.clone(), form })
    }
}

/// The headers that every request has.
fn own_headers() -> HeaderMap {
    let name = Value::from_static(concat!("runbook/", env!("CARGO_PKG_VERSION")));
    HeaderMap::from_iter([(hyper::header::USER_AGENT, name)])
}

/// Asks for a compressed body that the host decodes, unless the plugin or the target set
/// `Accept-Encoding`: they get the body as it is sent. HEAD and range requests ask for `identity`:
/// the headers of HEAD must be unchanged, and a part of an encoded body cannot be decoded.
fn ask_for_encoding(headers: &mut HeaderMap, method: &Method) -> BodyForm {
    if headers.contains_key(ACCEPT_ENCODING) {
        return BodyForm::Raw;
    }
    let (accepted_encodings, form) = if *method == Method::HEAD || headers.contains_key(RANGE) {
        ("identity", BodyForm::Raw)
    } else {
        (ACCEPTED_ENCODINGS, BodyForm::Decoded)
    };
    headers.insert(ACCEPT_ENCODING, Value::from_static(accepted_encodings));
    form
}

fn gate_value(value: &HeaderValue) -> GateValue<'_> {
    match value {
        HeaderValue::Plain(text) => GateValue::Plain(text),
        HeaderValue::Secret(slot) => GateValue::Secret(slot),
    }
}

fn http_target(target: &Target) -> Result<&HttpTarget, Fault> {
    target.http().ok_or_else(Fault::denied)
}

fn header_name(name: &str) -> Result<HeaderName, Fault> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
        Fault::new(
            FaultClass::Invalid,
            "http.header",
            format!("`{}` is not the name of a header", name.escape_debug()),
        )
    })
}

fn header_value(name: &str, value: &[u8]) -> Result<Value, Fault> {
    let mut value = Value::from_bytes(value).map_err(|_| {
        let message = format!(
            "the value of header `{}` has a character that no header may have",
            name.escape_debug()
        );
        Fault::new(FaultClass::Invalid, "http.header", message)
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// How many bytes of a body the guest gets at most.
fn max_shown_body(http: &HttpTarget) -> usize {
    usize::try_from(http.max_body.0).unwrap_or(usize::MAX)
}

/// The response for the guest, without secrets: a server may send back what it was sent.
fn response(
    server_response: ServerResponse,
    http: &HttpTarget,
    scrubber: &Scrubber,
    total: Duration,
) -> Response {
    let text = |bytes: &[u8]| String::from_utf8_lossy(&scrubber.bytes(bytes)).into_owned();
    let max_shown = max_shown_body(http);
    let Body { bytes: body, end } = server_response.body;
    Response {
        status: server_response.status,
        headers: server_response
            .headers
            .iter()
            .filter(|(name, _)| !(http.cookies && **name == SET_COOKIE))
            .map(|(name, value)| (text(name.as_str().as_bytes()), text(value.as_bytes())))
            .collect(),
        truncated: body.len() > max_shown,
        body: match end {
            BodyEnd::Known => scrubber.first_bytes(&body, max_shown),
            BodyEnd::Stalled => scrubber.truncated_bytes(&body[..body.len().min(max_shown)]),
        }
        .into_owned(),
        peer: server_response.peer.to_string(),
        timing: timing(&server_response.connect_timing, server_response.first_byte, total),
    }
}

/// How long each part of a request took, for the guest.
fn timing(connect_timing: &ConnectTiming, first_byte: Duration, total: Duration) -> Timing {
    let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    Timing {
        dns_us: micros(connect_timing.dns),
        connect_us: micros(connect_timing.connect),
        tls_us: micros(connect_timing.tls),
        first_byte_us: micros(first_byte),
        total_us: micros(total),
    }
}

#[cfg(test)]
pub(super) mod tests;
