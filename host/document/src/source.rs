//! The text of one file and the lines in it.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// Byte offsets into a [`Source`].
pub type Span = Range<usize>;

/// A place for people: line and column, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// One file's name, as the user typed it, and its text.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    name: String,
    text: String,
    quotes: Quotes,
}

/// Whether findings may quote the lines of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quotes {
    Shown,
    Withheld,
}

impl Source {
    /// A source with the name that diagnostics will show: a file's name may hold anything, and is shown as one line.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Self::made(name, text, Quotes::Shown)
    }

    /// A source whose lines no finding quotes: it lies elsewhere than its name says, and may be anything that whoever runs the
    /// program can read.
    pub fn unquoted(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Self::made(name, text, Quotes::Withheld)
    }

    fn made(name: impl Into<String>, text: impl Into<String>, quotes: Quotes) -> Arc<Self> {
        Arc::new(Self { name: runbook_text::line(&name.into()).into_owned(), text: text.into(), quotes })
    }

    /// The text as findings may quote it, byte for byte at the same place: blank where they may not.
    pub fn quotable(&self) -> Cow<'_, str> {
        match self.quotes {
            Quotes::Shown => Cow::Borrowed(&self.text),
            Quotes::Withheld => Cow::Owned(self.text.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect()),
        }
    }

    /// The file's name, as the user typed it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Line and column of a byte offset; an offset past the end is the end.
    pub fn position(&self, offset: usize) -> Position {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &self.text[..offset];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Position { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
    }

    /// `file:line`, the form in which a place is named in one line of text.
    pub fn place(&self, span: &Span) -> String {
        format!("{}:{}", self.name, self.position(span.start).line)
    }
}
