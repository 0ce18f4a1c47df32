//! The text of one file and the lines in it.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// Byte offsets into a [`Source`].
pub type Span = Range<usize>;

/// A place for people: line and column, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Position {
    /// The line, counted from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// One file's name, as the user typed it, and its text.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    name: String,
    text: String,
    /// The offset of the first byte of each line.
    lines: Vec<usize>,
    quoting: Quoting,
}

/// Whether diagnostics may quote the lines of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quoting {
    Allowed,
    Withheld,
}

impl Source {
    /// A source whose lines diagnostics may quote. Its name is sanitized to one line.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Self::build(name, text, Quoting::Allowed)
    }

    /// A source whose lines diagnostics do not quote. For a path that leads through a link: it may
    /// lead to any file that the user of this program can read.
    pub fn unquoted(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Self::build(name, text, Quoting::Withheld)
    }

    fn build(name: impl Into<String>, text: impl Into<String>, quoting: Quoting) -> Arc<Self> {
        let text = text.into();
        let after_newlines =
            text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(after_newlines).collect();
        Arc::new(Self { name: runbook_text::line(&name.into()).into_owned(), text, lines, quoting })
    }

    /// The text for diagnostics. If its lines may not be quoted, every character is a space, at the
    /// same offsets.
    pub fn quotable(&self) -> Cow<'_, str> {
        match self.quoting {
            Quoting::Allowed => Cow::Borrowed(&self.text),
            Quoting::Withheld => Cow::Owned(
                self.text.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect(),
            ),
        }
    }

    /// The file's name, as the user typed it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole text of the file.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Line and column of a byte offset; an offset past the end means the end. Fast for large
    /// files, because positions are needed for every part of a file: only the line itself is
    /// searched.
    pub fn position(&self, offset: usize) -> Position {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = self.lines.partition_point(|begin| *begin <= offset);
        Position { line, column: self.text[self.lines[line - 1]..offset].chars().count() + 1 }
    }

    /// `file:line` of a span, for messages.
    pub fn place(&self, span: &Span) -> String {
        format!("{}:{}", self.name, self.position(span.start).line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_the_same_as_by_counting_all_characters_from_the_beginning() {
        for text in ["", "\n", "a", "a\n", "\n\na", "één\r\ntwee\n\n\u{1f980}drie", "x\ny\n"] {
            let source = Source::new("a.toml", text);
            for offset in 0..=text.len() + 2 {
                let boundary = (0..=offset.min(text.len()))
                    .rev()
                    .find(|at| text.is_char_boundary(*at))
                    .expect("zero is one");
                let before = &text[..boundary];
                let line = before.matches('\n').count() + 1;
                let column =
                    before.rsplit('\n').next().expect("there is a part").chars().count() + 1;
                assert_eq!(
                    source.position(offset),
                    Position { line, column },
                    "{text:?} at {offset}"
                );
            }
        }
    }
}
