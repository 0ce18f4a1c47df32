//! Asks for passphrases. The caller decides how a person is asked.

use age::secrecy::SecretString;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
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
    /// A plugin of age asks for something, such as the PIN of a hardware token.
    Plugin {
        /// The name of the file that names the key.
        key: String,
        /// What the plugin asks for, in its own words without control characters.
        asked: String,
    },
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store { store } => write!(f, "passphrase of the secret store `{store}`"),
            Self::Key { key } => write!(f, "passphrase of the private key `{key}`"),
            Self::Plugin { key, asked } => write!(f, "answer for the key of `{key}`: {asked}"),
        }
    }
}

type Answer = dyn Fn(&Question) -> Option<SecretString> + Send + Sync;
type Show = dyn Fn(&str) + Send + Sync;

/// Asks for passphrases. `None` as an answer means that nobody could be asked or the person gave
/// up.
#[derive(Clone)]
pub struct Prompt {
    answer: Arc<Answer>,
    show: Arc<Show>,
}

impl Prompt {
    /// A prompt that calls `answer` for each question. `answer` returns `None` if nobody can be
    /// asked.
    pub fn new(answer: impl Fn(&Question) -> Option<SecretString> + Send + Sync + 'static) -> Self {
        Self { answer: Arc::new(answer), show: Arc::new(|_| {}) }
    }

    /// The same prompt, which shows what a plugin of age tells, such as "touch the token".
    #[must_use]
    pub fn with_messages(self, show: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { show: Arc::new(show), ..self }
    }

    /// A prompt without answers: for `--no-input`, or without a terminal.
    pub fn none() -> Self {
        Self::new(|_| None)
    }

    /// Shows what a plugin of age tells.
    pub(crate) fn show(&self, message: &str) {
        (self.show)(message);
    }

    /// Asks for the passphrase; `None` if nobody could be asked or the person gave up.
    pub(crate) fn ask(&self, question: &Question) -> Option<SecretString> {
        (self.answer)(question)
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

/// Passes the questions of a plugin to the prompt. Only the first is answered: a plugin repeats a
/// question after a wrong answer, and some tokens lock themselves after three wrong PINs.
#[derive(Clone)]
pub(crate) struct PluginCallbacks {
    prompt: Prompt,
    key: String,
    asked: Arc<AtomicBool>,
}

impl PluginCallbacks {
    pub(crate) fn new(prompt: &Prompt, key: &str) -> Self {
        Self { prompt: prompt.clone(), key: key.to_owned(), asked: Arc::default() }
    }
}

fn without_controls(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

impl age::Callbacks for PluginCallbacks {
    fn display_message(&self, message: &str) {
        self.prompt.show(&without_controls(message));
    }

    fn confirm(&self, _: &str, _: &str, _: Option<&str>) -> Option<bool> {
        None
    }

    fn request_public_string(&self, _: &str) -> Option<String> {
        None
    }

    fn request_passphrase(&self, description: &str) -> Option<SecretString> {
        if self.asked.swap(true, Ordering::Relaxed) {
            return None;
        }
        let (key, asked) = (self.key.clone(), without_controls(description));
        self.prompt.ask(&Question::Plugin { key, asked })
    }
}
