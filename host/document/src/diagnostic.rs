//! Diagnostics: messages about files, each with its span.

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

/// One message about a file: what is wrong, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable code, such as `E0203`; each has a page under `docs/errors`.
    pub code: &'static str,
    /// Whether the file can be used in spite of it.
    pub severity: Severity,
    /// What is wrong: lowercase, no final period.
    pub message: String,
    /// The file that the diagnostic is about.
    pub source: Arc<Source>,
    /// The bytes of `source` that the diagnostic is about.
    pub span: Span,
    /// A few words shown at the span.
    pub label: String,
    /// What to do, as one imperative.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A diagnostic that makes the file unusable.
    pub fn error(
        code: &'static str,
        source: &Arc<Source>,
        span: Span,
        message: impl Into<String>,
    ) -> Self {
        Self {
            code,
            severity: Severity::Error,
            message: sanitize(message),
            source: Arc::clone(source),
            span,
            label: "here".to_owned(),
            help: None,
        }
    }

    /// A diagnostic that leaves the file usable.
    pub fn warning(
        code: &'static str,
        source: &Arc<Source>,
        span: Span,
        message: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, source, span, message) }
    }

    /// Sets the words shown at the span.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = sanitize(label);
        self
    }

    /// Sets the help: what to do, as one imperative.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(sanitize(help));
        self
    }

    /// Line and column of the begin of the span.
    pub fn position(&self) -> Position {
        self.source.position(self.span.start)
    }
}

/// One line of limited length: texts of diagnostics quote untrusted files.
fn sanitize(text: impl Into<String>) -> String {
    runbook_text::shortened(&runbook_text::line(&text.into()), MAX_TEXT_BYTES).into_owned()
}

/// The most bytes of one text of a diagnostic.
const MAX_TEXT_BYTES: usize = 2_000;

/// All diagnostics about one or more files, in the order in which they were found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// Adds a diagnostic at the end.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.0.push(diagnostic);
    }

    /// Adds all diagnostics of another collection.
    pub fn append(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Whether any diagnostic is an error.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// Whether there is no diagnostic.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many diagnostics there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The diagnostics, in the order in which they were found.
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
