//! One call site as written.

use super::{Approval, Check, Manual, Nested, NestedKind, UseSite};
use crate::event::{Section, Trigger};
use runbook_contract::{ErrorClass, StepId};
use runbook_document::{Located, Node, Source, Span, Table};
use std::sync::Arc;
use std::time::Duration;

/// A preflight, step, verify, finally or check.
#[derive(Debug, Clone)]
pub struct Step {
    /// The part of the file in whose place it runs.
    pub section: Section,
    /// The part of the file in which it is written: a post-condition of a nested runbook runs as a
    /// step.
    pub written_in: Section,
    /// Unique in the file; kebab-case.
    pub id: Located<StepId>,
    /// The title, for people.
    pub title: Option<String>,
    /// What it does.
    pub action: StepAction,
    /// The slots that are bound, each to a target.
    pub bind: Vec<Bind>,
    /// The input before templates are rendered.
    pub with: Option<Table>,
    /// Steps that must be done before; `None` means the step before it in the file.
    pub needs: Option<Vec<Located<StepId>>>,
    /// What happens to it when one of the steps that its `needs` names has failed and the run goes
    /// on.
    pub if_needs_failed: IfNeedsFailed,
    /// An expression; false skips the step.
    pub when: Option<Located<String>>,
    /// How long one attempt may take; `None` takes the default.
    pub timeout: Option<Duration>,
    /// How long all attempts may take together.
    pub total_timeout: Option<Duration>,
    /// What happens when an attempt fails.
    pub retry: Option<Retry>,
    /// Overrides what the manifest says.
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
    pub approval: Option<Located<Approval>>,
    /// Runs once for each item.
    pub for_each: Option<ForEach>,
    /// For a step of a nested file, the step that nests the file.
    pub group: Option<StepId>,
    /// The fields that only checks of a suite have.
    pub check: Option<Check>,
    /// The file in which it stands.
    pub source: Arc<Source>,
    /// The place of its whole table.
    pub span: Span,
}

/// What a step does.
#[derive(Debug, Clone)]
pub enum StepAction {
    /// It calls an operation: `uses = "plugin:operation"`.
    Plugin {
        /// The operation, as `plugin:operation`.
        uses: Located<String>,
    },
    /// A person does it: `manual = { … }`.
    Manual(Manual),
    /// It stands for the steps of another runbook: `runbook = "FILE"`.
    Nested {
        /// Its name, in the folder of the runbook.
        file: Located<String>,
    },
    /// It stands for the checks of a suite: `suite = "FILE"`.
    Suite {
        /// Its name, in the folder of the runbook.
        file: Located<String>,
        /// Only checks with one of these tags; empty is all.
        tags: Vec<String>,
    },
    /// It says none of these, or more than one: an error, with which [`crate::parse`] refuses the
    /// file. Only [`crate::parse_leniently`] gives it, with all that the step says, so that the
    /// mistakes in each of them are told too.
    Refused(Vec<StepAction>),
}

impl StepAction {
    /// What it is, or all that a refused step says that it is.
    fn said(&self) -> &[Self] {
        match self {
            Self::Refused(said) => said,
            Self::Plugin { .. } | Self::Manual(_) | Self::Nested { .. } | Self::Suite { .. } => {
                std::slice::from_ref(self)
            }
        }
    }
}

impl Step {
    /// The operation that it calls, if it calls one.
    pub fn uses(&self) -> Option<&Located<String>> {
        self.action.said().iter().find_map(|action| match action {
            StepAction::Plugin { uses } => Some(uses),
            StepAction::Manual(_)
            | StepAction::Nested { .. }
            | StepAction::Suite { .. }
            | StepAction::Refused(_) => None,
        })
    }

    /// What a person does, if one does it.
    pub fn manual(&self) -> Option<&Manual> {
        self.action.said().iter().find_map(|action| match action {
            StepAction::Manual(manual) => Some(manual),
            StepAction::Plugin { .. }
            | StepAction::Nested { .. }
            | StepAction::Suite { .. }
            | StepAction::Refused(_) => None,
        })
    }

    /// The file whose steps it stands for, if it stands for one.
    pub fn nested(&self) -> Option<Nested<'_>> {
        self.action.said().iter().find_map(|action| match action {
            StepAction::Nested { file } => Some(Nested { kind: NestedKind::Runbook, file }),
            StepAction::Suite { file, .. } => Some(Nested { kind: NestedKind::Suite, file }),
            StepAction::Plugin { .. } | StepAction::Manual(_) | StepAction::Refused(_) => None,
        })
    }

    /// The tags of which a check must have one, if it stands for a suite; empty is all checks.
    pub(crate) fn tags(&self) -> &[String] {
        let tags = self.action.said().iter().find_map(|action| match action {
            StepAction::Suite { tags, .. } => Some(tags.as_slice()),
            StepAction::Plugin { .. }
            | StepAction::Manual(_)
            | StepAction::Nested { .. }
            | StepAction::Refused(_) => None,
        });
        tags.unwrap_or_default()
    }

    /// What people call it: the title, or the id.
    pub fn display_name(&self) -> &str {
        self.title.as_deref().unwrap_or(self.id.value.as_str())
    }

    /// How messages call it: ``step `backup` ``.
    pub fn subject(&self) -> String {
        format!("{} `{}`", section_noun(self.section), self.id.value)
    }

    /// The targets that it and its undo are given.
    pub(crate) fn targets(&self) -> impl Iterator<Item = &Located<String>> {
        let of_undo = match &self.undo {
            Some(UndoDeclaration::Explicit { bind, .. }) => bind.as_slice(),
            Some(UndoDeclaration::Auto { .. } | UndoDeclaration::Irreversible { .. }) | None => &[],
        };
        self.bind.iter().chain(of_undo).map(|bind| &bind.target)
    }

    pub(super) fn use_sites(&self) -> impl Iterator<Item = UseSite<'_>> {
        let own = self.uses().map(|uses| UseSite {
            step: self.id.value.clone(),
            of: Some(self),
            section: self.section,
            uses,
            bind: &self.bind,
            with: self.with.as_ref(),
            source: &self.source,
            span: self.id.span.clone(),
        });
        let undo = match &self.undo {
            Some(UndoDeclaration::Explicit { uses, with, bind, span, .. }) => Some(UseSite {
                step: self.id.value.undo(),
                of: None,
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
        own.into_iter().chain(undo)
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
    pub slot: Located<String>,
    /// The name of a target.
    pub target: Located<String>,
}

/// `retry = { … }`
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// How many attempts in all; the first one counts.
    pub attempts: u32,
    /// The delay before the second attempt.
    pub delay: Duration,
    /// The factor by which each delay is longer than the one before.
    pub backoff: f64,
    /// The longest delay between two attempts.
    pub max_delay: Duration,
    /// The part by which each delay may differ at random, 0 to 1.
    pub jitter: f64,
    /// The classes of faults after which it is tried again.
    pub on: Vec<ErrorClass>,
}

impl Default for Retry {
    /// One attempt. When there are more, only what may pass by itself is tried again.
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
    pub until: Located<String>,
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
        /// Keys from the output's root; empty parts never occur.
        path: Vec<String>,
        /// Where the last of them stands.
        at: Span,
        /// The value before templates are rendered.
        value: Node,
    },
    /// A number is inside its ranges.
    Within {
        /// Keys from the output's root; empty is the output's `value`, or else the first
        /// measurement.
        path: Vec<String>,
        /// Where the last of them stands.
        at: Span,
        /// Range in Nagios syntax outside which it warns.
        warn: Option<Located<String>>,
        /// Range in Nagios syntax outside which it fails.
        crit: Option<Located<String>>,
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
        uses: Located<String>,
        /// The input before templates are rendered.
        with: Option<Table>,
        /// The slots that are bound, each to a target.
        bind: Vec<Bind>,
        /// Whether it may run again when it is unknown whether it happened.
        idempotent: Option<bool>,
        /// The place of the declaration.
        span: Span,
    },
    /// Nothing can undo it, and this is why that is acceptable: `irreversible = "reason"`.
    Irreversible {
        /// Why that is acceptable.
        reason: Located<String>,
    },
}

/// What happens when a step has failed for good: its `on_failure`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// What was done is undone.
    #[default]
    Undo,
    /// The run goes on, and succeeds at best with warnings.
    Continue,
    /// The run ends and is left as it is.
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
    /// It is skipped, and so is what needs it in turn.
    Skip,
    /// It runs. So does a step that names no `needs`: the one before it is only its place in the
    /// order.
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
    /// A template; unique for each item.
    pub key: Option<Located<String>>,
    /// How many items run at once.
    pub max_parallel: u32,
}

/// What `for_each` goes through.
#[derive(Debug, Clone)]
pub enum Items {
    /// An expression whose value is a list or a map.
    Expression(Located<String>),
    /// A list or map as written.
    Literal(Located<Node>),
}

/// One notification, as `[[notify]]` describes it.
#[derive(Debug, Clone)]
pub struct Notify {
    /// The id of the notification, `notify/N`, counted from 1 in file order.
    pub id: StepId,
    /// For what it is sent.
    pub on: Vec<Trigger>,
    /// The operation that sends it, as `plugin:operation`.
    pub uses: Located<String>,
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
    pub(super) fn use_site(&self) -> UseSite<'_> {
        UseSite {
            step: self.id.clone(),
            of: None,
            section: Section::Notify,
            uses: &self.uses,
            bind: &self.bind,
            with: self.with.as_ref(),
            source: &self.source,
            span: self.uses.span.clone(),
        }
    }
}
