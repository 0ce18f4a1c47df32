//! A `redis` target: one database of one server of Redis or Valkey.

use super::network::{parse_server, read_addresses};
use super::tls::{Encryption, read_tls};
use super::{Folder, TlsKeys, is_local_host, secret_reference};
use crate::pattern::{AddressPolicy, CommandNaming, RedisCommand, command_row};
use crate::pattern_matches;
use runbook_document::{ByteSize, Reader, Spanned};
use std::time::Duration;

/// The port of Redis.
const DEFAULT_PORT: u16 = 6379;

/// The user of a connection that names none.
const DEFAULT_USER: &str = "default";

/// Whether the connection to a server is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedisTls {
    /// Always, and the certificate and its name must be good.
    Required,
    /// Never.
    Off,
}

/// One database, as a `redis` target describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct RedisTarget {
    /// The name or address of the server, in lower case and without brackets.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
    /// The number of the database.
    pub database: u32,
    /// The addresses that the name of the server may resolve to.
    pub addresses: AddressPolicy,
    /// Whether the connection is encrypted.
    pub tls: RedisTls,
    /// The authorities to trust instead of the system's, and the client certificate.
    pub tls_keys: TlsKeys,
    /// The user that the connection logs in as.
    pub user: String,
    /// The name of the secret with the password of the user.
    pub password: Option<String>,
    /// Patterns of the commands that may be sent; `None` allows every command that need not be
    /// named.
    pub commands: Option<Vec<String>>,
    /// Patterns of the keys that commands may use; `None` allows every key.
    pub keys: Option<Vec<String>>,
    /// How many bytes the answer to one command may have.
    pub max_bytes: ByteSize,
    /// For one command: resolving, connecting and the answer together.
    pub timeout: Duration,
}

impl RedisTarget {
    /// Whether the target lets a command be sent, by its name alone. A command that must be named,
    /// or that is unknown here, is allowed by its whole name only.
    pub fn allows_command(&self, command: &RedisCommand<'_>) -> bool {
        let Some(patterns) = &self.commands else {
            return command.row.is_some_and(|row| row.naming == CommandNaming::Pattern);
        };
        let by_pattern = command.row.is_some_and(|row| row.naming == CommandNaming::Pattern);
        patterns.iter().any(|pattern| {
            *pattern == command.name || (by_pattern && pattern_matches(pattern, &command.name))
        })
    }

    /// Whether the target names this command as a whole, without a pattern.
    pub fn names_command(&self, name: &str) -> bool {
        self.commands.iter().flatten().any(|pattern| pattern == name)
    }

    /// The patterns of keys; `None` if every key may be used.
    pub fn key_limits(&self) -> Option<&[String]> {
        self.keys.as_deref().filter(|patterns| !patterns.iter().any(|pattern| pattern == "*"))
    }

    /// The named commands that reach further than the keys of one database, or run code.
    pub(crate) fn exact_commands(&self) -> impl Iterator<Item = &str> {
        let named = self.commands.iter().flatten().map(String::as_str);
        named.filter(|name| {
            command_row(name).is_none_or(|row| row.naming == CommandNaming::Exact)
                && !name.contains('*')
        })
    }

    /// Whether its server is on another machine and the connection is not encrypted.
    pub(crate) fn is_exposed(&self) -> bool {
        self.tls == RedisTls::Off && !is_local_host(&self.host)
    }

    pub(super) fn describe(&self) -> String {
        let Self { host, port, database, user, .. } = self;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        format!("database {database} of Redis on {host}:{port} as {user}")
    }
}

pub(super) fn read(reader: &mut Reader<'_>, folder: Folder<'_>) -> Option<RedisTarget> {
    let server = reader.required::<String>("redis").and_then(|text| read_server(reader, &text));
    let database = reader.optional::<u32>("database").map_or(0, |number| number.value);
    let addresses = read_addresses(reader);
    let tls = read_tls_mode(reader);
    let encryption = match tls {
        RedisTls::Required => Encryption::Verified,
        RedisTls::Off => Encryption::NotGuaranteed("`tls = \"off\"` does not encrypt"),
    };
    let tls_keys = read_tls(reader, folder, encryption);
    let (user, password) = read_login(reader);
    let commands = read_patterns(reader, "commands", check_command);
    let keys = read_patterns(reader, "keys", |pattern| {
        if pattern.is_empty() { Err("a key has at least one character") } else { Ok(pattern) }
    });
    let max_bytes =
        reader.optional::<ByteSize>("max_bytes").map_or(ByteSize(1 << 20), |size| size.value);
    let timeout = reader
        .optional::<Duration>("timeout")
        .map_or(Duration::from_secs(10), |timeout| timeout.value);
    let (host, port) = server?;
    let port = port.unwrap_or(DEFAULT_PORT);
    Some(RedisTarget {
        host,
        port,
        database,
        addresses,
        tls,
        tls_keys,
        user,
        password,
        commands,
        keys,
        max_bytes,
        timeout,
    })
}

fn read_server(reader: &mut Reader<'_>, text: &Spanned<String>) -> Option<(String, Option<u16>)> {
    let server = parse_server(&text.value);
    if server.is_none() {
        // The text may hold a password, so it is not repeated.
        reader.error_with_help(
            "E0103",
            text.span.clone(),
            "this is not the address of a server of Redis",
            "such as \"cache.internal\" or \"10.0.0.7:6380\"",
            "write host and port alone: the number of the database is `database`, the user `user`, \
             the password `password = \"secret:NAME\"`",
        );
    }
    server
}

fn read_tls_mode(reader: &mut Reader<'_>) -> RedisTls {
    let Some(text) = reader.optional::<String>("tls") else { return RedisTls::Required };
    match text.value.as_str() {
        "require" => RedisTls::Required,
        "off" => RedisTls::Off,
        other => {
            let message = format!("`tls` is `require` or `off`, not `{other}`");
            reader.error("E0103", text.span.clone(), message, "unknown");
            RedisTls::Required
        }
    }
}

/// Reads `user` and `password`.
fn read_login(reader: &mut Reader<'_>) -> (String, Option<String>) {
    let user = reader.optional::<String>("user");
    let password = reader.optional::<String>("password");
    if let Some(text) = &password
        && secret_reference(&text.value).is_none()
    {
        let label = "never the password itself";
        reader.error("E0103", text.span.clone(), "a password must be `secret:NAME`", label);
    }
    if let (Some(user), None) = (&user, &password) {
        let message = "`user` needs `password` beside it";
        reader.error("E0108", user.span.clone(), message, "half of a pair");
    }
    let password = password.and_then(|text| secret_reference(&text.value).map(str::to_owned));
    (user.map_or_else(|| DEFAULT_USER.to_owned(), |user| user.value), password)
}

fn read_patterns(
    reader: &mut Reader<'_>,
    key: &'static str,
    check: fn(String) -> Result<String, &'static str>,
) -> Option<Vec<String>> {
    let texts = reader.optional::<Vec<Spanned<String>>>(key)?;
    let mut patterns = Vec::new();
    for text in texts.value {
        match check(text.value) {
            Ok(pattern) => patterns.push(pattern),
            Err(why) => reader.error("E0103", text.span, why, "never fits"),
        }
    }
    Some(patterns)
}

/// A pattern of commands in lower case, with single spaces. One without `*` must be a command that
/// could ever be sent.
fn check_command(text: String) -> Result<String, &'static str> {
    let pattern = text.split_whitespace().collect::<Vec<_>>().join(" ").to_ascii_lowercase();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || " ._-*".contains(c);
    if pattern.is_empty() || !pattern.chars().all(is_plain) {
        return Err(
            "a command is a word, with its subcommand after a space: `get`, `client list`, `h*`",
        );
    }
    if pattern.contains('*') {
        return Ok(pattern);
    }
    let words: Vec<Vec<u8>> = pattern.split(' ').map(|word| word.as_bytes().to_vec()).collect();
    match RedisCommand::parse(&words) {
        Err(_) => {
            Err("there is no such command: one with subcommands is named with its subcommand")
        }
        Ok(command) if command.name != pattern => Err("this command has no subcommands"),
        Ok(command) => match command.row.map(|row| row.effect) {
            Some(crate::pattern::CommandEffect::Session) => Err(
                "it changes the state of a connection, and each call has a connection of its own",
            ),
            Some(_) | None => Ok(pattern),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_of_commands_is_one_that_can_be_sent() {
        for (text, pattern) in [
            ("GET", "get"),
            ("Client  LIST", "client list"),
            ("h*", "h*"),
            ("*", "*"),
            ("json.get", "json.get"),
            ("eval", "eval"),
        ] {
            assert_eq!(check_command(text.to_owned()).as_deref(), Ok(pattern));
        }
        for text in ["", "client", "client nonsense", "get a", "select", "AUTH", "a;b", "subscribe"]
        {
            assert!(check_command(text.to_owned()).is_err(), "{text}");
        }
    }
}
