//! HTTP to the one base address that a slot is bound to. No proxy, no cookie; a connection is kept
//! for the reads of one slot in one call of a plugin, and for nothing else.

mod auth;
mod body;
mod connection;
mod decoding;
mod exchange;
mod failure;
mod placed;
mod timed;
mod token;

use crate::bindings::runbook::http::types::{BodySecret, Header, HeaderValue, Response, Timing};
use crate::bindings::runbook::http::{reader, types, writer};
use crate::fault::{Fault, FaultClass};
use crate::host::{Commit, Host, HostCall};
use crate::net::judged::{Server, Unreached};
use crate::net::tls;
use body::{Body, BodyEnd, Form, Reading};
use connection::{Connection, KeptConnections, Owner};
use decoding::ACCEPTED;
use exchange::{Answered, Done, Exchange};
use failure::Failure;
use hyper::Method;
use hyper::header::{ACCEPT_ENCODING, HeaderMap, HeaderName, HeaderValue as Value, RANGE};
use placed::place_of;
use runbook_authority::gate::{ConnectionState, HeaderValue as GateValue};
use runbook_authority::targets::{HttpBase, HttpTarget, SecretPlace, TlsKeys, parse_base};
use runbook_authority::{Operation, Target, Verb, VerbEffect};
use runbook_secrets::{Scrubber, Secret};
use std::time::Duration;
pub use token::TokenCache;
use tokio::time::Instant;
use url::Url;

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

/// The headers of a request, and in which form the guest gets the body of its answer.
#[derive(Clone)]
struct Head {
    headers: HeaderMap,
    form: Form,
}

impl Host {
    async fn http(&mut self, mut request: Request) -> Result<Response, Fault> {
        let judged: Vec<_> = request
            .headers
            .iter()
            .map(|header| (header.name.as_str(), judged(&header.value)))
            .collect();
        let secrets: Vec<_> = request
            .secrets
            .iter()
            .map(|secret| (place_of(&secret.place), secret.slot.as_str()))
            .collect();
        let Request { slot, verb, path, .. } = &request;
        self.enter(&Operation::Http {
            slot,
            verb: *verb,
            path,
            headers: &judged,
            secrets: &secrets,
        })?;
        let commit = self.provisional(slot, *verb, 1);
        let target = self.target(slot)?;
        let given = std::mem::take(&mut request.body);
        let sent = given.len();
        let body = self.body(&request.slot, given, &request.secrets).await?;
        let http = http_target(&target)?;
        let timeout = self.remaining(http.timeout);
        let exchange = self.follow(http, &target, &request, &body, &commit);
        let response = tokio::time::timeout(timeout, exchange)
            .await
            .unwrap_or_else(|_| Err(failure::late(&target.describe(), timeout)));
        self.moved(sent + response.as_ref().map_or(0, |response| response.body.len()));
        // A message may quote what was sent.
        response.map_err(|fault| self.shown_fault(fault))
    }

    /// One request and the redirects that the target allows.
    async fn follow(
        &mut self,
        http: &HttpTarget,
        target: &Target,
        request: &Request,
        body: &Secret,
        commit: &Commit,
    ) -> Result<Response, Fault> {
        let started = Instant::now();
        let base = self.base(http).await?;
        let head = self.head(http, request).await?;
        let invalid = |error: runbook_authority::pattern::PathError| {
            Fault::new(FaultClass::Invalid, "http.path", error.to_string())
        };
        let mut url = http.url(&base, &request.path).map_err(invalid)?;
        let mut hop = 0;
        loop {
            let mut hop_head = head.clone();
            let to = (&url, body);
            self.authenticate((http, target), request, to, &mut hop_head.headers).await?;
            let answered =
                self.exchange(http, target, request, (&url, &hop_head, body), commit).await?;
            if answered.status == 401 {
                self.forget_token(http, target);
            }
            let Some(to) = next_hop(http, request.verb, &url, &answered) else {
                return Ok(response(answered, http, &self.scrubber(), started.elapsed()));
            };
            hop += 1;
            let redirect = Operation::Redirect {
                slot: &request.slot,
                verb: request.verb,
                base: &base,
                to: &to,
                hop,
            };
            self.enter(&redirect)?;
            url = to;
        }
    }

    /// One exchange: what reads uses the connection that the call keeps for its slot, if that is
    /// still open. A change has a new one, because a kept one may be about to be closed: then it
    /// would be unknown whether the change was made, and it must not be sent twice.
    async fn exchange(
        &mut self,
        http: &HttpTarget,
        target: &Target,
        request: &Request,
        (url, head, body): (&Url, &Head, &Secret),
        commit: &Commit,
    ) -> Result<Answered, Fault> {
        let effect = request.verb.effect();
        let failed = |failure: Failure| failure.into_fault(&target.describe(), effect);
        // One byte more tells that there is more.
        let behind = self.scrubber().lookahead() + 1;
        let reading = Reading { shown: most_shown(http), behind, form: head.form };
        let (headers, body) = (&head.headers, body.expose());
        let exchange = Exchange { method: &request.method, url, headers, body, reading };
        let owner = Owner::new(&request.slot, url);
        let host = url.host_str().unwrap_or_default();
        let kept = match effect {
            VerbEffect::Read => self.connections().reuse(&owner).await,
            VerbEffect::Change => {
                self.connections().end(&owner);
                None
            }
        };
        if let Some(connection) = kept {
            self.enter(&Operation::Connect {
                slot: &request.slot,
                verb: request.verb,
                host,
                address: connection.peer.ip(),
                connection: ConnectionState::Reused,
            })?;
            match exchange.run(connection, commit).await {
                Ok(done) => return Ok(self.keep(owner, done)),
                Err(failure) if failure.is_without_answer() => {}
                Err(failure) => return Err(failed(failure)),
            }
        }
        let way = (request.slot.as_str(), request.verb);
        let connection =
            self.open_connection(http, way, (url, &http.tls_keys)).await.map_err(failed)?;
        let done = exchange.run(connection, commit).await.map_err(failed)?;
        Ok(self.keep(owner, done))
    }

    /// A new connection to the server of an address that the target has: each address of it is
    /// judged.
    async fn open_connection(
        &mut self,
        http: &HttpTarget,
        (slot, verb): (&str, Verb),
        (url, tls_keys): (&Url, &TlsKeys),
    ) -> Result<Connection, Failure> {
        let server = Server {
            slot,
            verb,
            host: url.host_str().unwrap_or_default(),
            port: url.port_or_known_default().expect("a base address is http or https"),
            within: self.remaining(http.timeout),
        };
        let judged = self.judged(&server).await.map_err(Failure::Unreached)?;
        let tls = match url.scheme() {
            "https" => {
                let config =
                    self.client_config(tls_keys, tls::Proof::Certificate, tls::HTTP, "http.tls");
                let refused = |fault| Failure::Unreached(Unreached::Refused(fault));
                Some(config.await.map_err(refused)?)
            }
            _ => None,
        };
        Connection::open(url, &judged, tls).await
    }

    fn connections(&mut self) -> &mut KeptConnections {
        self.kept.value()
    }

    /// Keeps the connection of an exchange for the next one.
    fn keep(&mut self, owner: Owner, done: Done) -> Answered {
        if let Some(connection) = done.connection {
            self.connections().put(owner, connection);
        }
        done.answered
    }

    async fn base(&self, http: &HttpTarget) -> Result<Url, Fault> {
        match &http.base {
            HttpBase::Url(url) => Ok(url.clone()),
            HttpBase::Secret(name) => {
                let secret = self.secret(name).await?;
                let parsed = secret
                    .expose_text()
                    .ok_or("it is not text")
                    .and_then(|text| parse_base(text.trim()));
                let url = parsed.map_err(|reason| {
                    let message = format!("secret `{name}` cannot be a base address: {reason}");
                    Fault::new(FaultClass::Invalid, "http.base", message)
                })?;
                // In the address of a webhook it is the path that is secret, and a server's answer
                // may quote that alone.
                if url.path().len() > 8 {
                    self.learn(name, url.path());
                }
                Ok(url)
            }
        }
    }

    /// The headers that the guest set, then those that the host sets.
    async fn head(&self, http: &HttpTarget, request: &Request) -> Result<Head, Fault> {
        let mut headers = HeaderMap::new();
        headers.insert(
            hyper::header::USER_AGENT,
            Value::from_static(concat!("runbook/", env!("CARGO_PKG_VERSION"))),
        );
        for Header { name, value } in &request.headers {
            let value = match value {
                HeaderValue::Plain(text) => header_value(name, text.as_bytes())?,
                HeaderValue::Secret(slot) => {
                    let place = SecretPlace::Header(name.to_ascii_lowercase());
                    header_value(name, self.placed(&request.slot, slot, &place).await?.expose())?
                }
            };
            headers.insert(header_name(name)?, value);
        }
        for (name, injected) in &http.headers {
            let value = self.injected(injected).await?;
            headers.insert(header_name(name)?, header_value(name, value.expose())?);
        }
        let form = ask_for_encoding(&mut headers, &request.method);
        Ok(Head { headers, form })
    }
}

/// Asks for a short answer where the host can make it whole again, unless the plugin or the target
/// say themselves what they want: who asks for an encoding gets it. The head of an answer to HEAD
/// is told as it is, and of an encoded body no part can be decoded.
fn ask_for_encoding(headers: &mut HeaderMap, method: &Method) -> Form {
    if headers.contains_key(ACCEPT_ENCODING) {
        return Form::Raw;
    }
    let (asked, form) = if *method == Method::HEAD || headers.contains_key(RANGE) {
        ("identity", Form::Raw)
    } else {
        (ACCEPTED, Form::Decoded)
    };
    headers.insert(ACCEPT_ENCODING, Value::from_static(asked));
    form
}

fn judged(value: &HeaderValue) -> GateValue<'_> {
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

/// Where the answer points, if that is to be followed. Only a request without a body is sent again,
/// and only if the target allows redirects at all; otherwise the answer itself goes to the guest.
fn next_hop(http: &HttpTarget, verb: Verb, url: &Url, answered: &Answered) -> Option<Url> {
    let follows = http.redirects > 0
        && verb.effect() == VerbEffect::Read
        && matches!(answered.status, 301 | 302 | 303 | 307 | 308);
    if !follows {
        return None;
    }
    let location = answered.headers.get(hyper::header::LOCATION)?;
    url.join(&String::from_utf8_lossy(location.as_bytes())).ok()
}

/// Bytes of a body that a guest sees.
fn most_shown(http: &HttpTarget) -> usize {
    usize::try_from(http.max_body.0).unwrap_or(usize::MAX)
}

/// What the guest sees of an answer: a server may send back what it was sent.
fn response(
    answered: Answered,
    http: &HttpTarget,
    scrubber: &Scrubber,
    total: Duration,
) -> Response {
    let text = |bytes: &[u8]| String::from_utf8_lossy(&scrubber.bytes(bytes)).into_owned();
    let most = most_shown(http);
    let Body { bytes: body, end } = answered.body;
    let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    Response {
        status: answered.status,
        headers: answered
            .headers
            .iter()
            .map(|(name, value)| (text(name.as_str().as_bytes()), text(value.as_bytes())))
            .collect(),
        truncated: body.len() > most,
        body: match end {
            BodyEnd::Known => scrubber.first_bytes(&body, most),
            BodyEnd::Silent => scrubber.cut_bytes(&body[..body.len().min(most)]),
        }
        .into_owned(),
        peer: answered.peer.to_string(),
        timing: Timing {
            dns_us: micros(answered.opening.dns),
            connect_us: micros(answered.opening.connect),
            tls_us: micros(answered.opening.tls),
            first_byte_us: micros(answered.first_byte),
            total_us: micros(total),
        },
    }
}

#[cfg(test)]
pub(super) mod tests;
