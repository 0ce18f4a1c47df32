//! A dry run: probes read, steps report what they would do, and every call is [`Mode::ReadOnly`],
//! so that the host denies every effect. Nothing is journaled.

use crate::event::Section;
use crate::execute::scope::StepScope;
use crate::intent::{Intent, IntentError, intent};
use crate::lease_watch::LeaseWatch;
use crate::operate::{EFFECTS_OFF, Operate};
use crate::plan::{Plan, PlannedStep};
use crate::template::{self, Scope, StepView, TemplateError};
use crate::undo;
use runbook_contract::{
    Call, ErrorClass, Fault, Json, Kind, Mode, Outcome, Phase, Proposal, Report, Response, RunId,
    SECRET_WITHHELD, StepId,
};
use std::collections::BTreeMap;

/// The result of a dry run for one step.
#[derive(Debug, Clone, PartialEq)]
pub struct DryStep {
    /// The id of the step.
    pub id: StepId,
    /// What the plugin would do, or why that is not known.
    pub result: DryRunResult,
    /// Its input, as far as it is known. Templates whose value is not known yet stay as they are
    /// written.
    pub input: Json,
    /// The input of its explicit undo, as far as it is known, or why the step could not be undone;
    /// `None` for a step without an explicit undo.
    pub undo: Option<Result<Json, String>>,
}

/// Which plugins a dry run calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DryRunScope {
    /// Probes run, and steps report what they would do.
    ProbesAndSteps,
    /// Steps report what they would do; no probe runs.
    Steps,
    /// No plugin is called: only the runbook is evaluated.
    NoPlugins,
}

/// The kinds of results of a dry run for one step.
#[derive(Debug, Clone, PartialEq)]
pub enum DryRunResult {
    /// A probe ran, with this result.
    Probed {
        /// The outcome as the plugin judges it; `expect` is not applied.
        outcome: Outcome,
        /// One line that tells what the probe found.
        summary: String,
    },
    /// A step would do this.
    Proposed(Proposal),
    /// The step stands for a nested file, whose steps follow.
    NestedFile {
        /// How many steps the file has.
        steps: usize,
    },
    /// The `when` of the step is false.
    Skipped,
    /// The result is known only at run time: the step depends on the output of an earlier step, or
    /// is a smoke test.
    AtRunTime {
        /// What it depends on, for people.
        reason: String,
    },
    /// The plugin of the step is not called by this dry run.
    NotAsked,
    /// The call failed, or the step cannot begin.
    Failed(Fault),
    /// The run would not be allowed to do what the step says it would do.
    Denied(Fault),
}

/// A dry run of a plan.
pub struct DryRun<'a, O> {
    /// The plan.
    pub plan: &'a Plan,
    /// Calls the operations of plugins.
    pub operate: &'a O,
    /// The id that the run would have: `run.id` in templates.
    pub run: RunId,
    /// Who would start it: `run.operator` in templates.
    pub operator: &'a str,
    /// `--env`, if one was given: `run.environment` in templates.
    pub environment: Option<&'a str>,
    /// Which plugins are called.
    pub dry_run_scope: DryRunScope,
}

impl<O: Operate> DryRun<'_, O> {
    /// Evaluates every guard, preflight, step, verify and finally in file order.
    pub async fn ask_all(&self) -> Vec<DryStep> {
        let values = run_values(self.plan, self.run, self.operator, self.environment);
        let Self { plan, operate, run, dry_run_scope, .. } = *self;
        let (nested_files, views) = (BTreeMap::new(), BTreeMap::new());
        ask_all(DryRunner {
            plan,
            operate,
            run,
            values,
            dry_run_scope,
            nested_files,
            views,
            found: Vec::new(),
        })
        .await
    }
}

async fn ask_all<O: Operate>(mut dry: DryRunner<'_, O>) -> Vec<DryStep> {
    let plan = dry.plan;
    for guard in plan.guards.iter().filter(|guard| guard.probe.group.is_none()) {
        dry.ask(&guard.probe).await;
    }
    for step in &plan.steps {
        let view = match dry.answer_if_not_opened(step) {
            Some((result, view)) => {
                dry.add_result(step, result);
                view
            }
            None => dry.ask(step).await,
        };
        dry.views.insert(step.id.clone(), view);
    }
    dry.found
}

fn run_values(
    plan: &Plan,
    run: RunId,
    operator: &str,
    environment: Option<&str>,
) -> serde_json::Map<String, Json> {
    let entries = [
        ("id", run.to_string()),
        ("name", plan.name.clone()),
        ("title", plan.title.clone()),
        ("started", String::new()),
        ("environment", environment.unwrap_or_default().to_owned()),
        ("operator", operator.to_owned()),
        ("outcome", "not known".to_owned()),
        ("duration", "not known".to_owned()),
        ("cause", String::new()),
        ("failed_step", String::new()),
    ];
    entries.into_iter().map(|(name, value)| (name.to_owned(), Json::from(value))).collect()
}

struct DryRunner<'a, O> {
    plan: &'a Plan,
    operate: &'a O,
    run: RunId,
    dry_run_scope: DryRunScope,
    values: serde_json::Map<String, Json>,
    /// What is known of each nested file.
    nested_files: BTreeMap<StepId, NestedFileState>,
    /// What later templates can use of each step.
    views: BTreeMap<StepId, StepView>,
    found: Vec<DryStep>,
}

/// What is known of a nested file.
enum NestedFileState {
    /// Its `params`.
    Params { params: serde_json::Map<String, Json>, truncated_params: BTreeMap<String, String> },
    /// Its `params`, and so its steps, are known only at run time.
    AtRunTime { reason: String },
    /// The step that stands for it is skipped.
    Skipped,
}

/// The result of a dry run for a step, and what later templates can use of it.
type DryAnswer = (DryRunResult, StepView);

impl<O: Operate> DryRunner<'_, O> {
    /// Adds the result for a step.
    fn add_result(&mut self, step: &PlannedStep, result: DryRunResult) {
        if self.plan.groups.contains_key(&step.id) {
            self.nested_files
                .entry(step.id.clone())
                .or_insert_with(|| NestedFileState::not_opened(&result));
        }
        let with = self.plan.groups.get(&step.id).map_or(&step.with, |group| &group.with);
        let input = self.with_scope(step, |scope| template::render_known(with, scope));
        let undo = self
            .with_scope(step, |scope| undo::input_before(self.operate, step, scope))
            .transpose();
        let undo = undo.map(|known| known.map(|known| known.value));
        self.found.push(DryStep { id: step.id.clone(), result, input, undo });
    }

    /// The result for a step of a nested file whose `params` are not known; `None` for any other
    /// step.
    fn answer_if_not_opened(&self, step: &PlannedStep) -> Option<DryAnswer> {
        match self.nested_files.get(step.group.as_ref()?)? {
            NestedFileState::Params { .. } => None,
            NestedFileState::AtRunTime { reason } => Some(at_run_time(reason.clone())),
            NestedFileState::Skipped => Some(skipped()),
        }
    }

    /// Adds the result for a step, or for each of its items. Returns what later templates can use
    /// of the step.
    async fn ask(&mut self, step: &PlannedStep) -> StepView {
        let plan = self.plan;
        // Only the first attempt is considered, and no approval has been rejected.
        let intent = self.with_scope(step, |scope| intent(plan, step, 1, None, scope));
        let (result, view) = match intent {
            Ok(Intent::List(items)) if !items.is_empty() => {
                for item in plan
                    .with_items(&step.id, &items)
                    .map(|plan| plan.items_of(&step.id))
                    .unwrap_or_default()
                {
                    Box::pin(self.ask(&item)).await;
                }
                return StepView::AtRunTime;
            }
            Ok(Intent::List(_)) => at_run_time("the list is empty: nothing to do".to_owned()),
            Ok(Intent::Open { params, truncated_params }) => {
                self.nested_files
                    .insert(step.id.clone(), NestedFileState::Params { params, truncated_params });
                let steps = plan
                    .steps
                    .iter()
                    .filter(|known| known.group.as_ref() == Some(&step.id))
                    .count();
                (DryRunResult::NestedFile { steps }, StepView::AtRunTime)
            }
            Ok(Intent::Skip) => skipped(),
            Ok(Intent::Ask(_) | Intent::Call { .. }) if !self.is_asked(step) => not_asked(),
            Ok(Intent::Ask(_)) => {
                at_run_time("a person does it and says what they found".to_owned())
            }
            Ok(Intent::Call { input }) => self.propose(step, input).await,
            Err(error) => intent_error_answer(error),
        };
        self.add_result(step, result);
        view
    }

    /// Whether this dry run calls the plugin of a step.
    fn is_asked(&self, step: &PlannedStep) -> bool {
        match (self.dry_run_scope, step.facts.kind) {
            (DryRunScope::NoPlugins, _) | (DryRunScope::Steps, Kind::Probe | Kind::SmokeTest) => {
                false
            }
            (DryRunScope::ProbesAndSteps, _) | (DryRunScope::Steps, Kind::Step) => true,
        }
    }

    /// Asks the plugin what the step would do; a probe runs.
    async fn propose(&self, step: &PlannedStep, input: Json) -> DryAnswer {
        let after_effects = matches!(step.written_in, Section::Verify | Section::Finally);
        let phase = match (step.facts.kind, after_effects) {
            (Kind::Step, _) => Phase::Plan,
            (Kind::SmokeTest, _) => return at_run_time("a smoke test tries things out".to_owned()),
            (Kind::Probe, true) => {
                return at_run_time("it looks at what the steps have done".to_owned());
            }
            (Kind::Probe, false) => Phase::Check,
        };
        let call = Call {
            run: self.run,
            site: step.site.clone(),
            step: step.id.clone(),
            phase,
            attempt: 1,
            input,
            mode: Mode::ReadOnly,
            timeout: step.timeout,
            unanswered: None,
        };
        match self.operate.call(call, LeaseWatch::unlimited()).await {
            Ok(answered) => self.dry_answer_of(step, answered.response),
            // At run time it is read.
            Err(fault) if fault.code == SECRET_WITHHELD => at_run_time(fault.message),
            Err(fault) => failed(fault),
        }
    }

    fn dry_answer_of(&self, step: &PlannedStep, answer: Response) -> DryAnswer {
        match answer {
            Response::Report(Report { outcome, summary, output, .. }) => {
                let view = StepView::Done { outcome: outcome.name(), output };
                (DryRunResult::Probed { outcome, summary }, view)
            }
            Response::Proposal(proposal) => {
                let denied = self.operate.denied_effect(&step.site, &proposal);
                let result = denied.map_or(DryRunResult::Proposed(proposal), DryRunResult::Denied);
                (result, StepView::AtRunTime)
            }
            Response::Cases(_) | Response::Observation(_) | Response::Completion(_) => {
                at_run_time("its response belongs to another call".to_owned())
            }
        }
    }

    fn with_scope<T>(&self, step: &PlannedStep, read: impl FnOnce(&Scope<'_>) -> T) -> T {
        let views = |key: &str| {
            let id = self.plan.by_template_key(key)?;
            self.views.get(id).map(|view| (id.clone(), view.clone()))
        };
        let (params, truncated_params) =
            match step.group.as_ref().and_then(|group| self.nested_files.get(group)) {
                Some(NestedFileState::Params { params, truncated_params }) => {
                    (params.clone(), truncated_params.clone())
                }
                Some(NestedFileState::AtRunTime { .. } | NestedFileState::Skipped) | None => {
                    (self.plan.params.clone(), BTreeMap::new())
                }
            };
        StepScope {
            step: Some(step),
            views: &views,
            params,
            truncated_params,
            run: self.values.clone(),
        }
        .read(read)
    }
}

impl NestedFileState {
    /// The state of a file whose `params` are not known, from the result of its step.
    fn not_opened(result: &DryRunResult) -> Self {
        match result {
            DryRunResult::Skipped => Self::Skipped,
            DryRunResult::AtRunTime { .. }
            | DryRunResult::Failed(_)
            | DryRunResult::Denied(_)
            | DryRunResult::Probed { .. }
            | DryRunResult::Proposed(_)
            | DryRunResult::NestedFile { .. }
            | DryRunResult::NotAsked => Self::AtRunTime { reason: reason_at_run_time(result) },
        }
    }
}

/// Why something is known only at run time, for the steps that depend on it.
fn reason_at_run_time(result: &DryRunResult) -> String {
    match result {
        DryRunResult::AtRunTime { reason } => reason.clone(),
        DryRunResult::Failed(fault) | DryRunResult::Denied(fault) => fault.message.clone(),
        DryRunResult::Probed { .. }
        | DryRunResult::Proposed(_)
        | DryRunResult::NestedFile { .. }
        | DryRunResult::NotAsked
        | DryRunResult::Skipped => String::new(),
    }
}

fn at_run_time(reason: String) -> DryAnswer {
    (DryRunResult::AtRunTime { reason }, StepView::AtRunTime)
}

fn skipped() -> DryAnswer {
    (DryRunResult::Skipped, StepView::Absent("the step was skipped".to_owned()))
}

fn not_asked() -> DryAnswer {
    (DryRunResult::NotAsked, StepView::AtRunTime)
}

/// The result for a step that cannot begin. If a value depends on an earlier step, the result is
/// known only at run time.
fn intent_error_answer(error: IntentError) -> DryAnswer {
    if let Some(unknown @ TemplateError::AtRunTime { .. }) = error.template() {
        return at_run_time(unknown.to_string());
    }
    let invalid =
        |code: &str, message: String| failed(Fault::new(ErrorClass::Invalid, code, message));
    match error {
        IntentError::When(error) | IntentError::Input(error) => {
            invalid("engine.template", error.to_string())
        }
        IntentError::Params(error) => invalid("engine.params", error.to_string()),
        error @ (IntentError::Items(_) | IntentError::Refused(_)) => failed(error.into_fault()),
    }
}

/// The result of a failed call. Later templates stay unknown, because the call may succeed at run
/// time after earlier steps. A call that is denied for another reason than that nothing may be
/// changed now is denied in the run as well.
fn failed(fault: Fault) -> DryAnswer {
    let result = if fault.class == ErrorClass::Denied && fault.code != EFFECTS_OFF {
        DryRunResult::Denied(fault)
    } else {
        DryRunResult::Failed(fault)
    };
    (result, StepView::AtRunTime)
}
