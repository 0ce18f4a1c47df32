//! The error of a sandbox that cannot be set up.

use serde::{Deserialize, Serialize};

/// A mechanism for the sandbox that this system lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("its sandbox cannot be set up here: {part} ({reason})")]
pub struct MissingFeature {
    /// The mechanism.
    pub part: String,
    /// Why it cannot be used.
    pub reason: String,
}

impl MissingFeature {
    pub(crate) fn new(part: &str, reason: impl std::fmt::Display) -> Self {
        Self { part: part.to_owned(), reason: reason.to_string() }
    }
}
