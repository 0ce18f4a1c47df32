//! The words of a statement. Never a wall against writing to tables: that is the server's. It holds off what no server holds off in
//! a transaction that only reads.

use runbook_authority::pattern::Dialect;

/// The first word, in capitals, after what may stand before it: space, semicolons, comments. Empty if there is none.
pub(super) fn first(dialect: Dialect, statement: &str) -> String {
    let mut text = statement;
    loop {
        text = text.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b' || c == ';');
        match after_comment(dialect, text) {
            Some(rest) => text = rest,
            None => {
                return text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>().to_uppercase();
            }
        }
    }
}

/// What follows the comment that `text` begins with.
fn after_comment(dialect: Dialect, text: &str) -> Option<&str> {
    let line = |text: &'_ str| -> usize { text.find('\n').map_or(text.len(), |at| at + 1) };
    match dialect {
        Dialect::MySql if text.starts_with('#') => Some(&text[line(text)..]),
        // `--` without space after it is an operator there.
        Dialect::MySql if text.starts_with("--") && !text[2..].starts_with(|c: char| c.is_ascii_whitespace()) => None,
        // What the server runs is no comment.
        Dialect::MySql if text.starts_with("/*!") || text.starts_with("/*M!") => None,
        Dialect::MySql | Dialect::Postgres | Dialect::Sqlite if text.starts_with("--") => Some(&text[line(text)..]),
        Dialect::MySql | Dialect::Postgres | Dialect::Sqlite => Some(after_block(dialect, text.strip_prefix("/*")?)),
    }
}

/// PostgreSQL's block comments nest, those of the others do not. One that is never closed hides the rest.
fn after_block(dialect: Dialect, mut text: &str) -> &str {
    let mut depth = 1;
    while depth > 0 {
        let Some(end) = text.find("*/") else { return "" };
        let opened = text.find("/*").filter(|begin| dialect == Dialect::Postgres && *begin < end);
        match opened {
            Some(begin) => {
                depth += 1;
                text = &text[begin + 2..];
            }
            None => {
                depth -= 1;
                text = &text[end + 2..];
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_stands_behind_comments() {
        for (dialect, statement, word) in [
            (Dialect::Postgres, " \u{b}; -- x\n /* a /* b */ c */ Commit", "COMMIT"),
            (Dialect::Postgres, "/* never closed", ""),
            (Dialect::Postgres, "/**//*/**/*/end", "END"),
            (Dialect::MySql, "/* a /* b */ select 1", "SELECT"),
            (Dialect::MySql, "# x\n-- y\nselect 1", "SELECT"),
            (Dialect::MySql, "/*! delete from t */", ""),
            (Dialect::MySql, "--1", ""),
            (Dialect::Sqlite, "--1\nselect 1", "SELECT"),
            (Dialect::Postgres, "", ""),
        ] {
            assert_eq!(first(dialect, statement), word, "{statement}");
        }
    }
}
