//! Where the statements of a SQL text begin and end.
//!
//! The parser knows no target, so it does not know the database either. It reads the text by the
//! rules of each of them; where they disagree, the caller is told and nothing is guessed.

use runbook_document::Span;

/// Why a text cannot be cut into statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SplitError {
    /// A string, a name or a comment does not end.
    Open,
    /// The databases disagree about where a statement ends.
    Dialect,
    /// A comment that MySQL and MariaDB run.
    Executable,
    /// The body of a function or trigger, whose statements are no statements of the file.
    Body,
}

/// The rules by which a database reads a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Postgres,
    Mysql,
    Sqlite,
}

const DIALECTS: [Dialect; 3] = [Dialect::Postgres, Dialect::Mysql, Dialect::Sqlite];

/// The statements of a text, without the semicolons and the comments between them; or the place
/// from which on they cannot be told.
pub(super) fn statements(text: &str) -> Result<Vec<Span>, (usize, SplitError)> {
    let [first, others @ ..] = DIALECTS.map(|dialect| Cut::of(text, dialect));
    let first = first?;
    for other in others {
        let other = other?;
        if other != first {
            let same = first.iter().zip(&other).take_while(|(a, b)| a == b).count();
            let at = [&first, &other].into_iter().filter_map(|cut| cut.get(same));
            return Err((at.map(|span| span.start).min().unwrap_or(0), SplitError::Dialect));
        }
    }
    match first.iter().find(|span| has_body(&text[(*span).clone()])) {
        Some(span) => Err((span.start, SplitError::Body)),
        None => Ok(first),
    }
}

/// One way through the text.
struct Cut<'a> {
    text: &'a [u8],
    dialect: Dialect,
    at: usize,
    /// From the first to behind the last character of the statement that is read.
    statement: Option<Span>,
    found: Vec<Span>,
}

impl<'a> Cut<'a> {
    fn of(text: &'a str, dialect: Dialect) -> Result<Vec<Span>, (usize, SplitError)> {
        let begin = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        let mut cut =
            Self { text: text.as_bytes(), dialect, at: begin, statement: None, found: Vec::new() };
        while let Some(byte) = cut.text.get(cut.at).copied() {
            cut.step(byte)?;
        }
        cut.found.extend(cut.statement.take());
        Ok(cut.found)
    }

    fn rest(&self) -> &'a [u8] {
        &self.text[self.at..]
    }

    /// Reads one thing that begins with `byte`.
    fn step(&mut self, byte: u8) -> Result<(), (usize, SplitError)> {
        if byte == b';' {
            self.found.extend(self.statement.take());
            self.at += 1;
        } else if byte.is_ascii_whitespace() {
            self.at += 1;
        } else if self.rest().starts_with(b"/*!") || self.rest().starts_with(b"/*M!") {
            return Err((self.at, SplitError::Executable));
        } else if self.rest().starts_with(b"/*") {
            self.at = self.behind_comment()?;
        } else if self.is_line_comment() {
            let end = self.rest().iter().position(|byte| *byte == b'\n');
            self.at += end.unwrap_or(self.rest().len());
        } else {
            let end = self.behind_code(byte)?;
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

    /// Behind a comment that begins here; those of PostgreSQL may stand in one another.
    fn behind_comment(&self) -> Result<usize, (usize, SplitError)> {
        let (mut depth, mut at) = (0_usize, self.at);
        loop {
            let rest = &self.text[at..];
            if rest.is_empty() {
                return Err((self.at, SplitError::Open));
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

    /// Behind a string, a quoted name, a word, or one other character.
    fn behind_code(&self, byte: u8) -> Result<usize, (usize, SplitError)> {
        match (byte, self.dialect) {
            (b'\'' | b'"', dialect) => {
                self.behind_quoted(self.at, byte, Escapes::in_quotes(dialect))
            }
            (b'`', Dialect::Mysql | Dialect::Sqlite) => {
                self.behind_quoted(self.at, b'`', Escapes::Doubled)
            }
            (b'[', Dialect::Sqlite) => {
                let end = self.rest().iter().position(|byte| *byte == b']');
                end.map(|end| self.at + end + 1).ok_or((self.at, SplitError::Open))
            }
            (b'$', _) => self.behind_dollar_quoted(),
            (b'e' | b'E', Dialect::Postgres) if self.rest().get(1) == Some(&b'\'') => {
                self.behind_quoted(self.at + 1, b'\'', Escapes::Backslash)
            }
            (byte, _) if is_of_word(byte) => {
                let length = self.rest().iter().position(|byte| !is_of_word(*byte));
                Ok(self.at + length.unwrap_or(self.rest().len()))
            }
            _ => Ok(self.at + 1),
        }
    }

    fn behind_quoted(
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
        Err((open, SplitError::Open))
    }

    /// Behind `$tag$ … $tag$`. Words of the other databases may have a dollar in them, and none
    /// begins so.
    fn behind_dollar_quoted(&self) -> Result<usize, (usize, SplitError)> {
        let rest = self.rest();
        let tag = rest.iter().skip(1).position(|byte| !is_of_word(*byte) || *byte == b'$');
        let Some(end) = tag.map(|tag| tag + 1).filter(|end| rest[*end] == b'$') else {
            return Ok(self.at + 1);
        };
        if rest.get(1).is_some_and(u8::is_ascii_digit) {
            return Ok(self.at + 1);
        }
        let tag = &rest[..=end];
        let close = rest[tag.len()..].windows(tag.len()).position(|found| found == tag);
        close.map(|close| self.at + close + 2 * tag.len()).ok_or((self.at, SplitError::Open))
    }
}

/// What stands for a quote within quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escapes {
    /// Two of them.
    Doubled,
    /// Two of them, or one behind a backslash.
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

fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || !byte.is_ascii()
}

/// Whether a statement may make something that consists of statements.
fn has_body(statement: &str) -> bool {
    let mut words = statement
        .split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .map(str::to_ascii_lowercase);
    let is_of_client = |word: &str| word == "delimiter";
    match words.next() {
        Some(word) if is_of_client(&word) => true,
        Some(word) if word == "create" => {
            let makes = |word: &String| {
                matches!(word.as_str(), "trigger" | "procedure" | "function" | "event")
            };
            let outside = without_dollar_quoted(statement).to_ascii_lowercase();
            let begins = outside
                .split(|letter: char| !letter.is_alphanumeric() && letter != '_')
                .any(|word| word == "begin");
            words.take(12).any(|word| makes(&word)) && begins
        }
        Some(_) | None => false,
    }
}

/// The text up to the first text in dollar quotes, which is one string.
fn without_dollar_quoted(statement: &str) -> &str {
    statement.find('$').map_or(statement, |at| &statement[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Result<Vec<&str>, SplitError> {
        statements(text)
            .map(|spans| spans.into_iter().map(|span| &text[span]).collect())
            .map_err(|(_, error)| error)
    }

    #[test]
    fn statements_end_at_semicolons_outside_of_strings_names_and_comments() {
        let whole = [
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
        for one in whole {
            assert_eq!(cut(one), Ok(vec![one]), "{one}");
            assert_eq!(cut(&format!("{one};")), Ok(vec![one]), "{one}");
            let text =
                format!("-- the first\n{one};\n\n/* the second; */ select 2\n;;\n-- end; \n");
            assert_eq!(cut(&text), Ok(vec![one, "select 2"]), "{one}");
            assert_eq!(cut(&format!("\u{feff}{one}")), Ok(vec![one]), "{one}");
        }
        for nothing in ["", " \n", ";", "-- select 1", "/* select 1; */;"] {
            assert_eq!(cut(nothing), Ok(vec![]), "{nothing:?}");
        }
    }

    #[test]
    fn what_databases_read_otherwise_is_not_guessed() {
        for text in [
            r"select 'a\'; delete from t; --'",
            "select 1 # a; b\n; select 2",
            "select /* /* ; */ ; */ 1",
            "select 1 --1; select 2",
            "select `a;b`; select 2",
            "select a[1;2] from t",
        ] {
            assert!(cut(text).is_err(), "{text}: {:?}", cut(text));
        }
        assert_eq!(cut("select 1 --1; select 2"), Err(SplitError::Dialect));
    }

    #[test]
    fn what_does_not_end_and_what_runs_in_a_comment_is_not_cut() {
        for text in ["select 'a; select 2", "select /* a; select 2", "select $a$ b; $b$"] {
            assert_eq!(cut(text), Err(SplitError::Open), "{text}");
        }
        assert_eq!(cut("/*!40101 set names utf8 */; select 1"), Err(SplitError::Executable));
        for text in [
            "create trigger a after insert on t begin update t set n = 1; delete from u; end;",
            "create or replace procedure p() begin select 1; end;",
            "delimiter //\ncreate procedure p() select 1//",
        ] {
            assert_eq!(cut(text), Err(SplitError::Body), "{text}");
        }
        let function =
            "create function f() returns int language plpgsql as $$ begin return 1; end; $$";
        assert_eq!(cut(&format!("{function}; select f()")), Ok(vec![function, "select f()"]));
    }

    /// Whatever stands in a text: the pieces lie in it, one behind the other, and reading it ends.
    #[test]
    fn pieces_lie_in_the_text_in_order() {
        const PARTS: [&str; 14] =
            ["'", "\"", "`", "$$", "$a$", "--", "/*", "*/", "#", ";", "\n", "\\", "[", "é x"];
        for seed in 0_usize..20_000 {
            let mut left = seed;
            let mut text = String::new();
            while left > 0 {
                text.push_str(PARTS[left % PARTS.len()]);
                left /= PARTS.len();
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
