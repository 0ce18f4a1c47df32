//! `runbook schema`: prints the JSON Schema of a kind of file.

use crate::exit_status::ExitStatus;
use crate::failure::Failure;
use crate::schemas::{SchemaKind, schema};
use crate::ui;

/// Prints the JSON Schema of a kind of file.
pub fn run(file: SchemaKind) -> Result<ExitStatus, Failure> {
    ui::data(&serde_json::to_string_pretty(&schema(file)).expect("a schema has string keys only"))?;
    Ok(ExitStatus::Success)
}
