//! What templates see of a run.

use crate::event::SkipReason;
use crate::plan::{Plan, PlannedExpectation, PlannedStep};
use crate::state::{RunState, StepPhase};
use crate::template::{self, Scope, StepView, TemplateError};
use jiff::Timestamp;
use runbook_contract::{Json, Outcome, StepId};
use std::collections::BTreeMap;
use std::time::Duration;

/// What the texts of a step see.
pub(crate) struct StepScope<'a> {
    /// `None` for texts that are no step's.
    pub step: Option<&'a PlannedStep>,
    /// What is known of a step, by its key in the whole runbook.
    pub views: &'a dyn Fn(&str) -> Option<(StepId, StepView)>,
    /// The parameters of the file in which the step stands.
    pub params: serde_json::Map<String, Json>,
    /// The parameters that come from an output which was cut off.
    pub cut: BTreeMap<String, String>,
    /// What templates see as `run`.
    pub run: serde_json::Map<String, Json>,
}

impl StepScope<'_> {
    /// Calls `read` with it. An item sees itself; a step of a nested file sees that file: its
    /// parameters, its steps.
    pub(crate) fn read<T>(self, read: impl FnOnce(&Scope<'_>) -> T) -> T {
        let Self { step, views, params, cut, run } = self;
        let group = step.and_then(|step| step.group.as_ref());
        let item = step.and_then(|step| step.item.as_ref());
        let locals = item.iter().map(|item| (item.name.clone(), item.value.clone())).collect();
        let of_file = |key: &str| match group {
            Some(group) => views(&template::inner_key(group, key)),
            None => views(key),
        };
        read(&Scope { params, steps: &of_file, run, locals, cut, ..Scope::default() })
    }
}

/// What a template can know of a step.
pub(crate) fn view(plan: &Plan, state: &RunState, key: &str) -> Option<(StepId, StepView)> {
    let id = plan.by_template_key(key)?;
    Some((id.clone(), view_of(state, id)))
}

/// What a template can know of the step with this id.
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
    /// How long it has been executed.
    pub took: Duration,
}

/// What `run.outcome` is while steps run.
pub(crate) const RUNNING: &str = "running";

/// `run.…`, with the result once it is known.
pub(crate) fn run_values(
    state: &RunState,
    facts: &RunFacts<'_>,
    moment: &str,
) -> serde_json::Map<String, Json> {
    // Known only at the end; a run of a thousand steps is not searched for each of them.
    let is_failed = |step: &&crate::event::StepListing| {
        matches!(state.step(&step.id).phase, StepPhase::Failed(_))
    };
    let failed = (moment != RUNNING).then(|| state.order.iter().find(is_failed)).flatten();
    let cause = state.cause.as_ref().map(describe_cause).unwrap_or_default();
    let values = serde_json::json!({
        "id": facts.id,
        "name": state.runbook,
        "title": state.title,
        "started": state.started.to_string(),
        "environment": facts.environment.unwrap_or_default(),
        "operator": facts.operator,
        "outcome": state.end.map_or_else(|| moment.to_owned(), |end| end.name().to_owned()),
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
        Cause::OutsideWindow { opens } => describe_closed(*opens),
        Cause::LockBusy { name, holder } => format!("lock `{name}` is held by {holder}"),
        Cause::Step { step } => format!("step `{step}` failed"),
        Cause::Verify { step } => format!("verify `{step}` failed"),
        Cause::Guard { guard } => format!("guard `{guard}` was breached"),
        Cause::Cancel => "the operator cancelled the run".to_owned(),
        Cause::Timeout => "the run took longer than its timeout".to_owned(),
        Cause::Requested => "the operator asked to undo the run".to_owned(),
    }
}

/// That a window is closed, in one line.
pub fn describe_closed(opens: Option<Timestamp>) -> String {
    match opens {
        Some(opens) => format!(
            "the maintenance window is closed, and opens at {}",
            opens.strftime("%Y-%m-%d %H:%M UTC")
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
