//! Builds the [`Plan`] of a run from the runbook, its parameters and the facts about its
//! operations. Everything in it is checked.

pub(crate) mod group;
mod guard;
mod index;
mod items;
mod validate;

pub(crate) use group::ParamsError;
pub use group::PlannedGroup;
pub use guard::{DEFAULT_PROBE_TIMEOUT, PlannedGuard};
pub(crate) use index::Index;
pub(crate) use items::ListError;
pub use items::{PlannedForEach, PlannedItem, PlannedItems};
pub use validate::{UNRESOLVED_OPERATION, check_facts};

use crate::digest;
use crate::event::{Section, StepListing, Trigger};
use crate::lint::step_graph;
use crate::model::{
    Approval, Criticality, Expectation, ForEach, IfNeedsFailed, Items, Limits, Locks, Manual,
    OnCancel, OnFailure, Retry, Runbook, Step, StepAction, UndoDeclaration, UndoPolicy, Window,
};
use crate::params::Params;
use crate::range::Range;
use crate::template::template_key;
use runbook_contract::{Json, Kind, OperationFacts, StepId};
use runbook_document::{Diagnostic, Diagnostics, Table};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How long one attempt may take, if the runbook does not say: long enough for a restart, short
/// enough that a hung step is seen.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_mins(5);

/// How long one notification may take, if the runbook does not say: an outage must not wait for a
/// chat service.
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
    /// The digest of `sources`, `sha256:…`.
    pub digest: String,
    /// Parameters as typed JSON.
    pub params: serde_json::Map<String, Json>,
    /// How long a run may take, undo not counted.
    pub timeout: Option<Duration>,
    /// The locks that no other run may hold at the same time.
    pub locks: Locks,
    /// When it may run.
    pub window: Option<Window>,
    /// The limits of effects, of the clean-up and of calls at once.
    pub limits: Limits,
    /// When completed steps are undone.
    pub undo: UndoPolicy,
    /// Preflights, steps, verifies, finallies: in this order, each in file order.
    pub steps: Vec<Arc<PlannedStep>>,
    /// The nested files, by the step that stands for the file.
    pub groups: BTreeMap<StepId, PlannedGroup>,
    /// Guards in file order.
    pub guards: Vec<PlannedGuard>,
    /// Notifications in file order.
    pub notifies: Vec<PlannedNotify>,
    /// Warnings to look at before the run.
    pub warnings: Diagnostics,
    index: Index,
    by_template_key: BTreeMap<String, StepId>,
}

/// One step, ready to run after its templates are rendered.
#[derive(Debug, Clone)]
pub struct PlannedStep {
    /// Its id; `STEP[KEY]` for an item of `for_each`.
    pub id: StepId,
    /// The call site, which determines plugin, operation and bindings: the id as written. Items
    /// share the call site of their step.
    pub site: StepId,
    /// The title, for people.
    pub title: String,
    /// The part of the file.
    pub section: Section,
    /// The part of the file in which it is written.
    pub written_in: Section,
    /// The operation that it calls, as `plugin:operation`.
    pub uses: String,
    /// What is known of the operation.
    pub facts: OperationFacts,
    /// The input before templates are rendered.
    pub with: Json,
    /// Steps that must be settled before.
    pub needs: Vec<StepId>,
    /// What happens to it when one of the steps that its `needs` names has failed and the run goes
    /// on.
    pub if_needs_failed: IfNeedsFailed,
    /// An expression; false skips the step.
    pub when: Option<String>,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// How long all attempts may take together.
    pub total_timeout: Option<Duration>,
    /// What happens when an attempt fails.
    pub retry: Retry,
    /// Whether it may run again after an unknown outcome.
    pub idempotent: RetrySafety,
    /// How it is repeated until a condition holds; `None` if it is not.
    pub poll: Option<PlannedPoll>,
    /// What must hold of the output.
    pub expect: Vec<PlannedExpectation>,
    /// What undoes the step, if anything does.
    pub undo: PlannedUndo,
    /// The targets to which it and its undo are bound.
    pub targets: BTreeSet<String>,
    /// The steps whose output its input or that of its undo uses, with ids as written.
    pub reads: BTreeSet<StepId>,
    /// What happens when it has failed for good.
    pub on_failure: OnFailure,
    /// What happens to a running attempt when the run is cancelled.
    pub on_cancel: OnCancel,
    /// What a person does instead of a plugin.
    pub manual: Option<Manual>,
    /// Who must approve what it would do; `None` if nobody must.
    pub approval: Option<Approval>,
    /// The step that stands for the file in which it is written, if that is a nested one.
    pub group: Option<StepId>,
    /// What its failure means, if it is a check of a suite.
    pub criticality: Option<Criticality>,
    /// The items for which it runs; `None` if it runs once.
    pub for_each: Option<PlannedForEach>,
    /// The item that it is; `None` if it is not an item.
    pub item: Option<PlannedItem>,
}

/// Whether an operation may run again after an unknown outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetrySafety {
    /// It may run again without harm.
    Yes,
    /// It may do harm, or nobody knows.
    No,
}

/// How a probe is repeated: `until`, `every`, `within`.
#[derive(Debug, Clone)]
pub struct PlannedPoll {
    /// An expression over `outcome` and `output`.
    pub until: String,
    /// The time between two attempts of the poll.
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
        /// The value that the field must have.
        value: Json,
    },
    /// A number is inside its ranges.
    Within {
        /// Keys from the output's root; empty is `value`, or else the first measurement.
        path: Vec<String>,
        /// The range outside which it warns.
        warn: Option<Range>,
        /// The range outside which it fails.
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
    /// Another operation, which the runbook names.
    Explicit {
        /// The id of the undo, `STEP/undo`.
        id: StepId,
        /// What is known of the operation.
        facts: OperationFacts,
        /// The input before templates are rendered.
        with: Json,
        /// Whether it may be tried again when it is unknown whether it happened.
        idempotent: RetrySafety,
    },
    /// Nothing can undo it.
    Irreversible {
        /// Why that is acceptable.
        reason: String,
    },
}

impl PlannedUndo {
    /// Whether it may be tried again when it is unknown whether it happened. A plugin's own undo
    /// must work from any state.
    pub(crate) fn retry_safety(&self) -> RetrySafety {
        match self {
            Self::Explicit { idempotent, .. } => *idempotent,
            Self::NotNeeded | Self::Auto | Self::Irreversible { .. } => RetrySafety::Yes,
        }
    }
}

/// One notification, ready to be sent.
#[derive(Debug, Clone)]
pub struct PlannedNotify {
    /// The id of the notification, `notify/N`.
    pub id: StepId,
    /// The events for which it is sent.
    pub on: Vec<Trigger>,
    /// The operation that sends it, as `plugin:operation`.
    pub uses: String,
    /// What is known of the operation.
    pub facts: OperationFacts,
    /// The input before templates are rendered.
    pub with: Json,
    /// How long the call may take.
    pub timeout: Duration,
}

impl Plan {
    /// Builds a plan. `facts` has an entry for every call site of [`Runbook::call_sites`].
    ///
    /// # Errors
    /// Every finding: steps that write and have neither `undo` nor `irreversible`, an undo that the
    /// plugin does not offer, an operation in the wrong section.
    pub fn build(
        runbook: &Runbook,
        params: &Params,
        facts: &BTreeMap<StepId, OperationFacts>,
    ) -> Result<Self, Diagnostics> {
        let mut diagnostics = check_facts(runbook, facts);
        diagnostics.extend(suite_as_runbook(runbook));
        if diagnostics.has_errors() {
            return Err(diagnostics);
        }
        for warning in runbook.warnings.iter() {
            diagnostics.push(warning.clone());
        }
        let sources: Vec<_> = runbook
            .sources
            .iter()
            .map(|source| (source.name().to_owned(), source.text().to_owned()))
            .collect();
        let steps: Vec<Arc<PlannedStep>> =
            plan_steps(runbook, facts).into_iter().map(Arc::new).collect();
        Ok(Self {
            name: runbook.name.value.clone(),
            title: runbook.title.clone(),
            digest: digest::json_digest(&serde_json::json!(sources)),
            sources,
            params: params.values().clone(),
            timeout: runbook.timeout,
            locks: runbook.locks.clone(),
            window: runbook.window.clone(),
            limits: runbook.limits.clone(),
            undo: runbook.undo.clone(),
            by_template_key: steps
                .iter()
                .map(|step| (template_key(&step.id), step.id.clone()))
                .collect(),
            index: Index::new(&steps),
            steps,
            groups: runbook
                .groups
                .iter()
                .map(|group| (group.id.clone(), group::plan_group(group)))
                .collect(),
            guards: runbook
                .guards
                .iter()
                .filter_map(|guard| guard::plan_guard(guard, facts))
                .collect(),
            notifies: runbook.notifies.iter().map(|notify| plan_notify(notify, facts)).collect(),
            warnings: diagnostics,
        })
    }

    /// The step with this id.
    pub fn step(&self, id: &StepId) -> Option<&PlannedStep> {
        self.index.position(id).map(|position| &*self.steps[position])
    }

    /// Who must approve what a step or an item would do; `None` if nobody must.
    pub fn approval(&self, id: &StepId) -> Option<&Approval> {
        let as_written =
            || self.step(&StepId::new(id.as_str().split('[').next().unwrap_or_default()));
        self.step(id).or_else(as_written)?.approval.as_ref()
    }

    /// A shared reference to a step, which stays valid when the plan is replaced.
    pub(crate) fn shared(&self, id: &StepId) -> Option<Arc<PlannedStep>> {
        self.index.position(id).map(|position| Arc::clone(&self.steps[position]))
    }

    /// The positions of its steps.
    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    /// The step with this key in templates.
    pub fn by_template_key(&self, key: &str) -> Option<&StepId> {
        self.by_template_key.get(key)
    }

    /// The steps of one section.
    pub fn section(&self, section: Section) -> impl Iterator<Item = &PlannedStep> {
        self.steps.iter().map(|step| &**step).filter(move |step| step.section == section)
    }

    /// The call sites as they are listed in the journal.
    pub fn listing(&self) -> Vec<StepListing> {
        let listing =
            |id: &StepId, title: &str, section, uses: &str, facts: &OperationFacts| StepListing {
                id: id.clone(),
                title: title.to_owned(),
                section,
                uses: uses.to_owned(),
                digest: facts.digest.clone(),
            };
        // Items have an event of their own, once they are known.
        let written_steps = self.steps.iter().filter(|step| step.item.is_none());
        let guards = self.guards.iter().map(|guard| &*guard.probe);
        written_steps
            .map(|step| &**step)
            .chain(guards)
            .map(|step| listing(&step.id, &step.title, step.section, &step.uses, &step.facts))
            .collect()
    }
}

/// The error for a suite that is run as a runbook: it has no step, so the run would do nothing and
/// succeed.
fn suite_as_runbook(runbook: &Runbook) -> Option<Diagnostic> {
    runbook.section(Section::Check).next()?;
    let message = format!("`{}` is a suite of checks, not a runbook", runbook.name.value);
    let diagnostic =
        Diagnostic::error("E0232", runbook.source(), runbook.name.span.clone(), message)
            .label("has no step");
    Some(diagnostic.help(
        "make its checks with `runbook check`, or let a runbook make them: `[[step]]` \
                   with `suite = \"FILE\"`",
    ))
}

fn plan_steps(runbook: &Runbook, facts: &BTreeMap<StepId, OperationFacts>) -> Vec<PlannedStep> {
    let graph = step_graph(runbook);
    let ids: Vec<&StepId> = runbook.section(Section::Step).map(|step| &step.id.value).collect();
    let reads = crate::data_flow::input_steps(runbook);
    let mut numbers = 0..;
    let mut previous: Option<&Step> = None;
    let mut steps = Vec::new();
    for step in &runbook.steps {
        let needs = if step.section == Section::Step {
            let number = numbers.next().unwrap_or_default();
            graph.needs(number).iter().map(|need| ids[*need].clone()).collect()
        } else {
            // In other sections, each step needs the one before it.
            previous
                .filter(|previous| previous.section == step.section)
                .map(|previous| previous.id.value.clone())
                .into_iter()
                .collect()
        };
        previous = Some(step);
        steps.extend(plan_step(step, needs, facts, &reads));
    }
    steps
}

/// The facts of a step for which the host calls no operation: a manual step, or one that stands for
/// a nested file.
fn facts_without_call() -> OperationFacts {
    OperationFacts {
        kind: Kind::Probe,
        idempotent: true,
        undo: false,
        writes: false,
        digest: String::new(),
        places: Vec::new(),
    }
}

/// `None` only for a step without `uses`, which [`check_facts`] has refused.
fn plan_step(
    step: &Step,
    needs: Vec<StepId>,
    facts: &BTreeMap<StepId, OperationFacts>,
    reads: &BTreeMap<StepId, BTreeSet<StepId>>,
) -> Option<PlannedStep> {
    let without_call = match &step.action {
        StepAction::Manual(_) | StepAction::Runbook { .. } | StepAction::Suite { .. } => {
            Some(facts_without_call())
        }
        StepAction::Plugin { .. } | StepAction::Refused(_) => None,
    };
    let own_facts = facts.get(&step.id.value).or(without_call.as_ref())?;
    Some(PlannedStep {
        id: step.id.value.clone(),
        site: step.id.value.clone(),
        title: step.display_name().to_owned(),
        section: step.section,
        written_in: step.written_in,
        uses: uses(step),
        facts: own_facts.clone(),
        with: input(step.with.as_ref()),
        needs,
        if_needs_failed: step.if_needs_failed,
        when: step.when.as_ref().map(|when| when.value.clone()),
        timeout: step.timeout.unwrap_or(DEFAULT_TIMEOUT),
        total_timeout: step.total_timeout,
        retry: step.retry.clone().unwrap_or_default(),
        idempotent: retry_safety(own_facts, step.idempotent),
        poll: step.poll.as_ref().map(|poll| PlannedPoll {
            until: poll.until.value.clone(),
            every: poll.every,
            within: poll.within,
        }),
        expect: step.expect.iter().map(plan_expectation).collect(),
        undo: plan_undo(step, facts),
        targets: step.targets().map(|target| target.value.clone()).collect(),
        reads: [step.id.value.clone(), step.id.value.undo()]
            .iter()
            .filter_map(|site| reads.get(site))
            .flatten()
            .cloned()
            .collect(),
        // A suite makes all its checks, also after one has failed.
        on_failure: if step.check.is_some() { OnFailure::Continue } else { step.on_failure },
        on_cancel: step.on_cancel,
        manual: step.manual().cloned(),
        approval: step.approval.as_ref().map(|approval| approval.value.clone()),
        group: step.group.clone(),
        criticality: step.check.as_ref().map(|check| check.criticality),
        for_each: step.for_each.as_ref().map(plan_for_each),
        item: None,
    })
}

/// What a step does, for lists: its operation, its nested file, or `manual`.
fn uses(step: &Step) -> String {
    match &step.action {
        StepAction::Plugin { uses } => uses.value.clone(),
        StepAction::Runbook { file } => format!("runbook {}", file.value),
        StepAction::Suite { file, .. } => format!("suite {}", file.value),
        StepAction::Manual(_) => "manual".to_owned(),
        StepAction::Refused(_) => String::new(),
    }
}

fn plan_for_each(for_each: &ForEach) -> PlannedForEach {
    PlannedForEach {
        items: match &for_each.items {
            Items::Expression(text) => PlannedItems::Expression(text.value.clone()),
            Items::Literal(node) => PlannedItems::Literal(node.value.to_json()),
        },
        name: for_each.name.clone(),
        key: for_each.key.as_ref().map(|key| key.value.clone()),
        max_parallel: for_each.max_parallel,
    }
}

fn plan_expectation(expectation: &Expectation) -> PlannedExpectation {
    let range = |text: &Option<runbook_document::Spanned<String>>| {
        text.as_ref().and_then(|text| Range::parse(&text.value))
    };
    match expectation {
        Expectation::Equals { path, value, .. } => {
            PlannedExpectation::Equals { path: path.clone(), value: value.to_json() }
        }
        Expectation::Within { path, warn, crit, .. } => {
            PlannedExpectation::Within { path: path.clone(), warn: range(warn), crit: range(crit) }
        }
    }
}

/// Whether an operation may run again after an unknown outcome. The runbook overrides the manifest;
/// operations that only read may always run again.
fn retry_safety(facts: &OperationFacts, declared: Option<bool>) -> RetrySafety {
    let is_safe = facts.kind != Kind::Step || declared.unwrap_or(facts.idempotent);
    if is_safe { RetrySafety::Yes } else { RetrySafety::No }
}

fn plan_undo(step: &Step, facts: &BTreeMap<StepId, OperationFacts>) -> PlannedUndo {
    let id = step.id.value.undo();
    match (&step.undo, facts.get(&id)) {
        (Some(UndoDeclaration::Auto { .. }), _) => PlannedUndo::Auto,
        (Some(UndoDeclaration::Explicit { with, idempotent, .. }), Some(undo_facts)) => {
            let idempotent = retry_safety(undo_facts, *idempotent);
            PlannedUndo::Explicit {
                id,
                facts: undo_facts.clone(),
                with: input(with.as_ref()),
                idempotent,
            }
        }
        (Some(UndoDeclaration::Irreversible { reason }), _) => {
            PlannedUndo::Irreversible { reason: reason.value.clone() }
        }
        (Some(UndoDeclaration::Explicit { .. }) | None, _) => PlannedUndo::NotNeeded,
    }
}

fn plan_notify(
    notify: &crate::model::Notify,
    facts: &BTreeMap<StepId, OperationFacts>,
) -> PlannedNotify {
    PlannedNotify {
        id: notify.id.clone(),
        on: notify.on.clone(),
        uses: notify.uses.value.clone(),
        facts: facts
            .get(&notify.id)
            .expect("`check_facts` has reported every site without facts")
            .clone(),
        with: input(notify.with.as_ref()),
        timeout: notify.timeout.unwrap_or(DEFAULT_NOTIFY_TIMEOUT),
    }
}

fn input(with: Option<&Table>) -> Json {
    with.map_or_else(|| Json::Object(serde_json::Map::new()), Table::to_json)
}
