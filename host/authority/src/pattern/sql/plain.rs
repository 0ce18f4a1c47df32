//! Decides whether every reader of SQL reads a text in the same way.
//!
//! A database and a parser that disagree about where a string or a comment ends see different
//! statements. This accepts only texts in which they cannot disagree; it knows nothing of grammar.
//! A refused text can be written in another way.

use super::Dialect;

/// Whether strings, quoted names and comments of `text` begin and end in one place for every
/// reader, and it is one statement.
pub(super) fn is_plain(dialect: Dialect, text: &str) -> bool {
    Scanner::over(dialect, text, Semicolons::AtTheEnd).run(|_| {}).is_some()
}

/// A part of a text between spaces and comments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A keyword, a name without quotes or a number.
    Word(&'a str),
    /// A string, a name in quotes or a placeholder.
    Quoted,
    /// One character of any other kind.
    Sign(char),
}

impl Piece<'_> {
    /// Whether it is this keyword, which is given in lower case.
    pub fn is(&self, keyword: &str) -> bool {
        match self {
            Self::Word(word) => word.eq_ignore_ascii_case(keyword),
            Self::Quoted | Self::Sign(_) => false,
        }
    }
}

/// The statements of a text, each in its pieces and none without any; `None` if readers may differ
/// about where strings, names and comments end. A semicolon within a body (`BEGIN … END`) is taken
/// for an end, too.
pub fn statements_of(dialect: Dialect, text: &str) -> Option<Vec<Vec<Piece<'_>>>> {
    let mut statements = vec![Vec::new()];
    Scanner::over(dialect, text, Semicolons::Anywhere).run(|part| {
        let piece = match part.as_bytes() {
            [b';'] => return statements.push(Vec::new()),
            [b' ' | b'\n' | b'\t' | b'\r'] | [b'-', b'-', ..] | [b'/', b'*', ..] => return,
            [b'\'' | b'"' | b'`' | b'[', _, ..] | [b'$', ..] => Piece::Quoted,
            [first, ..] if is_of_word(*first) => Piece::Word(part),
            _ => match part.chars().next() {
                Some(sign) => Piece::Sign(sign),
                None => return,
            },
        };
        if let Some(statement) = statements.last_mut() {
            statement.push(piece);
        }
    })?;
    statements.retain(|statement| !statement.is_empty());
    Some(statements)
}

fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Where a semicolon may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Semicolons {
    /// Only at the end of the text, with nothing but space behind it.
    AtTheEnd,
    Anywhere,
}

struct Scanner<'a> {
    dialect: Dialect,
    semicolons: Semicolons,
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    /// Where the word that ends at `at` begins; `at` itself if none does.
    word: usize,
}

impl<'a> Scanner<'a> {
    fn over(dialect: Dialect, text: &'a str, semicolons: Semicolons) -> Self {
        Self { dialect, semicolons, text, bytes: text.as_bytes(), at: 0, word: 0 }
    }

    /// Hands each word, and each part between words, to `found`; `None` as soon as readers may
    /// differ.
    fn run(&mut self, mut found: impl FnMut(&'a str)) -> Option<()> {
        while let Some(byte) = self.peek(0) {
            let step = self.step(byte)?;
            let begin = self.at;
            self.at += step;
            let is_word = step == 1 && is_of_word(byte);
            let word_ends = is_word && !self.peek(0).is_some_and(is_of_word);
            if word_ends {
                found(self.text.get(self.word..self.at)?);
            }
            if !is_word {
                found(self.text.get(begin..self.at)?);
                self.word = self.at;
            }
        }
        Some(())
    }

    /// How many bytes belong together here; `None` if readers may differ.
    fn step(&self, byte: u8) -> Option<usize> {
        match (byte, self.dialect) {
            (b'\'', _) => self.string(),
            (b'"', Dialect::Postgres | Dialect::Sqlite) if !self.follows_an_escape_prefix() => {
                self.quoted(b'"', false)
            }
            (b'`', Dialect::MySql | Dialect::Sqlite) => self.quoted(b'`', false),
            (b'[', Dialect::Sqlite) => self.find(b"]").map(|end| end + 1 - self.at),
            (b'-', dialect) if self.peek(1) == Some(b'-') => self.line_comment(dialect),
            (b'/', _) if self.peek(1) == Some(b'*') => self.block_comment(),
            (b'#', Dialect::Postgres) => Some(1),
            (b'$', Dialect::Postgres) => self.placeholder(),
            (b':', Dialect::MySql) if self.peek(1) == Some(b'=') => None,
            (b';', _) if self.semicolons == Semicolons::Anywhere => Some(1),
            (b';', _) => self.bytes[self.at + 1..]
                .iter()
                .all(|byte| matches!(byte, b' ' | b'\n' | b'\t' | b';'))
                .then_some(1),
            (b'\r', _) => (self.peek(1) == Some(b'\n')).then_some(1),
            (b'[', Dialect::MySql) | (b'"' | b'`' | b'#' | b'$' | b'\\' | b'{' | b'}', _) => None,
            (b' ' | b'\n' | b'\t' | 0x21..=0x7e, _) => Some(1),
            // Other control characters, and letters that only some count as part of a name or as
            // space.
            (_, _) => None,
        }
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.at + ahead).copied()
    }

    fn find(&self, needle: &[u8]) -> Option<usize> {
        let rest = &self.bytes[self.at..];
        rest.windows(needle.len())
            .position(|window| window == needle)
            .map(|offset| self.at + offset)
    }

    /// `e'…'`, `n'…'`, `_utf8'…'` and `u&'…'` have rules of their own.
    fn string(&self) -> Option<usize> {
        let word = self.bytes[self.word..self.at].to_ascii_lowercase();
        if matches!(word.as_slice(), b"e" | b"n")
            || word.starts_with(b"_")
            || self.follows_an_escape_prefix()
        {
            return None;
        }
        // With a backslash in it, the end depends on a setting of the server.
        self.quoted(b'\'', self.dialect == Dialect::MySql)
    }

    fn follows_an_escape_prefix(&self) -> bool {
        self.at >= 2
            && self.bytes[self.at - 1] == b'&'
            && self.bytes[self.at - 2].eq_ignore_ascii_case(&b'u')
    }

    /// Reads to the end of what `quote` opens. A quote that stands twice stands for itself.
    fn quoted(&self, quote: u8, refuse_backslash: bool) -> Option<usize> {
        let mut at = self.at + 1;
        loop {
            match self.bytes.get(at)? {
                byte if *byte == quote && self.bytes.get(at + 1) == Some(&quote) => at += 2,
                byte if *byte == quote => return Some(at + 1 - self.at),
                b'\\' if refuse_backslash => return None,
                0 => return None,
                _ => at += 1,
            }
        }
    }

    fn line_comment(&self, dialect: Dialect) -> Option<usize> {
        if dialect == Dialect::MySql && !matches!(self.peek(2), None | Some(b' ' | b'\n' | b'\t')) {
            return None;
        }
        let end = self.find(b"\n").unwrap_or(self.bytes.len());
        let comment = &self.bytes[self.at..end];
        let comment = comment.strip_suffix(b"\r").unwrap_or(comment);
        comment.iter().all(|byte| *byte >= b' ' || *byte == b'\t').then_some(end - self.at)
    }

    fn block_comment(&self) -> Option<usize> {
        let end = self.find(b"*/")?;
        // `/*! … */` and `/*M! … */` run, `/*+ … */` are hints, and only some databases nest.
        let inside = &self.bytes.get(self.at + 2..end)?;
        let runs = matches!(inside.first(), Some(b'!' | b'+' | b'M' | b'm'));
        let nests = inside.windows(2).any(|pair| pair == b"/*") || inside.last() == Some(&b'/');
        (!runs && !nests).then_some(end + 2 - self.at)
    }

    /// `$1`, and not `$tag$…$tag$` or `name$1`.
    fn placeholder(&self) -> Option<usize> {
        let digits =
            self.bytes[self.at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let next = self.peek(1 + digits);
        let goes_on =
            next.is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$'));
        (digits > 0 && !goes_on && self.word == self.at).then_some(1 + digits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_statements_are_plain() {
        for (dialect, text) in [
            (Dialect::Postgres, "select \"A\", 'it''s', $1::int # 2 from t where a = '\\' -- end"),
            (Dialect::Postgres, "select date'2026-01-01' /* why */ from t;"),
            (Dialect::MySql, "select `a`, 'it''s' from t where b = ? -- end\n and c > 1"),
            (Dialect::Sqlite, "select [a], \"b\", `c`, 'd' from t"),
            (Dialect::Postgres, "select 1\r\nfrom t"),
            (Dialect::Postgres, "select 'Grüße'"),
        ] {
            assert!(is_plain(dialect, text), "{text}");
        }
    }

    #[test]
    fn a_text_falls_into_statements_and_pieces() {
        use Piece::{Quoted, Sign, Word};
        assert_eq!(
            statements_of(
                Dialect::Postgres,
                " -- a;\n select 'a;b', \"c\"/* ; */.d2 from $1 ;; drop table t;"
            ),
            Some(vec![
                vec![
                    Word("select"),
                    Quoted,
                    Sign(','),
                    Quoted,
                    Sign('.'),
                    Word("d2"),
                    Word("from"),
                    Quoted
                ],
                vec![Word("drop"), Word("table"), Word("t")],
            ])
        );
        assert_eq!(statements_of(Dialect::Sqlite, " ; /* nothing */ -- at all"), Some(Vec::new()));
        assert_eq!(statements_of(Dialect::Postgres, "do $$ begin end $$"), None);
        assert!(Word("SELECT").is("select") && !Quoted.is("select"));
    }

    #[test]
    fn what_readers_may_take_differently_is_not_plain() {
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
            assert!(!is_plain(dialect, text), "{text}");
        }
    }
}
