//! The difference of two texts, as lines for a plan.

use similar::TextDiff;

/// How many lines of a difference are shown.
const MAX_LINES: usize = 60;

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
        let text = TextDiff::from_lines(old, new).unified_diff().context_radius(2).to_string();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
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
