//! The difference of two texts, as lines for a plan.

use similar::{Algorithm, DiffOp, DiffTag, capture_diff_slices, group_diff_ops};

/// How many lines of a difference are shown.
const MAX_LINES: usize = 60;

/// How many lines are shown around a change.
const CONTEXT: usize = 2;

/// The lines of a text. An end without a line break is a line of its own, so that it differs.
fn lines_of(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

/// The beginning and the length of a range, as a hunk shows it.
fn place(range: &std::ops::Range<usize>) -> String {
    let first = if range.is_empty() { range.start } else { range.start + 1 };
    match range.len() {
        1 => first.to_string(),
        length => format!("{first},{length}"),
    }
}

fn push_hunk(lines: &mut Vec<String>, hunk: &[DiffOp], old: &[&str], new: &[&str]) {
    let (Some(first), Some(last)) = (hunk.first(), hunk.last()) else { return };
    let old_range = first.old_range().start..last.old_range().end;
    let new_range = first.new_range().start..last.new_range().end;
    lines.push(format!("@@ -{} +{} @@", place(&old_range), place(&new_range)));
    for operation in hunk {
        let (old, new) = (&old[operation.old_range()], &new[operation.new_range()]);
        let mut push = |sign: char, texts: &[&str]| {
            lines.extend(texts.iter().map(|text| format!("{sign}{}", text.trim_end_matches('\n'))));
        };
        match operation.tag() {
            DiffTag::Equal => push(' ', old),
            DiffTag::Delete | DiffTag::Insert | DiffTag::Replace => {
                push('-', old);
                push('+', new);
            }
        }
    }
}

/// The unified difference, without its heading, and how many lines are added and removed. Of a long
/// one, the first lines, and a line that says how many follow.
pub(crate) struct Difference {
    pub(crate) lines: Vec<String>,
    pub(crate) added: usize,
    pub(crate) removed: usize,
}

impl Difference {
    /// The difference of two contents; of one that is no text, a line that says so.
    pub(crate) fn of(old: &[u8], new: &str) -> Self {
        let Ok(old) = std::str::from_utf8(old) else {
            let lines = vec!["the old file is no text".to_owned()];
            return Self { lines, added: new.lines().count(), removed: 0 };
        };
        let (old, new) = (lines_of(old), lines_of(new));
        let operations = capture_diff_slices(Algorithm::Myers, &old, &new);
        let mut lines = Vec::new();
        for hunk in group_diff_ops(operations, CONTEXT) {
            push_hunk(&mut lines, &hunk, &old, &new);
        }
        let count = |sign: char| lines.iter().filter(|line| line.starts_with(sign)).count();
        let (added, removed) = (count('+'), count('-'));
        if lines.len() > MAX_LINES {
            let more = lines.len() - MAX_LINES;
            lines.truncate(MAX_LINES);
            lines.push(format!("… and {more} more lines"));
        }
        Self { lines, added, removed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_shows_what_is_added_and_removed_and_says_what_it_leaves_out() {
        let found = Difference::of(b"a\nb\nc\nd\ne\n", "a\nb\nx\nd\ne\n");
        assert_eq!(found.lines, ["@@ -1,5 +1,5 @@", " a", " b", "-c", "+x", " d", " e"]);
        assert_eq!((found.added, found.removed), (1, 1));
        let long: String = (0..100).map(|number| format!("{number}\n")).collect();
        let found = Difference::of(b"", &long);
        assert_eq!((found.added, found.lines.len()), (100, MAX_LINES + 1));
        assert_eq!(found.lines[MAX_LINES], "… and 41 more lines");
        assert_eq!(Difference::of(b"\xff", "a\n").lines, ["the old file is no text"]);
        assert!(Difference::of(b"a", "a").lines.is_empty());
    }
}
