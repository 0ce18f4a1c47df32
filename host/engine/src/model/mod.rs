//! A runbook as it was written: names checked, places kept, nothing resolved.

mod approval;
mod group;
mod guard;
mod manual;
mod param;
mod policy;
mod step;
mod window;

pub use approval::{Approval, SelfApproval, person_of};
pub use group::{Check, Criticality, Group, Nested, NestedKind};
pub use guard::{Guard, OnBreach};
pub use manual::{FieldType, Manual, Typed};
pub use param::{Param, ParamType};
pub use policy::{
    DeclaredRisk, Limits, Locks, OnBusy, UndoCause, UndoCauses, UndoPolicy, VerifyUndo,
};
pub use step::section_noun;
pub use step::{
    Bind, Expectation, ForEach, IfNeedsFailed, Items, Notify, OnCancel, OnFailure, Poll, Retry,
    Step, StepAction, UndoDeclaration,
};
pub(crate) use window::DAY;
pub use window::{AllowedTime, Days, OutsidePolicy, Window};

use crate::event::Section;
use runbook_contract::StepId;
use runbook_document::{Diagnostics, Key, Located, Source, Span, Table};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// A parsed runbook. It exists only if the file has no error.
#[derive(Debug)]
pub struct Runbook {
    /// The runbook first, then what it includes, then the targets of the environment.
    pub sources: Vec<Arc<Source>>,
    /// The `name` of the file, in kebab case.
    pub name: Located<String>,
    /// What people call it; the name if it has no title.
    pub title: String,
    /// The person or team that owns the runbook.
    pub owner: Option<String>,
    /// What it is for, in Markdown.
    pub description: Option<String>,
    /// What the author says about its danger.
    pub risk: Option<Located<DeclaredRisk>>,
    /// How long a run may take, undo not counted.
    pub timeout: Option<Duration>,
    /// Parameters, in file order.
    pub params: Vec<Param>,
    /// Secrets that targets name.
    pub secrets: Vec<SecretEntry>,
    /// What slots can be bound to. Parsed further by `runbook-authority`.
    pub targets: Vec<TargetEntry>,
    /// What no other run may hold at the same time.
    pub locks: Locks,
    /// When it may run.
    pub window: Option<Window>,
    /// Blast radius and time of the clean-up.
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
    /// What its steps nest, the inner ones after the one that nests them.
    pub groups: Vec<Group>,
    /// What somebody should look at; no error is among them.
    pub warnings: Diagnostics,
}

/// One secret, as `[secrets.NAME]` describes it.
#[derive(Debug, Clone)]
pub struct SecretEntry {
    /// The name by which targets refer to it.
    pub name: Key,
    /// Where its value is: `age:secrets/prod.age#orders-db`.
    pub source_uri: Located<String>,
    /// Warn when the value is older.
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
    /// Its keys, not read yet.
    pub table: Table,
    /// The file in which it stands.
    pub source: Arc<Source>,
    /// Whether it comes from the file of an environment.
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

/// One place that calls a plugin.
#[derive(Debug)]
pub struct UseSite<'a> {
    /// Its id: the step's, `STEP/undo`, or `notify/N`.
    pub step: StepId,
    /// The step that makes this call. An undo, a guard and a notification are calls of their own.
    pub of: Option<&'a Step>,
    /// The part of the file.
    pub section: Section,
    /// The operation that it calls, as `plugin:operation`.
    pub uses: &'a Located<String>,
    /// The slots that are bound, each to a target.
    pub bind: &'a [Bind],
    /// The input before templates are rendered.
    pub with: Option<&'a Table>,
    /// The file in which it stands.
    pub source: &'a Arc<Source>,
    /// The place to show when there is nothing more exact: the id.
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

    /// A suite as a run of its own: the checks with one of the tags (all, if there is none), but
    /// those that are left out, are its steps, and nothing else of it happens. What depends on one
    /// that is left out is made.
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
            timeout: Some(self.timeout.map_or(timeout, |own| own.min(timeout))),
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

    /// Takes out all steps but these. What needed one of the others does not wait for it.
    pub fn retain_steps(&mut self, keep: impl Fn(&Step) -> bool) {
        let out: BTreeSet<StepId> = self
            .steps
            .iter()
            .filter(|step| !keep(step))
            .map(|step| step.id.value.clone())
            .collect();
        self.steps.retain(|step| !out.contains(&step.id.value));
        for needs in self.steps.iter_mut().filter_map(|step| step.needs.as_mut()) {
            needs.retain(|need| !out.contains(&need.value));
        }
    }

    /// The step with this id.
    pub fn step(&self, id: &StepId) -> Option<&Step> {
        self.steps.iter().find(|step| step.id.value == *id)
    }

    /// Every place in the file that calls a plugin: steps of all sections, explicit undos, guards,
    /// notifications.
    pub fn use_sites(&self) -> Vec<UseSite<'_>> {
        let steps = self.steps.iter().flat_map(step::Step::use_sites);
        let guards = self.guards.iter().flat_map(|guard| guard.probe.use_sites());
        let notifies = self.notifies.iter().map(Notify::use_site);
        steps.chain(guards).chain(notifies).collect()
    }
}
