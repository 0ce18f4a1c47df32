//! The process group of a program, and its end. What has left the group is ended by the control
//! group, where there is one.

use runbook_launch::cgroup::Killer;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::sync::{Arc, Mutex, PoisonError};

/// The group while its leader is not reaped. After that its number may be another's, so it is
/// forgotten first.
#[derive(Debug, Clone, Default)]
pub(super) struct Group(Arc<Mutex<State>>);

#[derive(Debug, Default)]
enum State {
    #[default]
    NotStarted,
    Running(Pid, Option<Killer>),
    Over,
}

/// Kills the group when dropped.
pub(super) struct Guard(Group);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Group {
    pub(super) fn guard(&self) -> Guard {
        Guard(self.clone())
    }

    /// Starts the leader, unless the call is over already. The lock is held meanwhile, so that the
    /// end cannot slip in between.
    pub(super) fn start<T, E>(
        &self,
        killer: Option<Killer>,
        spawn: impl FnOnce() -> Result<(T, Pid), E>,
    ) -> Option<Result<T, E>> {
        let mut state = self.lock();
        if matches!(*state, State::Over) {
            return None;
        }
        Some(spawn().map(|(child, pid)| {
            *state = State::Running(pid, killer);
            child
        }))
    }

    /// Kills all that is left of the group and forgets it. Called before the leader is reaped.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        if let State::Running(pid, killer) = &*state {
            // No process left in the group is the intended result. The leader is killed by its own
            // number too: until it has begun its session it is in the group of the host.
            let _ = kill_process_group(*pid, Signal::KILL);
            let _ = kill_process(*pid, Signal::KILL);
            if let Some(killer) = killer {
                killer.kill();
            }
        }
        *state = State::Over;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
