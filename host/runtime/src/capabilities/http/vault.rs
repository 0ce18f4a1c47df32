//! Secrets of Vault, which the host itself reads: a field of a KV store (version 2), and the token
//! of an AppRole. The requests are those of the documented HTTP API, and pass the gate and the
//! connector as every other request.

use super::body::{BodyForm, BodyReader};
use super::connection::Protocols;
use super::exchange::Exchange;
use super::failure::Failure;
use super::token::{MAX_ANSWER, Token, end_of_use};
use super::{Request, max_shown_body};
use crate::fault::{Fault, FaultClass};
use crate::host::{Commit, Host};
use hyper::Method;
use hyper::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use jiff::Timestamp;
use runbook_authority::targets::{HttpTarget, VaultAppRole, VaultValue};
use runbook_authority::{GateRequest, Target, Verb, VerbEffect};
use runbook_secrets::Secret;
use serde::Deserialize;
use serde_json::{Value, json};

/// A field of a secret of Vault.
pub(crate) struct VaultAnswer {
    pub(crate) value: Secret,
    /// When this version was written.
    pub(crate) changed: Option<Timestamp>,
    /// When Vault deletes this version, if it does.
    pub(crate) deleted: Option<Timestamp>,
}

/// The answer to a read of a KV store, version 2.
#[derive(Deserialize)]
struct KvAnswer {
    data: KvData,
}

#[derive(Deserialize)]
struct KvData {
    /// Absent for a version that was deleted.
    data: Option<serde_json::Map<String, Value>>,
    #[serde(default)]
    metadata: KvMetadata,
}

#[derive(Default, Deserialize)]
struct KvMetadata {
    #[serde(default)]
    created_time: String,
    #[serde(default)]
    deletion_time: String,
    #[serde(default)]
    destroyed: bool,
}

/// The answer to a login.
#[derive(Deserialize)]
struct LoginAnswer {
    auth: Login,
}

#[derive(Deserialize)]
struct Login {
    client_token: String,
    lease_duration: u64,
}

/// An answer that says what is wrong.
#[derive(Deserialize)]
struct ErrorAnswer {
    errors: Vec<String>,
}

impl Host {
    /// Reads a field of a secret.
    pub(crate) async fn vault_value(
        &mut self,
        slot: &str,
        wanted: &VaultValue,
    ) -> Result<VaultAnswer, Fault> {
        let request = Request {
            slot: slot.to_owned(),
            verb: Verb::HttpGet,
            method: Method::GET,
            path: wanted.request_path(),
            headers: Vec::new(),
            body: Vec::new(),
            secrets: Vec::new(),
        };
        let answer = self.http_answer(request).await.map_err(|fault| self.scrubbed_fault(fault))?;
        let (http, answer, _) = answer;
        let body = Secret::new(answer.body.bytes);
        self.count_transferred(body.len());
        let server = wanted.target.describe();
        let read = if body.len() > max_shown_body(&http) {
            Err((FaultClass::Limit, "answered with more than `max_body`".to_owned()))
        } else {
            read_field(answer.status, &body, &wanted.field)
        };
        read.map_err(|(class, why)| {
            self.scrubbed_fault(Fault::new(class, "secrets.vault", format!("{server} {why}")))
        })
    }

    /// The token of a role: the one in the cache, or a new one.
    pub(super) async fn approle_token(
        &mut self,
        (http, target): (&HttpTarget, &Target),
        role: &VaultAppRole,
        request: &Request,
    ) -> Result<Secret, Fault> {
        let owner = self.token_owner(target);
        if let Some(token) = self.tokens().get(&owner) {
            return Ok(token);
        }
        let url = http.token_url().ok_or_else(Fault::denied)?;
        let (slot, verb) = (request.slot.as_str(), request.verb);
        self.enter(&GateRequest::Token { slot, verb, server: &url })?;
        let text = |secret: Secret| {
            let text = secret.expose_text().map(str::to_owned);
            let message = "a secret of the role is not text";
            text.ok_or_else(|| Fault::new(FaultClass::Invalid, "http.auth", message))
        };
        let role_id = text(self.client_name(&role.role_id).await?)?;
        let secret_id = text(self.secret(&role.secret_id).await?)?;
        let body = Secret::from(json!({ "role_id": role_id, "secret_id": secret_id }).to_string());
        let headers = self.login_headers(http).await?;
        let place = format!("{}: {url}", target.describe());
        let to_fault = |failure: Failure| failure.into_fault(&place, VerbEffect::Read);
        let connection = self
            .connect(http, (slot, verb), (&url, &http.tls_keys), Protocols::Any)
            .await
            .map_err(to_fault)?;
        let body_reader = BodyReader { max_shown: MAX_ANSWER, lookahead: 0, form: BodyForm::Raw };
        let (method, headers, body) = (&Method::POST, &headers, body.expose());
        let exchange = Exchange { method, url: &url, headers, body, body_reader };
        let done = exchange.run(connection, &Commit::default()).await.map_err(to_fault)?;
        let (status, body) =
            (done.server_response.status, Secret::new(done.server_response.body.bytes));
        let token = read_login(status, &body).map_err(|(class, why)| {
            self.scrubbed_fault(Fault::new(class, "http.token", format!("{place} {why}")))
        })?;
        self.learn_token(&role.secret_id, &token.value);
        let value = token.value.clone();
        self.tokens().put(owner, token);
        Ok(value)
    }

    /// The headers of a login: those of the target, such as `X-Vault-Namespace`.
    async fn login_headers(&self, http: &HttpTarget) -> Result<HeaderMap, Fault> {
        let mut headers = HeaderMap::new();
        let agent = concat!("runbook/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, header) in &http.headers {
            let value = self.target_header(header).await?;
            headers.insert(super::header_name(name)?, super::header_value(name, value.expose())?);
        }
        Ok(headers)
    }
}

/// The class of a refusal, and what Vault said.
fn refusal(status: u16, body: &Secret) -> (FaultClass, String) {
    let class = match status {
        404 => FaultClass::NotFound,
        429 | 472 | 473 | 500..=599 => FaultClass::Transient,
        _ => FaultClass::Invalid,
    };
    let said: Option<ErrorAnswer> = serde_json::from_slice(body.expose()).ok();
    // As Vault wrote it: a secret is not found in a text that was changed before it was cleaned.
    let said = said.and_then(|answer| answer.errors.into_iter().next());
    let what = match (status, said) {
        (404, None) => "has no such secret (status 404)".to_owned(),
        (403, said) => format!(
            "refused the token (status 403{})",
            said.map(|text| format!(": {text}")).unwrap_or_default()
        ),
        (503, _) => "is sealed or in maintenance (status 503)".to_owned(),
        (_, Some(text)) => format!("answered with status {status}: {text}"),
        (_, None) => format!("answered with status {status}"),
    };
    (class, what)
}

/// The field in an answer. No error quotes a value.
fn read_field(
    status: u16,
    body: &Secret,
    field: &str,
) -> Result<VaultAnswer, (FaultClass, String)> {
    let answer: Option<KvAnswer> = serde_json::from_slice(body.expose()).ok();
    if status == 404
        && let Some(KvAnswer { data: KvData { data: None, metadata } }) = &answer
    {
        let what = if metadata.destroyed { "destroyed" } else { "deleted" };
        let when = &metadata.deletion_time;
        let when = when.parse::<Timestamp>().map(|when| format!(" at {when:.0}"));
        let message = format!("has the secret no more: it was {what}{}", when.unwrap_or_default());
        return Err((FaultClass::NotFound, message));
    }
    if status != 200 {
        return Err(refusal(status, body));
    }
    let Some(KvAnswer { data: KvData { data: Some(fields), metadata } }) = answer else {
        let message = "answered without a secret of a KV store of version 2; check `mount`";
        return Err((FaultClass::Assertion, message.to_owned()));
    };
    let value = match fields.get(field) {
        Some(Value::String(text)) => Secret::from(text.as_str()),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => Secret::from(value.to_string()),
        Some(Value::Null | Value::Array(_) | Value::Object(_)) => {
            let message = format!("has no text in field `{}`", field.escape_debug());
            return Err((FaultClass::Assertion, message));
        }
        None => {
            let message = format!("has no field `{}` in the secret", field.escape_debug());
            return Err((FaultClass::NotFound, message));
        }
    };
    let changed = metadata.created_time.parse().ok();
    Ok(VaultAnswer { value, changed, deleted: metadata.deletion_time.parse().ok() })
}

/// The token in the answer to a login.
fn read_login(status: u16, body: &Secret) -> Result<Token, (FaultClass, String)> {
    if status != 200 {
        let (class, what) = refusal(status, body);
        return Err((class, format!("gave no token: it {what}")));
    }
    let answer: LoginAnswer = serde_json::from_slice(body.expose())
        .map_err(|_| (FaultClass::Assertion, "answered without a token".to_owned()))?;
    let Login { client_token, lease_duration } = answer.auth;
    let value = Secret::from(client_token);
    if value.is_empty() || !value.expose().iter().all(u8::is_ascii_graphic) {
        return Err((FaultClass::Assertion, "gave a token that no header may have".to_owned()));
    }
    // A lease of zero seconds is that of a token without an end.
    let until = if lease_duration == 0 { None } else { end_of_use(lease_duration) };
    Ok(Token { value, until })
}
