//! The database of a server of Redis that the runbook bound to a slot.

use crate::bindings::runbook::redis::{reader, types, writer};
use crate::fault::{Fault, Result};
use crate::native::host;
use crate::operation::{Effect, arguments_effect};
use crate::slot::Slot;

/// A slot that is bound to one database. The host holds the address and the password of its server.
#[derive(Debug, Clone)]
pub struct Database {
    slot: Slot,
}

/// What a server answers to a command.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// There is nothing, such as no key of this name.
    Nil,
    /// A number.
    Integer(i64),
    /// Bytes, which need not be UTF-8.
    Text(Vec<u8>),
    /// A word of the server, such as `OK`.
    Status(String),
    /// An error inside of a sequence.
    Failure(String),
    /// Several replies.
    Sequence(Vec<Self>),
}

impl Database {
    /// The database of a slot of `plugin.toml`.
    pub fn slot(slot: Slot) -> Self {
        Self { slot }
    }

    /// Sends a command that changes nothing: its name and its arguments.
    ///
    /// # Errors
    /// `denied` if the grant does not allow the command or one of its keys, or if the command
    /// changes something; `invalid` if the server does not accept it or the login; `conflict` if
    /// the key holds another type; `limit` if the answer is larger than the target allows;
    /// `transient` if the server cannot be reached or is loading; `timeout` if it is silent.
    #[track_caller]
    pub fn read<A: AsRef<[u8]>>(&self, command: impl IntoIterator<Item = A>) -> Result<Reply> {
        let items = host!("redis/reader.read", reader::read(self.slot.name(), &bytes(command)))?;
        Reply::from_items(items)
    }

    /// Sends a command that may change something.
    ///
    /// # Errors
    /// As [`read`](Self::read); `unknown` if the connection broke after the command was sent: it may
    /// have taken effect.
    #[track_caller]
    pub fn write<A: AsRef<[u8]>>(&self, command: impl IntoIterator<Item = A>) -> Result<Reply> {
        let items = host!("redis/writer.write", writer::write(self.slot.name(), &bytes(command)))?;
        Reply::from_items(items)
    }
}

fn bytes<A: AsRef<[u8]>>(command: impl IntoIterator<Item = A>) -> Vec<Vec<u8>> {
    command.into_iter().map(|argument| argument.as_ref().to_vec()).collect()
}

/// One command that a step would send, shown word for word. If a person approves it, the host lets
/// exactly this command through, once for each time that it is shown.
pub fn command_effect(target: impl Into<String>, command: &[&str]) -> Effect {
    let arguments: Vec<String> =
        command.iter().map(|argument| argument.replace('\\', "\\\\")).collect();
    arguments_effect("redis.write", target, &arguments)
}

impl Reply {
    fn from_items(items: Vec<types::Item>) -> Result<Self> {
        let mut items = items.into_iter();
        Self::next(&mut items)
            .ok_or_else(|| Fault::invalid("redis.reply", "the reply of the host is incomplete"))
    }

    fn next(items: &mut std::vec::IntoIter<types::Item>) -> Option<Self> {
        Some(match items.next()? {
            types::Item::Nil => Self::Nil,
            types::Item::Integer(number) => Self::Integer(number),
            types::Item::Text(bytes) => Self::Text(bytes),
            types::Item::Status(word) => Self::Status(word),
            types::Item::Failure(message) => Self::Failure(message),
            types::Item::Sequence(count) => {
                Self::Sequence((0..count).map(|_| Self::next(items)).collect::<Option<_>>()?)
            }
        })
    }

    /// The number, also if the server wrote it as text.
    pub fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            Self::Text(_) | Self::Status(_) => self.text()?.parse().ok(),
            Self::Nil | Self::Failure(_) | Self::Sequence(_) => None,
        }
    }

    /// The text, if it is UTF-8.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(bytes) => std::str::from_utf8(bytes).ok(),
            Self::Status(word) => Some(word),
            Self::Nil | Self::Integer(_) | Self::Failure(_) | Self::Sequence(_) => None,
        }
    }

    /// The parts of a sequence; of any other reply, itself.
    pub fn parts(&self) -> &[Self] {
        match self {
            Self::Sequence(parts) => parts,
            Self::Nil | Self::Integer(_) | Self::Text(_) | Self::Status(_) | Self::Failure(_) => {
                std::slice::from_ref(self)
            }
        }
    }

    /// Whether there is nothing.
    pub fn is_nil(&self) -> bool {
        *self == Self::Nil
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::Item;

    #[test]
    fn a_reply_is_read_from_its_items_and_an_incomplete_one_is_a_fault() {
        let items = vec![
            Item::Sequence(3),
            Item::Integer(1),
            Item::Sequence(1),
            Item::Text(b"a".to_vec()),
            Item::Nil,
        ];
        let nested = Reply::Sequence(vec![Reply::Text(b"a".to_vec())]);
        let expected = Reply::Sequence(vec![Reply::Integer(1), nested, Reply::Nil]);
        assert_eq!(Reply::from_items(items).expect("complete"), expected);
        assert!(Reply::from_items(vec![Item::Sequence(2), Item::Nil]).is_err());
        assert!(Reply::from_items(Vec::new()).is_err());
        assert_eq!(Reply::Text(b"42".to_vec()).integer(), Some(42));
    }
}
