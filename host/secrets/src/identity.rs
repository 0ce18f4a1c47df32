//! The private keys that open a store.

use crate::prompt::{AgeCallbacks, PluginCallbacks, Prompt, Question};
use crate::recipient::WorkFactor;
use age::secrecy::{ExposeSecret, SecretString};
use age::ssh;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use zeroize::Zeroizing;

/// Private keys, from identity files of age and SSH private keys. One that fits is enough to open a
/// store.
#[derive(Default)]
pub struct Identities {
    entries: Vec<Entry>,
    recipients: Vec<String>,
}

enum Entry {
    Native(age::x25519::Identity),
    Ssh(ssh::Identity),
    /// An SSH key that is encrypted with a passphrase. `tag` is the name of the key in the header
    /// of a file, so that the passphrase is asked for only if the file can be opened with the key.
    EncryptedSsh {
        identity: ssh::Identity,
        origin: String,
        tag: String,
    },
    /// A key that a program `age-plugin-NAME` holds, such as that of a hardware token.
    Plugin {
        identity: age::plugin::Identity,
        origin: String,
    },
    /// An identity file that is itself an age file with a passphrase, as `age-keygen | age -p`
    /// makes.
    EncryptedFile {
        bytes: Zeroizing<Vec<u8>>,
        origin: String,
    },
}

/// What age can try on one file.
pub(crate) struct Unlocked {
    /// Those without a passphrase first, those of plugins last.
    pub(crate) identities: Vec<Box<dyn age::Identity>>,
    /// The callbacks by which they may ask for a passphrase.
    pub(crate) callbacks: Vec<AgeCallbacks>,
    /// The programs of plugins that are not in `PATH`.
    pub(crate) missing_programs: Vec<String>,
}

impl Identities {
    /// Adds the keys of one file: `AGE-SECRET-KEY-1…` and `AGE-PLUGIN-…` lines, an SSH private key, or an age file
    /// with a passphrase that holds the former. `origin` is the file's name, for messages and
    /// questions.
    ///
    /// # Errors
    /// [`IdentityError`] if the text is no identity file, holds no key, or holds a line or an SSH
    /// key that age cannot use. Keys of the lines before a bad line stay added.
    pub fn add(&mut self, text: &[u8], origin: &str) -> Result<(), IdentityError> {
        let origin_owned = || origin.to_owned();
        if is_age_file(text) {
            self.entries.push(Entry::EncryptedFile {
                bytes: Zeroizing::new(text.to_vec()),
                origin: origin_owned(),
            });
            return Ok(());
        }
        let text = std::str::from_utf8(text)
            .map_err(|_| IdentityError::NotText { origin: origin_owned() })?;
        if text.trim_start().starts_with("-----BEGIN ") {
            return self.add_ssh(text, origin);
        }
        self.add_native(text, origin)
    }

    /// How many keys there are (an encrypted identity file counts as one).
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no key at all.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The public keys, for a new `.recipients` file. Those of identity files with a passphrase are
    /// not known.
    pub fn recipients(&self) -> impl Iterator<Item = &str> {
        self.recipients.iter().map(String::as_str)
    }

    fn add_native(&mut self, text: &str, origin: &str) -> Result<(), IdentityError> {
        let n_before = self.entries.len();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let line_error = || IdentityError::Line { origin: origin.to_owned(), line: index + 1 };
            if line.starts_with("AGE-PLUGIN-") {
                let identity = line.parse().map_err(|_| line_error())?;
                self.entries.push(Entry::Plugin { identity, origin: origin.to_owned() });
                continue;
            }
            let identity: age::x25519::Identity = line.parse().map_err(|_| line_error())?;
            self.recipients.push(identity.to_public().to_string());
            self.entries.push(Entry::Native(identity));
        }
        if self.entries.len() == n_before {
            Err(IdentityError::NoKey { origin: origin.to_owned() })
        } else {
            Ok(())
        }
    }

    fn add_ssh(&mut self, text: &str, origin: &str) -> Result<(), IdentityError> {
        let origin_owned = || origin.to_owned();
        let identity = ssh::Identity::from_buffer(text.as_bytes(), Some(origin_owned()))
            .map_err(|_| IdentityError::Ssh { origin: origin_owned() })?;
        let recipient = ssh::Recipient::try_from(identity.clone())
            .map_err(|_| IdentityError::SshKind { origin: origin_owned() })?;
        let recipient = recipient.to_string();
        self.entries.push(match identity {
            ssh::Identity::Unencrypted(_) => Entry::Ssh(identity),
            ssh::Identity::Encrypted(_) => {
                Entry::EncryptedSsh { identity, origin: origin_owned(), tag: ssh_tag(&recipient) }
            }
            ssh::Identity::Unsupported(_) => {
                return Err(IdentityError::SshKind { origin: origin_owned() });
            }
        });
        self.recipients.push(recipient);
        Ok(())
    }

    /// The identities that age can try on a file with this header.
    pub(crate) fn unlock(&self, header: &str, prompt: &Prompt) -> Unlocked {
        let mut without_passphrase: Vec<Box<dyn age::Identity>> = Vec::new();
        let mut with_passphrase: Vec<Box<dyn age::Identity>> = Vec::new();
        let mut of_plugins: Vec<Box<dyn age::Identity>> = Vec::new();
        let mut missing_programs = Vec::new();
        let mut callbacks = Vec::new();
        let mut callback = |origin: &str| {
            let callback = AgeCallbacks::new(prompt, Question::Key { key: origin.to_owned() });
            callbacks.push(callback.clone());
            callback
        };
        for entry in &self.entries {
            match entry {
                Entry::Native(identity) => without_passphrase.push(Box::new(identity.clone())),
                Entry::Ssh(identity) => without_passphrase.push(Box::new(identity.clone())),
                Entry::EncryptedSsh { identity, origin, tag } => {
                    if header.lines().any(|line| {
                        line.starts_with("-> ssh-") && line.split(' ').nth(2) == Some(tag)
                    }) {
                        with_passphrase
                            .push(Box::new(identity.clone().with_callbacks(callback(origin))));
                    }
                }
                Entry::Plugin { identity, origin } => {
                    let callbacks = PluginCallbacks::new(prompt, origin);
                    let (name, keys) = (identity.plugin(), std::slice::from_ref(identity));
                    match age::plugin::IdentityPluginV1::new(name, keys, callbacks) {
                        Ok(plugin) => of_plugins.push(Box::new(plugin)),
                        Err(_) => missing_programs.push(format!("age-plugin-{name}")),
                    }
                }
                Entry::EncryptedFile { bytes, origin } => {
                    // Such a file contains only native keys of age, which cannot open a store that
                    // is encrypted to SSH keys only.
                    if header.contains("\n-> X25519 ") {
                        with_passphrase.extend(encrypted_file(bytes, origin, callback(origin)));
                    }
                }
            }
        }
        without_passphrase.append(&mut with_passphrase);
        without_passphrase.append(&mut of_plugins);
        Unlocked { identities: without_passphrase, callbacks, missing_programs }
    }
}

fn encrypted_file(
    bytes: &[u8],
    origin: &str,
    callback: AgeCallbacks,
) -> Option<Box<dyn age::Identity>> {
    let reader = std::io::Cursor::new(Zeroizing::new(bytes.to_vec()));
    let reader = age::armor::ArmoredReader::new(reader);
    // A file that is not encrypted with a passphrase counts as a key that does not fit.
    age::encrypted::Identity::from_buffer(
        reader,
        Some(origin.to_owned()),
        callback,
        Some(WorkFactor::MAX.log_n()),
    )
    .ok()
    .flatten()
    .map(|identity| Box::new(identity) as Box<dyn age::Identity>)
}

/// Whether the bytes begin as an age file does, armored or binary.
pub(crate) fn is_age_file(bytes: &[u8]) -> bool {
    bytes.starts_with(b"age-encryption.org/")
        || bytes.trim_ascii_start().starts_with(b"-----BEGIN AGE ENCRYPTED FILE-----")
}

/// The name of an SSH key in the header of an age file: the first 32 bits of the digest of its
/// public half.
fn ssh_tag(public: &str) -> String {
    let blob =
        public.split(' ').nth(1).and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
    STANDARD_NO_PAD.encode(&Sha256::digest(blob)[..4])
}

/// A key pair that was just made.
pub struct NewIdentity {
    text: Zeroizing<String>,
    recipient: String,
}

impl NewIdentity {
    /// The text of the identity file, as `age-keygen` writes it. Write it with
    /// [`files::write_private`](crate::files::write_private).
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The public key (`age1…`), for `.recipients` files.
    pub fn recipient(&self) -> &str {
        &self.recipient
    }
}

/// Makes a new X25519 key pair from the system's random numbers; `created` is written as a comment.
pub fn keygen(created: jiff::Timestamp) -> NewIdentity {
    let identity = age::x25519::Identity::generate();
    let recipient = identity.to_public().to_string();
    let secret: SecretString = identity.to_string();
    // Capacity for the whole text, so that the string never grows and leaves a copy of the key
    // behind.
    let mut text = Zeroizing::new(String::with_capacity(512));
    writeln!(
        text,
        "# created: {created:.0}\n# public key: {recipient}\n{}",
        secret.expose_secret()
    )
    .expect("writing to a string cannot fail");
    NewIdentity { text, recipient }
}

/// Why a file holds no usable private key. Errors never quote the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Neither text nor an age file.
    #[error(
        "`{origin}` is not an identity file; give one that `runbook secret keygen`, \
             `age-keygen` or `ssh-keygen` made"
    )]
    NotText {
        /// The name of the file, as it was given.
        origin: String,
    },
    /// One line is not a private key of age.
    #[error(
        "`{origin}`, line {line}: this is not a whole `AGE-SECRET-KEY-1…` or `AGE-PLUGIN-…` key; copy it \
             again"
    )]
    Line {
        /// The name of the file, as it was given.
        origin: String,
        /// The number of the line, counted from 1.
        line: usize,
    },
    /// The file holds comments and empty lines only.
    #[error("`{origin}` holds no private key; make one with `runbook secret keygen`")]
    NoKey {
        /// The name of the file, as it was given.
        origin: String,
    },
    /// It begins like an SSH private key, and is none.
    #[error(
        "`{origin}` is not a whole SSH private key; check that all lines from BEGIN to END are \
             there"
    )]
    Ssh {
        /// The name of the file, as it was given.
        origin: String,
    },
    /// An SSH key of a kind that age does not support.
    #[error(
        "`{origin}` is an SSH key of a kind that age cannot use; use an `ssh-ed25519` or \
             `ssh-rsa` key"
    )]
    SshKind {
        /// The name of the file, as it was given.
        origin: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_is_written_as_age_keygen_does_and_read_again() {
        let key = keygen(jiff::Timestamp::UNIX_EPOCH);
        assert!(
            key.text().starts_with("# created: 1970-01-01T00:00:00Z\n# public key: age1"),
            "{}",
            key.text()
        );
        let mut identities = Identities::default();
        identities.add(key.text().as_bytes(), "key.txt").unwrap();
        assert_eq!(identities.recipients().collect::<Vec<_>>(), [key.recipient()]);
    }

    #[test]
    fn a_file_without_a_key_is_refused_without_repeating_it() {
        let message = |text: &[u8]| Identities::default().add(text, "k").unwrap_err().to_string();
        assert!(message(b"# only a comment\n").contains("holds no private key"));
        assert_eq!(
            message(b"#\nhunter2hunter2\n"),
            "`k`, line 2: this is not a whole `AGE-SECRET-KEY-1…` or `AGE-PLUGIN-…` key; copy it \
             again"
        );
        assert!(message(b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n").contains("BEGIN to END"));
        assert!(message(&[0xff, 0xfe]).contains("not an identity file"));
    }
}
