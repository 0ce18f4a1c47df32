//! Targets that are written where a slot is bound: `bind.db = { sql = "sqlite:shop.db" }`.
//!
//! They become entries of `[targets]` before anything else reads the runbook. So everything that
//! judges a target judges them too, and shows them at the line where they stand.

use super::calls;
use runbook_document::{Key, Node, Table, Value};

/// Moves every such target to `[targets]`, under the name `RUNBOOK/STEP.SLOT`, and leaves that name
/// in its place. No name that a person writes has a slash.
pub(super) fn name_targets(table: &mut Table) {
    let runbook = name_of(table);
    let mut moved = Vec::new();
    calls::each(table, |call, at| {
        let bind = call.entries.iter_mut().find(|(key, _)| key.name == "bind");
        let Some((_, Node { value: Value::Table(bind), .. })) = bind else { return };
        for (slot, node) in &mut bind.entries {
            if matches!(node.value, Value::Table(_)) {
                let name = format!("{runbook}/{}.{}", at.id, slot.name);
                let value = Value::String(name.clone());
                let bound = Node { span: node.span.clone(), value, elsewhere: None };
                let target = std::mem::replace(node, bound);
                moved.push((Key { name, span: slot.span.clone() }, target));
            }
        }
    });
    let Some(first) = moved.first().map(|(key, _)| key.span.clone()) else { return };
    match table.entries.iter_mut().find(|(key, _)| key.name == "targets") {
        Some((_, Node { value: Value::Table(targets), .. })) => targets.entries.extend(moved),
        // What is wrong with it is told where targets are read.
        Some(_) => {}
        None => {
            let targets = Table { span: first.clone(), entries: moved, is_partial: false };
            let node = Node { span: first.clone(), value: Value::Table(targets), elsewhere: None };
            table.entries.push((Key { name: "targets".to_owned(), span: first }, node));
        }
    }
}

/// The name of the runbook; empty if it has none, which is an error of its own.
fn name_of(table: &Table) -> String {
    let about = table.get("runbook").map(|about| &about.value);
    match about {
        Some(Value::Table(about)) => match about.get("name").map(|name| &name.value) {
            Some(Value::String(name)) => name.clone(),
            Some(_) | None => String::new(),
        },
        Some(_) | None => String::new(),
    }
}
