//! The secrets of one environment, decrypted in memory.

use crate::content::{self, ContentError, Entry, FORMAT};
use crate::identity::{Identities, is_age_file};
use crate::prompt::{AgeCallbacks, Prompt, Question};
use crate::recipient::{Recipients, WorkFactor};
use crate::rotation::{
    self, KeptValues, PendingRotation, Rotation, RotationEnd, RotationError, RotationResult,
    RotationStart,
};
use crate::secret::Secret;
use crate::source::{SourceError, check_name};
use age::armor::{ArmoredReader, ArmoredWriter, Format};
use age::secrecy::SecretString;
use age::{DecryptError, Decryptor};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use zeroize::Zeroizing;

/// The largest decrypted size of a store, because all its secrets are in memory at once.
const MAX_CONTENT_BYTES: u64 = 16 << 20;

/// The secrets of one environment. The default is an empty store.
#[derive(Default)]
pub struct Store {
    entries: BTreeMap<String, Entry>,
    passphrase: Option<SecretString>,
}

impl Store {
    /// Decrypts a store, armored or binary.
    ///
    /// `origin` is the file's name, for messages and questions. A passphrase is asked for only if
    /// the file has one, or if an encrypted key of `identities` fits the file and no plain one
    /// does.
    ///
    /// # Errors
    /// [`StoreError`] if the file is no age file or damaged, no key or passphrase opens it, its
    /// passphrase asks for too much work, it holds more than 16 MiB, or its content is not
    /// understood.
    pub fn open(
        file: &[u8],
        origin: &str,
        identities: &Identities,
        prompt: &Prompt,
    ) -> Result<Self, StoreError> {
        let OpenedFile { content: bytes, passphrase } =
            decrypt(file, origin, identities, (prompt, Passphrases::Accepted))?;
        let text = text_of(bytes, origin)?;
        let entries = content::parse(&text).map_err(|error| content_error(error, origin))?;
        Ok(Self { entries, passphrase })
    }

    /// Encrypts the store, armored, to exactly `recipients`.
    ///
    /// # Errors
    /// [`StoreError::Encrypt`] if age fails.
    pub fn encrypt(&self, recipients: &Recipients) -> Result<Vec<u8>, StoreError> {
        let text = content::render(&self.entries);
        let io_error = |source| StoreError::Encrypt { source: age::EncryptError::Io(source) };
        let encryptor = recipients.encryptor().map_err(|source| StoreError::Encrypt { source })?;
        let armor = ArmoredWriter::wrap_output(Vec::new(), Format::AsciiArmor).map_err(io_error)?;
        let mut writer = encryptor.wrap_output(armor).map_err(io_error)?;
        writer.write_all(text.as_bytes()).map_err(io_error)?;
        writer.finish().and_then(ArmoredWriter::finish).map_err(io_error)
    }

    /// The passphrase with which the store was opened, as recipients for writing it again; `None`
    /// if it was opened with a key.
    pub fn passphrase(&self, work_factor: WorkFactor) -> Option<Recipients> {
        self.passphrase.clone().map(|passphrase| Recipients::passphrase(passphrase, work_factor))
    }

    /// The secret with this name, or `None` if the store has none.
    pub fn get(&self, name: &str) -> Option<Secret> {
        self.entries.get(name).map(|entry| entry.secret.clone())
    }

    /// Sets a secret, new or known; `note` replaces the note if there is one. `now` becomes its
    /// time of change.
    ///
    /// # Errors
    /// [`SourceError::Name`] if `name` is not 1 to 128 letters, digits, `-`, `_` or `.`, beginning
    /// with a letter or digit.
    pub fn set(
        &mut self,
        name: &str,
        secret: Secret,
        now: Timestamp,
        note: Option<String>,
    ) -> Result<(), SourceError> {
        check_name(name)?;
        let note = note.or_else(|| self.entries.get(name).and_then(|entry| entry.note.clone()));
        self.entries.insert(
            name.to_owned(),
            Entry { secret, changed: now, note, rotation: Rotation::default() },
        );
        Ok(())
    }

    /// Begins the rotation of a secret, or continues the one that is under way: `new` is kept beside
    /// the current value until [`end_rotation`](Self::end_rotation). `by` is the run and the step.
    ///
    /// # Errors
    /// [`RotationError`] if there is no such secret or it is not text.
    pub fn begin_rotation(
        &mut self,
        name: &str,
        by: &str,
        new: Secret,
    ) -> Result<RotationStart, RotationError> {
        let Entry { secret, rotation, .. } = self.entry_mut(name)?;
        rotation::begin(secret, rotation, by, new)
    }

    /// Begins to put back the value before the rotation of `by`.
    ///
    /// # Errors
    /// [`RotationError`] if there is no such secret, or it was rotated again since.
    pub fn begin_restore(&mut self, name: &str, by: &str) -> Result<RotationStart, RotationError> {
        let Entry { secret, rotation, .. } = self.entry_mut(name)?;
        rotation::begin_restore(secret, rotation, by)
    }

    /// Ends the rotation that `by` has begun.
    ///
    /// # Errors
    /// [`RotationError::NotBegun`] if it has begun none with this value.
    pub fn end_rotation(
        &mut self,
        name: &str,
        by: &str,
        end: RotationEnd,
        now: Timestamp,
    ) -> Result<RotationResult, RotationError> {
        let Entry { secret, rotation, changed, .. } = self.entry_mut(name)?;
        let result = rotation::end(secret, rotation, by, end)?;
        if result == RotationResult::Completed {
            *changed = now;
        }
        Ok(result)
    }

    /// All values that are kept for a secret, as the step `by` sees them; `None` if the store does
    /// not have it.
    pub fn kept_values(&self, name: &str, by: &str) -> Option<KeptValues> {
        let Entry { secret, rotation, .. } = self.entries.get(name)?;
        Some(rotation::kept_values(secret, rotation, by))
    }

    /// The rotation of a secret that is half done, if one is.
    pub fn pending_rotation(&self, name: &str) -> Option<PendingRotation> {
        rotation::pending(&self.entries.get(name)?.rotation)
    }

    fn entry_mut(&mut self, name: &str) -> Result<&mut Entry, RotationError> {
        let missing = || RotationError::Missing { name: name.to_owned() };
        self.entries.get_mut(name).ok_or_else(missing)
    }

    /// Removes a secret. Returns whether the store had it.
    pub fn remove(&mut self, name: &str) -> bool {
        self.entries.remove(name).is_some()
    }

    /// The names in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Names and values in alphabetical order of the names, as
    /// [`Scrubber::new`](crate::Scrubber::new) takes them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Secret)> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), &entry.secret))
    }

    /// When a secret was last set.
    pub fn changed(&self, name: &str) -> Option<Timestamp> {
        self.entries.get(name).map(|entry| entry.changed)
    }

    /// The note of a secret.
    pub fn note(&self, name: &str) -> Option<&str> {
        self.entries.get(name).and_then(|entry| entry.note.as_deref())
    }
}

/// A decrypted age file.
pub(crate) struct OpenedFile {
    pub(crate) content: Zeroizing<Vec<u8>>,
    /// The passphrase that opened it, if it has one.
    passphrase: Option<SecretString>,
}

/// Whether a file may be encrypted with a passphrase. Each try of one takes memory and time that
/// the file itself chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passphrases {
    /// It may: a store, of which there is one.
    Accepted,
    /// It may not: a part of a file with many.
    Refused,
}

/// Decrypts an age file, armored or binary, as [`Store::open`] says.
pub(crate) fn decrypt(
    file: &[u8],
    origin: &str,
    identities: &Identities,
    (prompt, passphrases): (&Prompt, Passphrases),
) -> Result<OpenedFile, StoreError> {
    if !is_age_file(file) {
        return Err(StoreError::NotAge { origin: origin.to_owned() });
    }
    let binary = dearmor(file).map_err(|_| damaged(origin))?;
    let header = header(&binary).ok_or_else(|| damaged(origin))?;
    let decryptor = Decryptor::new_buffered(binary.as_slice())
        .map_err(|error| decrypt_error(error, origin, identities, &[]))?;
    let mut missing_programs = Vec::new();
    let (identities_to_try, callbacks, passphrase) = if decryptor.is_scrypt() {
        match passphrases {
            Passphrases::Accepted => {}
            Passphrases::Refused => {
                return Err(StoreError::UnexpectedPassphrase { origin: origin.to_owned() });
            }
        }
        let question = Question::Store { store: origin.to_owned() };
        let passphrase =
            prompt.ask(&question).ok_or(StoreError::PassphraseNotGiven { question })?;
        (vec![passphrase_identity(&passphrase)], Vec::new(), Some(passphrase))
    } else {
        let unlocked = identities.unlock(header, prompt);
        missing_programs = unlocked.missing_programs;
        (unlocked.identities, unlocked.callbacks, None)
    };
    let reader =
        decryptor.decrypt(identities_to_try.iter().map(AsRef::as_ref)).map_err(|error| {
            match (error, missing_programs.pop()) {
                (DecryptError::NoMatchingKeys, Some(program)) => {
                    StoreError::MissingPlugin { origin: origin.to_owned(), program }
                }
                (error, _) => decrypt_error(error, origin, identities, &callbacks),
            }
        })?;
    let content = read_content(reader, binary.len(), origin)?;
    Ok(OpenedFile { content, passphrase })
}

fn dearmor(file: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut binary = Vec::with_capacity(file.len());
    ArmoredReader::new(file).read_to_end(&mut binary)?;
    Ok(binary)
}

/// The header of an age file in its binary form, which is plain text up to the line with the
/// authentication code.
fn header(binary: &[u8]) -> Option<&str> {
    let end = binary.windows(5).position(|window| window == b"\n--- ")?;
    std::str::from_utf8(&binary[..end]).ok()
}

fn passphrase_identity(passphrase: &SecretString) -> Box<dyn age::Identity> {
    let mut identity = age::scrypt::Identity::new(passphrase.clone());
    identity.set_max_work_factor(WorkFactor::MAX.log_n());
    Box::new(identity)
}

fn read_content(
    reader: impl Read,
    size_hint: usize,
    origin: &str,
) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    // The plain text is shorter than the file, so the buffer never grows and leaves a copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(size_hint + 64));
    reader.take(MAX_CONTENT_BYTES + 1).read_to_end(&mut bytes).map_err(|_| damaged(origin))?;
    if bytes.len() as u64 > MAX_CONTENT_BYTES {
        return Err(StoreError::TooBig { origin: origin.to_owned() });
    }
    Ok(bytes)
}

fn text_of(mut bytes: Zeroizing<Vec<u8>>, origin: &str) -> Result<Zeroizing<String>, StoreError> {
    match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) => {
            drop(Zeroizing::new(error.into_bytes()));
            Err(StoreError::Content { origin: origin.to_owned(), line: 1 })
        }
    }
}

fn damaged(origin: &str) -> StoreError {
    StoreError::Damaged { origin: origin.to_owned() }
}

fn content_error(error: ContentError, origin: &str) -> StoreError {
    let origin = origin.to_owned();
    match error {
        ContentError::Format { found } => StoreError::Newer { origin, found },
        ContentError::Syntax { line } => StoreError::Content { origin, line },
        ContentError::Secret { name, reason } => StoreError::Entry { origin, name, reason },
    }
}

fn decrypt_error(
    error: DecryptError,
    origin: &str,
    identities: &Identities,
    callbacks: &[AgeCallbacks],
) -> StoreError {
    let asked_question = callbacks.iter().find_map(AgeCallbacks::asked_question).cloned();
    let unanswered_question = callbacks.iter().find_map(AgeCallbacks::unanswered_question).cloned();
    let origin = origin.to_owned();
    match (error, unanswered_question, asked_question) {
        (DecryptError::NoMatchingKeys | DecryptError::KeyDecryptionFailed, Some(question), _) => {
            StoreError::PassphraseNotGiven { question }
        }
        (DecryptError::NoMatchingKeys, None, _) if identities.is_empty() => {
            StoreError::NoIdentity { origin }
        }
        (DecryptError::NoMatchingKeys, None, _) => {
            StoreError::NoMatchingKey { origin, n: identities.len() }
        }
        (
            DecryptError::KeyDecryptionFailed | DecryptError::DecryptionFailed,
            None,
            Some(question),
        ) => StoreError::WrongPassphrase { question },
        (DecryptError::DecryptionFailed, None, None) => {
            StoreError::WrongPassphrase { question: Question::Store { store: origin } }
        }
        (DecryptError::ExcessiveWork { required, .. }, ..) => {
            StoreError::TooMuchWork { origin, required }
        }
        _ => StoreError::Damaged { origin },
    }
}

/// Why a store cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file is no age file.
    #[error("`{origin}` is not an age file; make a store with `runbook secret set`")]
    NotAge {
        /// The name of the store's file, as it was given.
        origin: String,
    },
    /// The file was cut off or changed.
    #[error("`{origin}` is damaged: it was cut off or changed; take it from version control again")]
    Damaged {
        /// The name of the store's file, as it was given.
        origin: String,
    },
    /// A key is needed, and there is none at all.
    #[error(
        "`{origin}` is opened with a private key, and there is none; give one, or make one \
             with `runbook secret keygen`"
    )]
    NoIdentity {
        /// The name of the store's file, as it was given.
        origin: String,
    },
    /// None of the keys opens the store.
    #[error(
        "`{origin}` is not encrypted to any of your keys ({n} tried); give another key, or ask \
             somebody who can open it to add yours to `{origin}.recipients`"
    )]
    NoMatchingKey {
        /// The name of the store's file, as it was given.
        origin: String,
        /// How many keys were tried.
        n: usize,
    },
    /// The program that holds a key is not there.
    #[error(
        "`{origin}` may be opened with a key of the program `{program}`, which is not in PATH; \
             install it, or give another key"
    )]
    MissingPlugin {
        /// The name of the store's file, as it was given.
        origin: String,
        /// The program that was looked for.
        program: String,
    },
    /// A passphrase was needed and not given.
    #[error(
        "the {question} was not given; run this on a terminal, or use a key without a passphrase"
    )]
    PassphraseNotGiven {
        /// What the passphrase was needed for.
        question: Question,
    },
    /// The passphrase is wrong.
    #[error("the {question} is wrong; try again")]
    WrongPassphrase {
        /// What the passphrase was needed for.
        question: Question,
    },
    /// The file asks for more work than is sensible.
    #[error("`{origin}` asks for a scrypt work factor of {required}, more than {max} is refused; \
             encrypt it again with less", max = WorkFactor::MAX.log_n())]
    TooMuchWork {
        /// The name of the store's file, as it was given.
        origin: String,
        /// The work factor that the file asks for: scrypt with N = 2^factor.
        required: u8,
    },
    /// A part of a file is encrypted with a passphrase, which is not tried.
    #[error(
        "`{origin}` has a key that is encrypted with a passphrase, which is not tried; \
             encrypt it to age keys"
    )]
    UnexpectedPassphrase {
        /// The name of the file, as it was given.
        origin: String,
    },
    /// The store holds more than 16 MiB of secrets.
    #[error("`{origin}` holds more than 16 MiB; keep big files elsewhere and their keys here")]
    TooBig {
        /// The name of the store's file, as it was given.
        origin: String,
    },
    /// Written by a newer program.
    #[error("`{origin}` has format {found}, this program reads format {FORMAT}; upgrade runbook")]
    Newer {
        /// The name of the store's file, as it was given.
        origin: String,
        /// The format of the file.
        found: u32,
    },
    /// The decrypted text is no TOML of a store. It is not quoted, because it is secret.
    #[error(
        "the decrypted content of `{origin}` is not understood at line {line}; look at it with \
             `age -d` and put it right"
    )]
    Content {
        /// The name of the store's file, as it was given.
        origin: String,
        /// The line of the decrypted text, from 1.
        line: usize,
    },
    /// One secret in the decrypted text is wrong.
    #[error("secret `{name}` in `{origin}` {reason}")]
    Entry {
        /// The name of the store's file, as it was given.
        origin: String,
        /// The name of the secret that is wrong.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The library `age` could not encrypt the store.
    #[error("the store cannot be encrypted")]
    Encrypt {
        /// The error that age gave.
        #[source]
        source: age::EncryptError,
    },
}
