//! The plan of a step that opens another file: a nested runbook or a suite.

use super::input;
use crate::model::{Group, NestedKind, Param};
use crate::params;
use crate::template::{self, Scope, TemplateError};
use runbook_contract::{Json, StepId};
use std::collections::BTreeMap;
use std::time::Duration;

/// The plan of a step that stands for the steps of a nested file.
#[derive(Debug, Clone)]
pub struct PlannedGroup {
    /// Whether the file is a runbook or a suite.
    pub kind: NestedKind,
    /// The parameters that the file declares.
    pub params: Vec<Param>,
    /// The values that the step gives for them, before templates are rendered.
    pub with: Json,
    /// How many effects of each capability its steps may have together at most.
    pub max_effects: BTreeMap<String, u32>,
    /// How long its steps may take together.
    pub timeout: Option<Duration>,
}

pub(super) fn plan_group(group: &Group) -> PlannedGroup {
    PlannedGroup {
        kind: group.kind,
        params: group.params.clone(),
        with: input(group.with.as_ref()),
        max_effects: group.inner.limits.max_effects.clone(),
        timeout: group.inner.timeout,
    }
}

/// Why the parameters of a nested file have no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ParamsError {
    /// A template has no value.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A value does not fit.
    #[error("{0}")]
    Invalid(String),
}

impl PlannedGroup {
    /// The `params` of its steps, in the scope of the step that stands for the file.
    pub(crate) fn params_in(
        &self,
        scope: &Scope<'_>,
    ) -> Result<serde_json::Map<String, Json>, ParamsError> {
        let given = template::render(&self.with, scope)?;
        let given = given.as_object().cloned().unwrap_or_default();
        params::nested_params(&self.params, &given).map_err(ParamsError::Invalid)
    }
}

impl PlannedGroup {
    /// The parameters whose value comes from a truncated output, each with the name of that output.
    pub(crate) fn truncated_params_in(&self, scope: &Scope<'_>) -> BTreeMap<String, String> {
        let given = self.with.as_object().into_iter().flatten();
        given
            .filter_map(|(name, value)| {
                Some((name.clone(), template::truncated_output_in(value, scope)?))
            })
            .collect()
    }
}

/// The ids of all steps that stand for a nested file around this place, innermost first.
pub(crate) fn enclosing_groups(group: Option<&StepId>) -> impl Iterator<Item = StepId> {
    let mut next = group.cloned();
    std::iter::from_fn(move || {
        let id = next.take()?;
        next = id.as_str().rsplit_once('.').map(|(outer, _)| StepId::new(outer));
        Some(id)
    })
}
