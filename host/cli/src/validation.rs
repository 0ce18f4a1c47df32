//! The output of `runbook validate --format json`: one object a file, for editors and CI.

use crate::failure::Failure;
use crate::ui::in_file_order;
use runbook_document::{Diagnostic, Diagnostics, Severity};
use serde::Serialize;
use std::collections::BTreeSet;

/// The version of this form.
const FORMAT: u32 = 1;

/// A file that was checked, and what was found.
#[derive(Debug, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Validation {
    /// The version of this form.
    #[schemars(extend("const" = 1))]
    format: u32,
    /// The file, as it was named.
    file: String,
    /// Whether it can be used.
    ok: bool,
    /// What the file contains, such as `3 steps`; `null` if it cannot be used.
    holds: Option<String>,
    /// Mistakes and warnings, from top to bottom.
    findings: Vec<Finding>,
    /// Why it could not be checked, if no finding says so.
    error: Option<Error>,
    /// Paths that its targets name and that do not exist on this machine. They may exist where it
    /// runs.
    missing: BTreeSet<String>,
}

/// A mistake or a warning, with its location.
#[derive(Debug, Serialize, schemars::JsonSchema)]
struct Finding {
    /// Such as `E0203`; `runbook explain CODE` says more.
    code: &'static str,
    /// `error`: the file cannot be used. `warning`: somebody should look.
    #[schemars(with = "String", extend("enum" = ["error", "warning"]))]
    severity: Severity,
    /// What is wrong, in one line.
    message: String,
    /// The file with the mistake: the one that was checked, or one that it includes.
    file: String,
    /// The line, counted from 1.
    line: usize,
    /// Counted from 1, in characters.
    column: usize,
    /// What to do; `null` if the message says it.
    help: Option<String>,
}

/// Why a file could not be checked.
#[derive(Debug, Serialize, schemars::JsonSchema)]
struct Error {
    /// What happened, with its causes.
    message: String,
    /// What to do, each an imperative.
    help: Vec<String>,
}

impl Finding {
    fn of(diagnostic: &Diagnostic) -> Self {
        let position = diagnostic.position();
        Self {
            code: diagnostic.code,
            severity: diagnostic.severity,
            message: diagnostic.message.clone(),
            file: diagnostic.source.name().to_owned(),
            line: position.line,
            column: position.column,
            help: diagnostic.help.clone(),
        }
    }
}

fn findings(diagnostics: &Diagnostics) -> Vec<Finding> {
    in_file_order(diagnostics).into_iter().map(Finding::of).collect()
}

impl Validation {
    /// The validation of a file that can be used.
    pub fn passed(
        file: String,
        holds: String,
        warnings: &Diagnostics,
        missing: BTreeSet<String>,
    ) -> Self {
        let findings = findings(warnings);
        Self { format: FORMAT, file, ok: true, holds: Some(holds), findings, error: None, missing }
    }

    /// The validation of a file that cannot be used.
    pub fn failed(file: String, failure: &Failure) -> Self {
        let (findings, error) = match failure {
            Failure::Findings { diagnostics, .. } => (findings(diagnostics), None),
            Failure::Error { hints, .. } => {
                (Vec::new(), Some(Error { message: failure.to_single_line(), help: hints.clone() }))
            }
            Failure::BrokenPipe => (Vec::new(), None),
        };
        Self {
            format: FORMAT,
            file,
            ok: false,
            holds: None,
            findings,
            error,
            missing: BTreeSet::new(),
        }
    }

    /// The validation as one JSON object.
    pub fn json(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("its keys are strings")
    }
}

/// The JSON Schema of [`Validation`].
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(Validation).to_value();
    schema["title"] = "runbook validation, JSON form 1".into();
    schema["description"] = "One line of what `runbook validate --format json` writes.".into();
    schema
}
