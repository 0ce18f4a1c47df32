//! Splits a SQL text into tokens, and decides whether it is unambiguous: whether every SQL parser
//! finds the same tokens.
//!
//! A database and a parser that disagree about the end of a string or a comment see different
//! statements. This module accepts only texts in which they cannot disagree. It knows no grammar. A
//! text that is refused can be written in another way.

use super::Dialect;

/// Whether every SQL parser finds the same strings, quoted names and comments in `text`, and it is
/// at most one statement.
pub(super) fn is_unambiguous(dialect: Dialect, text: &str) -> bool {
    Scanner::new(dialect, text, Semicolons::AtEnd).run(|_| {}).is_some()
}

/// A token of a SQL text. Spaces and comments are no tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SqlToken<'a> {
    /// A keyword, a name without quotes or a number.
    Word(&'a str),
    /// A string, a name in quotes or a placeholder.
    Quoted,
    /// One character of any other kind.
    Symbol(char),
}

impl SqlToken<'_> {
    /// Whether it is this keyword, which is given in lower case.
    pub fn is_keyword(&self, keyword: &str) -> bool {
        match self {
            Self::Word(word) => word.eq_ignore_ascii_case(keyword),
            Self::Quoted | Self::Symbol(_) => false,
        }
    }
}

/// The tokens of each statement in a text, without empty statements; `None` if the text is
/// ambiguous. A semicolon inside a body (`BEGIN … END`) also ends a statement.
pub fn split_statements(dialect: Dialect, text: &str) -> Option<Vec<Vec<SqlToken<'_>>>> {
    let mut statements = vec![Vec::new()];
    Scanner::new(dialect, text, Semicolons::Anywhere).run(|part| {
        let token = match part.as_bytes() {
            [b';'] => return statements.push(Vec::new()),
            [b' ' | b'\n' | b'\t' | b'\r'] | [b'-', b'-', ..] | [b'/', b'*', ..] => return,
            [b'\'' | b'"' | b'`' | b'[', _, ..] | [b'$', ..] => SqlToken::Quoted,
            [first, ..] if is_word_byte(*first) => SqlToken::Word(part),
            _ => match part.chars().next() {
                Some(symbol) => SqlToken::Symbol(symbol),
                None => return,
            },
        };
        if let Some(statement) = statements.last_mut() {
            statement.push(token);
        }
    })?;
    statements.retain(|statement| !statement.is_empty());
    Some(statements)
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Where a semicolon may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Semicolons {
    /// Only at the end of the text, with nothing but space after it.
    AtEnd,
    Anywhere,
}

struct Scanner<'a> {
    dialect: Dialect,
    semicolons: Semicolons,
    text: &'a str,
    bytes: &'a [u8],
    index: usize,
    /// The start of the word that ends at `index`; equal to `index` if there is none.
    word: usize,
}

impl<'a> Scanner<'a> {
    fn new(dialect: Dialect, text: &'a str, semicolons: Semicolons) -> Self {
        Self { dialect, semicolons, text, bytes: text.as_bytes(), index: 0, word: 0 }
    }

    /// Calls `visit_part` with each word, and with each part between words. Returns `None` if the text
    /// is ambiguous.
    fn run(&mut self, mut visit_part: impl FnMut(&'a str)) -> Option<()> {
        while let Some(byte) = self.peek(0) {
            let length = self.part_length(byte)?;
            let begin = self.index;
            self.index += length;
            let is_word = length == 1 && is_word_byte(byte);
            let word_ends = is_word && !self.peek(0).is_some_and(is_word_byte);
            if word_ends {
                visit_part(self.text.get(self.word..self.index)?);
            }
            if !is_word {
                visit_part(self.text.get(begin..self.index)?);
                self.word = self.index;
            }
        }
        Some(())
    }

    /// The length in bytes of the part that begins here; `None` if the text is ambiguous.
    fn part_length(&self, byte: u8) -> Option<usize> {
        match (byte, self.dialect) {
            (b'\'', _) => self.string_length(),
            (b'"', Dialect::Postgres | Dialect::Sqlite) if !self.follows_an_escape_prefix() => {
                self.quoted_length(b'"', false)
            }
            (b'`', Dialect::MySql | Dialect::Sqlite) => self.quoted_length(b'`', false),
            (b'[', Dialect::Sqlite) => self.find(b"]").map(|end| end + 1 - self.index),
            (b'-', dialect) if self.peek(1) == Some(b'-') => self.line_comment_length(dialect),
            (b'/', _) if self.peek(1) == Some(b'*') => self.block_comment_length(),
            (b'#', Dialect::Postgres) => Some(1),
            (b'$', Dialect::Postgres) => self.placeholder_length(),
            (b':', Dialect::MySql) if self.peek(1) == Some(b'=') => None,
            (b';', _) if self.semicolons == Semicolons::Anywhere => Some(1),
            (b';', _) => self.bytes[self.index + 1..]
                .iter()
                .all(|byte| matches!(byte, b' ' | b'\n' | b'\t' | b';'))
                .then_some(1),
            (b'\r', _) => (self.peek(1) == Some(b'\n')).then_some(1),
            (b'[', Dialect::MySql) | (b'"' | b'`' | b'#' | b'$' | b'\\' | b'{' | b'}', _) => None,
            (b' ' | b'\n' | b'\t' | 0x21..=0x7e, _) => Some(1),
            // Other control characters, and characters that only some parsers count as a letter or
            // as space.
            (_, _) => None,
        }
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.index + ahead).copied()
    }

    fn find(&self, needle: &[u8]) -> Option<usize> {
        let rest = &self.bytes[self.index..];
        rest.windows(needle.len())
            .position(|window| window == needle)
            .map(|offset| self.index + offset)
    }

    /// The length of a string; `None` for `e'…'`, `n'…'`, `_utf8'…'` and `u&'…'`, which have rules
    /// of their own.
    fn string_length(&self) -> Option<usize> {
        let word = self.bytes[self.word..self.index].to_ascii_lowercase();
        if matches!(word.as_slice(), b"e" | b"n")
            || word.starts_with(b"_")
            || self.follows_an_escape_prefix()
        {
            return None;
        }
        // In MySQL, a setting of the server decides whether a backslash escapes a quote.
        self.quoted_length(b'\'', self.dialect == Dialect::MySql)
    }

    fn follows_an_escape_prefix(&self) -> bool {
        self.index >= 2
            && self.bytes[self.index - 1] == b'&'
            && self.bytes[self.index - 2].eq_ignore_ascii_case(&b'u')
    }

    /// The length of a quoted part. Two quotes inside it stand for one.
    fn quoted_length(&self, quote: u8, refuse_backslash: bool) -> Option<usize> {
        let mut index = self.index + 1;
        loop {
            match self.bytes.get(index)? {
                byte if *byte == quote && self.bytes.get(index + 1) == Some(&quote) => index += 2,
                byte if *byte == quote => return Some(index + 1 - self.index),
                b'\\' if refuse_backslash => return None,
                0 => return None,
                _ => index += 1,
            }
        }
    }

    fn line_comment_length(&self, dialect: Dialect) -> Option<usize> {
        if dialect == Dialect::MySql && !matches!(self.peek(2), None | Some(b' ' | b'\n' | b'\t')) {
            return None;
        }
        let end = self.find(b"\n").unwrap_or(self.bytes.len());
        let comment = &self.bytes[self.index..end];
        let comment = comment.strip_suffix(b"\r").unwrap_or(comment);
        comment.iter().all(|byte| *byte >= b' ' || *byte == b'\t').then_some(end - self.index)
    }

    fn block_comment_length(&self) -> Option<usize> {
        let end = self.find(b"*/")?;
        // `/*! … */` and `/*M! … */` run, `/*+ … */` are hints, and only some databases nest.
        let inside = &self.bytes.get(self.index + 2..end)?;
        let is_executed = matches!(inside.first(), Some(b'!' | b'+' | b'M' | b'm'));
        let is_nested = inside.windows(2).any(|pair| pair == b"/*") || inside.last() == Some(&b'/');
        (!is_executed && !is_nested).then_some(end + 2 - self.index)
    }

    /// The length of a placeholder such as `$1`; `None` for `$tag$…$tag$` and `name$1`.
    fn placeholder_length(&self) -> Option<usize> {
        let digits =
            self.bytes[self.index + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let next = self.peek(1 + digits);
        let continues =
            next.is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$'));
        (digits > 0 && !continues && self.word == self.index).then_some(1 + digits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_statements_are_unambiguous() {
        for (dialect, text) in [
            (Dialect::Postgres, "select \"A\", 'it''s', $1::int # 2 from t where a = '\\' -- end"),
            (Dialect::Postgres, "select date'2026-01-01' /* why */ from t;"),
            (Dialect::MySql, "select `a`, 'it''s' from t where b = ? -- end\n and c > 1"),
            (Dialect::Sqlite, "select [a], \"b\", `c`, 'd' from t"),
            (Dialect::Postgres, "select 1\r\nfrom t"),
            (Dialect::Postgres, "select 'Grüße'"),
        ] {
            assert!(is_unambiguous(dialect, text), "{text}");
        }
    }

    #[test]
    fn a_text_is_split_into_statements_and_tokens() {
        use SqlToken::{Quoted, Symbol, Word};
        assert_eq!(
            split_statements(
                Dialect::Postgres,
                " -- a;\n select 'a;b', \"c\"/* ; */.d2 from $1 ;; drop table t;"
            ),
            Some(vec![
                vec![
                    Word("select"),
                    Quoted,
                    Symbol(','),
                    Quoted,
                    Symbol('.'),
                    Word("d2"),
                    Word("from"),
                    Quoted
                ],
                vec![Word("drop"), Word("table"), Word("t")],
            ])
        );
        assert_eq!(
            split_statements(Dialect::Sqlite, " ; /* nothing */ -- at all"),
            Some(Vec::new())
        );
        assert_eq!(split_statements(Dialect::Postgres, "do $$ begin end $$"), None);
        assert!(Word("SELECT").is_keyword("select") && !Quoted.is_keyword("select"));
    }

    #[test]
    fn a_text_that_parsers_may_read_differently_is_ambiguous() {
        for (dialect, text) in [
            (Dialect::MySql, "select /*! 1 */ 2"),
            (Dialect::MySql, "select /*M! 1 */ 2"),
            (Dialect::MySql, "select 1 # 2"),
            (Dialect::MySql, "select \"a\""),
            (Dialect::MySql, "select 'a\\'"),
            (Dialect::MySql, "select 1--1"),
            (Dialect::MySql, "select @a := 1"),
            (Dialect::MySql, "select _utf8'a'"),
            (Dialect::MySql, "select {d '2026-01-01'}"),
            (Dialect::Postgres, "select e'a\\''"),
            (Dialect::Postgres, "select u&\"a\""),
            (Dialect::Postgres, "select $a$ ' $a$"),
            (Dialect::Postgres, "select /* /* */ */ 1"),
            (Dialect::Postgres, "select 1; select 2"),
            (Dialect::Postgres, "select 'open"),
            (Dialect::Postgres, "select 1 -- a\rselect 2"),
            (Dialect::Postgres, "select\u{a0}1"),
            (Dialect::Postgres, "select/**/1/*"),
            (Dialect::Sqlite, "select 1 /*/ 2"),
            (Dialect::Sqlite, "select '\0'"),
        ] {
            assert!(!is_unambiguous(dialect, text), "{text}");
        }
    }
}
