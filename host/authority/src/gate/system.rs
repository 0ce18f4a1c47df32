//! Parts of this machine.

use super::{Judgment, Rule, SystemObject};
use crate::targets::SystemTarget;

/// Judges a mount point or a process that a call names. Without a name, the call is given only what
/// the target lets be seen.
pub(super) fn judge_part(target: &SystemTarget, object: SystemObject<'_>) -> Judgment {
    let refused = |rule, what: &str, name: &str| {
        let reason = format!("{what} `{}` is not among those of the target", name.escape_debug());
        Err((rule, reason))
    };
    match object {
        SystemObject::Mount(mount) if !target.shows_mount(mount) => {
            refused(Rule::Mount, "mount point", mount)
        }
        SystemObject::Process(name) if !target.shows_process(name) => {
            refused(Rule::ProcessName, "process", name)
        }
        SystemObject::Part | SystemObject::Mount(_) | SystemObject::Process(_) => Ok(()),
    }
}
