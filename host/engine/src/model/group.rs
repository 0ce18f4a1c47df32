//! A step that opens another file: a nested runbook, or a suite of checks.

use super::{Param, Runbook};
use runbook_contract::StepId;
use runbook_document::{Located, Source, Table};
use std::sync::Arc;
use std::time::Duration;

/// The file whose steps a step stands for: what `runbook = "FILE"` and `suite = "FILE"` have in
/// common.
#[derive(Debug, Clone, Copy)]
pub struct Nested<'a> {
    /// Whether the file is a runbook or a suite.
    pub kind: NestedKind,
    /// Its name, in the folder of the runbook.
    pub file: &'a Located<String>,
}

/// What a nested file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NestedKind {
    /// A runbook: its preflights, steps and post-conditions are done one after the other, and
    /// undone with the others.
    Runbook,
    /// A suite: all its checks are made, then judged together.
    Suite,
}

impl NestedKind {
    /// Both, with their keys in TOML.
    pub const ALL: &'static [(Self, &'static str)] =
        &[(Self::Runbook, "runbook"), (Self::Suite, "suite")];

    /// The key in TOML.
    pub fn key(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, key)| *key)
    }
}

/// The steps of a nested file, under the id of the step that stands for them: `deploy.backup` is
/// the step `backup` of the runbook that the step `deploy` names.
#[derive(Debug)]
pub struct Group {
    /// The step that stands for them.
    pub id: StepId,
    /// Whether the file is a runbook or a suite.
    pub kind: NestedKind,
    /// The path of the nested file, as it is written.
    pub file: String,
    /// What its steps see as `params`.
    pub params: Vec<Param>,
    /// What the step gives for them, before templates are rendered.
    pub with: Option<Table>,
    /// The file in which the step stands.
    pub source: Arc<Source>,
    /// The file, as it was written.
    pub inner: Runbook,
}

/// What a check of a suite says besides what every step can say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Whether the suite fails when it does.
    pub weight: Criticality,
    /// The tags by which it can be selected.
    pub tags: Vec<String>,
    /// How often who watches the suite makes it, if not as often as the others.
    pub every: Option<Duration>,
}

/// What a check that fails means for its suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Criticality {
    /// The suite fails if the check does.
    Critical,
    /// The suite warns if the check fails.
    Minor,
}
