//! Wraps and truncates text to the width of a terminal.

use textwrap::{Options, WordSeparator, WordSplitter};
use unicode_width::UnicodeWidthStr as _;

/// The least width of the last column. If it would be narrower, the rest of a line is indented
/// instead.
const MIN_COLUMN_WIDTH: usize = 24;

/// Wraps a text so that no line is wider than `columns` on a terminal. The rest of a line continues
/// below its last column, or after its indent. Words and texts between backticks, such as commands
/// to copy, are never broken.
pub fn wrap_to_width(text: &str, columns: usize) -> String {
    let wrapped: Vec<String> = text.split('\n').map(|line| fit_line(line, columns)).collect();
    wrapped.join("\n")
}

/// The beginning of a text on one line, at most `columns` wide, with `…` in place of the rest.
pub fn truncate_to_width(text: &str, columns: usize) -> String {
    let one_line = text.replace(char::is_control, " ");
    if one_line.width() <= columns {
        return one_line;
    }
    let mut kept = String::new();
    let mut width = 0;
    for c in one_line.chars() {
        width += unicode_width::UnicodeWidthChar::width(c).unwrap_or(0);
        if width + 1 > columns {
            break;
        }
        kept.push(c);
    }
    if columns > 0 {
        kept.push('…');
    }
    kept
}

fn fit_line(line: &str, columns: usize) -> String {
    if line.width() <= columns {
        return line.to_owned();
    }
    let indent = " ".repeat(hanging_indent(line, columns));
    let options = Options::new(columns)
        .subsequent_indent(&indent)
        .break_words(false)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation);
    let protected = protect_commands(line);
    textwrap::wrap(&protected, options).join("\n").replace(NO_BREAK_SPACE, " ")
}

/// Stands for a space at which a line is not broken. The texts of reports do not contain it.
const NO_BREAK_SPACE: &str = "\u{a0}";

/// Replaces the spaces between backticks, so that no line is broken within a command.
fn protect_commands(line: &str) -> String {
    let parts = line.split('`').enumerate();
    let joined =
        parts.map(
            |(index, part)| {
                if index % 2 == 1 { part.replace(' ', NO_BREAK_SPACE) } else { part.to_owned() }
            },
        );
    joined.collect::<Vec<_>>().join("`")
}

/// The column in which the rest of a wrapped line continues: that of its last cell (cells are two
/// spaces apart), if enough room is left there.
fn hanging_indent(line: &str, columns: usize) -> usize {
    let indent = line.width() - line.trim_start().width();
    let leaves_room = |start: &usize| *start + MIN_COLUMN_WIDTH <= columns;
    let cells = line.match_indices("  ").filter_map(|(at, _)| {
        let rest = &line[at..];
        let start = line[..at].width() + rest.width() - rest.trim_start().width();
        (at > indent && !rest.trim_start().is_empty()).then_some(start)
    });
    cells.filter(leaves_room).max().unwrap_or(indent + 4)
}

#[cfg(test)]
mod tests {
    use super::{truncate_to_width, wrap_to_width};
    use unicode_width::UnicodeWidthStr as _;

    #[test]
    fn a_line_that_fits_stays_as_it_is() {
        assert_eq!(wrap_to_width("  a  b\n\n日本  c", 80), "  a  b\n\n日本  c");
    }

    #[test]
    fn a_wrapped_line_continues_below_its_last_cell() {
        let line = "✗ none-lost  failed  2 ms  `n` of the first row is 998, expected 1000";
        assert_eq!(
            wrap_to_width(line, 60),
            "✗ none-lost  failed  2 ms  `n` of the first row is \
             998,\n                           expected 1000"
        );
    }

    #[test]
    fn wide_characters_are_counted_with_their_width() {
        let wrapped = wrap_to_width(
            "✗ 確認  failed  注文 の 件数 が 違います 注文 の 件数 が 違います 注文 の 件数",
            40,
        );
        assert!(
            wrapped.lines().count() > 1 && wrapped.lines().all(|line| line.width() <= 40),
            "{wrapped}"
        );
        assert!(
            wrapped.lines().nth(1).is_some_and(|line| line.starts_with("                ")),
            "{wrapped}"
        );
    }

    #[test]
    fn a_command_is_never_broken() {
        let wrapped = wrap_to_width(
            "next: find out whether it did, then say so: `runbook resume 01a1 --decide s01=done` \
             (it did)",
            60,
        );
        assert!(wrapped.contains("`runbook resume 01a1 --decide s01=done`"), "{wrapped}");
        assert!(wrapped.lines().count() == 2, "{wrapped}");
    }

    #[test]
    fn a_long_word_is_not_broken() {
        let digest = format!("digest  sha256:{}", "0".repeat(64));
        assert!(wrap_to_width(&digest, 40).contains(&"0".repeat(64)));
    }

    #[test]
    fn truncated_text_is_never_wider_than_the_limit() {
        for text in [
            "",
            "short",
            "a longer text that goes on",
            "確認 注文 の 件数",
            "two\nlines\tand \u{1b}[1m more",
        ] {
            for columns in 0..40 {
                let kept = truncate_to_width(text, columns);
                assert!(
                    kept.width() <= columns && !kept.contains(char::is_control),
                    "{columns}: {kept:?}"
                );
            }
        }
        assert_eq!(
            (truncate_to_width("abcdef", 6), truncate_to_width("abcdef", 5)),
            ("abcdef".to_owned(), "abcd…".to_owned())
        );
    }

    #[test]
    fn wrapping_to_a_few_columns_does_not_panic() {
        for columns in 0..12 {
            let _ = wrap_to_width("  ✗ none-lost  failed  `a b c` 日本 d", columns);
        }
    }
}
