//! The CHECK constraints of a table, from the statement that made it.
//!
//! SQLite's own `integrity_check` leaves them out where the file is open for reading only, and a
//! probe never opens it otherwise.

/// The expressions of all CHECK constraints in a `create table` statement, as they are written
/// there.
pub(crate) fn checks(create_table: &str) -> Vec<String> {
    let pieces = pieces(create_table);
    let mut found = Vec::new();
    let mut index = 0;
    while index < pieces.len() {
        let is_check =
            pieces[index].kind == Kind::Word && pieces[index].text.eq_ignore_ascii_case("check");
        let opens = pieces[index + 1..]
            .iter()
            .position(|piece| piece.kind != Kind::Space)
            .map(|next| index + 1 + next);
        match opens.filter(|open| is_check && pieces[*open].text == "(") {
            Some(open) => {
                let end = closing(&pieces, open);
                found.push(
                    pieces[open + 1..end]
                        .iter()
                        .map(|piece| piece.text)
                        .collect::<String>()
                        .trim()
                        .to_owned(),
                );
                index = end;
            }
            None => index += 1,
        }
    }
    found
}

/// The place of the parenthesis that closes the one at `open`, or the end.
fn closing(pieces: &[Piece<'_>], open: usize) -> usize {
    let mut depth = 0_usize;
    for (index, piece) in pieces.iter().enumerate().skip(open) {
        match piece.text {
            "(" => depth += 1,
            ")" if depth == 1 => return index,
            ")" => depth -= 1,
            _ => {}
        }
    }
    pieces.len()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Word,
    Quoted,
    /// A comment counts as space.
    Space,
    Other,
}

#[derive(Debug, Clone, Copy)]
struct Piece<'a> {
    kind: Kind,
    text: &'a str,
}

fn pieces(statement: &str) -> Vec<Piece<'_>> {
    let mut rest = statement;
    let mut found = Vec::new();
    while let Some(first) = rest.chars().next() {
        let (kind, length) = match first {
            '\'' | '"' | '`' => (Kind::Quoted, quoted(rest, first)),
            '[' => (Kind::Quoted, rest.find(']').map_or(rest.len(), |at| at + 1)),
            '-' if rest.starts_with("--") => {
                (Kind::Space, rest.find('\n').map_or(rest.len(), |at| at + 1))
            }
            '/' if rest.starts_with("/*") => {
                (Kind::Space, rest.find("*/").map_or(rest.len(), |at| at + 2))
            }
            c if c.is_whitespace() => (Kind::Space, run(rest, char::is_whitespace)),
            c if is_of_word(c) => (Kind::Word, run(rest, is_of_word)),
            c => (Kind::Other, c.len_utf8()),
        };
        let (text, after) = rest.split_at(length);
        found.push(Piece { kind, text });
        rest = after;
    }
    found
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

fn run(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

/// The length of a quoted text; a quote that stands twice is part of it.
fn quoted(text: &str, quote: char) -> usize {
    let mut at = 1;
    while let Some(next) = text[at..].find(quote) {
        at += next + 1;
        if !text[at..].starts_with(quote) {
            return at;
        }
        at += 1;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::checks;

    #[test]
    fn every_check_of_a_statement_is_found_as_it_is_written() {
        let cases: &[(&str, &[&str])] = &[
            ("create table t (a)", &[]),
            (
                "create table t (a int CHECK (a > 0), b int check(b in (1, 2)))",
                &["a > 0", "b in (1, 2)"],
            ),
            ("create table t (a, b, constraint c check (a < b))", &["a < b"]),
            ("create table t (a check /* ( */ (a <> ')'))", &["a <> ')'"]),
            ("create table t (a check (a <> 'it''s (') -- check (x)\n)", &["a <> 'it''s ('"]),
            (
                "create table t (\"check (a)\" int, [check (b)] int, `check (c)` int default 'check \
              (d)')",
                &[],
            ),
            ("create table t (\"a)\" check (\"a)\" > 0))", &["\"a)\" > 0"]),
            (
                "create table checks (check_it int, größe check (größe > (1 + (2))))",
                &["größe > (1 + (2))"],
            ),
            ("create table t (a check (a", &["a"]),
            ("create table t (a '", &[]),
        ];
        for (statement, expected) in cases {
            assert_eq!(checks(statement), *expected, "{statement}");
        }
    }
}
