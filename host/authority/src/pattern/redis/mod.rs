//! Commands of Redis: their names, what they do, and the keys that they use.

mod keys;
mod table;
#[cfg(test)]
mod tests;

pub use keys::KeyUse;
pub use table::{CommandEffect, CommandNaming, CommandRow, command_row, command_rows};

/// One command, as a plugin gives it.
#[derive(Debug, Clone, PartialEq)]
pub struct RedisCommand<'a> {
    /// Its name in lower case, with its subcommand after a space: `client list`.
    pub name: String,
    /// Its row in the table; `None` if it is unknown here.
    pub row: Option<&'static CommandRow>,
    /// Its name and its arguments, as they are sent.
    pub arguments: &'a [Vec<u8>],
}

/// Why a text is not a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandError {
    /// It has no name.
    Empty,
    /// Its name has other characters than letters, digits, `.`, `_` and `-`.
    Name,
    /// The command has subcommands, and this names none, or one that is unknown.
    Subcommand(String),
}

impl std::fmt::Display for CommandError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => f.write_str("there is no command"),
            Self::Name => f.write_str(
                "the name of the command is not one of letters, digits, `.`, `_` and `-`",
            ),
            Self::Subcommand(name) => write!(f, "`{name}` is not a known subcommand"),
        }
    }
}

impl<'a> RedisCommand<'a> {
    /// Reads the name of a command.
    ///
    /// # Errors
    /// The name is none that a server could have, or its subcommand is unknown.
    pub fn parse(arguments: &'a [Vec<u8>]) -> Result<Self, CommandError> {
        let first = arguments.first().ok_or(CommandError::Empty)?;
        let mut name = word(first).ok_or(CommandError::Name)?;
        if table::has_subcommands(&name) && (arguments.len() > 1 || name != "command") {
            let subcommand = arguments.get(1).and_then(|argument| word(argument));
            let shown = subcommand.as_deref().unwrap_or_default();
            format!("{name} {shown}").trim_end().clone_into(&mut name);
            if command_row(&name).is_none() {
                return Err(CommandError::Subcommand(name));
            }
        }
        Ok(Self { row: command_row(&name), name, arguments })
    }

    /// The keys that it uses. Of a command that is unknown here, any.
    pub fn keys(&self) -> KeyUse<'a> {
        self.row.map_or(KeyUse::Any, |row| keys::keys_of(row.keys, self.arguments))
    }

    /// Whether an error that the server reports before it runs a command can also come from the
    /// middle of this one: from a command of a script.
    pub fn may_fail_in_the_middle(&self) -> bool {
        self.row.is_none_or(|row| row.naming == CommandNaming::Exact)
    }
}

/// A name in lower case, if it is one.
fn word(argument: &[u8]) -> Option<String> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    let is_word = !argument.is_empty() && argument.len() <= 64 && argument.iter().all(is_plain);
    is_word.then(|| String::from_utf8_lossy(argument).to_ascii_lowercase())
}

/// Whether every key that fits a pattern of the server also fits one of a target. The pattern of the
/// server may have no other special character than `*`.
pub(crate) fn is_within(server_pattern: &[u8], patterns: &[String]) -> bool {
    let Ok(text) = std::str::from_utf8(server_pattern) else { return false };
    // In the comparison a `*` of the server is a character that only a `*` of the target matches,
    // because a pattern of a target has no way to write one literally.
    !text.contains(['?', '[', ']', '\\'])
        && patterns.iter().any(|pattern| crate::pattern_matches(pattern, text))
}

/// The arguments of a command as text: each backslash is doubled, and a byte that is no UTF-8 is
/// `\xHH`, so that two commands never have the same text.
pub fn shown_command(arguments: &[Vec<u8>]) -> Vec<String> {
    arguments.iter().map(|argument| shown_argument(argument)).collect()
}

fn shown_argument(argument: &[u8]) -> String {
    let mut shown = String::with_capacity(argument.len());
    for chunk in argument.utf8_chunks() {
        shown.push_str(&chunk.valid().replace('\\', "\\\\"));
        for byte in chunk.invalid() {
            shown.push_str(&format!("\\x{byte:02x}"));
        }
    }
    shown
}

/// What the server says of a command in its own table, on the connection on which the command is
/// sent next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFacts {
    /// Its flags, such as `write` and `admin`.
    pub flags: Vec<String>,
    /// The keys that it finds in the arguments.
    pub keys: Vec<ServerKey>,
}

/// A key that the server finds in the arguments of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerKey {
    /// Its name.
    pub name: Vec<u8>,
    /// Whether the command may change it; false if the server does not say.
    pub is_changed: bool,
}

impl ServerFacts {
    /// Whether the server gives the command this flag.
    pub fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|known| known.eq_ignore_ascii_case(flag))
    }
}
