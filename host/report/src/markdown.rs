//! The report to paste into an incident.

use crate::summary::Summary;
use runbook_document::format_duration;
use std::fmt::Write as _;

/// The report of a run in Markdown.
pub(crate) fn render(summary: &Summary) -> String {
    let mut text = format!("## {}\n\n", escape(&summary.title));
    let open = || {
        summary
            .paused
            .as_ref()
            .map_or_else(|| format!("Not ended: {}.", summary.state), |why| format!("Paused: {}.", escape(why)))
    };
    let end = summary.end.map_or_else(open, |end| summary.end_text(end));
    let _ = writeln!(
        text,
        "**{end}**{}\n",
        summary.cause.as_ref().map(|cause| format!(" Because {}.", escape(cause))).unwrap_or_default()
    );
    if let Some(next) = &summary.to_continue {
        let _ = writeln!(text, "Next: {next}.\n");
    }
    let _ = writeln!(text, "- run `{}`, runbook `{}`, by {}", summary.run, summary.name, escape(&summary.operator));
    let _ = writeln!(text, "- started {}, took {}", summary.started, format_duration(summary.duration()));
    for (name, value) in &summary.params {
        let _ = writeln!(text, "- {name} = {}", code(&value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
    }
    text.push_str("\n| step | state | time | what |\n| --- | --- | --- | --- |\n");
    for step in &summary.steps {
        if step.attempts == 0 && step.summary.is_empty() {
            continue;
        }
        let what = step.titled();
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} |",
            escape(&step.id),
            step.state.word(),
            format_duration(step.duration()),
            escape(&what)
        );
    }
    for step in summary.steps.iter().filter(|step| step.is_for_a_person()) {
        let _ = writeln!(text, "\nTo do, step `{}`:\n", step.id);
        for line in step.instructions.iter().flat_map(|text| text.lines()) {
            let _ = writeln!(text, "> {}  ", escape(line));
        }
    }
    text
}

/// Text as code: a backtick in it cannot end it.
fn code(text: &str) -> String {
    let text = text.replace(char::is_control, " ");
    if text.contains('`') { format!("`` {text} ``").replace("```", "` ` `") } else { format!("`{text}`") }
}

/// Text that cannot break a table or start a tag.
pub(crate) fn escape(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;").replace(['\n', '\r'], " ")
}
