//! Small pieces of sentences that every report says in the same way.

use runbook_engine::{Case, StepId};

/// `1 error`, `2 errors`.
pub fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// As much of a run's id as people are shown: 13 characters, which hold the time to the
/// millisecond, as [`runbook_engine::RunId::short`] gives them.
pub fn short(run: &str) -> &str {
    run.get(..13).unwrap_or(run)
}

/// `pay: status is 500`; the name alone of a case of which nothing more is known.
pub(crate) fn case_text(case: &Case) -> String {
    if case.detail.is_empty() {
        case.name.clone()
    } else {
        format!("{}: {}", case.name, case.detail)
    }
}

/// The steps between backticks.
pub(crate) fn quoted(steps: &[StepId]) -> String {
    steps.iter().map(|step| format!("`{step}`")).collect::<Vec<_>>().join(", ")
}

/// The command that says that a person has done a step.
pub(crate) fn answer(run: &str, step: &str, options: &[String]) -> String {
    // A choice is the author's text, and the whole is copied into a shell.
    let option = |option: &String| match option.split_once(' ') {
        // Backticks end a command in reports: what has one is not shown in it.
        Some((name, value)) if value.contains('`') => {
            format!("{} …", runbook_text::argument(&name.replace('`', "…")))
        }
        Some((name, value)) => format!(
            "{} {}",
            runbook_text::argument(&name.replace('`', "…")),
            runbook_text::argument(value)
        ),
        None => runbook_text::argument(&option.replace('`', "…")).into_owned(),
    };
    let words: Vec<String> =
        [run, step].into_iter().map(str::to_owned).chain(options.iter().map(option)).collect();
    format!("`runbook answer {}`", words.join(" "))
}
