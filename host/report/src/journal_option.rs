//! Adds `--journal` to the commands in a text, so that they find the run.

use std::borrow::Cow;

/// The commands that read or write the journal.
const JOURNAL_COMMANDS: &[&str] = &[
    "resume", "show", "cancel", "undo", "retry", "approve", "reject", "answer", "runs", "report",
    "locks", "prune",
];

/// The text with `--journal` added to each command between backticks that uses the journal. Without
/// the option, a command in another environment would use another journal.
pub fn with_journal_option<'a>(text: &'a str, journal: Option<&str>) -> Cow<'a, str> {
    let Some(journal) = journal.filter(|_| text.contains("`runbook ")) else {
        return Cow::Borrowed(text);
    };
    let option = format!(" --journal {}", runbook_text::shell_argument(journal));
    let mut text_with_option = String::with_capacity(text.len() + option.len());
    for (index, part) in text.split('`').enumerate() {
        if index > 0 {
            text_with_option.push('`');
        }
        text_with_option.push_str(part);
        let command = part.strip_prefix("runbook ").and_then(|rest| rest.split_whitespace().next());
        let uses_journal = command.is_some_and(|command| JOURNAL_COMMANDS.contains(&command));
        if index % 2 == 1 && uses_journal && !part.contains(" --journal ") && !option.contains('`')
        {
            text_with_option.push_str(&option);
        }
    }
    Cow::Owned(text_with_option)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_that_uses_the_journal_gets_the_option_and_no_other_text_changes() {
        let text = "continue with `runbook resume 01 --decide a=done` (it is) or \
                    `--decide a=retry`; `runbook exec r.toml`; runbook show 01";
        assert_eq!(with_journal_option(text, None), text);
        let with_option = with_journal_option(text, Some("/tmp/my runs/j.db"));
        assert_eq!(
            with_option,
            "continue with `runbook resume 01 --decide a=done --journal '/tmp/my runs/j.db'` (it \
             is) or `--decide a=retry`; `runbook exec r.toml`; runbook show 01"
        );
        assert_eq!(
            with_journal_option(&with_option, Some("/tmp/my runs/j.db")),
            with_option,
            "once"
        );
        for verb in JOURNAL_COMMANDS {
            assert_eq!(
                with_journal_option(&format!("`runbook {verb}`"), Some("/j")),
                format!("`runbook {verb} --journal /j`")
            );
        }
    }
}
