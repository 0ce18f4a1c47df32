//! Nested files: the runbook or suite for which a step stands.

use super::{Param, Runbook};
use runbook_contract::StepId;
use runbook_document::{Source, Spanned, Table};
use std::sync::Arc;
use std::time::Duration;

/// The file that a step nests: `runbook = "FILE"` or `suite = "FILE"`.
#[derive(Debug, Clone, Copy)]
pub struct NestedFile<'a> {
    /// Whether the file is a runbook or a suite.
    pub kind: NestedKind,
    /// Its name, in the folder of the runbook.
    pub file: &'a Spanned<String>,
}

/// The kind of a nested file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NestedKind {
    /// A runbook: its preflights, steps and verifies become steps of the run, and are undone with
    /// the others.
    Runbook,
    /// A suite: all its checks are made, and have one combined result.
    Suite,
}

impl NestedKind {
    /// All values, with their keys in TOML.
    pub const ALL: &'static [(Self, &'static str)] =
        &[(Self::Runbook, "runbook"), (Self::Suite, "suite")];

    /// The key in TOML.
    pub fn key(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, key)| *key)
    }
}

/// A nested file and the step that stands for its steps. Their ids begin with the id of that step:
/// `deploy.backup` is the step `backup` of the runbook that the step `deploy` nests.
#[derive(Debug)]
pub struct Group {
    /// The step that stands for the steps of the file.
    pub id: StepId,
    /// Whether the file is a runbook or a suite.
    pub kind: NestedKind,
    /// The path of the nested file, as it is written.
    pub file: String,
    /// The parameters that the file declares.
    pub params: Vec<Param>,
    /// The values that the step gives for them, before templates are rendered.
    pub with: Option<Table>,
    /// The file in which the step stands.
    pub source: Arc<Source>,
    /// The parsed file.
    pub inner: Runbook,
}

/// The fields of a check of a suite that other steps do not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What its failure means for the suite.
    pub criticality: Criticality,
    /// The tags by which it can be selected.
    pub tags: Vec<String>,
    /// How often a watched suite makes it; `None` is as often as the other checks.
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
