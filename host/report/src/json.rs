//! The report for programs.

use crate::summary::Summary;

/// The report of a run, as one JSON object.
pub(crate) fn render(summary: &Summary) -> String {
    crate::single_line::json(summary) + "\n"
}

/// The JSON Schema of the report.
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(Summary).to_value();
    schema["title"] = "runbook report, JSON form 1".into();
    schema["description"] =
        "What happened in a run, as `runbook report RUN --format json` writes it.".into();
    schema
}
