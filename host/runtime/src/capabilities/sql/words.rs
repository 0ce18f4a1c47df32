//! The words of a statement. They are used to refuse actions that a server allows even in a
//! read-only transaction. Writes to tables are refused by the server itself.

use runbook_authority::pattern::{Dialect, side_effect_function, words};

/// The first word of a statement, in capitals, after space, semicolons and comments. Empty if there
/// is none.
pub(super) fn first_word(dialect: Dialect, statement: &str) -> String {
    let mut text = statement;
    loop {
        text =
            text.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b' || c == ';');
        match after_comment(dialect, text) {
            Some(rest) => text = rest,
            None => {
                return text
                    .chars()
                    .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                    .collect::<String>()
                    .to_uppercase();
            }
        }
    }
}

/// The effect that a statement may have had although the server has answered with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FailureEffect {
    /// The server rolls the whole statement back.
    None,
    /// A part of it may remain: it commits by itself, or has an effect outside of its transaction.
    Possible,
}

/// First words of statements that read or change rows, and can be rolled back.
const ROW_STATEMENTS: &[&str] = &[
    "INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE", "SELECT", "VALUES", "TABLE", "TRUNCATE",
    "WITH",
];

/// First words of definitions that PostgreSQL applies atomically.
const DEFINITIONS: &[&str] = &[
    "CREATE", "ALTER", "DROP", "GRANT", "REVOKE", "COMMENT", "LOCK", "REFRESH", "IMPORT",
    "SECURITY",
];

/// Words of definitions that PostgreSQL runs in several transactions, or in none.
const NON_TRANSACTIONAL_WORDS: &[&str] =
    &["concurrently", "database", "program", "server", "subscription", "system", "tablespace"];

/// Functions of PostgreSQL with an effect that a rollback undoes, or that never needs an undo
/// (`nextval`).
const TRANSACTIONAL_FUNCTIONS: &[&str] = &[
    "lo_creat",
    "lo_create",
    "lo_from_bytea",
    "lo_get",
    "lo_import",
    "lo_open",
    "lo_put",
    "lo_truncate",
    "lo_truncate64",
    "lo_unlink",
    "loread",
    "lowrite",
    "nextval",
    "normal_rand",
    "pg_notify",
    "set_config",
];

/// Whether a statement reads or changes rows, so that the host can run it in a transaction.
pub(super) fn is_row_statement(dialect: Dialect, statement: &str) -> bool {
    let word = first_word(dialect, statement);
    let is_transactional = match dialect {
        Dialect::Postgres => word != "REPLACE",
        // In MySQL these commit by themselves.
        Dialect::MySql => !matches!(word.as_str(), "TRUNCATE" | "MERGE"),
        Dialect::Sqlite => {
            matches!(word.as_str(), "INSERT" | "UPDATE" | "DELETE" | "REPLACE" | "WITH")
        }
    };
    is_transactional && ROW_STATEMENTS.contains(&word.as_str())
}

/// Whether a statement of PostgreSQL may have an effect that no rollback undoes: by a function that
/// acts outside of the transaction, or by a program.
pub(super) fn has_external_effect(statement: &str) -> bool {
    let has_effect = |word: &str| {
        side_effect_function(Dialect::Postgres, word).is_some()
            && !TRANSACTIONAL_FUNCTIONS.contains(&word)
    };
    words(statement).any(|word| word == "program" || has_effect(&word))
}

/// Whether a statement outside of a transaction may have had an effect, although the server has
/// answered with an error.
pub(super) fn effect_of_failure(dialect: Dialect, statement: &str) -> FailureEffect {
    let word = first_word(dialect, statement);
    let is_atomic = match dialect {
        Dialect::Postgres => {
            let is_known_statement =
                ROW_STATEMENTS.contains(&word.as_str()) || DEFINITIONS.contains(&word.as_str());
            is_known_statement
                && !has_external_effect(statement)
                && !words(statement).any(|word| NON_TRANSACTIONAL_WORDS.contains(&word.as_str()))
        }
        // Other statements commit by themselves, table by table.
        Dialect::MySql => is_row_statement(dialect, statement),
        // Each statement is a transaction. The exception is `OR FAIL`, which the host runs inside a
        // transaction.
        Dialect::Sqlite => true,
    };
    if is_atomic { FailureEffect::None } else { FailureEffect::Possible }
}

/// The text after the comment that `text` begins with; `None` if it begins with no comment.
fn after_comment(dialect: Dialect, text: &str) -> Option<&str> {
    let line_length = |text: &'_ str| -> usize { text.find('\n').map_or(text.len(), |at| at + 1) };
    match dialect {
        Dialect::MySql if text.starts_with('#') => Some(&text[line_length(text)..]),
        // `--` without space after it is an operator there.
        Dialect::MySql
            if text.starts_with("--")
                && !text[2..].starts_with(|c: char| c.is_ascii_whitespace()) =>
        {
            None
        }
        // MySQL runs the content of these comments.
        Dialect::MySql if text.starts_with("/*!") || text.starts_with("/*M!") => None,
        Dialect::MySql | Dialect::Postgres | Dialect::Sqlite if text.starts_with("--") => {
            Some(&text[line_length(text)..])
        }
        Dialect::MySql | Dialect::Postgres | Dialect::Sqlite => {
            Some(after_block(dialect, text.strip_prefix("/*")?))
        }
    }
}

/// The text after a block comment. Block comments nest in PostgreSQL only; one that is never closed
/// extends to the end.
fn after_block(dialect: Dialect, mut text: &str) -> &str {
    let mut depth = 1;
    while depth > 0 {
        let Some(end) = text.find("*/") else { return "" };
        let nested_comment =
            text.find("/*").filter(|begin| dialect == Dialect::Postgres && *begin < end);
        match nested_comment {
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
    fn a_statement_that_commits_by_itself_or_has_an_external_effect_may_be_done_in_part() {
        use FailureEffect::{None, Possible};
        for (dialect, statement, expected) in [
            (Dialect::Postgres, "update t set a = 1", None),
            (Dialect::Postgres, "insert into t values (nextval('s'))", None),
            (Dialect::Postgres, "create index i on t (a)", None),
            (Dialect::Postgres, "create index concurrently i on t (a)", Possible),
            (Dialect::Postgres, "select pg_terminate_backend(pid) from pg_stat_activity", Possible),
            (Dialect::Postgres, "select dblink_exec('x', 'delete from t')", Possible),
            (Dialect::Postgres, "call p()", Possible),
            (Dialect::Postgres, "do $$ begin commit; end $$", Possible),
            (Dialect::Postgres, "vacuum t", Possible),
            (Dialect::MySql, "update t set a = 1", None),
            (Dialect::MySql, "drop table a, b", Possible),
            (Dialect::MySql, "truncate t", Possible),
            (Dialect::MySql, "call p()", Possible),
            (Dialect::Sqlite, "insert or fail into t values (1)", None),
        ] {
            assert_eq!(effect_of_failure(dialect, statement), expected, "{statement}");
        }
    }

    #[test]
    fn the_first_word_is_found_after_comments() {
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
            assert_eq!(first_word(dialect, statement), word, "{statement}");
        }
    }
}
