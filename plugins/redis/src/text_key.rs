//! `redis:set` and `redis:delete`: changes of a key that holds a text, which can be undone.

use crate::{database, number, text};
use runbook_sdk::prelude::*;
use runbook_sdk::redis::command_effect;

/// The longest text that is kept for an undo, in bytes. It is part of the journal.
const MAX_TEXT: usize = 64 << 10;

/// The key to set, and its text.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetInput {
    /// The name of the key.
    key: String,
    /// The text that it holds afterwards.
    value: String,
    /// After this time it expires; without it, the key does not expire.
    ttl: Option<Span>,
}

/// The key to delete.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeleteInput {
    /// The name of the key.
    key: String,
}

/// What was there before.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Whether the key existed before.
    existed: bool,
}

/// The state of a key. It contains nothing that changes by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct State {
    /// The text; `None` if there is no such key.
    value: Option<String>,
    /// When the key expires, in milliseconds since 1970.
    expires_at_ms: Option<i64>,
}

impl State {
    /// The present state of a key.
    ///
    /// # Errors
    /// `conflict` if the key holds another type, or a value that could not be put back.
    fn read(key: &str) -> Result<Self> {
        let db = database();
        let kind = db.read(["type", key])?;
        match text(&kind)? {
            "none" => return Ok(Self { value: None, expires_at_ms: None }),
            "string" => {}
            other => {
                let message =
                    format!("`{key}` is a {other}: only a text can be put back by an undo");
                return Err(Fault::conflict("redis.not-a-text", message));
            }
        }
        let expires = number(&db.read(["pttl", key])?)? >= 0;
        let expires_at_ms = if expires {
            Some(number(&db.read(["pexpiretime", key])?)?).filter(|time| *time >= 0)
        } else {
            None
        };
        let reply = db.read(["get", key])?;
        if reply.is_nil() {
            return Ok(Self { value: None, expires_at_ms: None });
        }
        match reply.text() {
            Some(value) if value.len() <= MAX_TEXT => {
                Ok(Self { value: Some(value.to_owned()), expires_at_ms })
            }
            Some(_) => {
                let message = format!("`{key}` holds more than {}", Size(MAX_TEXT as u64));
                Err(Fault::limit("redis.text-too-long", message))
            }
            None => {
                let message = format!("`{key}` holds bytes that are no text");
                Err(Fault::conflict("redis.not-a-text", message))
            }
        }
    }

    fn to_json(&self) -> Json {
        json!({ "value": self.value, "expires_at_ms": self.expires_at_ms })
    }

    fn from_json(json: &Json) -> Result<Self> {
        serde_json::from_value(json.clone())
            .map_err(|error| Fault::invalid("redis.state", format!("the recorded state: {error}")))
    }
}

/// Puts back what was there before, unless somebody else has changed the key since.
fn restore(key: &str, set_value: Option<&str>, before: &Json) -> Result<Completion<Json>> {
    let before = State::from_json(before)?;
    let now = State::read(key)?;
    if now == before {
        return Ok(Completion::unchanged(format!("`{key}` is as it was"), Json::Null));
    }
    if now.value.is_some() && now.value.as_deref() != set_value {
        let message = format!("`{key}` was changed by somebody else since, and is left alone");
        return Err(Fault::conflict("redis.changed-since", message));
    }
    let db = database();
    let now_ms = i64::try_from(clock::now_ms()).unwrap_or(i64::MAX);
    let is_over = before.expires_at_ms.is_some_and(|time| time <= now_ms);
    let summary = match (&before.value, before.expires_at_ms) {
        (Some(_), Some(_)) if is_over && now.value.is_none() => {
            let summary = format!("`{key}` would have expired by now: nothing to put back");
            return Ok(Completion::unchanged(summary, Json::Null));
        }
        (Some(_), Some(_)) if is_over => {
            db.write(["del", key])?;
            format!("removed `{key}`, which would have expired by now")
        }
        (Some(value), Some(time)) => {
            db.write(["set", key, value, "pxat", &time.to_string()])?;
            format!("put back `{key}`")
        }
        (Some(value), None) => {
            db.write(["set", key, value])?;
            format!("put back `{key}`")
        }
        (None, _) => {
            db.write(["del", key])?;
            format!("removed `{key}`, which was not there before")
        }
    };
    Ok(Completion::changed(summary, Json::Null))
}

pub(crate) struct Set;

fn set_command(input: &SetInput) -> Vec<String> {
    let mut command = vec!["set".to_owned(), input.key.clone(), input.value.clone()];
    if let Some(ttl) = input.ttl {
        command.extend(["px".to_owned(), ttl.0.as_millis().to_string()]);
    }
    command
}

impl Step for Set {
    type Input = SetInput;
    type Output = Output;

    fn plan(_job: &Job, input: &SetInput) -> Result<Proposal> {
        let before = State::read(&input.key)?;
        let wanted = State { value: Some(input.value.clone()), expires_at_ms: None };
        if input.ttl.is_none() && before == wanted {
            let summary = format!("`{}` has this text already", input.key);
            return Ok(Proposal::nothing(summary, before.to_json()));
        }
        let command = set_command(input);
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        let effect = command_effect(format!("key {}", input.key), &words);
        Ok(Proposal {
            summary: format!("set `{}`", input.key),
            ..Proposal::one(effect, before.to_json())
        })
    }

    fn apply(_job: &Job, input: &SetInput, proposal: &Proposal) -> Result<Completion<Output>> {
        let existed = State::from_json(&proposal.before)?.value.is_some();
        if proposal.effects.is_empty() {
            return Ok(Completion::unchanged(proposal.summary.clone(), Output { existed }));
        }
        database().write(set_command(input))?;
        Ok(Completion::changed(format!("set `{}`", input.key), Output { existed }))
    }

    fn observe(_job: &Job, input: &SetInput) -> Result<Json> {
        State::read(&input.key).map(|state| state.to_json())
    }

    fn undo(_job: &Job, input: &SetInput, before: &Json) -> Result<Completion<Json>> {
        restore(&input.key, Some(&input.value), before)
    }
}

pub(crate) struct Delete;

impl Step for Delete {
    type Input = DeleteInput;
    type Output = Output;

    fn plan(_job: &Job, input: &DeleteInput) -> Result<Proposal> {
        let before = State::read(&input.key)?;
        if before.value.is_none() {
            let summary = format!("`{}` does not exist", input.key);
            return Ok(Proposal::nothing(summary, before.to_json()));
        }
        let effect = command_effect(format!("key {}", input.key), &["del", &input.key]);
        let summary = format!("delete `{}`", input.key);
        Ok(Proposal { summary, ..Proposal::one(effect, before.to_json()) })
    }

    fn apply(_job: &Job, input: &DeleteInput, proposal: &Proposal) -> Result<Completion<Output>> {
        let existed = State::from_json(&proposal.before)?.value.is_some();
        if proposal.effects.is_empty() {
            return Ok(Completion::unchanged(proposal.summary.clone(), Output { existed }));
        }
        database().write(["del", &input.key])?;
        Ok(Completion::changed(format!("deleted `{}`", input.key), Output { existed }))
    }

    fn observe(_job: &Job, input: &DeleteInput) -> Result<Json> {
        State::read(&input.key).map(|state| state.to_json())
    }

    fn undo(_job: &Job, input: &DeleteInput, before: &Json) -> Result<Completion<Json>> {
        restore(&input.key, None, before)
    }
}
