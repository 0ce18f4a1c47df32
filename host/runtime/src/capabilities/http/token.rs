//! Tokens of OAuth 2.0 servers for client credentials (RFC 6749, section 4.4). The host fetches a
//! token through the same gate and connector as every request, and keeps it in memory for the rest
//! of the run.

use super::body::{BodyForm, BodyReader};
use super::connection::Protocols;
use super::exchange::{Exchange, ServerResponse};
use super::failure::Failure;
use super::{Request, header_value};
use crate::fault::{Fault, FaultClass};
use crate::host::{Commit, Host};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT,
};
use runbook_authority::targets::{HttpTarget, OAuth2Client};
use runbook_authority::{GateRequest, Target, VerbEffect};
use runbook_secrets::Secret;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use url::form_urlencoded;

/// The most bytes of an answer of a token server. Signed tokens have a few thousand.
pub(super) const MAX_ANSWER: usize = 64 << 10;

/// How long before a token expires the host stops using it: requests take time, and clocks differ.
const EXPIRY_MARGIN: Duration = Duration::from_secs(30);

/// The run and the target that a token was fetched for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TokenOwner {
    run: String,
    target: String,
    location: String,
}

pub(super) struct Token {
    pub(super) value: Secret,
    /// When the host stops using it; `None` if the server named no end.
    pub(super) until: Option<Instant>,
}

/// The tokens that the host fetched, in memory only. Each is used only for the run and the target
/// that it was fetched for.
#[derive(Clone, Default)]
pub struct TokenCache(Arc<Mutex<BTreeMap<TokenOwner, Token>>>);

impl TokenCache {
    pub(super) fn get(&self, owner: &TokenOwner) -> Option<Secret> {
        let tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let token = tokens.get(owner)?;
        let is_good = token.until.is_none_or(|until| Instant::now() < until);
        is_good.then(|| token.value.clone())
    }

    pub(super) fn put(&self, owner: TokenOwner, token: Token) {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.insert(owner, token);
    }

    fn forget(&self, owner: &TokenOwner) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(owner);
    }
}

/// The answer of a token server that gives a token (RFC 6749, section 5.1).
#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    token_type: String,
    expires_in: Option<Seconds>,
}

/// A number of seconds. Some token servers write it as a string.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(u64),
    Text(String),
}

impl Seconds {
    /// The number; `None` if the text is none.
    fn number(&self) -> Option<u64> {
        match self {
            Self::Number(seconds) => Some(*seconds),
            Self::Text(text) => text.parse().ok(),
        }
    }
}

/// The answer of a token server that gives none (RFC 6749, section 5.2).
#[derive(Deserialize)]
struct TokenRefusal {
    error: String,
}

impl Host {
    /// The token for a request to a target: the one in the cache, or a new one.
    pub(super) async fn token(
        &mut self,
        (http, target): (&HttpTarget, &Target),
        client: &OAuth2Client,
        request: &Request,
    ) -> Result<Secret, Fault> {
        let owner = self.token_owner(target);
        if let Some(token) = self.tokens().get(&owner) {
            return Ok(token);
        }
        self.enter(&GateRequest::Token {
            slot: &request.slot,
            verb: request.verb,
            server: &client.token_url,
        })?;
        let (headers, body) = self.token_request(client).await?;
        let place = format!("{}: the token server {}", target.describe(), client.token_url);
        // The request itself is sent only with the token, so a failure here has no effect there.
        let to_fault = |failure: Failure| failure.into_fault(&place, VerbEffect::Read);
        let (url, access) = (&client.token_url, (request.slot.as_str(), request.verb));
        let connection = self
            .open_connection(http, access, (url, &client.tls_keys), Protocols::Any)
            .await
            .map_err(to_fault)?;
        let body_reader = BodyReader { max_shown: MAX_ANSWER, lookahead: 0, form: BodyForm::Raw };
        let (method, headers, body) = (&Method::POST, &headers, body.expose());
        let exchange = Exchange { method, url, headers, body, body_reader };
        let done = exchange.run(connection, &Commit::default()).await.map_err(to_fault)?;
        let token = read_token(done.server_response)
            .map_err(|(class, why)| Fault::new(class, "http.token", format!("{place} {why}")))?;
        self.learn_token(&client.client_secret, &token.value);
        let value = token.value.clone();
        self.tokens().put(owner, token);
        Ok(value)
    }

    /// Removes the token of a target, after the server has refused it. The next request fetches a
    /// new one.
    pub(super) fn forget_token(&self, http: &HttpTarget, target: &Target) {
        if http.token_url().is_some() {
            self.tokens().forget(&self.token_owner(target));
        }
    }

    pub(super) fn token_owner(&self, target: &Target) -> TokenOwner {
        TokenOwner {
            run: self.run().to_owned(),
            target: target.name.clone(),
            location: target.location(),
        }
    }

    /// The headers and the form that ask for a token. The client authenticates by Basic, which
    /// every server must accept (RFC 6749, section 2.3.1).
    async fn token_request(&self, client: &OAuth2Client) -> Result<(HeaderMap, Secret), Fault> {
        let form_encoded = |secret: &Secret| {
            Secret::new(form_urlencoded::byte_serialize(secret.expose()).collect::<String>().into())
        };
        let id = form_encoded(&self.client_name(&client.client_id).await?);
        let password = form_encoded(&self.secret(&client.client_secret).await?);
        let pair = Secret::new([id.expose(), b":", password.expose()].concat());
        let basic = Secret::from(format!("Basic {}", STANDARD.encode(pair.expose())));
        let mut headers = HeaderMap::new();
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("runbook/", env!("CARGO_PKG_VERSION"))),
        );
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(CONTENT_TYPE, form);
        headers.insert(AUTHORIZATION, header_value("authorization", basic.expose())?);
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.append_pair("grant_type", "client_credentials");
        if let Some(scope) = &client.scope {
            body.append_pair("scope", scope);
        }
        Ok((headers, Secret::from(body.finish())))
    }
}

/// The token in an answer.
///
/// # Errors
/// The class of the fault, and why there is no token. A redirect is an error: the password goes
/// only to the server that the target names.
fn read_token(server_response: ServerResponse) -> Result<Token, (FaultClass, String)> {
    let body = Secret::new(server_response.body.bytes);
    let class = match server_response.status {
        200..=299 => FaultClass::Assertion,
        429 | 500..=599 => FaultClass::Transient,
        _ => FaultClass::Invalid,
    };
    if !(200..=299).contains(&server_response.status) {
        let refusal: Option<TokenRefusal> = serde_json::from_slice(body.expose()).ok();
        let code = refusal.map(|refusal| refusal.error).filter(|code| is_code(code));
        let code = code.map(|code| format!(" ({code})")).unwrap_or_default();
        return Err((class, format!("gave no token: status {}{code}", server_response.status)));
    }
    // The error of the parser may quote the token, so it is left out.
    let answer: TokenAnswer = serde_json::from_slice(body.expose())
        .map_err(|_| (class, "answered without a token".to_owned()))?;
    let value = Secret::from(answer.access_token);
    if !answer.token_type.eq_ignore_ascii_case("bearer") {
        return Err((class, "gave a token that is no bearer token".to_owned()));
    }
    if value.is_empty() || !value.expose().iter().all(u8::is_ascii_graphic) {
        return Err((class, "gave a token that no header may have".to_owned()));
    }
    let seconds = answer.expires_in.and_then(|seconds| seconds.number());
    Ok(Token { value, until: seconds.and_then(end_of_use) })
}

/// When the host stops using a token that is good for so many seconds from now.
pub(super) fn end_of_use(seconds: u64) -> Option<Instant> {
    Instant::now().checked_add(Duration::from_secs(seconds).saturating_sub(EXPIRY_MARGIN))
}

/// Whether a text looks like an error code of RFC 6749, such as `invalid_client`.
fn is_code(text: &str) -> bool {
    text.len() <= 40 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}
