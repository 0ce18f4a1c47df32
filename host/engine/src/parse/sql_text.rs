//! Splits a SQL text into statements.
//!
//! The parser does not know the database. It splits the text by the rules of each supported
//! database, and returns an error if the results differ.

use runbook_document::Span;

/// Why a text cannot be split into statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SplitError {
    /// A string, a name or a comment does not end.
    Unterminated,
    /// The databases disagree about where a statement ends.
    DialectsDiffer,
    /// A comment that MySQL and MariaDB execute.
    ExecutableComment,
    /// A function or trigger with a body of statements, which cannot be told from statements of the
    /// file.
    StatementBody,
}

/// A database, for its lexical rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Postgres,
    Mysql,
    Sqlite,
}

const DIALECTS: [Dialect; 3] = [Dialect::Postgres, Dialect::Mysql, Dialect::Sqlite];

/// The statements of a text, without the semicolons and the comments between them.
///
/// # Errors
/// The offset from which on the text cannot be split, and why.
pub(super) fn statements(text: &str) -> Result<Vec<Span>, (usize, SplitError)> {
    let [first, others @ ..] = DIALECTS.map(|dialect| StatementSplitter::of(text, dialect));
    let first = first?;
    for other in others {
        let other = other?;
        if other != first {
            let same = first.iter().zip(&other).take_while(|(a, b)| a == b).count();
            let at = [&first, &other].into_iter().filter_map(|spans| spans.get(same));
            return Err((at.map(|span| span.start).min().unwrap_or(0), SplitError::DialectsDiffer));
        }
    }
    match first.iter().find(|span| has_body(&text[(*span).clone()])) {
        Some(span) => Err((span.start, SplitError::StatementBody)),
        None => Ok(first),
    }
}

/// Splits a text by the rules of one database.
struct StatementSplitter<'a> {
    text: &'a [u8],
    dialect: Dialect,
    at: usize,
    /// The statement that is being read; `None` between statements.
    statement: Option<Span>,
    found: Vec<Span>,
}

impl<'a> StatementSplitter<'a> {
    fn of(text: &'a str, dialect: Dialect) -> Result<Vec<Span>, (usize, SplitError)> {
        let begin = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        let mut splitter =
            Self { text: text.as_bytes(), dialect, at: begin, statement: None, found: Vec::new() };
        while let Some(byte) = splitter.text.get(splitter.at).copied() {
            splitter.step(byte)?;
        }
        splitter.found.extend(splitter.statement.take());
        Ok(splitter.found)
    }

    fn rest(&self) -> &'a [u8] {
        &self.text[self.at..]
    }

    /// Reads one token, which begins with `byte`.
    fn step(&mut self, byte: u8) -> Result<(), (usize, SplitError)> {
        if byte == b';' {
            self.found.extend(self.statement.take());
            self.at += 1;
        } else if byte.is_ascii_whitespace() {
            self.at += 1;
        } else if self.rest().starts_with(b"/*!") || self.rest().starts_with(b"/*M!") {
            return Err((self.at, SplitError::ExecutableComment));
        } else if self.rest().starts_with(b"/*") {
            self.at = self.end_of_comment()?;
        } else if self.is_line_comment() {
            let end = self.rest().iter().position(|byte| *byte == b'\n');
            self.at += end.unwrap_or(self.rest().len());
        } else {
            let end = self.end_of_token(byte)?;
            let start = self.statement.as_ref().map_or(self.at, |statement| statement.start);
            self.statement = Some(start..end);
            self.at = end;
        }
        Ok(())
    }

    fn is_line_comment(&self) -> bool {
        let rest = self.rest();
        match self.dialect {
            Dialect::Postgres | Dialect::Sqlite => rest.starts_with(b"--"),
            Dialect::Mysql => {
                let is_dashes =
                    rest.starts_with(b"--") && rest.get(2).is_none_or(u8::is_ascii_whitespace);
                is_dashes || rest.starts_with(b"#")
            }
        }
    }

    /// The end of a comment that begins here. Comments of PostgreSQL may be nested.
    fn end_of_comment(&self) -> Result<usize, (usize, SplitError)> {
        let (mut depth, mut at) = (0_usize, self.at);
        loop {
            let rest = &self.text[at..];
            if rest.is_empty() {
                return Err((self.at, SplitError::Unterminated));
            }
            let opens =
                rest.starts_with(b"/*") && (depth == 0 || self.dialect == Dialect::Postgres);
            let closes = rest.starts_with(b"*/");
            depth = if opens { depth + 1 } else { depth - usize::from(closes) };
            at += if opens || closes { 2 } else { 1 };
            if depth == 0 {
                return Ok(at);
            }
        }
    }

    /// The end of a string, a quoted name, a word, or one other character that begins here.
    fn end_of_token(&self, byte: u8) -> Result<usize, (usize, SplitError)> {
        match (byte, self.dialect) {
            (b'\'' | b'"', dialect) => {
                self.end_of_quoted(self.at, byte, Escapes::in_quotes(dialect))
            }
            (b'`', Dialect::Mysql | Dialect::Sqlite) => {
                self.end_of_quoted(self.at, b'`', Escapes::Doubled)
            }
            (b'[', Dialect::Sqlite) => {
                let end = self.rest().iter().position(|byte| *byte == b']');
                end.map(|end| self.at + end + 1).ok_or((self.at, SplitError::Unterminated))
            }
            (b'$', _) => self.end_of_dollar_quoted(),
            (b'e' | b'E', Dialect::Postgres) if self.rest().get(1) == Some(&b'\'') => {
                self.end_of_quoted(self.at + 1, b'\'', Escapes::Backslash)
            }
            (byte, _) if is_word_byte(byte) => {
                let length = self.rest().iter().position(|byte| !is_word_byte(*byte));
                Ok(self.at + length.unwrap_or(self.rest().len()))
            }
            _ => Ok(self.at + 1),
        }
    }

    fn end_of_quoted(
        &self,
        open: usize,
        quote: u8,
        escapes: Escapes,
    ) -> Result<usize, (usize, SplitError)> {
        let mut at = open + 1;
        while let Some(byte) = self.text.get(at).copied() {
            if byte == quote && self.text.get(at + 1) == Some(&quote) {
                at += 2;
            } else if byte == quote {
                return Ok(at + 1);
            } else if byte == b'\\' && escapes == Escapes::Backslash {
                at += 2;
            } else {
                at += 1;
            }
        }
        Err((open, SplitError::Unterminated))
    }

    /// The end of `$tag$ … $tag$`. In the other databases, a word may contain a dollar, but does
    /// not begin with one.
    fn end_of_dollar_quoted(&self) -> Result<usize, (usize, SplitError)> {
        let rest = self.rest();
        let tag = rest.iter().skip(1).position(|byte| !is_word_byte(*byte) || *byte == b'$');
        let Some(end) = tag.map(|tag| tag + 1).filter(|end| rest[*end] == b'$') else {
            return Ok(self.at + 1);
        };
        if rest.get(1).is_some_and(u8::is_ascii_digit) {
            return Ok(self.at + 1);
        }
        let tag = &rest[..=end];
        let close = rest[tag.len()..].windows(tag.len()).position(|found| found == tag);
        close
            .map(|close| self.at + close + 2 * tag.len())
            .ok_or((self.at, SplitError::Unterminated))
    }
}

/// How a quote is written within quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escapes {
    /// As two quotes.
    Doubled,
    /// As two quotes, or after a backslash.
    Backslash,
}

impl Escapes {
    fn in_quotes(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Postgres | Dialect::Sqlite => Self::Doubled,
            Dialect::Mysql => Self::Backslash,
        }
    }
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || !byte.is_ascii()
}

/// Whether a statement may create a function or trigger that consists of statements.
fn has_body(statement: &str) -> bool {
    let mut words = statement
        .split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .map(str::to_ascii_lowercase);
    let is_client_command = |word: &str| word == "delimiter";
    match words.next() {
        Some(word) if is_client_command(&word) => true,
        Some(word) if word == "create" => {
            let is_routine_kind = |word: &String| {
                matches!(word.as_str(), "trigger" | "procedure" | "function" | "event")
            };
            let unquoted = without_dollar_quoted(statement).to_ascii_lowercase();
            let has_begin = unquoted
                .split(|letter: char| !letter.is_alphanumeric() && letter != '_')
                .any(|word| word == "begin");
            words.take(12).any(|word| is_routine_kind(&word)) && has_begin
        }
        Some(_) | None => false,
    }
}

/// The statement up to the first dollar: a text in dollar quotes is one string.
fn without_dollar_quoted(statement: &str) -> &str {
    statement.find('$').map_or(statement, |at| &statement[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Result<Vec<&str>, SplitError> {
        statements(text)
            .map(|spans| spans.into_iter().map(|span| &text[span]).collect())
            .map_err(|(_, error)| error)
    }

    #[test]
    fn statements_end_at_semicolons_outside_of_strings_names_and_comments() {
        let statements = [
            "select 1",
            "select 'a;b'",
            "select 'it''s; so'",
            "select \"a;b\" from t",
            "select $$a;b$$",
            "select $body$ a; $$ b; $body$",
            "select a /* ; */ from t",
            "select a -- ;\n from t",
            "select 'ä;é'",
            "insert into n values ($1, $2)",
            "insert into n values (?1)",
        ];
        for statement in statements {
            assert_eq!(split(statement), Ok(vec![statement]), "{statement}");
            assert_eq!(split(&format!("{statement};")), Ok(vec![statement]), "{statement}");
            let text =
                format!("-- the first\n{statement};\n\n/* the second; */ select 2\n;;\n-- end; \n");
            assert_eq!(split(&text), Ok(vec![statement, "select 2"]), "{statement}");
            assert_eq!(split(&format!("\u{feff}{statement}")), Ok(vec![statement]), "{statement}");
        }
        for nothing in ["", " \n", ";", "-- select 1", "/* select 1; */;"] {
            assert_eq!(split(nothing), Ok(vec![]), "{nothing:?}");
        }
    }

    #[test]
    fn a_text_that_databases_split_differently_is_an_error() {
        for text in [
            r"select 'a\'; delete from t; --'",
            "select 1 # a; b\n; select 2",
            "select /* /* ; */ ; */ 1",
            "select 1 --1; select 2",
            "select `a;b`; select 2",
            "select a[1;2] from t",
        ] {
            assert!(split(text).is_err(), "{text}: {:?}", split(text));
        }
        assert_eq!(split("select 1 --1; select 2"), Err(SplitError::DialectsDiffer));
    }

    #[test]
    fn unterminated_texts_executable_comments_and_bodies_are_not_split() {
        for text in ["select 'a; select 2", "select /* a; select 2", "select $a$ b; $b$"] {
            assert_eq!(split(text), Err(SplitError::Unterminated), "{text}");
        }
        assert_eq!(
            split("/*!40101 set names utf8 */; select 1"),
            Err(SplitError::ExecutableComment)
        );
        for text in [
            "create trigger a after insert on t begin update t set n = 1; delete from u; end;",
            "create or replace procedure p() begin select 1; end;",
            "delimiter //\ncreate procedure p() select 1//",
        ] {
            assert_eq!(split(text), Err(SplitError::StatementBody), "{text}");
        }
        let function =
            "create function f() returns int language plpgsql as $$ begin return 1; end; $$";
        assert_eq!(split(&format!("{function}; select f()")), Ok(vec![function, "select f()"]));
    }

    /// For any text, splitting ends, and the statements are in order and do not overlap.
    #[test]
    fn statements_of_any_text_are_in_order_and_do_not_overlap() {
        const PARTS: [&str; 14] =
            ["'", "\"", "`", "$$", "$a$", "--", "/*", "*/", "#", ";", "\n", "\\", "[", "é x"];
        for seed in 0_usize..20_000 {
            let mut remaining = seed;
            let mut text = String::new();
            while remaining > 0 {
                text.push_str(PARTS[remaining % PARTS.len()]);
                remaining /= PARTS.len();
            }
            let Ok(spans) = statements(&text) else { continue };
            let mut end = 0;
            for span in spans {
                assert!(end <= span.start && span.start < span.end, "{text:?}");
                assert!(text.get(span.clone()).is_some_and(|piece| piece.trim() == piece));
                end = span.end;
            }
        }
    }
}
