//! Runbook × parameters × what is known of the operations → [`Plan`]: everything that a run needs, and nothing left to doubt.

use crate::check::step_graph;
use crate::digest;
use crate::event::{Section, StepListing, Trigger};
use crate::ids::StepId;
use crate::model::{
    Expectation, ForEach, Limits, Locks, OnCancel, OnFailure, Retry, Risk, Runbook, Step, UndoDeclaration, UndoPolicy, Window,
    section_noun,
};
use crate::operate::{Json, Kind, OperationFacts};
use crate::params::Params;
use crate::range::Range;
use crate::template::template_key;
use runbook_document::{Diagnostic, Diagnostics, Source, Span, Table};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Of one attempt, when the runbook says nothing: long enough for a restart, short enough that a hung step is seen.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_mins(5);

/// Of one notification, when the runbook says nothing: nobody wants an outage to wait for a chat service.
pub const DEFAULT_NOTIFY_TIMEOUT: Duration = Duration::from_secs(20);

/// A runbook that can be run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// `name` of the runbook.
    pub name: String,
    /// `title` of the runbook.
    pub title: String,
    /// Name and text of the runbook and every file that it includes.
    pub sources: Vec<(String, String)>,
    /// `sha256:…` over `sources`.
    pub digest: String,
    /// Parameters as typed JSON.
    pub params: serde_json::Map<String, Json>,
    /// How long a run may take, undo not counted.
    pub timeout: Option<Duration>,
    /// What no other run may hold.
    pub locks: Locks,
    /// When it may run.
    pub window: Option<Window>,
    /// Blast radius, time of the clean-up.
    pub limits: Limits,
    /// When completed steps are undone.
    pub undo: UndoPolicy,
    /// Preflights, steps, verifies, finallies: in this order, each in file order.
    pub steps: Vec<PlannedStep>,
    /// Notifications in file order.
    pub notifies: Vec<PlannedNotify>,
    /// What somebody should look at before the run.
    pub warnings: Diagnostics,
    index: BTreeMap<StepId, usize>,
    by_template_key: BTreeMap<String, StepId>,
}

/// One step, ready to run but for its templates.
#[derive(Debug, Clone)]
pub struct PlannedStep {
    /// Its id.
    pub id: StepId,
    /// What people call it.
    pub title: String,
    /// The part of the file.
    pub section: Section,
    /// `plugin:operation`.
    pub uses: String,
    /// What is known of the operation.
    pub facts: OperationFacts,
    /// The input before templates are rendered.
    pub with: Json,
    /// Steps that must be settled before.
    pub needs: Vec<StepId>,
    /// An expression; false skips the step.
    pub when: Option<String>,
    /// Of one attempt.
    pub timeout: Duration,
    /// Of all attempts.
    pub total_timeout: Option<Duration>,
    /// What happens when an attempt fails.
    pub retry: Retry,
    /// Whether it may run again after an unknown outcome.
    pub idempotent: Repeatable,
    /// `until`, `every`, `within`.
    pub poll: Option<PlannedPoll>,
    /// What must hold of the output.
    pub expect: Vec<PlannedExpectation>,
    /// What undoes it.
    pub undo: PlannedUndo,
    /// What happens when it has failed for good.
    pub on_failure: OnFailure,
    /// What happens to a running attempt when the run is cancelled.
    pub on_cancel: OnCancel,
}

/// Whether an operation may run again after an unknown outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeatable {
    /// It does no harm.
    Yes,
    /// Nobody knows.
    No,
}

/// `until`, `every`, `within`
#[derive(Debug, Clone)]
pub struct PlannedPoll {
    /// An expression over `outcome` and `output`.
    pub until: String,
    /// Between two looks.
    pub every: Duration,
    /// How long it may take.
    pub within: Duration,
}

/// One entry of `expect`.
#[derive(Debug, Clone)]
pub enum PlannedExpectation {
    /// A field equals a value (a template until it is rendered).
    Equals {
        /// Keys from the output's root.
        path: Vec<String>,
        /// The value.
        value: Json,
    },
    /// A number is inside its ranges.
    Within {
        /// Keys from the output's root; empty is `value`, or else the first measurement.
        path: Vec<String>,
        /// Outside, it warns.
        warn: Option<Range>,
        /// Outside, it fails.
        crit: Option<Range>,
    },
}

/// What undoes a step.
#[derive(Debug, Clone)]
pub enum PlannedUndo {
    /// It changes nothing, or cleans up after itself.
    NotNeeded,
    /// The plugin's own undo.
    Auto,
    /// Another operation.
    Explicit {
        /// `STEP/undo`.
        id: StepId,
        /// What is known of the operation.
        facts: OperationFacts,
        /// The input before templates are rendered.
        with: Json,
    },
    /// Nothing can.
    Irreversible {
        /// Why that is acceptable.
        reason: String,
    },
}

/// One notification.
#[derive(Debug, Clone)]
pub struct PlannedNotify {
    /// `notify/N`.
    pub id: StepId,
    /// For what it is sent.
    pub on: Vec<Trigger>,
    /// `plugin:operation`.
    pub uses: String,
    /// What is known of the operation.
    pub facts: OperationFacts,
    /// The input before templates are rendered.
    pub with: Json,
    /// Of the call.
    pub timeout: Duration,
}

impl Plan {
    /// Puts everything together. `facts` knows every call site of [`Runbook::use_sites`].
    ///
    /// # Errors
    /// Every finding: steps that write and say not how they end badly, an undo that the plugin does not offer, an operation in
    /// the wrong section, a part of the format that this version does not execute.
    pub fn build(runbook: &Runbook, params: &Params, facts: &BTreeMap<StepId, OperationFacts>) -> Result<Self, Diagnostics> {
        let mut diagnostics = check_facts(runbook, facts);
        if diagnostics.has_errors() {
            return Err(diagnostics);
        }
        for warning in runbook.warnings.iter() {
            diagnostics.push(warning.clone());
        }
        let sources: Vec<_> = runbook.sources.iter().map(|source| (source.name().to_owned(), source.text().to_owned())).collect();
        let steps = plan_steps(runbook, facts);
        Ok(Self {
            name: runbook.name.value.clone(),
            title: runbook.title.clone(),
            digest: digest::of_json(&serde_json::json!(sources)),
            sources,
            params: params.values().clone(),
            timeout: runbook.timeout,
            locks: runbook.locks.clone(),
            window: runbook.window.clone(),
            limits: runbook.limits.clone(),
            undo: runbook.undo.clone(),
            index: steps.iter().enumerate().map(|(index, step)| (step.id.clone(), index)).collect(),
            by_template_key: steps.iter().map(|step| (template_key(&step.id), step.id.clone())).collect(),
            steps,
            notifies: runbook.notifies.iter().map(|notify| plan_notify(notify, facts)).collect(),
            warnings: diagnostics,
        })
    }

    /// The step with this id.
    pub fn step(&self, id: &StepId) -> Option<&PlannedStep> {
        self.index.get(id).map(|index| &self.steps[*index])
    }

    /// The step that a template calls by this key.
    pub fn by_template_key(&self, key: &str) -> Option<&StepId> {
        self.by_template_key.get(key)
    }

    /// The steps of one section.
    pub fn section(&self, section: Section) -> impl Iterator<Item = &PlannedStep> {
        self.steps.iter().filter(move |step| step.section == section)
    }

    /// The call sites as they are listed in the journal.
    pub fn listing(&self) -> Vec<StepListing> {
        let listing = |id: &StepId, title: &str, section, uses: &str, facts: &OperationFacts| StepListing {
            id: id.clone(),
            title: title.to_owned(),
            section,
            uses: uses.to_owned(),
            digest: facts.digest.clone(),
        };
        self.steps.iter().map(|step| listing(&step.id, &step.title, step.section, &step.uses, &step.facts)).collect()
    }
}

fn plan_steps(runbook: &Runbook, facts: &BTreeMap<StepId, OperationFacts>) -> Vec<PlannedStep> {
    let graph = step_graph(runbook);
    let ids: Vec<&StepId> = runbook.section(Section::Step).map(|step| &step.id.value).collect();
    let mut numbers = 0..;
    let mut previous: Option<&Step> = None;
    let mut steps = Vec::new();
    for step in &runbook.steps {
        let needs = if step.section == Section::Step {
            let number = numbers.next().unwrap_or_default();
            graph.needs(number).iter().map(|need| ids[*need].clone()).collect()
        } else {
            // Other sections are a straight line.
            previous
                .filter(|previous| previous.section == step.section)
                .map(|previous| previous.id.value.clone())
                .into_iter()
                .collect()
        };
        previous = Some(step);
        steps.extend(plan_step(step, needs, facts));
    }
    steps
}

/// `None` only for a step without `uses`, which [`check_facts`] has refused.
fn plan_step(step: &Step, needs: Vec<StepId>, facts: &BTreeMap<StepId, OperationFacts>) -> Option<PlannedStep> {
    let own = facts.get(&step.id.value)?;
    let repeatable = own.kind != Kind::Step || step.idempotent.unwrap_or(own.idempotent);
    Some(PlannedStep {
        id: step.id.value.clone(),
        title: step.display_name().to_owned(),
        section: step.section,
        uses: step.uses.as_ref()?.value.clone(),
        facts: own.clone(),
        with: input(step.with.as_ref()),
        needs,
        when: step.when.as_ref().map(|when| when.value.clone()),
        timeout: step.timeout.unwrap_or(DEFAULT_TIMEOUT),
        total_timeout: step.total_timeout,
        retry: step.retry.clone().unwrap_or_default(),
        idempotent: if repeatable { Repeatable::Yes } else { Repeatable::No },
        poll: step.poll.as_ref().map(|poll| PlannedPoll {
            until: poll.until.value.clone(),
            every: poll.every,
            within: poll.within,
        }),
        expect: step.expect.iter().map(plan_expectation).collect(),
        undo: plan_undo(step, facts),
        on_failure: step.on_failure,
        on_cancel: step.on_cancel,
    })
}

fn plan_expectation(expectation: &Expectation) -> PlannedExpectation {
    let range = |text: &Option<runbook_document::Located<String>>| text.as_ref().and_then(|text| Range::parse(&text.value));
    match expectation {
        Expectation::Equals { path, value } => PlannedExpectation::Equals { path: path.clone(), value: value.to_json() },
        Expectation::Within { path, warn, crit } => {
            PlannedExpectation::Within { path: path.clone(), warn: range(warn), crit: range(crit) }
        }
    }
}

fn plan_undo(step: &Step, facts: &BTreeMap<StepId, OperationFacts>) -> PlannedUndo {
    let id = step.id.value.undo();
    match (&step.undo, facts.get(&id)) {
        (Some(UndoDeclaration::Auto { .. }), _) => PlannedUndo::Auto,
        (Some(UndoDeclaration::Explicit { with, .. }), Some(own)) => {
            PlannedUndo::Explicit { id, facts: own.clone(), with: input(with.as_ref()) }
        }
        (Some(UndoDeclaration::Irreversible { reason }), _) => PlannedUndo::Irreversible { reason: reason.value.clone() },
        (Some(UndoDeclaration::Explicit { .. }) | None, _) => PlannedUndo::NotNeeded,
    }
}

fn plan_notify(notify: &crate::model::Notify, facts: &BTreeMap<StepId, OperationFacts>) -> PlannedNotify {
    PlannedNotify {
        id: notify.id.clone(),
        on: notify.on.clone(),
        uses: notify.uses.value.clone(),
        facts: facts.get(&notify.id).expect("`check_facts` has reported every site without facts").clone(),
        with: input(notify.with.as_ref()),
        timeout: notify.timeout.unwrap_or(DEFAULT_NOTIFY_TIMEOUT),
    }
}

fn input(with: Option<&Table>) -> Json {
    with.map_or_else(|| Json::Object(serde_json::Map::new()), Table::to_json)
}

/// What is wrong with a runbook, given what its operations are. Needs no parameters, so `validate` uses it too.
pub fn check_facts(runbook: &Runbook, facts: &BTreeMap<StepId, OperationFacts>) -> Diagnostics {
    let mut diagnostics = Diagnostics::default();
    not_executed(runbook, &mut diagnostics);
    for site in runbook.use_sites() {
        if !facts.contains_key(&site.step) {
            let message = format!("nothing is known of `{}`, which `{}` uses", site.uses.value, site.step);
            diagnostics.push(Diagnostic::error("E0209", site.source, site.uses.span.clone(), message).label("not resolved"));
        }
    }
    for step in &runbook.steps {
        if let Some(own) = facts.get(&step.id.value) {
            check_step(step, own, facts, &mut diagnostics);
        }
    }
    check_risk(runbook, facts, &mut diagnostics);
    diagnostics
}

fn not_executed(runbook: &Runbook, diagnostics: &mut Diagnostics) {
    for part in &runbook.not_executed {
        let message = format!("`{}` of {} is not executed by this version", part.key, part.subject);
        diagnostics.push(refusal(runbook.source(), &part.span, message));
    }
    for step in &runbook.steps {
        if let Some(ForEach { items, .. }) = &step.for_each {
            let message = format!("`for_each` of {} is not executed by this version", step.subject());
            diagnostics.push(refusal(&step.source, &items.span, message));
        }
    }
    for notify in runbook.notifies.iter().filter(|notify| notify.on.contains(&Trigger::Slow)) {
        let message = "`slow` in `on` of a notification is not executed by this version";
        diagnostics.push(refusal(&notify.source, &notify.uses.span, message.to_owned()));
    }
}

fn refusal(source: &Arc<Source>, span: &Span, message: String) -> Diagnostic {
    Diagnostic::error("E0224", source, span.clone(), message).label("would be left out").help("remove it, or use a later version")
}

fn check_step(step: &Step, own: &OperationFacts, facts: &BTreeMap<StepId, OperationFacts>, diagnostics: &mut Diagnostics) {
    let error = |code, span: &Span, message: String| Diagnostic::error(code, &step.source, span.clone(), message);
    let looks_only = matches!(step.section, Section::Preflight | Section::Verify);
    if looks_only && own.kind == Kind::Step {
        let message =
            format!("{} uses a step, which may change something; a {} only looks", step.subject(), section_noun(step.section));
        diagnostics.push(error("E0228", &step.id.span, message).label("changes something").help("use a probe or a smoke test"));
    }
    if looks_only && step.section == Section::Preflight && own.writes {
        let message = format!("{} writes, and a preflight runs before any lock is held", step.subject());
        diagnostics.push(error("E0228", &step.id.span, message).label("changes something").help("move it to `[[step]]`"));
    }
    if step.poll.is_some() && own.kind == Kind::Step {
        let message = format!("{} would act again and again: `until` polls probes and smoke tests only", step.subject());
        diagnostics.push(error("E0228", &step.id.span, message).label("acts").help("poll with a probe in a step of its own"));
    }
    match &step.undo {
        None if step.section == Section::Step && own.kind == Kind::Step && own.writes => {
            let message = format!("{} changes something and does not say how it ends badly", step.subject());
            let help = if own.undo {
                "add `undo = \"auto\"`, or `irreversible = \"…\"` with the reason why that is acceptable"
            } else {
                "add `undo = { uses = … }`, or `irreversible = \"…\"` with the reason why that is acceptable"
            };
            diagnostics.push(error("E0221", &step.id.span, message).label("no `undo` and no `irreversible`").help(help));
        }
        Some(UndoDeclaration::Auto { span }) if own.kind != Kind::Step || !own.undo => {
            let uses = step.uses.as_ref().map(|uses| uses.value.as_str()).unwrap_or_default();
            let message = format!("`{uses}` cannot undo what it does");
            let help = "name another operation, `undo = { uses = … }`, or say `irreversible = \"…\"`";
            diagnostics.push(error("E0222", span, message).label("not offered").help(help));
        }
        Some(UndoDeclaration::Explicit { span, .. })
            if facts.get(&step.id.value.undo()).is_some_and(|undo| undo.kind != Kind::Step) =>
        {
            let message = format!("the undo of {} only looks: it must be a step", step.subject());
            diagnostics.push(error("E0222", span, message).label("changes nothing"));
        }
        None | Some(UndoDeclaration::Auto { .. } | UndoDeclaration::Explicit { .. } | UndoDeclaration::Irreversible { .. }) => {}
    }
}

/// `risk` is compared with what the file can do.
fn check_risk(runbook: &Runbook, facts: &BTreeMap<StepId, OperationFacts>, diagnostics: &mut Diagnostics) {
    let Some(risk) = &runbook.risk else { return };
    let writes = |step: &&Step| facts.get(&step.id.value).is_some_and(|own| own.kind == Kind::Step && own.writes);
    let writing = runbook.section(Section::Step).find(writes);
    if let (Risk::ReadOnly, Some(step)) = (risk.value, writing) {
        let message = format!("the runbook says that it is read-only, and {} changes something", step.subject());
        let diagnostic = Diagnostic::error("E0229", runbook.source(), risk.span.clone(), message);
        diagnostics.push(diagnostic.label("not true").help("write `risk = \"reversible\"` or `risk = \"destructive\"`"));
    }
}
