//! Values of files that `sops` encrypted to age recipients: YAML, JSON and dotenv.
//!
//! Such a file has its keys in plain text and each value encrypted by a data key, which stands in
//! the file too, encrypted to each recipient. An authentication code covers all values in their
//! order. A file is read only as a whole: its code is verified before any value is given.
//!
//! The format is that of `sops` 3 (`aes/cipher.go`, `sops.go`): AES-256-GCM with a nonce of 32
//! bytes, whose additional data is the path of the value, and SHA-512 over the plain values.

mod cipher;
mod document;

use crate::identity::Identities;
use crate::prompt::{Prompt, Question};
use crate::secret::Secret;
use crate::store::{Passphrases, StoreError, decrypt};
use age::secrecy::SecretString;
use cipher::{DataKey, EncryptedValue};
use document::{Metadata, Node};
use jiff::Timestamp;
use sha2::{Digest as _, Sha512};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// The first bytes under the code of a file with `mac_only_encrypted`: the SHA-256 of `sops`.
const MAC_ONLY_ENCRYPTED: [u8; 32] = [
    0x8a, 0x3f, 0xd2, 0xad, 0x54, 0xce, 0x66, 0x52, 0x7b, 0x10, 0x34, 0xf3, 0xd1, 0x47, 0xbe, 0x0b,
    0x0b, 0x97, 0x5b, 0x3b, 0xf4, 0x4f, 0x72, 0xc6, 0xfd, 0xad, 0xec, 0x81, 0x76, 0xf2, 0x7d, 0x69,
];

/// The most age recipients of a file. For each one a key is tried, and perhaps a program started.
const MAX_RECIPIENTS: usize = 256;

/// How a file of `sops` is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SopsFormat {
    /// One YAML document.
    Yaml,
    /// A JSON object.
    Json,
    /// Lines of `NAME=value`.
    Dotenv,
}

impl SopsFormat {
    /// The format that the extension of a path says; `None` for another extension.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "yaml" | "yml" => Some(Self::Yaml),
            "json" => Some(Self::Json),
            "env" => Some(Self::Dotenv),
            _ => None,
        }
    }
}

/// The decrypted values of one file.
pub struct SopsFile {
    origin: String,
    /// By path: `db/password`, with `~1` for `/` and `~0` for `~` in a key.
    values: BTreeMap<String, Value>,
    /// The paths at and below which a value may be another one than when `sops` wrote the file.
    ambiguous: Vec<String>,
    modified: Option<Timestamp>,
}

enum Value {
    Encrypted(Secret),
    /// In plain text in the file, so it is no secret.
    Plain,
    /// A table or a list.
    Inner,
}

impl SopsFile {
    /// Decrypts a file and verifies its code. `origin` is its name, for messages and questions.
    ///
    /// # Errors
    /// [`SopsError`] if the file is not of this format, is not encrypted to an age recipient whose
    /// key is among `identities`, or was changed after it was encrypted.
    pub fn open(
        file: &[u8],
        format: SopsFormat,
        origin: &str,
        identities: &Identities,
        prompt: &Prompt,
    ) -> Result<Self, SopsError> {
        let origin_owned = || origin.to_owned();
        let text = std::str::from_utf8(file)
            .map_err(|_| SopsError::Syntax { origin: origin_owned(), reason: "it is not text" })?;
        let (root, metadata) = document::parse(text, format)
            .map_err(|reason| SopsError::Syntax { origin: origin_owned(), reason })?;
        let key = data_key(&metadata, origin, identities, prompt)?;
        let mut reader = TreeReader {
            key: &key,
            is_mac_of_encrypted: metadata.mac_only_encrypted,
            hash: Sha512::new(),
            values: BTreeMap::new(),
            contexts: BTreeMap::new(),
            ambiguous: Vec::new(),
        };
        if metadata.mac_only_encrypted {
            reader.hash.update(MAC_ONLY_ENCRYPTED);
        }
        let changed = || SopsError::Changed { origin: origin_owned() };
        reader.read(&root, "", "").map_err(|NotAuthentic| changed())?;
        let expected = EncryptedValue::parse(&metadata.mac)
            .and_then(|mac| key.decrypt(&mac, &metadata.last_modified))
            .ok_or_else(changed)?;
        let actual: String =
            reader.hash.finalize().iter().map(|byte| format!("{byte:02X}")).collect();
        if expected.expose() != actual.as_bytes() {
            return Err(changed());
        }
        let modified = metadata.last_modified.parse().ok();
        let TreeReader { values, ambiguous, .. } = reader;
        Ok(Self { origin: origin_owned(), values, ambiguous, modified })
    }

    /// The value at a path such as `db/password`.
    ///
    /// # Errors
    /// [`SopsError::Missing`], [`SopsError::NotEncrypted`], [`SopsError::NotAValue`] or
    /// [`SopsError::Ambiguous`].
    pub fn get(&self, path: &str) -> Result<Secret, SopsError> {
        let (origin, path_owned) = (self.origin.clone(), path.to_owned());
        let is_at_or_below = |ambiguous: &String| {
            path.strip_prefix(ambiguous.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if self.ambiguous.iter().any(is_at_or_below) {
            return Err(SopsError::Ambiguous { origin, path: path_owned });
        }
        match self.values.get(path) {
            Some(Value::Encrypted(secret)) => Ok(secret.clone()),
            Some(Value::Plain) => Err(SopsError::NotEncrypted { origin, path: path_owned }),
            Some(Value::Inner) => Err(SopsError::NotAValue { origin, path: path_owned }),
            None => Err(SopsError::Missing { origin, path: path_owned }),
        }
    }

    /// When the file was last changed by `sops`; any of its values may be older.
    pub fn modified(&self) -> Option<Timestamp> {
        self.modified
    }
}

/// The data key of a file, by the first recipient whose key is among `identities`.
fn data_key(
    metadata: &Metadata,
    origin: &str,
    identities: &Identities,
    prompt: &Prompt,
) -> Result<DataKey, SopsError> {
    if metadata.age.is_empty() {
        return Err(SopsError::NoAgeRecipient { origin: origin.to_owned() });
    }
    if metadata.age.len() > MAX_RECIPIENTS {
        let reason = "it is encrypted to more than 256 age recipients";
        return Err(SopsError::Syntax { origin: origin.to_owned(), reason });
    }
    let prompt = asking_once(prompt);
    let mut first_error = None;
    for encrypted in &metadata.age {
        let tried = decrypt(
            encrypted.trim_start().as_bytes(),
            origin,
            identities,
            (&prompt, Passphrases::Refused),
        );
        match tried {
            Ok(opened) => {
                return DataKey::new(&opened.content)
                    .ok_or_else(|| SopsError::Changed { origin: origin.to_owned() });
            }
            Err(error) => {
                first_error.get_or_insert(error);
            }
        }
    }
    Err(first_error
        .map_or_else(|| SopsError::NoAgeRecipient { origin: origin.to_owned() }, SopsError::Key))
}

/// A prompt that asks each question once: a file has one block for each recipient.
fn asking_once(prompt: &Prompt) -> Prompt {
    let (inner, shown) = (prompt.clone(), prompt.clone());
    let answers = Mutex::new(Vec::<(Question, Option<SecretString>)>::new());
    let asked_once = Prompt::new(move |question| {
        let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, answer)) = answers.iter().find(|(asked, _)| asked == question) {
            return answer.clone();
        }
        let answer = inner.ask(question);
        answers.push((question.clone(), answer.clone()));
        answer
    });
    asked_once.with_messages(move |message| shown.show(message))
}

/// A value cannot be decrypted, so it or its key was changed.
struct NotAuthentic;

/// Decrypts the values of a tree in their order.
struct TreeReader<'a> {
    key: &'a DataKey,
    is_mac_of_encrypted: bool,
    hash: Sha512,
    values: BTreeMap<String, Value>,
    /// The path of the value, or of the list, that has a context.
    contexts: BTreeMap<String, String>,
    ambiguous: Vec<String>,
}

impl TreeReader<'_> {
    /// Reads a node. `path` is for its readers, `context` is what `sops` authenticates with each
    /// value: the keys above it, each with a colon. The items of a list all have that of the list.
    fn read(&mut self, node: &Node, path: &str, context: &str) -> Result<(), NotAuthentic> {
        let below = |key: &str| {
            let key = key.replace('~', "~0").replace('/', "~1");
            if path.is_empty() { key } else { format!("{path}/{key}") }
        };
        let value = match node {
            Node::Map(entries) => {
                for (key, node) in entries {
                    let (path, context) = (below(key), format!("{context}{key}:"));
                    self.read(node, &path, &context)?;
                    if matches!(node, Node::Text(_)) {
                        self.note_context(&context, &path);
                    }
                }
                Value::Inner
            }
            Node::List(items) => {
                if !items.iter().all(is_encrypted) {
                    self.ambiguous.push(path.to_owned());
                }
                for (index, node) in items.iter().enumerate() {
                    self.read(node, &below(&index.to_string()), context)?;
                }
                self.note_context(context, path);
                Value::Inner
            }
            Node::Null => Value::Plain,
            Node::Other(text) => self.plain(text),
            Node::Text(text) => match EncryptedValue::parse(text) {
                Some(encrypted) => {
                    let secret = self.key.decrypt(&encrypted, context).ok_or(NotAuthentic)?;
                    self.hash.update(secret.expose());
                    Value::Encrypted(secret)
                }
                None => self.plain(text),
            },
        };
        self.values.insert(path.to_owned(), value);
        Ok(())
    }

    /// Two paths whose values have one context (`"a:b"`, and `b` in `a`) can be exchanged.
    fn note_context(&mut self, context: &str, path: &str) {
        if let Some(other) = self.contexts.insert(context.to_owned(), path.to_owned()) {
            self.ambiguous.extend([other, path.to_owned()]);
        }
    }

    fn plain(&mut self, text: &str) -> Value {
        if !self.is_mac_of_encrypted {
            self.hash.update(text.as_bytes());
        }
        Value::Plain
    }
}

/// Whether a node is an encrypted value. Only among these the code of a file tells where an item of
/// a list stands. It covers the plain values in their order, and neither the shape of lists nor where
/// a text ends: an empty item, a list, a table or a part of another text can be put in, which gives
/// other numbers to the items behind it.
fn is_encrypted(node: &Node) -> bool {
    match node {
        Node::Text(text) => EncryptedValue::parse(text).is_some(),
        Node::Other(_) | Node::Null | Node::List(_) | Node::Map(_) => false,
    }
}

/// Why a value of a file of `sops` cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SopsError {
    /// The file is not what `sops` writes.
    #[error("`{origin}` is not a file that `sops` encrypted: {reason}")]
    Syntax {
        /// The name of the file, as it was given.
        origin: String,
        /// What is wrong with it. It quotes nothing of the file.
        reason: &'static str,
    },
    /// The file has no recipient of age.
    #[error("`{origin}` is encrypted to no age recipient; add yours with `sops rotate --add-age`")]
    NoAgeRecipient {
        /// The name of the file, as it was given.
        origin: String,
    },
    /// The data key cannot be decrypted.
    #[error(transparent)]
    Key(StoreError),
    /// A value, a key or the order of the file was changed without `sops`.
    #[error(
        "`{origin}` was changed after `sops` encrypted it: its authentication code does not match; \
         take it from version control again"
    )]
    Changed {
        /// The name of the file, as it was given.
        origin: String,
    },
    /// The file has no such value.
    #[error("`{origin}` has no value at `{path}`")]
    Missing {
        /// The name of the file, as it was given.
        origin: String,
        /// The path that was asked for.
        path: String,
    },
    /// The value is in plain text in the file.
    #[error("the value at `{path}` of `{origin}` is not encrypted, so it is no secret")]
    NotEncrypted {
        /// The name of the file, as it was given.
        origin: String,
        /// The path that was asked for.
        path: String,
    },
    /// What stands at the path can be changed without the key of the file.
    #[error(
        "the authentication code of `{origin}` does not cover which value stands at `{path}`: its \
         list has an item that is not encrypted, or another key with a colon is taken for the \
         same; give the value a key of its own"
    )]
    Ambiguous {
        /// The name of the file, as it was given.
        origin: String,
        /// The path that was asked for.
        path: String,
    },
    /// A table or a list is at the path.
    #[error("`{path}` of `{origin}` is a table or a list; name one value below it")]
    NotAValue {
        /// The name of the file, as it was given.
        origin: String,
        /// The path that was asked for.
        path: String,
    },
}

#[cfg(test)]
mod tests;
