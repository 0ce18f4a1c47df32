//! Settings of the whole run: locks, limits, undo.

use std::collections::BTreeMap;
use std::time::Duration;

/// The risk of a runbook as its author declares it. It is checked against the operations.
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
    /// The names of the locks. They are sorted, so that two runs never wait for each other.
    pub exclusive: Vec<String>,
    /// How long to wait for a busy lock.
    pub wait: Duration,
    /// What happens when the wait is over.
    pub on_busy: OnBusy,
}

/// What happens when a lock is busy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnBusy {
    /// The run ends before it has done anything.
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
    /// The most effects of each capability that a run may have, as its proposals count them.
    pub max_effects: BTreeMap<String, u32>,
    /// How long undo may take, and how long `finally` may take.
    pub cleanup_timeout: Duration,
    /// The most calls that the run makes at once.
    pub max_parallel: usize,
}

/// `max_parallel` of a run that does not set it. Each call has a sandbox of some MiB and often a
/// connection, and a server often allows about a hundred connections for all clients.
pub const DEFAULT_MAX_PARALLEL: usize = 64;

impl Default for Limits {
    /// The clean-up may take a quarter of an hour: the undo of a database restore takes minutes,
    /// and after that time a person should look.
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
    /// The step is observed and compared: the default.
    #[default]
    Observe,
    /// The plugin is believed, and nothing is observed again.
    Trust,
}

/// The causes after which completed steps are undone. The default is all four.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndoCauses(pub Vec<UndoCause>);

/// One cause after which completed steps are undone.
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
