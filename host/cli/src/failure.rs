//! Why a command stops: an error, the exit status, and hints what to do.
//!
//! The outcome of a run is never a [`Failure`]: that a run failed is a result, not an error.

use crate::exit_status::ExitStatus;
use runbook_document::{Diagnostics, Severity};
use std::error::Error;

/// Why a command stops.
#[derive(Debug)]
pub enum Failure {
    /// Findings about files, each shown at its line.
    Findings {
        /// The exit status.
        status: ExitStatus,
        /// The findings, in the order in which they are shown.
        diagnostics: Diagnostics,
    },
    /// An error, its causes, and hints.
    Error {
        /// The exit status.
        status: ExitStatus,
        /// The error with its causes.
        error: Box<dyn Error + Send + Sync>,
        /// What to do, each an imperative.
        hints: Vec<String>,
    },
    /// The reader of stdout has ended. Nothing is printed, and the exit code is 0.
    BrokenPipe,
}

impl Failure {
    /// An error of the command line or of a file.
    pub fn usage(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Error { status: ExitStatus::Usage, error: error.into(), hints: Vec::new() }
    }

    /// An error of the engine or of a plugin before any effect.
    pub fn engine(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Error { status: ExitStatus::Engine, error: error.into(), hints: Vec::new() }
    }

    /// Something that is refused before anything has run.
    pub fn refused(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Error { status: ExitStatus::Refused, error: error.into(), hints: Vec::new() }
    }

    /// Findings that make a file unusable.
    pub fn findings(diagnostics: Diagnostics) -> Self {
        Self::Findings { status: ExitStatus::Usage, diagnostics }
    }

    /// Adds a hint: what to do, as an imperative.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        if let Self::Error { hints, .. } = &mut self {
            hints.push(hint.into());
        }
        self
    }

    /// The failure in one line, for a table or a review that continues without the failed part: the
    /// first of several findings, and their number.
    pub fn to_single_line(&self) -> String {
        match self {
            Self::Error { error, .. } => {
                let causes = Self::causes(error.as_ref());
                std::iter::once(error.to_string()).chain(causes).collect::<Vec<_>>().join(": ")
            }
            Self::Findings { diagnostics, .. } => {
                let mut errors =
                    diagnostics.iter().filter(|found| found.severity == Severity::Error);
                let Some(first) = errors.next() else { return "unusable".to_owned() };
                let text =
                    format!("{}:{}: {}", first.source.name(), first.position().line, first.message);
                match errors.count() {
                    0 => text,
                    more => format!("{text} (and {more} more)"),
                }
            }
            Self::BrokenPipe => "unusable".to_owned(),
        }
    }

    /// The messages of the causes of an error. A cause that the message before it contains is left
    /// out.
    pub fn causes(error: &dyn Error) -> Vec<String> {
        let (mut last_message, mut causes) = (error.to_string(), Vec::new());
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !last_message.contains(&text) {
                causes.push(text.clone());
                last_message = text;
            }
            cause = error.source();
        }
        causes
    }

    /// The code for `runbook explain`, such as `E0509`, of the error or of its first cause that has
    /// one.
    pub fn code(error: &(dyn Error + 'static)) -> Option<&'static str> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(error) = error.downcast_ref::<runbook_journal::JournalError>() {
                return Some(error.code());
            }
            next = error.source();
        }
        None
    }

    /// The exit status.
    pub fn status(&self) -> ExitStatus {
        match self {
            Self::Findings { status, .. } | Self::Error { status, .. } => *status,
            Self::BrokenPipe => ExitStatus::Success,
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            Self::BrokenPipe
        } else {
            Self::engine(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum TestError {
        #[error("`a` cannot be read: {source}")]
        MessageWithSource { source: std::io::Error },
        #[error("`a` cannot be read")]
        MessageWithoutSource { source: std::io::Error },
    }

    #[test]
    fn a_cause_that_the_message_contains_is_not_repeated() {
        let missing = || std::io::Error::from(std::io::ErrorKind::NotFound);
        let reason = missing().to_string();
        assert_eq!(
            Failure::causes(&TestError::MessageWithSource { source: missing() }),
            Vec::<String>::new()
        );
        assert_eq!(
            Failure::causes(&TestError::MessageWithoutSource { source: missing() }),
            [reason]
        );
    }
}
