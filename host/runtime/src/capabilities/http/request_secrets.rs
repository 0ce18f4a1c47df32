//! Puts secrets into requests, at the place and in the format that the grant names. The gate has
//! already allowed each of them.

use crate::bindings::runbook::http::types::{BodyPlace, BodySecret};
use crate::fault::{Fault, FaultClass};
use crate::host::Host;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use runbook_authority::targets::{HeaderEncoding, InjectedHeader, SecretFormat, SecretPlace};
use runbook_secrets::Secret;
use url::form_urlencoded;

impl Host {
    /// A secret in the format that the grant names for this place.
    pub(super) async fn formatted_secret(
        &self,
        http_slot: &str,
        secret_slot: &str,
        place: &SecretPlace,
    ) -> Result<Secret, Fault> {
        let target = self.target(secret_slot)?;
        let secret = target.secret().ok_or_else(Fault::denied)?;
        let is_requested_position = |position: &&runbook_authority::targets::SecretPosition| {
            position.slot == http_slot && position.place == *place
        };
        let position =
            secret.positions.iter().find(is_requested_position).ok_or_else(Fault::denied)?;
        let value = self.secret(&secret.secret).await?;
        Ok(match &position.format {
            SecretFormat::Text(format) => {
                let (prefix, suffix) = format.split_once("{}").unwrap_or((format, ""));
                surround(prefix, &value, suffix)
            }
            SecretFormat::Basic { user } => basic_auth(&surround(&format!("{user}:"), &value, "")),
        })
    }

    /// The value of a header that the target sets.
    pub(super) async fn target_header(&self, header: &InjectedHeader) -> Result<Secret, Fault> {
        let value = match &header.secret {
            Some(secret) => surround(&header.prefix, &self.secret(secret).await?, ""),
            None => Secret::from(header.prefix.as_str()),
        };
        Ok(match header.encoding {
            HeaderEncoding::Plain => value,
            HeaderEncoding::Basic => basic_auth(&value),
        })
    }

    /// A body with its secrets in place.
    pub(super) async fn body(
        &self,
        http_slot: &str,
        body: Vec<u8>,
        secrets: &[BodySecret],
    ) -> Result<Secret, Fault> {
        let mut body = Secret::new(body);
        for secret in secrets {
            let place = secret_place(&secret.place);
            let value = self.formatted_secret(http_slot, &secret.slot, &place).await?;
            body = match &secret.place {
                BodyPlace::Json(pointer) => insert_json_member(&body, pointer, &value),
                BodyPlace::Form(name) => append_form_field(&body, name, &value),
            }
            .map_err(|reason| {
                Fault::new(
                    FaultClass::Invalid,
                    "http.body-secret",
                    format!("a secret cannot be put into the body: {reason}"),
                )
            })?;
        }
        Ok(body)
    }
}

/// The place in the type of the gate.
pub(super) fn secret_place(place: &BodyPlace) -> SecretPlace {
    match place {
        BodyPlace::Json(pointer) => SecretPlace::Json(pointer.clone()),
        BodyPlace::Form(name) => SecretPlace::Form(name.clone()),
    }
}

/// A secret with text before and after it. The result is a secret too.
fn surround(prefix: &str, secret: &Secret, suffix: &str) -> Secret {
    Secret::new([prefix.as_bytes(), secret.expose(), suffix.as_bytes()].concat())
}

fn basic_auth(user_and_password: &Secret) -> Secret {
    Secret::new(format!("Basic {}", STANDARD.encode(user_and_password.expose())).into_bytes())
}

fn text_of(value: &Secret) -> Result<&str, String> {
    value.expose_text().ok_or_else(|| "the secret is not text".to_owned())
}

/// Sets one member of a JSON document.
fn insert_json_member(body: &Secret, pointer: &str, value: &Secret) -> Result<Secret, String> {
    let mut document: serde_json::Value = serde_json::from_slice(body.expose())
        .map_err(|error| format!("the body is not JSON: {error}"))?;
    let (parent, member) = pointer
        .rsplit_once('/')
        .ok_or_else(|| format!("`{}` is no JSON pointer", pointer.escape_debug()))?;
    let object = document.pointer_mut(parent).and_then(serde_json::Value::as_object_mut);
    let object =
        object.ok_or_else(|| format!("its JSON has no object at `{}`", parent.escape_debug()))?;
    object.insert(
        member.replace("~1", "/").replace("~0", "~"),
        serde_json::Value::from(text_of(value)?),
    );
    serde_json::to_vec(&document).map(Secret::new).map_err(|error| error.to_string())
}

/// Adds one field to a form.
fn append_form_field(body: &Secret, name: &str, value: &Secret) -> Result<Secret, String> {
    if form_urlencoded::parse(body.expose()).any(|(known, _)| known == name) {
        return Err(format!("its form has a field `{}` already", name.escape_debug()));
    }
    let mut form = String::from_utf8(body.expose().to_vec())
        .map_err(|_| "the body is not a form".to_owned())?;
    if !form.is_empty() {
        form.push('&');
    }
    let field =
        form_urlencoded::Serializer::new(String::new()).append_pair(name, text_of(value)?).finish();
    form.push_str(&field);
    Ok(Secret::new(form.into_bytes()))
}
