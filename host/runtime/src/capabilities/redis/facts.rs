//! What a server says of a command in its own table.

use super::connection::Connection;
use super::failure::Failure;
use ::redis::Value;
use runbook_authority::pattern::{ServerFacts, ServerKey};

/// The position of the subcommands in an entry of the table, since Redis 7.
const SUBCOMMANDS: usize = 9;

/// Flags of keys, as `COMMAND GETKEYSANDFLAGS` gives them, of keys that a command may change.
const CHANGING: &[&str] = &["RW", "OW", "RM", "update", "insert", "delete"];

/// Asks the server about a command. `None` if the server does not know it.
pub(super) async fn of(
    connection: &mut Connection,
    arguments: &[Vec<u8>],
) -> Result<Option<ServerFacts>, Failure> {
    let name = arguments.first().map(Vec::as_slice).unwrap_or_default();
    let answer = connection.ask(&[b"COMMAND", b"INFO", name]).await?;
    let Some(flags) = parts(&answer).first().and_then(|entry| flags(entry, arguments)) else {
        return Ok(None);
    };
    Ok(Some(ServerFacts { flags, keys: keys(connection, arguments).await? }))
}

/// The flags in an entry of the table: those of the subcommand, if the entry has subcommands.
fn flags(entry: &Value, arguments: &[Vec<u8>]) -> Option<Vec<String>> {
    let row = parts(entry);
    let subcommands = row.get(SUBCOMMANDS).map(parts).unwrap_or_default();
    if subcommands.is_empty() || arguments.len() < 2 {
        return row.get(2).map(|flags| parts(flags).iter().filter_map(word).collect());
    }
    let (container, subcommand) = (&arguments[0], &arguments[1]);
    let wanted = [container.as_slice(), b"|", subcommand.as_slice()].concat();
    let found = subcommands.iter().find(|entry| {
        parts(entry)
            .first()
            .and_then(word)
            .is_some_and(|name| name.as_bytes().eq_ignore_ascii_case(&wanted))
    })?;
    parts(found).get(2).map(|flags| parts(flags).iter().filter_map(word).collect())
}

/// The keys that the server finds in the arguments.
async fn keys(
    connection: &mut Connection,
    arguments: &[Vec<u8>],
) -> Result<Vec<ServerKey>, Failure> {
    // A command without arguments names no key, and servers do not accept the question.
    if arguments.len() < 2 {
        return Ok(Vec::new());
    }
    for question in [b"GETKEYSANDFLAGS".as_slice(), b"GETKEYS"] {
        let mut command = vec![b"COMMAND".as_slice(), question];
        command.extend(arguments.iter().map(Vec::as_slice));
        match connection.ask(&command).await {
            Ok(answer) => return Ok(parts(&answer).iter().filter_map(key).collect()),
            Err(Failure::Server(reply)) if reply.message.contains("no key arguments") => {
                return Ok(Vec::new());
            }
            // Redis 6 and older servers do not say how a key is used.
            Err(Failure::Server(reply)) if reply.is_unknown_subcommand() => {}
            Err(other) => return Err(other),
        }
    }
    Ok(Vec::new())
}

/// A key alone, or a key with its flags.
fn key(part: &Value) -> Option<ServerKey> {
    match part {
        Value::BulkString(name) => Some(ServerKey { name: name.clone(), is_changed: false }),
        Value::Array(pair) => {
            let Some(Value::BulkString(name)) = pair.first() else { return None };
            let flags: Vec<String> =
                pair.get(1).map(parts).unwrap_or_default().iter().filter_map(word).collect();
            let is_changed = flags.iter().any(|flag| CHANGING.contains(&flag.as_str()));
            Some(ServerKey { name: name.clone(), is_changed })
        }
        _ => None,
    }
}

fn parts(value: &Value) -> &[Value] {
    match value {
        Value::Array(parts) | Value::Set(parts) => parts,
        _ => &[],
    }
}

fn word(value: &Value) -> Option<String> {
    match value {
        Value::SimpleString(text) => Some(text.clone()),
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        _ => None,
    }
}
