//! The CHECK constraints of a table, from the statement that made it.
//!
//! SQLite's own `integrity_check` skips them if the file is open for reading only, and a probe
//! always opens it so.

/// The expressions of all CHECK constraints in a `create table` statement, as they are written
/// there.
pub(crate) fn check_expressions(create_table: &str) -> Vec<String> {
    let tokens = tokens(create_table);
    let mut found = Vec::new();
    let mut index = 0;
    while index < tokens.len() {
        let is_check = tokens[index].kind == TokenKind::Word
            && tokens[index].text.eq_ignore_ascii_case("check");
        let opening = tokens[index + 1..]
            .iter()
            .position(|token| token.kind != TokenKind::Space)
            .map(|next| index + 1 + next);
        match opening.filter(|open| is_check && tokens[*open].text == "(") {
            Some(open) => {
                let end = closing_parenthesis(&tokens, open);
                found.push(
                    tokens[open + 1..end]
                        .iter()
                        .map(|token| token.text)
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

/// The index of the parenthesis that closes the one at `open`, or the number of tokens if it is
/// missing.
fn closing_parenthesis(tokens: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match token.text {
            "(" => depth += 1,
            ")" if depth == 1 => return index,
            ")" => depth -= 1,
            _ => {}
        }
    }
    tokens.len()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TokenKind {
    Word,
    Quoted,
    /// A comment counts as space.
    Space,
    Other,
}

#[derive(Debug, Clone, Copy)]
struct Token<'a> {
    kind: TokenKind,
    text: &'a str,
}

/// The tokens of an SQL statement. Together they are its whole text.
fn tokens(statement: &str) -> Vec<Token<'_>> {
    let mut rest = statement;
    let mut found = Vec::new();
    while let Some(first) = rest.chars().next() {
        let (kind, length) = match first {
            '\'' | '"' | '`' => (TokenKind::Quoted, quoted_length(rest, first)),
            '[' => (TokenKind::Quoted, rest.find(']').map_or(rest.len(), |at| at + 1)),
            '-' if rest.starts_with("--") => {
                (TokenKind::Space, rest.find('\n').map_or(rest.len(), |at| at + 1))
            }
            '/' if rest.starts_with("/*") => {
                (TokenKind::Space, rest.find("*/").map_or(rest.len(), |at| at + 2))
            }
            c if c.is_whitespace() => (TokenKind::Space, prefix_length(rest, char::is_whitespace)),
            c if is_word_character(c) => (TokenKind::Word, prefix_length(rest, is_word_character)),
            c => (TokenKind::Other, c.len_utf8()),
        };
        let (text, after) = rest.split_at(length);
        found.push(Token { kind, text });
        rest = after;
    }
    found
}

fn is_word_character(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

fn prefix_length(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

/// The length of a quoted text, with its quotes. A doubled quote is part of the text.
fn quoted_length(text: &str, quote: char) -> usize {
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
    use super::check_expressions;

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
            assert_eq!(check_expressions(statement), *expected, "{statement}");
        }
    }
}
