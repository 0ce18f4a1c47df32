//! The process group of a program. Processes that left the group are ended with the control group of
//! the call, if there is one.

use runbook_launch::cgroup::Killer;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::sync::{Arc, Mutex, PoisonError};

/// The process group of a program. Its id is forgotten before the leader is reaped, because it may
/// then be reused.
#[derive(Debug, Clone, Default)]
pub(super) struct ProcessGroup(Arc<Mutex<State>>);

#[derive(Debug, Default)]
enum State {
    #[default]
    NotStarted,
    Running(Pid, Option<Killer>),
    Ended,
}

/// Kills the group when dropped.
pub(super) struct KillOnDrop(ProcessGroup);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        self.0.kill();
    }
}

impl ProcessGroup {
    pub(super) fn guard(&self) -> KillOnDrop {
        KillOnDrop(self.clone())
    }

    /// Starts the leader, unless the group was already killed (`None`). The lock is held meanwhile,
    /// so that a kill cannot happen between the start and the record of the id.
    pub(super) fn start<T, E>(
        &self,
        killer: Option<Killer>,
        spawn: impl FnOnce() -> Result<(T, Pid), E>,
    ) -> Option<Result<T, E>> {
        let mut state = self.lock();
        if matches!(*state, State::Ended) {
            return None;
        }
        Some(spawn().map(|(child, pid)| {
            *state = State::Running(pid, killer);
            child
        }))
    }

    /// Kills all processes of the group and forgets its id. Call it before the leader is reaped.
    pub(super) fn kill(&self) {
        let mut state = self.lock();
        if let State::Running(pid, killer) = &*state {
            // Errors are ignored: an empty group is fine. The leader is also killed by its process
            // id, because it is in the group of the host until it has started its session.
            let _ = kill_process_group(*pid, Signal::KILL);
            let _ = kill_process(*pid, Signal::KILL);
            if let Some(killer) = killer {
                killer.kill();
            }
        }
        *state = State::Ended;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
