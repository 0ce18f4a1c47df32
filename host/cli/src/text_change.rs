//! Shows how the texts of a runbook differ from the reviewed ones, as unified diffs.

use runbook_text::line;
use similar::{ChangeTag, TextDiff};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The number of context lines around a change.
const CONTEXT: usize = 3;

/// One file of a runbook that differs from its reviewed text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextChange {
    /// Its path in the folder of the runbook.
    pub file: String,
    /// Its text when it was reviewed; `None` if it was not part of the runbook.
    pub old: Option<String>,
    /// Its text now; `None` if it is not part of the runbook any more.
    pub new: Option<String>,
}

/// The files that differ. A difference in comments or blank lines counts, too.
pub fn between(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Vec<TextChange> {
    let files: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let changes = files.into_iter().map(|file| TextChange {
        file: file.clone(),
        old: old.get(file).cloned(),
        new: new.get(file).cloned(),
    });
    changes.filter(|change| change.old != change.new).collect()
}

impl TextChange {
    /// What happened to the file, then a unified diff.
    pub fn render(&self) -> String {
        let what = match (&self.old, &self.new) {
            (None, _) => "is a new part of the runbook",
            (_, None) => "is no longer a part of the runbook",
            (Some(_), Some(_)) => "has another text",
        };
        let mut text = format!("  file `{}` {what}:\n", line(&self.file));
        let (old, new) =
            (self.old.as_deref().unwrap_or_default(), self.new.as_deref().unwrap_or_default());
        let difference = TextDiff::from_lines(old, new);
        for hunk in difference.unified_diff().context_radius(CONTEXT).iter_hunks() {
            let _ = writeln!(text, "    {}", hunk.header());
            let (mut removed, mut added) = (String::new(), String::new());
            for change in hunk.iter_changes() {
                let text_line = line(change.value().strip_suffix('\n').unwrap_or(change.value()));
                let _ = writeln!(text, "    {}{text_line}", change.tag());
                let visible = change.value().chars().filter(|c| is_visible(*c));
                match change.tag() {
                    ChangeTag::Delete => removed.extend(visible),
                    ChangeTag::Insert => added.extend(visible),
                    ChangeTag::Equal => {}
                }
            }
            if removed == added {
                let _ = writeln!(
                    text,
                    "    (these lines differ only in white space, line ends or characters that are \
                     not shown)"
                );
            }
        }
        text.trim_end().to_owned()
    }
}

/// Whether the character is visible in a diff.
fn is_visible(c: char) -> bool {
    !c.is_whitespace() && runbook_text::first_hidden(c.encode_utf8(&mut [0; 4])).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(old: Option<&str>, new: Option<&str>) -> String {
        let change = TextChange {
            file: "r.toml".to_owned(),
            old: old.map(str::to_owned),
            new: new.map(str::to_owned),
        };
        change.render()
    }

    #[test]
    fn a_changed_line_is_shown_with_the_lines_around_it() {
        let text = render(Some("a\nb\nc\nd\ne\nf\ng\nh\ni\n"), Some("a\nb\nc\nd\nE\nf\ng\nh\ni\n"));
        assert_eq!(
            text,
            "  file `r.toml` has another text:\n    @@ -2,7 +2,7 \
             @@\n     b\n     c\n     d\n    -e\n    +E\n     f\n     g\n     h"
        );
    }

    #[test]
    fn control_characters_in_a_text_are_escaped_and_begin_no_line() {
        let text = render(Some("a = 1\n"), Some("a = 1 # \u{1b}[2K\rnothing\u{202e}\u{2028}+b\n"));
        assert!(
            text.chars().all(|c| c == '\n' || runbook_text::first_hidden(&c.to_string()).is_none()),
            "{text:?}"
        );
        // A carriage return ends a line of the text, which is shown as one more line of the
        // difference.
        assert_eq!(text.lines().count(), 5, "{text}");
        assert!(
            text.lines().skip(2).all(|line| line.starts_with("    -") || line.starts_with("    +")),
            "{text}"
        );
    }

    #[test]
    fn a_change_of_invisible_characters_alone_is_marked() {
        for (old, new) in
            [("a\n", "a\r\n"), ("a\n", "a"), ("a b\n", "a\tb\n"), ("a\n", "a \n"), ("a\n", "a\n\n")]
        {
            let text = render(Some(old), Some(new));
            assert!(text.contains("differ only in white space"), "{old:?} {new:?}: {text}");
        }
        assert!(!render(Some("a\n"), Some("b\n")).contains("differ only"));
    }

    #[test]
    fn an_added_or_removed_file_is_shown_whole() {
        assert!(
            render(None, Some("a\nb\n"))
                .ends_with("is a new part of the runbook:\n    @@ -0,0 +1,2 @@\n    +a\n    +b")
        );
        assert!(
            render(Some("a\n"), None)
                .ends_with("is no longer a part of the runbook:\n    @@ -1 +0,0 @@\n    -a")
        );
    }

    #[test]
    fn every_file_that_differs_is_named_and_no_other() {
        let texts = |files: &[(&str, &str)]| {
            files
                .iter()
                .map(|(file, text)| ((*file).to_owned(), (*text).to_owned()))
                .collect::<BTreeMap<_, _>>()
        };
        let changes = between(
            &texts(&[("a", "1"), ("b", "1"), ("c", "1")]),
            &texts(&[("a", "1"), ("b", "2"), ("d", "1")]),
        );
        assert_eq!(
            changes.iter().map(|change| change.file.as_str()).collect::<Vec<_>>(),
            ["b", "c", "d"]
        );
    }
}
