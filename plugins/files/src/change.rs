//! What the steps have in common.

use runbook_sdk::prelude::*;

/// The state that a step has recorded.
pub(crate) fn recorded<T: for<'a> Deserialize<'a>>(json: &Json) -> Result<T> {
    serde_json::from_value(json.clone())
        .map_err(|error| Fault::invalid("files.state", format!("the recorded state: {error}")))
}

/// The object of an effect.
pub(crate) fn target(path: &str) -> String {
    format!("file {path}")
}

/// Somebody else has changed a file since the step.
pub(crate) fn changed_since(path: &str) -> Fault {
    Fault::conflict(
        "files.changed-since",
        format!("`{path}` was changed by somebody else since, and is left alone"),
    )
}
