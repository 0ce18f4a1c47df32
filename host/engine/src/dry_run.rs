//! A dry run: probes read, steps report what they would do, and every call is [`Mode::ReadOnly`],
//! so that the host denies every effect. Nothing is journaled.

use crate::event::Section;
use crate::execute::scope::StepScope;
use crate::intent::{Intent, NoIntent, intent};
use crate::lease_watch::LeaseWatch;
use crate::operate::Operate;
use crate::plan::{Plan, PlannedStep};
use crate::template::{self, Scope, StepView, TemplateError};
use crate::undo;
use runbook_contract::{
    Call, ErrorClass, Fault, Json, Kind, Mode, Outcome, Phase, Proposal, Report, Response, RunId,
    StepId,
};
use std::collections::BTreeMap;

/// What a dry run found out about one step.
#[derive(Debug, Clone, PartialEq)]
pub struct DryStep {
    /// The id of the step.
    pub id: StepId,
    /// What was found out.
    pub finding: DryFinding,
    /// Its input, as far as it is known: templates that depend on what is not known yet stand in it
    /// as they are.
    pub input: Json,
    /// What its undo would be given, if that is another operation: as far as it is known, or why it
    /// could not be undone.
    pub undo: Option<Result<Json, String>>,
}

/// Which plugins a dry run asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskedPlugins {
    /// Probes, and steps for what they would do.
    Everybody,
    /// Steps only, for what they would do.
    Steps,
    /// No plugin: only what the file itself says.
    Nobody,
}

/// What a dry run found out.
#[derive(Debug, Clone, PartialEq)]
pub enum DryFinding {
    /// A probe ran, with this result.
    Found {
        /// The outcome as the plugin judges it; `expect` is not applied.
        outcome: Outcome,
        /// One line that tells what the probe found.
        summary: String,
    },
    /// A step would do this.
    Would(Proposal),
    /// It stands for the steps of a nested file, which follow.
    Opens {
        /// How many steps the file has.
        steps: usize,
    },
    /// The `when` of the step is false.
    Skipped,
    /// It depends on the output of an earlier step, or is a smoke test; the result is known only at
    /// run time.
    AtRunTime {
        /// What it depends on, for people.
        reason: String,
    },
    /// The plugin of the step was not asked.
    NotAsked,
    /// The plugin could not report it.
    Failed(Fault),
}

/// A dry run: the plan, and which plugins it asks.
pub struct DryRun<'a, O> {
    /// The plan of the run that is tried.
    pub plan: &'a Plan,
    /// What calls the operations of plugins.
    pub operate: &'a O,
    /// The id that the run would have: `run.id` in templates.
    pub run: RunId,
    /// Who would start it: `run.operator` in templates.
    pub operator: &'a str,
    /// `--env`, if one was given: `run.environment` in templates.
    pub environment: Option<&'a str>,
    /// Which plugins are asked.
    pub audience: AskedPlugins,
}

impl<O: Operate> DryRun<'_, O> {
    /// Asks every guard, preflight, step, verify and finally in file order.
    pub async fn ask_all(&self) -> Vec<DryStep> {
        let values = run_values(self.plan, self.run, self.operator, self.environment);
        let Self { plan, operate, run, audience, .. } = *self;
        let (opened, views) = (BTreeMap::new(), BTreeMap::new());
        ask_all(DryRunner {
            plan,
            operate,
            run,
            values,
            audience,
            opened,
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
        let view = match dry.out_of_reach(step) {
            Some((finding, view)) => {
                dry.say(step, finding);
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
    let known = [
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
    known.into_iter().map(|(name, value)| (name.to_owned(), Json::from(value))).collect()
}

struct DryRunner<'a, O> {
    plan: &'a Plan,
    operate: &'a O,
    run: RunId,
    audience: AskedPlugins,
    values: serde_json::Map<String, Json>,
    /// What is known of each nested file.
    opened: BTreeMap<StepId, NestedFile>,
    /// What later templates see of each step.
    views: BTreeMap<StepId, StepView>,
    found: Vec<DryStep>,
}

/// What is known of a nested file.
enum NestedFile {
    /// What its steps see as `params`.
    Params { params: serde_json::Map<String, Json>, cut: BTreeMap<String, String> },
    /// It is known only at run time, and so are its steps.
    AtRunTime { reason: String },
    /// It will not be run.
    Skipped,
}

/// The result of a dry run for a step, and what later templates see of it.
type DryAnswer = (DryFinding, StepView);

impl<O: Operate> DryRunner<'_, O> {
    /// Says what was found out about a step.
    fn say(&mut self, step: &PlannedStep, finding: DryFinding) {
        if self.plan.groups.contains_key(&step.id) {
            self.opened
                .entry(step.id.clone())
                .or_insert_with(|| NestedFile::unless_opened(&finding));
        }
        let with = self.plan.groups.get(&step.id).map_or(&step.with, |group| &group.with);
        let input = self.with_scope(step, |scope| template::render_known(with, scope));
        let undo = self
            .with_scope(step, |scope| undo::input_before(self.operate, step, scope))
            .transpose();
        let undo = undo.map(|known| known.map(|known| known.value));
        self.found.push(DryStep { id: step.id.clone(), finding, input, undo });
    }

    /// The result for a step of a nested file that is not opened.
    fn out_of_reach(&self, step: &PlannedStep) -> Option<DryAnswer> {
        match self.opened.get(step.group.as_ref()?)? {
            NestedFile::Params { .. } => None,
            NestedFile::AtRunTime { reason } => Some(at_run_time(reason.clone())),
            NestedFile::Skipped => Some(skipped()),
        }
    }

    /// Says what a step would do, and each of its items; returns what later templates see of it.
    async fn ask(&mut self, step: &PlannedStep) -> StepView {
        let plan = self.plan;
        // Only the first attempt is considered, and no approval has been rejected.
        let intent = self.with_scope(step, |scope| intent(plan, step, 1, None, scope));
        let (finding, view) = match intent {
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
            Ok(Intent::Open { params, cut }) => {
                self.opened.insert(step.id.clone(), NestedFile::Params { params, cut });
                let steps = plan
                    .steps
                    .iter()
                    .filter(|known| known.group.as_ref() == Some(&step.id))
                    .count();
                (DryFinding::Opens { steps }, StepView::AtRunTime)
            }
            Ok(Intent::Skip) => skipped(),
            Ok(Intent::Ask(_) | Intent::Call { .. }) if !self.is_asked(step) => not_asked(),
            Ok(Intent::Ask(_)) => {
                at_run_time("a person does it and says what they found".to_owned())
            }
            Ok(Intent::Call { input }) => self.propose(step, input).await,
            Err(error) => no_intent(error),
        };
        self.say(step, finding);
        view
    }

    /// Whether this dry run asks the plugin of a step.
    fn is_asked(&self, step: &PlannedStep) -> bool {
        match (self.audience, step.facts.kind) {
            (AskedPlugins::Nobody, _) | (AskedPlugins::Steps, Kind::Probe | Kind::SmokeTest) => {
                false
            }
            (AskedPlugins::Everybody, _) | (AskedPlugins::Steps, Kind::Step) => true,
        }
    }

    /// In place of the call: what it would do, or the result if it is a probe.
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
            Ok(answered) => judge(answered.response),
            Err(fault) => failed(fault),
        }
    }

    fn with_scope<T>(&self, step: &PlannedStep, read: impl FnOnce(&Scope<'_>) -> T) -> T {
        let views = |key: &str| {
            let id = self.plan.by_template_key(key)?;
            self.views.get(id).map(|view| (id.clone(), view.clone()))
        };
        let (params, cut) = match step.group.as_ref().and_then(|group| self.opened.get(group)) {
            Some(NestedFile::Params { params, cut }) => (params.clone(), cut.clone()),
            Some(NestedFile::AtRunTime { .. } | NestedFile::Skipped) | None => {
                (self.plan.params.clone(), BTreeMap::new())
            }
        };
        StepScope { step: Some(step), views: &views, params, cut, run: self.values.clone() }
            .read(read)
    }
}

impl NestedFile {
    /// The state of a file that is not opened, from the result of its step.
    fn unless_opened(finding: &DryFinding) -> Self {
        match finding {
            DryFinding::Skipped => Self::Skipped,
            DryFinding::AtRunTime { .. }
            | DryFinding::Failed(_)
            | DryFinding::Found { .. }
            | DryFinding::Would(_)
            | DryFinding::Opens { .. }
            | DryFinding::NotAsked => Self::AtRunTime { reason: said(finding) },
        }
    }
}

/// Why something is known only at run time, for the steps that depend on it.
fn said(finding: &DryFinding) -> String {
    match finding {
        DryFinding::AtRunTime { reason } => reason.clone(),
        DryFinding::Failed(fault) => fault.message.clone(),
        DryFinding::Found { .. }
        | DryFinding::Would(_)
        | DryFinding::Opens { .. }
        | DryFinding::NotAsked
        | DryFinding::Skipped => String::new(),
    }
}

fn at_run_time(reason: String) -> DryAnswer {
    (DryFinding::AtRunTime { reason }, StepView::AtRunTime)
}

fn skipped() -> DryAnswer {
    (DryFinding::Skipped, StepView::Absent("the step was skipped".to_owned()))
}

fn not_asked() -> DryAnswer {
    (DryFinding::NotAsked, StepView::AtRunTime)
}

/// For a step that cannot be begun as far as is known now: a value that depends on an earlier step
/// is known after that step.
fn no_intent(error: NoIntent) -> DryAnswer {
    if let Some(unknown @ TemplateError::AtRunTime { .. }) = error.template() {
        return at_run_time(unknown.to_string());
    }
    let invalid =
        |code: &str, message: String| failed(Fault::new(ErrorClass::Invalid, code, message));
    match error {
        NoIntent::When(error) | NoIntent::Input(error) => {
            invalid("engine.template", error.to_string())
        }
        NoIntent::Params(error) => invalid("engine.params", error.to_string()),
        error @ (NoIntent::Items(_) | NoIntent::Refused(_)) => failed(error.into_fault()),
    }
}

/// A call that fails now may work at run time, when earlier steps have run.
fn failed(fault: Fault) -> DryAnswer {
    (DryFinding::Failed(fault), StepView::AtRunTime)
}

fn judge(answer: Response) -> DryAnswer {
    match answer {
        Response::Report(Report { outcome, summary, output, .. }) => {
            let view = StepView::Done { outcome: outcome.name(), output };
            (DryFinding::Found { outcome, summary }, view)
        }
        Response::Proposal(proposal) => (DryFinding::Would(proposal), StepView::AtRunTime),
        Response::Cases(_) | Response::Observation(_) | Response::Completion(_) => {
            at_run_time("its response belongs to another call".to_owned())
        }
    }
}
