//! A dry run: probes look, steps say what they would do, and every call is [`Mode::ReadOnly`], so that the host refuses effects
//! whatever a plugin does. Nothing is journaled.

use crate::event::Section;
use crate::lease_watch::LeaseWatch;
use crate::operate::Operate;
use crate::plan::{ListError, ParamsError, Plan, PlannedGroup, PlannedStep};
use crate::template::{self, Scope, StepView, TemplateError};
use crate::undo;
use runbook_contract::{Call, Fault, Json, Kind, Mode, Outcome, Phase, Proposal, Report, Response, RunId, StepId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a dry run found out about one step.
#[derive(Debug, Clone, PartialEq)]
pub struct DryStep {
    /// The step.
    pub id: StepId,
    /// What was found out.
    pub finding: DryFinding,
    /// Its input, as far as it is known: templates that depend on what is not known yet stand in it as they are.
    pub input: Json,
    /// What its undo would be given, if that is another operation: as far as it is known, or why it could not be undone.
    pub undo: Option<Result<Json, String>>,
}

/// Who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Probes, and steps for what they would do.
    Everybody,
    /// Steps only, for what they would do.
    Steps,
    /// Nobody: what the file itself says.
    Nobody,
}

/// What a dry run found out.
#[derive(Debug, Clone, PartialEq)]
pub enum DryFinding {
    /// A probe looked.
    Found {
        /// What it found.
        outcome: Outcome,
        /// One line.
        summary: String,
    },
    /// A step would do this.
    Would(Proposal),
    /// It stands for the steps of a nested file, which follow.
    Opens {
        /// How many.
        steps: usize,
    },
    /// Its `when` is false.
    Skipped,
    /// It depends on what an earlier step will answer, or tries things out; it is known only at run time.
    AtRunTime {
        /// Why.
        reason: String,
    },
    /// It was not asked.
    NotAsked,
    /// It could not say.
    Failed(Fault),
}

/// What a dry run asks, and whom.
pub struct DryRun<'a, O> {
    /// What would be done.
    pub plan: &'a Plan,
    /// What calls the operations of plugins.
    pub operate: &'a O,
    /// The id that the run would have: `run.id` in templates.
    pub run: RunId,
    /// Who would start it: `run.operator` in templates.
    pub operator: &'a str,
    /// `--env`, if one was given: `run.environment` in templates.
    pub environment: Option<&'a str>,
    /// Who is asked.
    pub audience: Audience,
}

impl<O: Operate> DryRun<'_, O> {
    /// Asks every guard, preflight, step, verify and finally in file order.
    pub async fn ask_all(&self) -> Vec<DryStep> {
        let values = run_values(self.plan, self.run, self.operator, self.environment);
        let Self { plan, operate, run, audience, .. } = *self;
        ask_all(Dry { plan, operate, run, values, audience, opened: BTreeMap::new() }).await
    }
}

async fn ask_all<O: Operate>(mut dry: Dry<'_, O>) -> Vec<DryStep> {
    let plan = dry.plan;
    let mut views: BTreeMap<StepId, StepView> = BTreeMap::new();
    let mut found = Vec::new();
    for guard in plan.guards.iter().filter(|guard| guard.look.group.is_none()) {
        let (finding, _) = dry.ask(&guard.look, &views).await;
        found.push(dry.said(&guard.look, finding, &views));
    }
    for step in &plan.steps {
        if let Some(group) = plan.groups.get(&step.id) {
            let (finding, view, opened) = dry.open(step, group, &views);
            found.push(dry.said(step, finding, &views));
            dry.opened.insert(step.id.clone(), opened);
            views.insert(step.id.clone(), view);
            continue;
        }
        if let Some((finding, view)) = dry.out_of_reach(step) {
            found.push(dry.said(step, finding, &views));
            views.insert(step.id.clone(), view);
            continue;
        }
        let view = match dry.items(step, &views) {
            Some(Ok(items)) => {
                for item in items {
                    let (finding, _) = dry.ask(&item, &views).await;
                    found.push(dry.said(&item, finding, &views));
                }
                StepView::AtRunTime
            }
            Some(Err((finding, view))) => {
                found.push(dry.said(step, finding, &views));
                view
            }
            None => {
                let (finding, view) = dry.ask(step, &views).await;
                found.push(dry.said(step, finding, &views));
                view
            }
        };
        views.insert(step.id.clone(), view);
    }
    found
}

fn run_values(plan: &Plan, run: RunId, operator: &str, environment: Option<&str>) -> serde_json::Map<String, Json> {
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

struct Dry<'a, O> {
    plan: &'a Plan,
    operate: &'a O,
    run: RunId,
    audience: Audience,
    values: serde_json::Map<String, Json>,
    /// What is known of each nested file.
    opened: BTreeMap<StepId, Opened>,
}

/// What is known of a nested file.
enum Opened {
    /// What its steps see as `params`.
    Params { params: serde_json::Map<String, Json>, cut: BTreeMap<String, String> },
    /// It is known only at run time, and so are its steps.
    AtRunTime { reason: String },
    /// It will not be run.
    Skipped,
}

/// What a dry run says of a step, and what later templates see of it.
type DryAnswer = (DryFinding, StepView);

impl<O: Operate> Dry<'_, O> {
    fn said(&self, step: &PlannedStep, finding: DryFinding, views: &BTreeMap<StepId, StepView>) -> DryStep {
        let with = self.plan.groups.get(&step.id).map_or(&step.with, |group| &group.with);
        let input = self.with_scope(step, views, |scope| template::render_known(with, scope));
        let undo = self.with_scope(step, views, |scope| undo::input_before(self.operate, step, scope)).transpose();
        DryStep { id: step.id.clone(), finding, input, undo: undo.map(|known| known.map(|known| known.value)) }
    }

    /// What a step that stands for a nested file would open it with.
    fn open(
        &self,
        step: &PlannedStep,
        group: &PlannedGroup,
        views: &BTreeMap<StepId, StepView>,
    ) -> (DryFinding, StepView, Opened) {
        if let Some((finding, view)) = self.out_of_reach(step) {
            let opened =
                if finding == DryFinding::Skipped { Opened::Skipped } else { Opened::AtRunTime { reason: said(&finding) } };
            return (finding, view, opened);
        }
        let params = self.with_scope(step, views, |scope| match &step.when {
            Some(when) if !template::holds(when, scope)? => Ok(None),
            Some(_) | None => Ok::<_, ParamsError>(Some((group.params_in(scope)?, group.cut_in(scope)))),
        });
        match params {
            Ok(Some((params, cut))) => {
                let steps = self.plan.steps.iter().filter(|known| known.group.as_ref() == Some(&step.id)).count();
                (DryFinding::Opens { steps }, StepView::AtRunTime, Opened::Params { params, cut })
            }
            Ok(None) => (DryFinding::Skipped, StepView::Absent("the step was skipped".to_owned()), Opened::Skipped),
            Err(error @ ParamsError::Template(TemplateError::AtRunTime { .. })) => {
                let reason = error.to_string();
                let (finding, view) = at_run_time(reason.clone());
                (finding, view, Opened::AtRunTime { reason })
            }
            Err(error) => {
                let reason = error.to_string();
                let (finding, view) = failed(Fault::new(runbook_contract::ErrorClass::Invalid, "engine.params", reason.clone()));
                (finding, view, Opened::AtRunTime { reason })
            }
        }
    }

    /// What there is to say of a step of a nested file that is not opened.
    fn out_of_reach(&self, step: &PlannedStep) -> Option<DryAnswer> {
        match self.opened.get(step.group.as_ref()?)? {
            Opened::Params { .. } => None,
            Opened::AtRunTime { reason } => Some(at_run_time(reason.clone())),
            Opened::Skipped => Some((DryFinding::Skipped, StepView::Absent("the step was skipped".to_owned()))),
        }
    }

    /// The items of a step that has some; or what there is to say instead, if they are not known or there are none.
    fn items(&self, step: &PlannedStep, views: &BTreeMap<StepId, StepView>) -> Option<Result<Vec<Arc<PlannedStep>>, DryAnswer>> {
        let for_each = step.for_each.as_ref()?;
        let listed = self.with_scope(step, views, |scope| match step.when.as_ref().filter(|when| !for_each.is_named_in(when)) {
            Some(when) if !template::holds(when, scope)? => Ok(None),
            Some(_) | None => for_each.list(scope).map(Some),
        });
        Some(match listed {
            Ok(Some(items)) if items.is_empty() => Err(at_run_time("the list is empty: nothing to do".to_owned())),
            Ok(Some(items)) => Ok(self.plan.with_items(&step.id, &items).map(|plan| plan.items_of(&step.id)).unwrap_or_default()),
            Ok(None) => Err((DryFinding::Skipped, StepView::Absent("the step was skipped".to_owned()))),
            Err(ListError::Template(error @ TemplateError::AtRunTime { .. })) => Err(at_run_time(error.to_string())),
            Err(error) => Err(failed(error.into_fault())),
        })
    }

    async fn ask(&self, step: &PlannedStep, views: &BTreeMap<StepId, StepView>) -> (DryFinding, StepView) {
        let input = match self.prepare(step, views) {
            Ok(Some(input)) => input,
            Ok(None) => return (DryFinding::Skipped, StepView::Absent("the step was skipped".to_owned())),
            Err(error @ TemplateError::AtRunTime { .. }) => return at_run_time(error.to_string()),
            Err(error) => return failed(Fault::new(runbook_contract::ErrorClass::Invalid, "engine.template", error.to_string())),
        };
        let after_effects = matches!(step.written_in, Section::Verify | Section::Finally);
        match (self.audience, step.facts.kind) {
            (Audience::Nobody, _) | (Audience::Steps, Kind::Probe | Kind::SmokeTest) => {
                return (DryFinding::NotAsked, StepView::AtRunTime);
            }
            (Audience::Everybody, _) | (Audience::Steps, Kind::Step) => {}
        }
        if step.manual.is_some() {
            return at_run_time("a person does it and says what they found".to_owned());
        }
        let phase = match (step.facts.kind, after_effects) {
            (Kind::Step, _) => Phase::Plan,
            (Kind::SmokeTest, _) => return at_run_time("a smoke test tries things out".to_owned()),
            (Kind::Probe, true) => return at_run_time("it looks at what the steps have done".to_owned()),
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

    /// The rendered input, or `None` if `when` is false.
    fn prepare(&self, step: &PlannedStep, views: &BTreeMap<StepId, StepView>) -> Result<Option<Json>, TemplateError> {
        self.with_scope(step, views, |scope| match &step.when {
            Some(when) if !template::holds(when, scope)? => Ok(None),
            Some(_) | None => template::render(&step.with, scope).map(Some),
        })
    }

    fn with_scope<T>(&self, step: &PlannedStep, views: &BTreeMap<StepId, StepView>, read: impl FnOnce(&Scope<'_>) -> T) -> T {
        let group = step.group.as_ref();
        let lookup = |key: &str| {
            let key = group.map_or_else(|| key.to_owned(), |group| template::inner_key(group, key));
            let id = self.plan.by_template_key(&key)?;
            views.get(id).map(|view| (id.clone(), view.clone()))
        };
        let locals = step.item.iter().map(|item| (item.name.clone(), item.value.clone())).collect();
        let (params, cut) = match group.and_then(|group| self.opened.get(group)) {
            Some(Opened::Params { params, cut }) => (params.clone(), cut.clone()),
            Some(Opened::AtRunTime { .. } | Opened::Skipped) | None => (self.plan.params.clone(), BTreeMap::new()),
        };
        read(&Scope { params, steps: &lookup, run: self.values.clone(), locals, cut, ..Scope::default() })
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

fn at_run_time(reason: String) -> (DryFinding, StepView) {
    (DryFinding::AtRunTime { reason }, StepView::AtRunTime)
}

/// What cannot be asked now may be answered at run time, when earlier steps have done their part.
fn failed(fault: Fault) -> (DryFinding, StepView) {
    (DryFinding::Failed(fault), StepView::AtRunTime)
}

fn judge(answer: Response) -> (DryFinding, StepView) {
    match answer {
        Response::Report(Report { outcome, summary, output, .. }) => {
            let view = StepView::Done { outcome: outcome.name(), output };
            (DryFinding::Found { outcome, summary }, view)
        }
        Response::Proposal(proposal) => (DryFinding::Would(proposal), StepView::AtRunTime),
        Response::Cases(_) | Response::Observation(_) | Response::Completion(_) => {
            at_run_time("it answered another question".to_owned())
        }
    }
}
