//! A finding about a file, with the place it is about.

use crate::source::{Position, Source, Span};
use std::sync::Arc;

/// How bad a [`Diagnostic`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used; somebody should look.
    Warning,
}

/// One finding about a file: what, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable code, such as `E0203`; each has a page under `docs/errors`.
    pub code: &'static str,
    /// Whether the file can be used in spite of it.
    pub severity: Severity,
    /// What is wrong: lowercase, no final period.
    pub message: String,
    /// The file that the finding is about.
    pub source: Arc<Source>,
    /// The bytes of `source` that the finding is about.
    pub span: Span,
    /// A few words shown at the place.
    pub label: String,
    /// What to do, as one imperative.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A finding that makes the file unusable.
    pub fn error(
        code: &'static str,
        source: &Arc<Source>,
        span: Span,
        message: impl Into<String>,
    ) -> Self {
        Self {
            code,
            severity: Severity::Error,
            message: shown(message),
            source: Arc::clone(source),
            span,
            label: "here".to_owned(),
            help: None,
        }
    }

    /// A finding that leaves the file usable.
    pub fn warning(
        code: &'static str,
        source: &Arc<Source>,
        span: Span,
        message: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, source, span, message) }
    }

    /// Sets the words shown at the place.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = shown(label);
        self
    }

    /// Sets the help: what to do, as one imperative.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(shown(help));
        self
    }

    /// Line and column of the place.
    pub fn position(&self) -> Position {
        self.source.position(self.span.start)
    }
}

/// Text that findings quote comes from files: it is made one line of limited length.
fn shown(text: impl Into<String>) -> String {
    runbook_text::shortened(&runbook_text::line(&text.into()), LONGEST).into_owned()
}

/// Bytes of one text of a finding.
const LONGEST: usize = 2_000;

/// All findings about one or more files, in the order in which they were found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// Adds a finding behind all others.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.0.push(diagnostic);
    }

    /// Adds all findings of another collection.
    pub fn append(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Whether any finding is an error.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// Whether there is no finding at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many findings there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The findings, first found first.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.0.iter()
    }
}

impl Extend<Diagnostic> for Diagnostics {
    fn extend<I: IntoIterator<Item = Diagnostic>>(&mut self, diagnostics: I) {
        self.0.extend(diagnostics);
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
