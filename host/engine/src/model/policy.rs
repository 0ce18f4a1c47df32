//! What holds for the whole run: locks, limits, undo.

use std::collections::BTreeMap;
use std::time::Duration;

/// What the author says about the danger of a runbook; compared with the effects, not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeclaredRisk {
    /// The runbook changes nothing.
    ReadOnly,
    /// Everything that it does can be undone.
    Reversible,
    /// Something that it does cannot be undone.
    Destructive,
}

impl DeclaredRisk {
    /// All values with their names.
    pub const ALL: &[(Self, &str)] = &[
        (Self::ReadOnly, "read-only"),
        (Self::Reversible, "reversible"),
        (Self::Destructive, "destructive"),
    ];
}

/// The locks of a run, as `[locks]` says.
#[derive(Debug, Clone, Default)]
pub struct Locks {
    /// Names that no other run may hold, sorted, so that two runs never wait for each other.
    pub exclusive: Vec<String>,
    /// How long to wait for a busy lock.
    pub wait: Duration,
    /// What happens when the wait is over.
    pub on_busy: OnBusy,
}

/// What happens when a lock is busy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnBusy {
    /// The run ends, nothing was done.
    #[default]
    Fail,
    /// The run waits until the lock is free.
    Queue,
    /// The run ends with a warning, because another run is doing it.
    Skip,
}

impl OnBusy {
    /// All values with their names.
    pub const ALL: &[(Self, &str)] =
        &[(Self::Fail, "fail"), (Self::Queue, "queue"), (Self::Skip, "skip")];
}

/// The limits of a run, as `[limits]` says.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How many effects of each capability a run may have at most, by what `plan` proposes.
    pub max_effects: BTreeMap<String, u32>,
    /// How long undo and finally may take together.
    pub cleanup_timeout: Duration,
    /// How many calls the run makes at once at most.
    pub max_parallel: usize,
}

/// The limit of a run that sets none. A call has its own sandbox of some MiB and often a
/// connection, of which servers have about a hundred for everybody. More calls at once would wait
/// for each other.
pub const DEFAULT_MAX_PARALLEL: usize = 64;

impl Default for Limits {
    /// Undo of a database restore takes minutes; a quarter of an hour is where a person should look
    /// anyway.
    fn default() -> Self {
        Self {
            max_effects: BTreeMap::new(),
            cleanup_timeout: Duration::from_mins(15),
            max_parallel: DEFAULT_MAX_PARALLEL,
        }
    }
}

/// When completed steps are undone, as `[undo]` says.
#[derive(Debug, Clone, Default)]
pub struct UndoPolicy {
    /// The causes after which completed steps are undone.
    pub on: UndoCauses,
    /// Whether the step is observed once more after an undo.
    pub verify: VerifyUndo,
}

/// Whether an undo is checked by observing again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum VerifyUndo {
    /// Observe and compare: the default.
    #[default]
    Observe,
    /// The plugin is believed, and nothing is observed again.
    Trust,
}

/// The causes after which completed steps are undone. The default is all four.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndoCauses(pub Vec<UndoCause>);

/// One thing after which completed steps are undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UndoCause {
    /// A step failed for good.
    Failure,
    /// The operator cancelled the run.
    Cancel,
    /// The run took too long.
    Timeout,
    /// A verify failed.
    VerifyFailure,
}

impl UndoCause {
    /// All causes with their names.
    pub const ALL: &[(Self, &str)] = &[
        (Self::Failure, "failure"),
        (Self::Cancel, "cancel"),
        (Self::Timeout, "timeout"),
        (Self::VerifyFailure, "verify-failure"),
    ];
}

impl Default for UndoCauses {
    fn default() -> Self {
        Self(UndoCause::ALL.iter().map(|(cause, _)| *cause).collect())
    }
}
