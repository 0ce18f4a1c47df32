//! A runbook as it was written: its names are checked, its source positions are kept, and nothing
//! is resolved.

mod approval;
mod group;
mod guard;
mod manual;
mod param;
mod policy;
mod step;
mod window;

pub use approval::{Approval, SelfApproval, person_of};
pub use group::{Check, Criticality, Group, NestedFile, NestedKind};
pub use guard::{Guard, OnBreach};
pub use manual::{FieldType, Manual, TypedAnswer};
pub use param::{Param, ParamType};
pub use policy::{
    DeclaredRisk, Limits, Locks, OnBusy, UndoCause, UndoCauses, UndoPolicy, VerifyUndo,
};
pub use step::section_noun;
pub use step::{
    Bind, Expectation, ForEach, IfNeedsFailed, Items, Notify, OnCancel, OnFailure, Poll, Retry,
    Step, StepAction, UndoDeclaration,
};
pub(crate) use window::SECONDS_PER_DAY;
pub use window::{AllowedTime, Days, OutsidePolicy, Window};

use crate::event::Section;
use runbook_contract::StepId;
use runbook_document::{Diagnostics, Key, Source, Span, Spanned, Table};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// A parsed runbook. It exists only if the file has no error.
#[derive(Debug)]
pub struct Runbook {
    /// The runbook first, then what it includes, then the targets of the environment.
    pub sources: Vec<Arc<Source>>,
    /// The `name` of the file, in kebab case.
    pub name: Spanned<String>,
    /// The title, for people; the name if the file has no title.
    pub title: String,
    /// The person or team that owns the runbook.
    pub owner: Option<String>,
    /// What it is for, in Markdown.
    pub description: Option<String>,
    /// What the author says about its danger.
    pub risk: Option<Spanned<DeclaredRisk>>,
    /// How long a run may take, undo not counted.
    pub timeout: Option<Duration>,
    /// Parameters, in file order.
    pub params: Vec<Param>,
    /// Secrets that targets name.
    pub secrets: Vec<SecretEntry>,
    /// The targets that slots can be bound to. Parsed further by `runbook-authority`.
    pub targets: Vec<TargetEntry>,
    /// The locks that no other run may hold at the same time.
    pub locks: Locks,
    /// When it may run.
    pub window: Option<Window>,
    /// How many effects a run may have, how long its clean-up may take, and how many calls it makes
    /// at once.
    pub limits: Limits,
    /// When completed steps are undone.
    pub undo: UndoPolicy,
    /// `[[preflight]]`, `[[step]]`, `[[verify]]`, `[[finally]]` (or `[[check]]` of a suite), each
    /// in file order, in this order of sections.
    pub steps: Vec<Step>,
    /// `[[guard]]`, in file order.
    pub guards: Vec<Guard>,
    /// `[[notify]]`, in file order.
    pub notifies: Vec<Notify>,
    /// The nested files of its steps; a file comes before the files that it nests itself.
    pub groups: Vec<Group>,
    /// Warnings that were found while parsing; no errors.
    pub warnings: Diagnostics,
}

/// One secret, as `[secrets.NAME]` describes it.
#[derive(Debug, Clone)]
pub struct SecretEntry {
    /// The name by which targets refer to it.
    pub name: Key,
    /// The source of its value, such as `age:secrets/prod.age#orders-db`.
    pub source_uri: Spanned<String>,
    /// All its keys. `runbook-authority` reads those that belong to a source.
    pub table: Table,
    /// The age of the value from which on there is a warning.
    pub max_age: Option<Duration>,
    /// The last day on which the value is good, as its issuer says; warned about from two weeks
    /// before.
    pub expires: Option<jiff::civil::Date>,
    /// The file in which it stands.
    pub source: Arc<Source>,
}

/// One target, as `[targets.NAME]` describes it.
#[derive(Debug, Clone)]
pub struct TargetEntry {
    /// The name by which slots are bound to it.
    pub name: Key,
    /// Its keys, which `runbook-authority` reads.
    pub table: Table,
    /// The file in which it stands.
    pub source: Arc<Source>,
    /// Where it comes from: the runbook or the file of an environment.
    pub origin: TargetOrigin,
}

/// Where a target comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetOrigin {
    /// The runbook, or a file that it includes.
    Runbook,
    /// The file of the environment, in place of one that the runbook has.
    Replaced,
    /// The file of the environment alone.
    Added,
}

/// One place of a runbook that calls a plugin.
#[derive(Debug)]
pub struct CallSite<'a> {
    /// Its id: that of the step, `STEP/undo`, or `notify/N`.
    pub step: StepId,
    /// The step or guard whose own operation this is; `None` for an undo and a notification.
    pub calling_step: Option<&'a Step>,
    /// The part of the file.
    pub section: Section,
    /// The operation that it calls, as `plugin:operation`.
    pub uses: &'a Spanned<String>,
    /// The slots that are bound, each to a target.
    pub bind: &'a [Bind],
    /// The input before templates are rendered.
    pub with: Option<&'a Table>,
    /// The file in which it stands.
    pub source: &'a Arc<Source>,
    /// The position of the id, for messages about the call as a whole.
    pub span: Span,
}

impl Runbook {
    /// The file of the runbook itself, without what it includes.
    pub fn source(&self) -> &Arc<Source> {
        self.sources.first().expect("`parse` puts the runbook first")
    }

    /// The steps of one section, in file order.
    pub fn section(&self, section: Section) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(move |step| step.section == section)
    }

    /// A runbook that makes the checks of this suite as its steps, and does nothing else: the
    /// checks with one of the tags (all checks if `tags` is empty), without those for which
    /// `is_left_out` is true. A check that depends on one that is left out is still made.
    #[must_use]
    pub fn as_run(
        &self,
        tags: &[String],
        timeout: Duration,
        is_left_out: impl Fn(&StepId) -> bool,
    ) -> Self {
        let mut run = Self {
            sources: self.sources.clone(),
            name: self.name.clone(),
            title: self.title.clone(),
            owner: self.owner.clone(),
            description: self.description.clone(),
            risk: self.risk.clone(),
            timeout: Some(self.timeout.map_or(timeout, |own_timeout| own_timeout.min(timeout))),
            params: self.params.clone(),
            secrets: self.secrets.clone(),
            targets: self.targets.clone(),
            locks: self.locks.clone(),
            window: None,
            limits: self.limits.clone(),
            undo: self.undo.clone(),
            steps: self.steps.clone(),
            guards: Vec::new(),
            notifies: Vec::new(),
            groups: Vec::new(),
            warnings: Diagnostics::default(),
        };
        let is_tagged = |step: &Step| {
            step.check.as_ref().is_some_and(|check| check.tags.iter().any(|tag| tags.contains(tag)))
        };
        run.retain_steps(|step| {
            (tags.is_empty() || is_tagged(step)) && !is_left_out(&step.id.value)
        });
        run.steps.iter_mut().for_each(|step| step.section = Section::Step);
        run
    }

    /// Keeps only the steps for which `keep` is true, and removes the others from `needs`.
    pub fn retain_steps(&mut self, keep: impl Fn(&Step) -> bool) {
        let removed: BTreeSet<StepId> = self
            .steps
            .iter()
            .filter(|step| !keep(step))
            .map(|step| step.id.value.clone())
            .collect();
        self.steps.retain(|step| !removed.contains(&step.id.value));
        for needs in self.steps.iter_mut().filter_map(|step| step.needs.as_mut()) {
            needs.retain(|need| !removed.contains(&need.value));
        }
    }

    /// The step with this id.
    pub fn step(&self, id: &StepId) -> Option<&Step> {
        self.steps.iter().find(|step| step.id.value == *id)
    }

    /// Every place of the runbook that calls a plugin: steps of all sections, explicit undos,
    /// guards, notifications.
    pub fn call_sites(&self) -> Vec<CallSite<'_>> {
        let steps = self.steps.iter().flat_map(step::Step::call_sites);
        let guards = self.guards.iter().flat_map(|guard| guard.probe.call_sites());
        let notifies = self.notifies.iter().map(Notify::call_site);
        steps.chain(guards).chain(notifies).collect()
    }
}
