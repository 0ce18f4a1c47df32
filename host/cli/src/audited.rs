//! Under which runbook the audit log records what a run does. A review then finds the uses of
//! exactly that runbook.

use crate::prepared::Prepared;
use runbook_authority::access_report::UsedAt;
use std::path::Path;

/// The runbook that a run executes, as the audit log names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audited {
    /// The file and the environment of the runbook.
    pub at: UsedAt,
    /// What stands before each step's id in the run and not in the file: `check.` where
    /// `runbook check` executes a suite.
    pub prefix: String,
}

/// What the run of a prepared runbook counts for.
pub fn of(prepared: &Prepared) -> Audited {
    let own = Path::new(prepared.runbook.source().name());
    if own.exists() {
        return Audited { at: used_at(own, prepared), prefix: String::new() };
    }
    // `runbook check` executes a suite as the only step of a runbook that is in no file.
    match prepared.runbook.groups.first() {
        Some(group) => {
            let suite = Path::new(group.inner.source().name());
            Audited { at: used_at(suite, prepared), prefix: format!("{}.", group.id) }
        }
        None => Audited { at: used_at(own, prepared), prefix: String::new() },
    }
}

/// The key of a runbook's file: absolute, with links resolved, so that it does not depend on the
/// current folder.
fn used_at(file: &Path, prepared: &Prepared) -> UsedAt {
    let absolute = file
        .canonicalize()
        .or_else(|_| std::path::absolute(file))
        .unwrap_or_else(|_| file.to_owned());
    UsedAt { file: absolute.display().to_string(), environment: prepared.environment.clone() }
}
