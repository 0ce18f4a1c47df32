//! The values of a run that templates can use.

use crate::event::SkipReason;
use crate::plan::{Plan, PlannedExpectation, PlannedStep};
use crate::state::{RunState, StepPhase};
use crate::template::{self, Scope, StepView, TemplateError};
use jiff::Timestamp;
use runbook_contract::{Json, Outcome, StepId};
use std::collections::BTreeMap;
use std::time::Duration;

/// The values that the templates of a step can use.
pub(crate) struct StepScope<'a> {
    /// The step; `None` for the templates of notifications.
    pub step: Option<&'a PlannedStep>,
    /// What is known of a step, by its key in the whole runbook.
    pub views: &'a dyn Fn(&str) -> Option<(StepId, StepView)>,
    /// The parameters of the file in which the step stands.
    pub params: serde_json::Map<String, Json>,
    /// The parameters whose value comes from a truncated output, each with the name of that output.
    pub truncated_params: BTreeMap<String, String>,
    /// What templates see as `run`.
    pub run: serde_json::Map<String, Json>,
}

impl StepScope<'_> {
    /// Calls `read` with this scope. An item sees its own value; a step of a nested file sees the
    /// parameters and steps of that file.
    pub(crate) fn read<T>(self, read: impl FnOnce(&Scope<'_>) -> T) -> T {
        let Self { step, views, params, truncated_params, run } = self;
        let group = step.and_then(|step| step.group.as_ref());
        let item = step.and_then(|step| step.item.as_ref());
        let locals = item.iter().map(|item| (item.name.clone(), item.value.clone())).collect();
        let view_in_file = |key: &str| match group {
            Some(group) => views(&template::inner_key(group, key)),
            None => views(key),
        };
        read(&Scope {
            params,
            steps: &view_in_file,
            run,
            locals,
            truncated_params,
            ..Scope::default()
        })
    }
}

/// What a template can use of the step with this key.
pub(crate) fn view(plan: &Plan, state: &RunState, key: &str) -> Option<(StepId, StepView)> {
    let id = plan.by_template_key(key)?;
    Some((id.clone(), view_of(state, id)))
}

/// What a template can use of the step with this id.
pub(crate) fn view_of(state: &RunState, id: &StepId) -> StepView {
    let step = state.step(id);
    let absent = |reason: &str| StepView::Absent(reason.to_owned());
    match (step.phase, &step.output) {
        (
            StepPhase::Pending
            | StepPhase::Repeating
            | StepPhase::Asking
            | StepPhase::Waiting(_)
            | StepPhase::Running,
            _,
        ) => absent("the step has not ended"),
        (StepPhase::Skipped(SkipReason::Assumed), Some(output)) => {
            StepView::Done { outcome: Outcome::Pass.name(), output: output.clone() }
        }
        (StepPhase::Skipped(_), _) => absent("the step was skipped"),
        (StepPhase::Failed(_) | StepPhase::Unknown, None) => absent("the step failed"),
        (_, Some(output)) => {
            let outcome = step.outcome.unwrap_or(Outcome::Pass).name();
            StepView::Done { outcome, output: output.clone() }
        }
        (_, None) => absent("the step has no output"),
    }
}

/// The facts of a run that templates see as `run`.
pub(crate) struct RunFacts<'a> {
    pub id: String,
    pub operator: &'a str,
    pub environment: Option<&'a str>,
    /// How long the run has been executed.
    pub took: Duration,
}

/// `run.outcome` while steps run.
pub(crate) const RUNNING: &str = "running";

/// The values of `run.…`. `outcome_until_end` is the value of `run.outcome` until the end of the
/// run is known.
pub(crate) fn run_values(
    state: &RunState,
    facts: &RunFacts<'_>,
    outcome_until_end: &str,
) -> serde_json::Map<String, Json> {
    // Searched only at the end, because a search for each step would be quadratic.
    let is_failed = |step: &&crate::event::StepListing| {
        matches!(state.step(&step.id).phase, StepPhase::Failed(_))
    };
    let failed =
        (outcome_until_end != RUNNING).then(|| state.order.iter().find(is_failed)).flatten();
    let cause = state.cause.as_ref().map(describe_cause).unwrap_or_default();
    let values = serde_json::json!({
        "id": facts.id,
        "name": state.runbook,
        "title": state.title,
        "started": state.started.to_string(),
        "environment": facts.environment.unwrap_or_default(),
        "operator": facts.operator,
        "outcome": state.end.map_or_else(|| outcome_until_end.to_owned(), |end| end.name().to_owned()),
        "duration": runbook_document::format_duration(facts.took),
        "cause": cause,
        "failed_step": failed.map(|step| step.id.as_str()).unwrap_or_default(),
    });
    if let Json::Object(values) = values { values } else { serde_json::Map::new() }
}

/// Why a run did not succeed, in one line.
pub fn describe_cause(cause: &crate::event::Cause) -> String {
    use crate::event::Cause;
    match cause {
        Cause::Preflight { step } => format!("preflight `{step}` failed"),
        Cause::OutsideWindow { opens_at } => describe_closed_window(*opens_at),
        Cause::LockBusy { name, holder } => format!("lock `{name}` is held by {holder}"),
        Cause::Step { step } => format!("step `{step}` failed"),
        Cause::Verify { step } => format!("verify `{step}` failed"),
        Cause::Guard { guard } => format!("guard `{guard}` was breached"),
        Cause::Cancel => "the operator cancelled the run".to_owned(),
        Cause::Timeout => "the run took longer than its timeout".to_owned(),
        Cause::Requested => "the operator asked to undo the run".to_owned(),
    }
}

/// The message that a window is closed, in one line.
pub fn describe_closed_window(opens_at: Option<Timestamp>) -> String {
    match opens_at {
        Some(opens_at) => format!(
            "the maintenance window is closed, and opens at {}",
            opens_at.strftime("%Y-%m-%d %H:%M UTC")
        ),
        None => "the maintenance window is closed".to_owned(),
    }
}

/// The expectations with their values rendered.
pub(crate) fn expectations(
    expect: &[PlannedExpectation],
    scope: &Scope<'_>,
) -> Result<Vec<PlannedExpectation>, TemplateError> {
    let render = |expectation: &PlannedExpectation| {
        Ok(match expectation {
            PlannedExpectation::Equals { path, value } => PlannedExpectation::Equals {
                path: path.clone(),
                value: template::render(value, scope)?,
            },
            PlannedExpectation::Within { path, warn, crit } => {
                PlannedExpectation::Within { path: path.clone(), warn: *warn, crit: *crit }
            }
        })
    };
    expect.iter().map(render).collect()
}
