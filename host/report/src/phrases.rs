//! Phrases that several reports share.

use runbook_engine::{Case, StepId};

/// `1 error`, `2 errors`.
pub fn pluralize(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// The part of a run's id that people are shown: the first 13 characters, which hold the time to
/// the millisecond. The same as [`runbook_engine::RunId::short`].
pub fn short_run_id(run: &str) -> &str {
    run.get(..13).unwrap_or(run)
}

/// `pay: status is 500`; only the name if the case has no detail.
pub(crate) fn case_text(case: &Case) -> String {
    if case.detail.is_empty() {
        case.name.clone()
    } else {
        format!("{}: {}", case.name, case.detail)
    }
}

/// The ids of the steps, each between backticks, separated by commas.
pub(crate) fn quote_ids(steps: &[StepId]) -> String {
    steps.iter().map(|step| format!("`{step}`")).collect::<Vec<_>>().join(", ")
}

/// The command that answers a manual step, between backticks.
pub(crate) fn answer_command(run: &str, step: &str, options: &[String]) -> String {
    // A choice is text of the runbook's author, and people copy the command into a shell.
    let option = |option: &String| match option.split_once(' ') {
        // A backtick would end the command in reports, so a value that has one is not shown.
        Some((name, value)) if value.contains('`') => {
            format!("{} …", runbook_text::shell_argument(&name.replace('`', "…")))
        }
        Some((name, value)) => format!(
            "{} {}",
            runbook_text::shell_argument(&name.replace('`', "…")),
            runbook_text::shell_argument(value)
        ),
        None => runbook_text::shell_argument(&option.replace('`', "…")).into_owned(),
    };
    let words: Vec<String> =
        [run, step].into_iter().map(str::to_owned).chain(options.iter().map(option)).collect();
    format!("`runbook answer {}`", words.join(" "))
}
