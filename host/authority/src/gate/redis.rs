//! Commands of Redis: by the table of this program before anything is connected to, then by the
//! table of the server.

use super::{Judgment, Rule};
use crate::capability::Verb;
use crate::pattern::{CommandEffect, CommandNaming, KeyUse, RedisCommand, ServerFacts, is_within};
use crate::pattern_matches;
use crate::targets::RedisTarget;

/// Flags of a server for commands that do more than read keys.
const MORE_THAN_READING: &[&str] =
    &["write", "admin", "pubsub", "noscript", "blocking", "may_replicate"];

/// Judges a command by what is known of it here.
pub(super) fn judge_command(target: &RedisTarget, verb: Verb, arguments: &[Vec<u8>]) -> Judgment {
    let command = RedisCommand::parse(arguments).map_err(|why| (Rule::Command, why.to_string()))?;
    let name = &command.name;
    match command.row.map(|row| row.effect) {
        Some(CommandEffect::Session) => {
            let reason =
                format!("`{name}` changes the state of the connection, which no grant allows");
            return Err((Rule::Command, reason));
        }
        Some(CommandEffect::Change) if verb == Verb::RedisRead => {
            return Err((
                Rule::Verb,
                format!("`{name}` changes something, and `{}` only reads", verb.full_name()),
            ));
        }
        Some(CommandEffect::Change | CommandEffect::Read) | None => {}
    }
    if !target.allows_command(&command) {
        return Err((Rule::Command, not_allowed_reason(target, &command)));
    }
    judge_keys(target, &command)
}

fn not_allowed_reason(target: &RedisTarget, command: &RedisCommand<'_>) -> String {
    let name = &command.name;
    match command.row {
        None => format!("`{name}` is unknown here, so only its whole name allows it"),
        Some(row) if row.naming == CommandNaming::Exact => {
            format!("only its whole name allows `{name}`")
        }
        Some(_) => {
            let patterns = target.commands.as_deref().unwrap_or_default();
            format!("`{name}` fits none of {}", listed(patterns))
        }
    }
}

fn judge_keys(target: &RedisTarget, command: &RedisCommand<'_>) -> Judgment {
    let keys = command.keys();
    if keys == KeyUse::OtherDatabase {
        let reason = format!("`{}` goes to another database", command.name);
        return Err((Rule::Command, reason));
    }
    let Some(patterns) = target.key_limits() else { return Ok(()) };
    match keys {
        KeyUse::Listed(keys) => keys.into_iter().try_for_each(|key| judge_key(patterns, key)),
        KeyUse::Matching(pattern) if is_within(pattern, patterns) => Ok(()),
        KeyUse::Matching(pattern) => {
            let reason =
                format!("the keys of `{}` are not all among {}", shown(pattern), listed(patterns));
            Err((Rule::Key, reason))
        }
        KeyUse::Any | KeyUse::OtherDatabase => {
            let reason = format!(
                "`{}` with these arguments can use any key, and the target allows {}",
                command.name,
                listed(patterns)
            );
            Err((Rule::Key, reason))
        }
    }
}

fn judge_key(patterns: &[String], key: &[u8]) -> Judgment {
    let is_allowed = std::str::from_utf8(key)
        .is_ok_and(|key| patterns.iter().any(|pattern| pattern_matches(pattern, key)));
    if is_allowed {
        return Ok(());
    }
    Err((Rule::Key, format!("key `{}` fits none of {}", shown(key), listed(patterns))))
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).escape_debug().to_string()
}

/// Judges a command that [`judge_command`] has allowed, by what the server says of it. The server
/// can make the decision stricter, never wider.
pub(super) fn judge_by_server(
    target: &RedisTarget,
    verb: Verb,
    arguments: &[Vec<u8>],
    facts: Option<&ServerFacts>,
) -> Judgment {
    judge_command(target, verb, arguments)?;
    let command = RedisCommand::parse(arguments).map_err(|why| (Rule::Command, why.to_string()))?;
    let name = &command.name;
    let Some(facts) = facts else {
        return Err((Rule::Command, format!("the server does not know `{name}`")));
    };
    if verb == Verb::RedisRead {
        let flag = if command.row.is_some() {
            facts.has("write").then_some("write")
        } else {
            MORE_THAN_READING.iter().copied().find(|flag| facts.has(flag))
        };
        let changed = facts.keys.iter().any(|key| key.is_changed);
        let reason = match flag {
            Some(flag) => Some(format!("the server gives `{name}` the flag `{flag}`")),
            None if changed => Some(format!("the server says that `{name}` changes its keys")),
            None if command.row.is_none() && !facts.has("readonly") => {
                Some(format!("the server does not say that `{name}` only reads"))
            }
            None => None,
        };
        if let Some(reason) = reason {
            return Err((Rule::Verb, reason));
        }
    }
    if facts.has("admin") && !target.names_command(name) {
        let reason =
            format!("the server gives `{name}` the flag `admin`, so only its whole name allows it");
        return Err((Rule::Command, reason));
    }
    let Some(patterns) = target.key_limits() else { return Ok(()) };
    match command.keys() {
        // The server may find a key inside of a pattern, which was judged as a whole.
        KeyUse::Matching(_) => Ok(()),
        KeyUse::Listed(_) | KeyUse::Any | KeyUse::OtherDatabase => {
            facts.keys.iter().try_for_each(|key| judge_key(patterns, &key.name))
        }
    }
}

fn listed(patterns: &[String]) -> String {
    if patterns.is_empty() {
        return "none at all".to_owned();
    }
    patterns.iter().map(|pattern| format!("`{pattern}`")).collect::<Vec<_>>().join(", ")
}
