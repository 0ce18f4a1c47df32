//! Visits every table of a runbook or suite that may call a plugin, before the tables are parsed.

use runbook_document::{Node, Table, Value};

/// The sections whose entries may call a plugin.
const SECTIONS: &[&str] = &["guard", "preflight", "step", "verify", "finally", "check", "notify"];

/// The id and the name of a call.
pub(super) struct CallPlace {
    /// Its `id`, with `/undo` for an undo; `SECTION-N` if it has none, counted from 1.
    pub(super) id: String,
    /// Its name in messages: ``step `pay` ``.
    pub(super) subject: String,
}

/// Visits all calls in file order; the undo of a call comes after it.
pub(super) fn for_each_call(table: &mut Table, mut visit: impl FnMut(&mut Table, &CallPlace)) {
    let sections =
        table.entries.iter_mut().filter(|(key, _)| SECTIONS.contains(&key.name.as_str()));
    for (section, node) in sections {
        let Value::Array(calls) = &mut node.value else { continue };
        for (number, call) in (1..).zip(calls) {
            let Value::Table(call) = &mut call.value else { continue };
            let place = match call.get("id").map(|id| &id.value) {
                Some(Value::String(id)) => {
                    CallPlace { id: id.clone(), subject: format!("{} `{id}`", section.name) }
                }
                Some(_) | None => CallPlace {
                    id: format!("{}-{number}", section.name),
                    subject: section.name.clone(),
                },
            };
            visit(call, &place);
            let undo = call.entries.iter_mut().find(|(key, _)| key.name == "undo");
            if let Some((_, Node { value: Value::Table(undo), .. })) = undo {
                let undo_place = CallPlace {
                    id: format!("{}/undo", place.id),
                    subject: format!("the undo of {}", place.subject),
                };
                visit(undo, &undo_place);
            }
        }
    }
}
