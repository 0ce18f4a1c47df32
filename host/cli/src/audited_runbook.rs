//! The runbook under which the audit log records a run, so that a review finds the calls of that
//! runbook.

use crate::prepared::PreparedRunbook;
use runbook_authority::access_report::RunbookKey;
use std::path::Path;

/// The runbook that a run executes, as the audit log names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditedRunbook {
    /// The file and the environment of the runbook.
    pub runbook_key: RunbookKey,
    /// The prefix that step ids have in the run but not in the file: `check.` where `runbook check`
    /// executes a suite.
    pub prefix: String,
}

/// The runbook under which the audit log records a run of this one.
pub fn of(prepared: &PreparedRunbook) -> AuditedRunbook {
    let runbook_file = Path::new(prepared.runbook.source().name());
    if runbook_file.exists() {
        return AuditedRunbook {
            runbook_key: runbook_key(runbook_file, prepared),
            prefix: String::new(),
        };
    }
    // `runbook check` executes a suite as the only step of a runbook that is in no file.
    match prepared.runbook.groups.first() {
        Some(group) => {
            let suite = Path::new(group.inner.source().name());
            AuditedRunbook {
                runbook_key: runbook_key(suite, prepared),
                prefix: format!("{}.", group.id),
            }
        }
        None => AuditedRunbook {
            runbook_key: runbook_key(runbook_file, prepared),
            prefix: String::new(),
        },
    }
}

/// The key of a runbook: its file is absolute with links resolved, so that the key does not depend
/// on the working directory.
fn runbook_key(file: &Path, prepared: &PreparedRunbook) -> RunbookKey {
    let absolute = file
        .canonicalize()
        .or_else(|_| std::path::absolute(file))
        .unwrap_or_else(|_| file.to_owned());
    RunbookKey { file: absolute.display().to_string(), environment: prepared.environment.clone() }
}
