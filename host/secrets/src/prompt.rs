//! Asks for passphrases. The caller decides how a person is asked.

use age::secrecy::SecretString;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// What a passphrase is needed for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// The passphrase opens a store that is encrypted with it.
    Store {
        /// The name of the store's file.
        store: String,
    },
    /// The passphrase opens a private key that is itself encrypted.
    Key {
        /// The name of the key's file.
        key: String,
    },
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store { store } => write!(f, "passphrase of the secret store `{store}`"),
            Self::Key { key } => write!(f, "passphrase of the private key `{key}`"),
        }
    }
}

type Answer = dyn Fn(&Question) -> Option<SecretString> + Send + Sync;

/// Asks for passphrases. `None` as an answer means that nobody could be asked or the person gave
/// up.
#[derive(Clone)]
pub struct Prompt(Arc<Answer>);

impl Prompt {
    /// A prompt that calls `answer` for each question. `answer` returns `None` if nobody can be
    /// asked.
    pub fn new(answer: impl Fn(&Question) -> Option<SecretString> + Send + Sync + 'static) -> Self {
        Self(Arc::new(answer))
    }

    /// A prompt without answers: for `--no-input`, or without a terminal.
    pub fn none() -> Self {
        Self::new(|_| None)
    }

    /// Asks for the passphrase; `None` if nobody could be asked or the person gave up.
    pub(crate) fn ask(&self, question: &Question) -> Option<SecretString> {
        (self.0)(question)
    }
}

/// Passes one question from age's callbacks to the prompt, at most once: age asks again for each
/// stanza of a file.
#[derive(Clone)]
pub(crate) struct AgeCallbacks {
    prompt: Prompt,
    question: Question,
    answer: Arc<OnceLock<Option<SecretString>>>,
}

impl AgeCallbacks {
    pub(crate) fn new(prompt: &Prompt, question: Question) -> Self {
        Self { prompt: prompt.clone(), question, answer: Arc::default() }
    }

    /// The question, if it was asked and had no answer.
    pub(crate) fn unanswered_question(&self) -> Option<&Question> {
        matches!(self.answer.get(), Some(None)).then_some(&self.question)
    }

    /// The question, if it was asked.
    pub(crate) fn asked_question(&self) -> Option<&Question> {
        self.answer.get().map(|_| &self.question)
    }
}

impl age::Callbacks for AgeCallbacks {
    fn display_message(&self, _: &str) {}

    fn confirm(&self, _: &str, _: &str, _: Option<&str>) -> Option<bool> {
        None
    }

    fn request_public_string(&self, _: &str) -> Option<String> {
        None
    }

    fn request_passphrase(&self, _: &str) -> Option<SecretString> {
        self.answer.get_or_init(|| self.prompt.ask(&self.question)).clone()
    }
}
