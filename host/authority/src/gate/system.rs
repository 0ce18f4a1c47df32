//! Parts of this machine.

use super::{Judgment, Rule, SystemObject};
use crate::capability::{Verb, VerbEffect};
use crate::targets::SystemTarget;

/// Judges a mount point, a process or a unit that a call names. Without a name, the call is given only what
/// the target lets be seen.
pub(super) fn judge_part(target: &SystemTarget, verb: Verb, object: SystemObject<'_>) -> Judgment {
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
        SystemObject::Unit(name) => match verb.effect() {
            VerbEffect::Read if !target.shows_unit(name) => refused(Rule::Unit, "unit", name),
            VerbEffect::Change if !target.may_change_unit(name) => {
                refused(Rule::Control, "unit", name)
            }
            VerbEffect::Read | VerbEffect::Change => Ok(()),
        },
        SystemObject::Part | SystemObject::Mount(_) | SystemObject::Process(_) => Ok(()),
    }
}
