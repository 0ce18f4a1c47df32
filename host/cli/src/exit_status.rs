//! The exit codes of the program. `runbook help exit-codes` prints these tables.

use runbook_report::checks::Health;

/// How the program ends. Callers may rely on the codes; a code that is not in [`EXIT_STATUSES`] is
/// a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// The command succeeded.
    Success,
    /// A run failed, and left no change: all its steps were undone, or none had an effect.
    Failed,
    /// The command line or a file is wrong; nothing was executed.
    Usage,
    /// The engine or a plugin could not start; nothing was changed.
    Engine,
    /// A preflight or a verify failed, and there was nothing to undo.
    CheckFailed,
    /// The run waits for something; `runbook resume` continues it.
    Waiting,
    /// Refused by authority, boundary, window or a busy lock.
    Refused,
    /// A change could not be undone, or an outcome is unknown; a person must look.
    Dirty,
    /// The run reached its time limit.
    Deadline,
    /// Ctrl-C ended the run, after orderly cleanup.
    Interrupted,
    /// SIGTERM ended the run, after orderly cleanup.
    Terminated,
    /// The result of `runbook check`, with the exit codes of monitoring plugins.
    Checked(Health),
}

/// A group of commands that share a table of exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandFamily {
    /// `runbook check`: the codes of monitoring plugins ([`CHECK_STATUSES`]).
    Check,
    /// Every other command ([`EXIT_STATUSES`]).
    Run,
}

/// Every status, its exit code and its meaning.
pub const EXIT_STATUSES: &[(ExitStatus, u8, &str)] = &[
    (ExitStatus::Success, 0, "succeeded"),
    (
        ExitStatus::Failed,
        1,
        "failed, or ended by `runbook cancel`; all that can be undone is undone and verified, or \
         nothing was changed",
    ),
    (ExitStatus::Usage, 2, "the command line, a runbook or a file is wrong; nothing was executed"),
    (ExitStatus::Engine, 3, "an error of the engine or a plugin before any effect"),
    (ExitStatus::CheckFailed, 4, "a preflight or verify failed, and there was nothing to undo"),
    (
        ExitStatus::Waiting,
        5,
        "waiting for a person, a lock or its journal; continue with `runbook resume`",
    ),
    (
        ExitStatus::Refused,
        6,
        "refused: authority, boundary, window, or a lock that somebody else holds",
    ),
    (ExitStatus::Dirty, 7, "dirty: an undo failed or an outcome is unknown; a person must look"),
    (ExitStatus::Deadline, 124, "the run's time limit was reached"),
    (
        ExitStatus::Interrupted,
        130,
        "interrupted (Ctrl-C) after orderly cleanup; stopped at once (a second Ctrl-C) nothing is \
         undone, and `resume` goes on",
    ),
    (
        ExitStatus::Terminated,
        143,
        "terminated (SIGTERM) after orderly cleanup; stopped at once (a second signal) nothing is \
         undone, and `resume` goes on",
    ),
];

/// Every status of `runbook check`, its exit code and its meaning. A wrong command line or file has
/// code 3, too.
pub const CHECK_STATUSES: &[(Health, u8, &str)] = &[
    (Health::Healthy, 0, "all are healthy"),
    (
        Health::Warning,
        1,
        "a threshold was passed, or a check with `critical = false` failed; 0 with \
         `--fail-on critical`",
    ),
    (Health::Critical, 2, "a critical check failed: an answer came, and it is wrong"),
    (
        Health::Unknown,
        3,
        "unknown: a check got no answer (nobody listens, the name is not found, a time limit is \
         over), could not run or had no data, or no check ran, or a file or the command line is \
         wrong",
    ),
];

impl ExitStatus {
    /// The exit code.
    pub fn code(self) -> u8 {
        if let Self::Checked(found) = self {
            return CHECK_STATUSES
                .iter()
                .find(|(health, ..)| *health == found)
                .map_or(3, |(_, code, _)| *code);
        }
        EXIT_STATUSES.iter().find(|(status, ..)| *status == self).map_or(3, |(_, code, _)| *code)
    }

    /// The exit code for a command of this family. For `runbook check`, everything but its results
    /// is `unknown`.
    pub fn code_in(self, family: CommandFamily) -> u8 {
        match family {
            CommandFamily::Check if !matches!(self, Self::Checked(_)) => {
                Self::Checked(Health::Unknown).code()
            }
            CommandFamily::Check | CommandFamily::Run => self.code(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_own_number() {
        let mut codes: Vec<_> = EXIT_STATUSES.iter().map(|(_, code, _)| *code).collect();
        codes.dedup();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 124, 130, 143]);
        let checked =
            [Health::Healthy, Health::Warning, Health::Critical, Health::Unknown, Health::Skipped];
        assert_eq!(checked.map(|health| ExitStatus::Checked(health).code()), [0, 1, 2, 3, 3]);
    }
}
