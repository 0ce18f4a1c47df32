//! Makes printed commands name the journal, so that they find the run.

use std::borrow::Cow;

/// The commands that look into the journal of runs.
const JOURNAL_COMMANDS: &[&str] = &[
    "resume", "show", "cancel", "undo", "retry", "approve", "reject", "answer", "runs", "report",
    "locks", "prune",
];

/// A text of this program in which each command between backticks that looks into the journal names
/// it. Without it, a command in another environment would use another journal.
pub fn with_journal_option<'a>(text: &'a str, journal: Option<&str>) -> Cow<'a, str> {
    let Some(journal) = journal.filter(|_| text.contains("`runbook ")) else {
        return Cow::Borrowed(text);
    };
    let option = format!(" --journal {}", runbook_text::argument(journal));
    let mut named = String::with_capacity(text.len() + option.len());
    for (place, part) in text.split('`').enumerate() {
        if place > 0 {
            named.push('`');
        }
        named.push_str(part);
        let verb = part.strip_prefix("runbook ").and_then(|rest| rest.split_whitespace().next());
        let looks = verb.is_some_and(|verb| JOURNAL_COMMANDS.contains(&verb));
        if place % 2 == 1 && looks && !part.contains(" --journal ") && !option.contains('`') {
            named.push_str(&option);
        }
    }
    Cow::Owned(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_that_looks_into_the_journal_names_one_that_is_not_the_default_and_no_other_text_changes()
     {
        let text = "continue with `runbook resume 01 --decide a=done` (it is) or \
                    `--decide a=retry`; `runbook exec r.toml`; runbook show 01";
        assert_eq!(with_journal_option(text, None), text);
        let named = with_journal_option(text, Some("/tmp/my runs/j.db"));
        assert_eq!(
            named,
            "continue with `runbook resume 01 --decide a=done --journal '/tmp/my runs/j.db'` (it \
             is) or `--decide a=retry`; `runbook exec r.toml`; runbook show 01"
        );
        assert_eq!(with_journal_option(&named, Some("/tmp/my runs/j.db")), named, "once");
        for verb in JOURNAL_COMMANDS {
            assert_eq!(
                with_journal_option(&format!("`runbook {verb}`"), Some("/j")),
                format!("`runbook {verb} --journal /j`")
            );
        }
    }
}
