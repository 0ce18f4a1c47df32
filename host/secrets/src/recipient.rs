//! The recipients of a store: the public keys of the `.recipients` file beside it, or a passphrase.

use age::secrecy::SecretString;
use std::collections::BTreeSet;

/// The most recipients of a store. Each adds a line to the header and work to each write.
const MAX_KEYS: usize = 1000;

/// The public keys of a `.recipients` file, without comments. Whether they are keys at all is not
/// looked at, so that no program of a key is needed.
pub fn listed_keys(text: &str) -> BTreeSet<String> {
    let lines = text.lines().map(str::trim);
    let keys = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    // After a key of SSH stands a comment.
    keys.map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")).collect()
}

/// The recipients of a store.
pub struct Recipients(Kind);

enum Kind {
    Keys(Vec<Key>),
    Passphrase(SecretString, WorkFactor),
}

struct Key {
    text: String,
    recipient: Box<dyn age::Recipient>,
}

impl Recipients {
    /// Parses the text of a `.recipients` file: one `age1…`, `ssh-ed25519 …` or `ssh-rsa …` a line,
    /// `#` begins a comment.
    ///
    /// `origin` is the file's name, for messages. At least one key is required: a store that nobody
    /// can open is a mistake.
    ///
    /// # Errors
    /// [`RecipientError::Line`] for the first line that is no public key that age can encrypt to,
    /// [`RecipientError::NoKeys`] if there is no key, [`RecipientError::TooMany`] if there are too
    /// many.
    pub fn parse(text: &str, origin: &str) -> Result<Self, RecipientError> {
        let mut keys: Vec<Key> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = parse_key(line).map_err(|reason| RecipientError::Line {
                origin: origin.to_owned(),
                line: index + 1,
                reason,
            })?;
            if keys.iter().all(|known| known.text != key.text) {
                keys.push(key);
            }
        }
        match keys.len() {
            0 => Err(RecipientError::NoKeys { origin: origin.to_owned() }),
            1..=MAX_KEYS => Ok(Self(Kind::Keys(keys))),
            n => Err(RecipientError::TooMany { origin: origin.to_owned(), n }),
        }
    }

    /// A passphrase as the only recipient: age allows no other recipient beside it.
    pub fn passphrase(passphrase: SecretString, work_factor: WorkFactor) -> Self {
        Self(Kind::Passphrase(passphrase, work_factor))
    }

    /// The public keys, as text without comments; empty for a passphrase.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let keys = match &self.0 {
            Kind::Keys(keys) => keys.as_slice(),
            Kind::Passphrase(..) => &[],
        };
        keys.iter().map(|key| key.text.as_str())
    }

    /// An encryptor for exactly these recipients.
    pub(crate) fn encryptor(&self) -> Result<age::Encryptor, age::EncryptError> {
        match &self.0 {
            Kind::Keys(keys) => {
                age::Encryptor::with_recipients(keys.iter().map(|key| key.recipient.as_ref()))
            }
            Kind::Passphrase(passphrase, work_factor) => {
                let mut recipient = age::scrypt::Recipient::new(passphrase.clone());
                recipient.set_work_factor(work_factor.0);
                age::Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient))
            }
        }
    }
}

fn parse_key(line: &str) -> Result<Key, &'static str> {
    if line.starts_with("AGE-SECRET-KEY-") {
        return Err(
            "is a PRIVATE key; take it out, replace the key, and write the public one (`age1…`)",
        );
    }
    if line.starts_with("age1") {
        let incomplete = "is not a whole `age1…` key; copy it again";
        let Ok(recipient) = line.parse::<age::x25519::Recipient>() else {
            let recipient: age::plugin::Recipient = line.parse().map_err(|_| incomplete)?;
            return plugin_key(&recipient);
        };
        return Ok(Key { text: recipient.to_string(), recipient: Box::new(recipient) });
    }
    if line.starts_with("ssh-") || line.starts_with("ecdsa-") || line.starts_with("sk-") {
        let recipient: age::ssh::Recipient = line.parse().map_err(|error| ssh_reason(&error))?;
        return Ok(Key { text: recipient.to_string(), recipient: Box::new(recipient) });
    }
    Err("is no public key; write `age1…`, `ssh-ed25519 …` or `ssh-rsa …`")
}

/// A key that a program `age-plugin-NAME` encrypts to.
fn plugin_key(recipient: &age::plugin::Recipient) -> Result<Key, &'static str> {
    let (name, keys) = (recipient.plugin(), std::slice::from_ref(recipient));
    let plugin = age::plugin::RecipientPluginV1::new(name, keys, &[], age::NoCallbacks);
    let plugin = plugin.map_err(
        |_| "is a key of a plugin of age, whose program `age-plugin-…` is not in PATH; install it",
    )?;
    Ok(Key { text: recipient.to_string(), recipient: Box::new(plugin) })
}

fn ssh_reason(error: &age::ssh::ParseRecipientKeyError) -> &'static str {
    use age::ssh::ParseRecipientKeyError as Ssh;
    match error {
        Ssh::RsaModulusTooLarge => "is an RSA key of more than 4096 bits, which age does not take",
        Ssh::RsaModulusTooSmall => "is an RSA key of less than 2048 bits, which is too weak",
        Ssh::Unsupported(_) | Ssh::Ignore => {
            "is an SSH key of a kind that age cannot encrypt to; use `ssh-ed25519` or `ssh-rsa`"
        }
        Ssh::Invalid(_) => "is not a whole SSH public key; copy the line of the `.pub` file again",
    }
}

/// How much work one guess of a passphrase costs: scrypt with N = 2^value, 1 to 22.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkFactor(u8);

impl WorkFactor {
    /// 18: what the `age` program uses; 256 MiB of memory and about a second.
    pub const DEFAULT: Self = Self(18);
    /// 22: the most that is accepted when reading, as in the `age` program. It takes 4 GiB of
    /// memory; a file that asks for more is taken for an attack.
    pub(crate) const MAX: Self = Self(22);

    /// A factor of 1 to 22, else `None`. Below 15 is for tests only.
    pub fn try_new(log_n: u8) -> Option<Self> {
        (1..=Self::MAX.0).contains(&log_n).then_some(Self(log_n))
    }

    pub(crate) fn log_n(self) -> u8 {
        self.0
    }
}

impl Default for WorkFactor {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Why a list of recipients cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecipientError {
    /// One line is not a key that can be encrypted to. The text of the line is not repeated: it may
    /// be a private key.
    #[error("{origin}, line {line}: this {reason}")]
    Line {
        /// The name of the list, as it was given.
        origin: String,
        /// The number of the line, counted from 1.
        line: usize,
        /// What is wrong with it, and what to write.
        reason: &'static str,
    },
    /// There is no key at all.
    #[error(
        "{origin} lists nobody to encrypt to; add a line with a public key \
             (`runbook secret keygen` makes a pair)"
    )]
    NoKeys {
        /// The name of the list, as it was given.
        origin: String,
    },
    /// The list has more keys than are allowed.
    #[error("{origin} lists {n} keys; at most {MAX_KEYS} are allowed")]
    TooMany {
        /// The name of the list, as it was given.
        origin: String,
        /// How many keys it has.
        n: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_duplicates_are_ignored() {
        let key = age::x25519::Identity::generate().to_public().to_string();
        let recipients = Recipients::parse(&format!("# ops\n\n{key}\n  {key}  \n"), "r").unwrap();
        assert_eq!(recipients.keys().collect::<Vec<_>>(), [key.as_str()]);
    }

    #[test]
    fn the_listed_keys_are_those_of_the_lines_without_comments() {
        let listed =
            listed_keys("# ops\n\n age1b \nage1a\nssh-ed25519 AAAA  bob@host more\nage1a\n");
        assert_eq!(listed.into_iter().collect::<Vec<_>>(), ["age1a", "age1b", "ssh-ed25519 AAAA"]);
    }

    #[test]
    fn a_bad_line_is_named_and_a_private_key_is_never_repeated() {
        let message =
            |text: &str| Recipients::parse(text, "prod.age.recipients").err().unwrap().to_string();
        assert_eq!(
            message("# x\nage1abc\n"),
            "prod.age.recipients, line 2: this is not a whole `age1…` key; copy it again"
        );
        assert!(message("alice\n").contains("is no public key"));
        assert!(message("ssh-ed25519 AAAA\n").contains("not a whole SSH public key"));
        assert!(message("# nobody\n").contains("lists nobody"));
        let private = message("AGE-SECRET-KEY-1QQQQ");
        assert!(private.contains("PRIVATE") && !private.contains("QQQQ"), "{private}");
    }
}
