//! The words of a statement. Not the defence against writes to tables: that is the server. It stops
//! actions that no server stops in a read-only transaction.

use runbook_authority::pattern::{Dialect, acting_word, words};

/// The first word, in capitals, after what may stand before it: space, semicolons, comments. Empty
/// if there is none.
pub(super) fn first(dialect: Dialect, statement: &str) -> String {
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

/// What a failure of one statement leaves, if the server has answered with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaves {
    /// Nothing: the server takes it back as a whole.
    Nothing,
    /// It may be done in part: it commits by itself, or reaches what no transaction holds.
    Perhaps,
}

/// First words of statements that look at rows or change them, which every transaction holds.
const ROW_STATEMENTS: &[&str] = &[
    "INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE", "SELECT", "VALUES", "TABLE", "TRUNCATE",
    "WITH",
];

/// First words of definitions that PostgreSQL does as a whole or not at all.
const DEFINITIONS: &[&str] = &[
    "CREATE", "ALTER", "DROP", "GRANT", "REVOKE", "COMMENT", "LOCK", "REFRESH", "IMPORT",
    "SECURITY",
];

/// Words that make a definition one of several transactions, or of none.
const NON_TRANSACTIONAL_WORDS: &[&str] =
    &["concurrently", "database", "program", "server", "subscription", "system", "tablespace"];

/// Functions of PostgreSQL that act, and whose effect ends with their transaction or is none that
/// anybody would put back.
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

/// Whether a statement looks at rows or changes them, so that it can be held in a transaction.
pub(super) fn is_about_rows(dialect: Dialect, statement: &str) -> bool {
    let word = first(dialect, statement);
    let is_held = match dialect {
        Dialect::Postgres => word != "REPLACE",
        // There it commits by itself.
        Dialect::MySql => !matches!(word.as_str(), "TRUNCATE" | "MERGE"),
        Dialect::Sqlite => {
            matches!(word.as_str(), "INSERT" | "UPDATE" | "DELETE" | "REPLACE" | "WITH")
        }
    };
    is_held && ROW_STATEMENTS.contains(&word.as_str())
}

/// Whether a statement of PostgreSQL may do what no rollback takes back: by a function that acts
/// elsewhere, or by a program.
pub(super) fn reaches_out(statement: &str) -> bool {
    let acts = |word: &str| {
        acting_word(Dialect::Postgres, word).is_some() && !TRANSACTIONAL_FUNCTIONS.contains(&word)
    };
    words(statement).any(|word| word == "program" || acts(&word))
}

/// What is left of a statement by itself to which the server has answered with an error.
pub(super) fn leaves(dialect: Dialect, statement: &str) -> Leaves {
    let word = first(dialect, statement);
    let is_whole = match dialect {
        Dialect::Postgres => {
            let is_one =
                ROW_STATEMENTS.contains(&word.as_str()) || DEFINITIONS.contains(&word.as_str());
            is_one
                && !reaches_out(statement)
                && !words(statement).any(|word| NON_TRANSACTIONAL_WORDS.contains(&word.as_str()))
        }
        // Asked of the server, which knows what its engines hold; what commits by itself is done
        // table by table.
        Dialect::MySql => is_about_rows(dialect, statement),
        // Each is a transaction of its own. The one exception is `OR FAIL`, which the host holds in
        // one.
        Dialect::Sqlite => true,
    };
    if is_whole { Leaves::Nothing } else { Leaves::Perhaps }
}

/// What follows the comment that `text` begins with.
fn after_comment(dialect: Dialect, text: &str) -> Option<&str> {
    let line = |text: &'_ str| -> usize { text.find('\n').map_or(text.len(), |at| at + 1) };
    match dialect {
        Dialect::MySql if text.starts_with('#') => Some(&text[line(text)..]),
        // `--` without space after it is an operator there.
        Dialect::MySql
            if text.starts_with("--")
                && !text[2..].starts_with(|c: char| c.is_ascii_whitespace()) =>
        {
            None
        }
        // What the server runs is no comment.
        Dialect::MySql if text.starts_with("/*!") || text.starts_with("/*M!") => None,
        Dialect::MySql | Dialect::Postgres | Dialect::Sqlite if text.starts_with("--") => {
            Some(&text[line(text)..])
        }
        Dialect::MySql | Dialect::Postgres | Dialect::Sqlite => {
            Some(after_block(dialect, text.strip_prefix("/*")?))
        }
    }
}

/// PostgreSQL's block comments nest, those of the others do not. One that is never closed hides the
/// rest.
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
    fn what_commits_by_itself_or_reaches_out_of_its_transaction_may_be_done_in_part() {
        use Leaves::{Nothing, Perhaps};
        for (dialect, statement, left) in [
            (Dialect::Postgres, "update t set a = 1", Nothing),
            (Dialect::Postgres, "insert into t values (nextval('s'))", Nothing),
            (Dialect::Postgres, "create index i on t (a)", Nothing),
            (Dialect::Postgres, "create index concurrently i on t (a)", Perhaps),
            (Dialect::Postgres, "select pg_terminate_backend(pid) from pg_stat_activity", Perhaps),
            (Dialect::Postgres, "select dblink_exec('x', 'delete from t')", Perhaps),
            (Dialect::Postgres, "call p()", Perhaps),
            (Dialect::Postgres, "do $$ begin commit; end $$", Perhaps),
            (Dialect::Postgres, "vacuum t", Perhaps),
            (Dialect::MySql, "update t set a = 1", Nothing),
            (Dialect::MySql, "drop table a, b", Perhaps),
            (Dialect::MySql, "truncate t", Perhaps),
            (Dialect::MySql, "call p()", Perhaps),
            (Dialect::Sqlite, "insert or fail into t values (1)", Nothing),
        ] {
            assert_eq!(leaves(dialect, statement), left, "{statement}");
        }
    }

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
