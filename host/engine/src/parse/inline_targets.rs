//! Targets that are written where a slot is bound: `bind.db = { sql = "sqlite:shop.db" }`.
//!
//! They are moved to `[targets]` before the runbook is parsed, so that they are checked like all
//! other targets. Messages show the line where they are written.

use super::calls;
use runbook_document::{Key, Node, Table, Value};

/// Moves every such target to `[targets]`, under the name `RUNBOOK/STEP.SLOT`, and binds the slot
/// to that name. Names that people write have no slash, so they do not clash.
pub(super) fn move_to_targets(table: &mut Table) {
    let runbook = runbook_name(table);
    let mut moved = Vec::new();
    calls::for_each_call(table, |call, place| {
        let bind = call.entries.iter_mut().find(|(key, _)| key.name == "bind");
        let Some((_, Node { value: Value::Table(bind), .. })) = bind else { return };
        for (slot, node) in &mut bind.entries {
            if matches!(node.value, Value::Table(_)) {
                let name = format!("{runbook}/{}.{}", place.id, slot.name);
                let value = Value::String(name.clone());
                let bound = Node { span: node.span.clone(), value, other_source: None };
                let target = std::mem::replace(node, bound);
                moved.push((Key { name, span: slot.span.clone() }, target));
            }
        }
    });
    let Some(first) = moved.first().map(|(key, _)| key.span.clone()) else { return };
    match table.entries.iter_mut().find(|(key, _)| key.name == "targets") {
        Some((_, Node { value: Value::Table(targets), .. })) => targets.entries.extend(moved),
        // `targets` is not a table. The error is reported when targets are read.
        Some(_) => {}
        None => {
            let targets = Table { span: first.clone(), entries: moved, is_partial: false };
            let node =
                Node { span: first.clone(), value: Value::Table(targets), other_source: None };
            table.entries.push((Key { name: "targets".to_owned(), span: first }, node));
        }
    }
}

/// The name of the runbook; empty if it has none, which is an error of its own.
fn runbook_name(table: &Table) -> String {
    let header = table.get("runbook").map(|header| &header.value);
    match header {
        Some(Value::Table(header)) => match header.get("name").map(|name| &name.value) {
            Some(Value::String(name)) => name.clone(),
            Some(_) | None => String::new(),
        },
        Some(_) | None => String::new(),
    }
}
