//! The report to paste into an incident.

use crate::single_line::{one_line, value_text};
use crate::summary::Summary;
use runbook_document::format_duration;
use std::fmt::Write as _;

/// The report of a run in Markdown.
pub(crate) fn render(summary: &Summary) -> String {
    let mut text = format!("## {}\n\n", escape(&summary.title));
    let end = escape(&summary.status_text());
    let _ = writeln!(
        text,
        "**{end}**{}\n",
        summary
            .cause
            .as_ref()
            .map(|cause| format!(" Because {}.", escape(cause)))
            .unwrap_or_default()
    );
    if let Some(next) = &summary.next_action {
        let _ = writeln!(text, "Next: {}.\n", with_commands(next));
    }
    let _ = writeln!(
        text,
        "- run `{}`, runbook {}, by {}",
        summary.run,
        code(&summary.name),
        escape(&summary.operator)
    );
    let _ = writeln!(text, "- started {}, {}", summary.started, summary.duration_text());
    for (name, value) in &summary.params {
        let _ = writeln!(text, "- {} = {}", escape(name), code(&value_text(value)));
    }
    text.push_str("\n| step | state | time | what |\n| --- | --- | --- | --- |\n");
    for step in &summary.steps {
        if step.attempts == 0 && step.summary.is_empty() {
            continue;
        }
        let what = step.title_and_result();
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} |",
            escape(&step.id),
            step.state.word(),
            format_duration(step.duration()),
            escape(&what)
        );
    }
    for step in &summary.steps {
        let lines = crate::text::answer_lines(step);
        if !lines.is_empty() {
            let _ = writeln!(text, "\nAnswers, step {}:\n", code(&step.id));
        }
        for line in lines {
            let _ = writeln!(text, "> {}  ", escape_line(&line));
        }
    }
    for step in summary.steps.iter().filter(|step| step.is_for_a_person()) {
        let _ = writeln!(text, "\nTo do, step {}:\n", code(&step.id));
        let lines = step.instructions.iter().flat_map(|text| text.lines());
        for line in lines.map(str::trim).filter(|line| !line.is_empty()) {
            let _ = writeln!(text, "> {}  ", escape_line(line));
        }
    }
    text
}

/// A text at the beginning of a line, which must not become an item of a list or a heading.
fn escape_line(text: &str) -> String {
    let escaped = escape(text);
    let rest = escaped.trim_start_matches(|c: char| c.is_ascii_digit());
    if rest.starts_with(['-', '+', '=', '.']) {
        let digits = &escaped[..escaped.len() - rest.len()];
        return format!("{digits}\\{rest}");
    }
    escaped
}

/// Text as code: a backtick in it cannot end it.
fn code(text: &str) -> String {
    let text = runbook_text::for_terminal(&one_line(text)).into_owned();
    let ticks = "`".repeat(longest_run(&text) + 1);
    let space = if text.starts_with('`') || text.ends_with('`') || text.trim().is_empty() {
        " "
    } else {
        ""
    };
    format!("{ticks}{space}{text}{space}{ticks}")
}

/// Escapes a text of this program that has commands between backticks. The commands become code;
/// they contain no backtick themselves.
fn with_commands(text: &str) -> String {
    let part =
        |(index, part): (usize, &str)| if index % 2 == 1 { code(part) } else { escape(part) };
    text.split('`').enumerate().map(part).collect()
}

/// The most backticks in a row.
fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

/// Whether a reference character (`@`, `#`, …) is followed by a name or number.
fn begins_name(rest: &str) -> bool {
    rest.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '"' | '_'))
}

/// Whether a dash stands in the name of an issue: `GH-12`, `OPS-7`.
fn is_issue(before: &str, rest: &str) -> bool {
    before.ends_with(|c: char| c.is_ascii_alphabetic())
        && rest.starts_with(|c: char| c.is_ascii_digit())
}

/// Text as text: nothing in it becomes a link, an image, a tag, a mention, emphasis, or another
/// cell of a table.
pub(crate) fn escape(text: &str) -> String {
    let text = one_line(text);
    let mut escaped = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        let rest = &text[at..];
        match c {
            // A mention, a mail address, an issue, a merge request and the like, of GitHub or
            // GitLab. An empty comment, which is not shown, keeps it from becoming a link.
            '@' | '#' | '!' | '$' | '%' | '&' | '~' if begins_name(&rest[1..]) => {
                escaped.push_str(match c {
                    '@' => "@",
                    '%' => "%",
                    '&' => "&amp;",
                    '#' => "\\#",
                    '!' => "\\!",
                    '$' => "\\$",
                    _ => "\\~",
                });
                escaped.push_str("<!-- -->");
            }
            '-' if is_issue(&text[..at], &rest[1..]) => escaped.push_str("<!-- -->-"),
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            // GitHub turns every URL into a link.
            ':' if rest.starts_with("://") => escaped.push_str(":<!-- -->"),
            'w' | 'W' if rest.get(..4).is_some_and(|word| word.eq_ignore_ascii_case("www.")) => {
                escaped.push(c);
                escaped.push_str("<!-- -->");
            }
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '(' | ')' | '#' | '!' | '|' | '~'
            | '$' => {
                escaped.push('\\');
                escaped.push(c);
            }
            c => escaped.push(c),
        }
    }
    escaped
}
