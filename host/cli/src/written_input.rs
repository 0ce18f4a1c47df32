//! The input of a call in the text of a runbook: the position of each value, and the parameters
//! that its templates use.

use runbook_document::{Node, Value};
use runbook_engine::model::Param;
use runbook_engine::{Runbook, StepId};
use std::collections::BTreeMap;

/// The value at a JSON pointer, or the last one on the way to it.
pub fn node_at<'a>(table: &'a runbook_document::Table, pointer: &str) -> Option<&'a Node> {
    let mut keys = pointer.split('/').skip(1).map(|key| key.replace("~1", "/").replace("~0", "~"));
    let mut node = table.get(&keys.next()?)?;
    for key in keys {
        let next = match &node.value {
            Value::Table(table) => table.get(&key),
            Value::Array(items) => key.parse::<usize>().ok().and_then(|number| items.get(number)),
            Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_) => None,
        };
        let Some(next) = next else { break };
        node = next;
    }
    Some(node)
}

/// A function that gives the parameters for the templates of a call site: those of its file.
pub fn params_of_sites<'a>(runbook: &'a Runbook) -> impl Fn(&StepId) -> &'a [Param] {
    let groups: BTreeMap<&str, &[Param]> =
        runbook.groups.iter().map(|group| (group.id.as_str(), group.params.as_slice())).collect();
    move |site| {
        let step = site.as_str().trim_end_matches("/undo");
        let group = step.rsplit_once('.').map(|(group, _)| group);
        group.and_then(|group| groups.get(group).copied()).unwrap_or(&runbook.params)
    }
}
