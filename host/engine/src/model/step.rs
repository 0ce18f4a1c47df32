//! One step as it is written.

use super::{Approval, CallSite, Check, Manual, NestedFile, NestedKind};
use crate::event::{Section, Trigger};
use runbook_contract::{ErrorClass, StepId};
use runbook_document::{Node, Source, Span, Spanned, Table};
use std::sync::Arc;
use std::time::Duration;

/// A preflight, step, verify, finally or check.
#[derive(Debug, Clone)]
pub struct Step {
    /// The section as part of which it runs.
    pub section: Section,
    /// The section in which it is written: a verify of a nested runbook runs as a step.
    pub written_in: Section,
    /// The id, unique in the file, in kebab case.
    pub id: Spanned<StepId>,
    /// The title, for people.
    pub title: Option<String>,
    /// What it does.
    pub action: StepAction,
    /// The slots that are bound, each to a target.
    pub bind: Vec<Bind>,
    /// The input before templates are rendered.
    pub with: Option<Table>,
    /// Steps that must be done before; `None` means the step before it in the file.
    pub needs: Option<Vec<Spanned<StepId>>>,
    /// What happens to it when one of the steps that its `needs` names has failed and the run goes
    /// on.
    pub if_needs_failed: IfNeedsFailed,
    /// An expression; if it is false, the step is skipped.
    pub when: Option<Spanned<String>>,
    /// How long one attempt may take; `None` takes the default.
    pub timeout: Option<Duration>,
    /// How long all attempts may take together.
    pub total_timeout: Option<Duration>,
    /// What happens when an attempt fails.
    pub retry: Option<Retry>,
    /// Whether it may run again after an unknown outcome; overrides the manifest.
    pub idempotent: Option<bool>,
    /// Repeats a probe until a condition holds.
    pub poll: Option<Poll>,
    /// What must hold of the output.
    pub expect: Vec<Expectation>,
    /// What undoes the step, or why nothing does.
    pub undo: Option<UndoDeclaration>,
    /// What happens when it has failed for good.
    pub on_failure: OnFailure,
    /// What happens to a running attempt when the run is cancelled.
    pub on_cancel: OnCancel,
    /// Who must approve what it would do; `None` if nobody must.
    pub approval: Option<Spanned<Approval>>,
    /// The items for which it runs; `None` if it runs once.
    pub for_each: Option<ForEach>,
    /// For a step of a nested file, the step that nests the file.
    pub group: Option<StepId>,
    /// The fields that only checks of a suite have.
    pub check: Option<Check>,
    /// The file in which it stands.
    pub source: Arc<Source>,
    /// The position of its whole table.
    pub span: Span,
}

/// What a step does.
#[derive(Debug, Clone)]
pub enum StepAction {
    /// It calls an operation: `uses = "plugin:operation"`.
    Plugin {
        /// The operation, as `plugin:operation`.
        uses: Spanned<String>,
    },
    /// A person does it: `manual = { … }`.
    Manual(Manual),
    /// It stands for the steps of another runbook: `runbook = "FILE"`.
    Runbook {
        /// Its name, in the folder of the runbook.
        file: Spanned<String>,
    },
    /// It stands for the checks of a suite: `suite = "FILE"`.
    Suite {
        /// Its name, in the folder of the runbook.
        file: Spanned<String>,
        /// Only checks with one of these tags are made; empty means all checks.
        tags: Vec<String>,
    },
    /// It has no action, or more than one: an error. Only [`crate::parse_leniently`] returns such a
    /// step, with all its actions, so that mistakes in each of them are reported too.
    Refused(Vec<StepAction>),
}

impl StepAction {
    /// The action; of a refused step, all its actions.
    fn declared_actions(&self) -> &[Self] {
        match self {
            Self::Refused(declared_actions) => declared_actions,
            Self::Plugin { .. } | Self::Manual(_) | Self::Runbook { .. } | Self::Suite { .. } => {
                std::slice::from_ref(self)
            }
        }
    }
}

impl Step {
    /// The operation that it calls; `None` if it calls none.
    pub fn uses(&self) -> Option<&Spanned<String>> {
        self.action.declared_actions().iter().find_map(|action| match action {
            StepAction::Plugin { uses } => Some(uses),
            StepAction::Manual(_)
            | StepAction::Runbook { .. }
            | StepAction::Suite { .. }
            | StepAction::Refused(_) => None,
        })
    }

    /// What a person does; `None` if it is not a manual step.
    pub fn manual(&self) -> Option<&Manual> {
        self.action.declared_actions().iter().find_map(|action| match action {
            StepAction::Manual(manual) => Some(manual),
            StepAction::Plugin { .. }
            | StepAction::Runbook { .. }
            | StepAction::Suite { .. }
            | StepAction::Refused(_) => None,
        })
    }

    /// The file that it nests; `None` if it nests none.
    pub fn nested(&self) -> Option<NestedFile<'_>> {
        self.action.declared_actions().iter().find_map(|action| match action {
            StepAction::Runbook { file } => Some(NestedFile { kind: NestedKind::Runbook, file }),
            StepAction::Suite { file, .. } => Some(NestedFile { kind: NestedKind::Suite, file }),
            StepAction::Plugin { .. } | StepAction::Manual(_) | StepAction::Refused(_) => None,
        })
    }

    /// The tags that select checks of the suite that it nests; empty means all checks.
    pub(crate) fn tags(&self) -> &[String] {
        let tags = self.action.declared_actions().iter().find_map(|action| match action {
            StepAction::Suite { tags, .. } => Some(tags.as_slice()),
            StepAction::Plugin { .. }
            | StepAction::Manual(_)
            | StepAction::Runbook { .. }
            | StepAction::Refused(_) => None,
        });
        tags.unwrap_or_default()
    }

    /// The title, or the id if it has no title.
    pub fn display_name(&self) -> &str {
        self.title.as_deref().unwrap_or(self.id.value.as_str())
    }

    /// Its name in messages: ``step `backup` ``.
    pub fn subject(&self) -> String {
        format!("{} `{}`", section_noun(self.section), self.id.value)
    }

    /// The targets to which it and its undo are bound.
    pub(crate) fn targets(&self) -> impl Iterator<Item = &Spanned<String>> {
        let undo_binds = match &self.undo {
            Some(UndoDeclaration::Explicit { bind, .. }) => bind.as_slice(),
            Some(UndoDeclaration::Auto { .. } | UndoDeclaration::Irreversible { .. }) | None => &[],
        };
        self.bind.iter().chain(undo_binds).map(|bind| &bind.target)
    }

    pub(super) fn call_sites(&self) -> impl Iterator<Item = CallSite<'_>> {
        let own_site = self.uses().map(|uses| CallSite {
            step: self.id.value.clone(),
            calling_step: Some(self),
            section: self.section,
            uses,
            bind: &self.bind,
            with: self.with.as_ref(),
            source: &self.source,
            span: self.id.span.clone(),
        });
        let undo = match &self.undo {
            Some(UndoDeclaration::Explicit { uses, with, bind, span, .. }) => Some(CallSite {
                step: self.id.value.undo(),
                calling_step: None,
                section: Section::Undo,
                uses,
                bind,
                with: with.as_ref(),
                source: &self.source,
                span: span.clone(),
            }),
            Some(UndoDeclaration::Auto { .. } | UndoDeclaration::Irreversible { .. }) | None => {
                None
            }
        };
        own_site.into_iter().chain(undo)
    }
}

/// The TOML name of a section.
pub fn section_noun(section: Section) -> &'static str {
    match section {
        Section::Preflight => "preflight",
        Section::Step => "step",
        Section::Verify => "verify",
        Section::Finally => "finally",
        Section::Guard => "guard",
        Section::Check => "check",
        Section::Undo => "undo",
        Section::Notify => "notify",
    }
}

/// One slot bound to one target: `bind.SLOT = "TARGET"`.
#[derive(Debug, Clone)]
pub struct Bind {
    /// The slot of the plugin.
    pub slot: Spanned<String>,
    /// The name of a target.
    pub target: Spanned<String>,
}

/// `retry = { … }`
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// The most attempts, the first one included.
    pub attempts: u32,
    /// The delay before the second attempt.
    pub delay: Duration,
    /// The factor by which each delay grows, 1 to 100.
    pub backoff: f64,
    /// The longest delay between two attempts.
    pub max_delay: Duration,
    /// The part of each delay by which it varies at random, 0 to 1.
    pub jitter: f64,
    /// The classes of faults after which another attempt follows.
    pub on: Vec<ErrorClass>,
}

impl Default for Retry {
    /// One attempt. If only `attempts` is raised, transient faults and timeouts are retried.
    fn default() -> Self {
        Self {
            attempts: 1,
            delay: Duration::from_secs(1),
            backoff: 2.0,
            max_delay: Duration::from_mins(1),
            jitter: 0.0,
            on: vec![ErrorClass::Transient, ErrorClass::Timeout],
        }
    }
}

/// How a probe is repeated: `until`, `every`, `within`.
#[derive(Debug, Clone)]
pub struct Poll {
    /// An expression over `outcome` and `output`.
    pub until: Spanned<String>,
    /// The time between two attempts of the poll.
    pub every: Duration,
    /// How long it may take until `until` holds.
    pub within: Duration,
}

/// One entry of `expect`.
#[derive(Debug, Clone)]
pub enum Expectation {
    /// A field of the output equals a value.
    Equals {
        /// The keys from the root of the output; none is empty.
        path: Vec<String>,
        /// Where the last of them stands.
        at: Span,
        /// The value before templates are rendered.
        value: Node,
    },
    /// A number is inside its ranges.
    Within {
        /// The keys from the root of the output. No key means `value` of the output, or else the
        /// first measurement.
        path: Vec<String>,
        /// Where the last of them stands.
        at: Span,
        /// The range outside which it warns, in the syntax of monitoring plugins.
        warn: Option<Spanned<String>>,
        /// The range outside which it fails, in the syntax of monitoring plugins.
        crit: Option<Spanned<String>>,
    },
}

/// What undoes a step: its `undo` or `irreversible`.
#[derive(Debug, Clone)]
pub enum UndoDeclaration {
    /// `undo = "auto"`: the plugin's own undo.
    Auto {
        /// The place of the declaration.
        span: Span,
    },
    /// `undo = { uses = …, with = …, bind = … }`
    Explicit {
        /// The operation that undoes it, as `plugin:operation`.
        uses: Spanned<String>,
        /// The input before templates are rendered.
        with: Option<Table>,
        /// The slots that are bound, each to a target.
        bind: Vec<Bind>,
        /// Whether it may run again after an unknown outcome; overrides the manifest.
        idempotent: Option<bool>,
        /// The place of the declaration.
        span: Span,
    },
    /// It cannot be undone: `irreversible = "reason"`.
    Irreversible {
        /// Why that is acceptable.
        reason: Spanned<String>,
    },
}

/// What happens when a step has failed for good: its `on_failure`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// The completed steps are undone.
    #[default]
    Undo,
    /// The run goes on, and succeeds at best with warnings.
    Continue,
    /// The run ends without an undo.
    Stop,
}

impl OnFailure {
    /// All values with their names.
    pub const ALL: &[(Self, &str)] =
        &[(Self::Undo, "undo"), (Self::Continue, "continue"), (Self::Stop, "stop")];
}

/// `if_needs_failed`: what `on_failure = "continue"` of one step means for a step whose `needs`
/// names it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IfNeedsFailed {
    /// It is skipped, and so are the steps that need it.
    Skip,
    /// It runs. A step without `needs` runs in any case, because the step before it is only its
    /// place in the order.
    #[default]
    Run,
}

impl IfNeedsFailed {
    /// All values with their names.
    pub const ALL: &[(Self, &str)] = &[(Self::Skip, "skip"), (Self::Run, "run")];
}

/// What happens to a running attempt when the run is cancelled: its `on_cancel`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnCancel {
    /// The call is stopped.
    #[default]
    Abort,
    /// The call is waited for.
    Finish,
}

impl OnCancel {
    /// All values with their names.
    pub const ALL: &[(Self, &str)] = &[(Self::Abort, "abort"), (Self::Finish, "finish")];
}

/// `for_each`, `as`, `key`, `max_parallel`
#[derive(Debug, Clone)]
pub struct ForEach {
    /// The list or map that it repeats over.
    pub items: Items,
    /// The name of the item in templates.
    pub name: String,
    /// A template for the key of an item, which must be unique.
    pub key: Option<Spanned<String>>,
    /// The most items that run at once.
    pub max_parallel: u32,
}

/// The items of `for_each`.
#[derive(Debug, Clone)]
pub enum Items {
    /// An expression whose value is a list or a map.
    Expression(Spanned<String>),
    /// A list or map as written.
    Literal(Spanned<Node>),
}

/// One notification, as `[[notify]]` describes it.
#[derive(Debug, Clone)]
pub struct Notify {
    /// The id of the notification, `notify/N`, counted from 1 in file order.
    pub id: StepId,
    /// The events for which it is sent.
    pub on: Vec<Trigger>,
    /// The operation that sends it, as `plugin:operation`.
    pub uses: Spanned<String>,
    /// The slots that are bound, each to a target.
    pub bind: Vec<Bind>,
    /// The input before templates are rendered.
    pub with: Option<Table>,
    /// How long the call may take; `None` takes the default.
    pub timeout: Option<Duration>,
    /// The file in which it stands.
    pub source: Arc<Source>,
}

impl Notify {
    pub(super) fn call_site(&self) -> CallSite<'_> {
        CallSite {
            step: self.id.clone(),
            calling_step: None,
            section: Section::Notify,
            uses: &self.uses,
            bind: &self.bind,
            with: self.with.as_ref(),
            source: &self.source,
            span: self.uses.span.clone(),
        }
    }
}
