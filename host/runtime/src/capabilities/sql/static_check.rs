//! Finds statements that can never run, whatever the database contains, without asking a database.
//!
//! Invariant: a statement that is refused here is also refused by the driver or the server, and a
//! test compares them. So this check may miss a mistake, but must never report a valid statement.

use super::{mysql, postgres, sqlite, words};
use runbook_authority::Verb;
use runbook_authority::pattern::{
    Dialect, SqlToken, StatementClass, classify, split_statements, syntax_error,
};
use runbook_authority::targets::SqlTarget;

/// A problem of a statement that is found in its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatementProblem {
    /// The statement can never run, for this reason.
    NeverRuns(String),
    /// The parser does not understand the statement, for this reason; the server may.
    NotUnderstood(String),
}

/// Checks a statement for a verb on a target. `None` if it may run, depending on the database.
pub fn check_statement(
    target: &SqlTarget,
    verb: Verb,
    statement: &str,
) -> Option<StatementProblem> {
    let dialect = target.dialect();
    let statements = split_statements(dialect, statement);
    let syntax_refusal =
        || statements.as_deref().and_then(|statements| refusal_by_syntax(dialect, statements));
    let verb_refusal = || {
        statements
            .as_deref()?
            .first()
            .and_then(|tokens| refusal_by_verb(dialect, verb, tokens, statement))
    };
    let refusal = syntax_refusal()
        .or_else(|| refusal_by_driver(target, verb, statement))
        .or_else(verb_refusal);
    let parser_error =
        || syntax_error(dialect, statement).filter(|_| is_usually_understood(dialect, statement));
    refusal
        .map(StatementProblem::NeverRuns)
        .or_else(|| parser_error().map(StatementProblem::NotUnderstood))
}

/// Whether a text certainly contains no statement.
pub(super) fn is_empty(dialect: Dialect, text: &str) -> bool {
    split_statements(dialect, text).is_some_and(|statements| statements.is_empty())
}

/// Whether a statement is of a kind that the parser nearly always understands. Not for SQLite,
/// whose own parser is used.
fn is_usually_understood(dialect: Dialect, statement: &str) -> bool {
    let first = words::first_word(dialect, statement);
    dialect != Dialect::Sqlite
        && ["SELECT", "WITH", "VALUES", "INSERT", "UPDATE", "DELETE"].contains(&first.as_str())
}

/// Why the driver or the host would refuse the text before it connects.
fn refusal_by_driver(target: &SqlTarget, verb: Verb, statement: &str) -> Option<String> {
    let result = match (target.dialect(), verb) {
        (Dialect::Postgres, Verb::SqlQuery) if !may_open_cursor(statement) => {
            return Some(ONLY_READS_MESSAGE.to_owned());
        }
        (Dialect::Postgres, Verb::SqlQuery) => postgres::refuse_side_effects(statement),
        (Dialect::Postgres, Verb::SqlTransaction) => {
            postgres::refuse_transaction_control(statement)
        }
        (Dialect::MySql, Verb::SqlQuery) => mysql::refuse_writes(statement),
        (Dialect::MySql, Verb::SqlTransaction) => mysql::refuse_transaction_control(statement),
        (Dialect::Sqlite, _) => return sqlite::compile_refusal(target, verb, statement),
        (Dialect::Postgres | Dialect::MySql, _) => Ok(()),
    };
    result.err().map(|fault| fault.message)
}

const ONLY_READS_MESSAGE: &str = "only a statement that returns rows and changes nothing can be queried; what changes something \
     is for `execute`";

/// Whether PostgreSQL may open a cursor over a statement, judging by its first word.
fn may_open_cursor(statement: &str) -> bool {
    let first = words::first_word(Dialect::Postgres, statement);
    first.is_empty() || ["SELECT", "TABLE", "VALUES", "WITH"].contains(&first.as_str())
}

/// First keywords of statements that have no body, so a semicolon ends them.
const KEYWORDS_WITHOUT_BODY: &[&str] = &[
    "analyze", "delete", "drop", "explain", "grant", "insert", "merge", "pragma", "reindex",
    "replace", "revoke", "select", "show", "table", "truncate", "update", "vacuum", "values",
    "with",
];

/// Keywords of definitions that have bodies.
const KEYWORDS_WITH_BODY: &[&str] =
    &["begin", "event", "function", "package", "procedure", "rule", "trigger"];

fn refusal_by_syntax(dialect: Dialect, statements: &[Vec<SqlToken<'_>>]) -> Option<String> {
    let Some(tokens) = statements.first() else {
        return Some("there is no statement in it".to_owned());
    };
    let has_no_body = is_any(tokens.first(), KEYWORDS_WITHOUT_BODY)
        || (is_any(tokens.first(), &["alter", "create"])
            && !statements.iter().flatten().any(|token| is_any(Some(token), KEYWORDS_WITH_BODY)));
    if statements.len() > 1 && has_no_body {
        return Some("there is more than one statement in it, and one is run at a time".to_owned());
    }
    if statements.len() > 1 {
        return None;
    }
    let name = match dialect {
        Dialect::Postgres => "PostgreSQL",
        Dialect::MySql => "MySQL or MariaDB",
        // SQLite's own parser checks it.
        Dialect::Sqlite => return None,
    };
    let commands = if dialect == Dialect::Postgres { POSTGRES_COMMANDS } else { MYSQL_COMMANDS };
    let is_label = tokens.get(1) == Some(&SqlToken::Symbol(':'));
    match tokens[0] {
        SqlToken::Word(word)
            if !is_label
                && !commands
                    .split_whitespace()
                    .any(|command| command.eq_ignore_ascii_case(word)) =>
        {
            return Some(format!("no statement of {name} begins with `{word}`"));
        }
        SqlToken::Quoted => {
            return Some(format!("no statement of {name} begins with a text or a name in quotes"));
        }
        SqlToken::Word(_) | SqlToken::Symbol(_) => {}
    }
    let missing = missing_keyword(dialect, tokens)?;
    Some(format!("`{missing}` is missing in it"))
}

/// A required keyword that a statement lacks.
fn missing_keyword(dialect: Dialect, tokens: &[SqlToken<'_>]) -> Option<&'static str> {
    let has = |keyword: &str| tokens.iter().any(|token| token.is_keyword(keyword));
    let is_second = |keyword: &str| tokens.get(1).is_some_and(|token| token.is_keyword(keyword));
    let is_postgres = dialect == Dialect::Postgres;
    match tokens.first() {
        Some(first)
            if first.is_keyword("delete")
                && if is_postgres { !is_second("from") } else { !has("from") } =>
        {
            Some("from")
        }
        Some(first) if first.is_keyword("insert") && is_postgres && !is_second("into") => {
            Some("into")
        }
        Some(first) if first.is_keyword("update") && !has("set") => Some("set"),
        _ => None,
    }
}

fn refusal_by_verb(
    dialect: Dialect,
    verb: Verb,
    tokens: &[SqlToken<'_>],
    statement: &str,
) -> Option<String> {
    let refusal = if verb == Verb::SqlQuery {
        changes_data(dialect, tokens, statement).then_some(ONLY_READS_MESSAGE)
    } else if verb == Verb::SqlTransaction {
        cannot_run_in_transaction(dialect, tokens).then_some(
            "it cannot be part of a transaction, which the host begins and ends; it is for \
             `execute`",
        )
    } else {
        let end_keywords = ["commit", "end", "release", "rollback"];
        let is_end = verb == Verb::SqlExecute
            && dialect == Dialect::Sqlite
            && is_any(tokens.first(), &end_keywords);
        is_end.then_some("there is no transaction to end: each call has a connection of its own")
    };
    refusal.map(str::to_owned)
}

/// Whether a query of the statement would be refused because it changes data.
fn changes_data(dialect: Dialect, tokens: &[SqlToken<'_>], statement: &str) -> bool {
    let first = tokens.first();
    if keyword_after_with(tokens).is_some_and(|verb| {
        is_any(Some(&verb), &["delete", "insert", "merge", "replace", "update"])
    }) {
        return true;
    }
    match dialect {
        Dialect::Sqlite => is_any(first, SQLITE_CHANGING_KEYWORDS),
        // `refusal_by_driver` has checked the first word.
        Dialect::MySql => false,
        Dialect::Postgres => {
            let write_classes =
                [StatementClass::Insert, StatementClass::Update, StatementClass::Delete];
            let has_class = || {
                let facts = classify(dialect, statement);
                facts.is_some_and(|facts| {
                    write_classes.iter().any(|class| facts.classes.contains(class))
                })
            };
            is_select_into(tokens) || locks_rows(tokens) || has_class()
        }
    }
}

/// The verb of a statement that begins with `WITH`.
fn keyword_after_with<'a>(tokens: &[SqlToken<'a>]) -> Option<SqlToken<'a>> {
    const MAIN_KEYWORDS: &[&str] =
        &["delete", "insert", "merge", "replace", "select", "table", "update", "values"];
    if !is_any(tokens.first(), &["with"]) {
        return None;
    }
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate() {
        match token {
            SqlToken::Symbol('(') => depth += 1,
            SqlToken::Symbol(')') => depth = depth.saturating_sub(1),
            // A common table expression may have such a name.
            SqlToken::Word(_) if depth == 0 && is_any(Some(token), MAIN_KEYWORDS) => {
                let is_name = tokens
                    .get(index + 1)
                    .is_some_and(|next| next.is_keyword("as") || *next == SqlToken::Symbol('('));
                if !is_name || token.is_keyword("values") {
                    return Some(*token);
                }
            }
            SqlToken::Word(_) | SqlToken::Quoted | SqlToken::Symbol(_) => {}
        }
    }
    None
}

/// Whether a statement is `SELECT … INTO t`. INTO is reserved, so it cannot be a name.
fn is_select_into(tokens: &[SqlToken<'_>]) -> bool {
    is_any(tokens.first(), &["select"]) && tokens.iter().any(|token| token.is_keyword("into"))
}

/// Whether a statement is `SELECT … FROM t … FOR UPDATE`, where `t` is not a function, which has no
/// rows to lock.
fn locks_rows(tokens: &[SqlToken<'_>]) -> bool {
    let has_lock_clause = tokens.windows(2).any(|pair| {
        pair[0].is_keyword("for") && is_any(Some(&pair[1]), &["key", "no", "share", "update"])
    });
    let Some(from_index) = tokens.iter().position(|token| token.is_keyword("from")) else {
        return false;
    };
    let mut rest = &tokens[from_index + 1..];
    while let [SqlToken::Word(_) | SqlToken::Quoted, SqlToken::Symbol('.'), ..] = rest {
        rest = &rest[2..];
    }
    let is_relation = matches!(rest.first(), Some(SqlToken::Word(_) | SqlToken::Quoted))
        && rest.get(1) != Some(&SqlToken::Symbol('('));
    is_any(tokens.first(), &["select"]) && has_lock_clause && is_relation
}

/// Whether the database refuses the statement inside a transaction that the host has begun.
fn cannot_run_in_transaction(dialect: Dialect, tokens: &[SqlToken<'_>]) -> bool {
    let (first, second) = (tokens.first(), tokens.get(1));
    match dialect {
        Dialect::Postgres => {
            let is_concurrent = tokens.iter().take(4).any(|token| token.is_keyword("concurrently"));
            is_any(first, &["vacuum"])
                || (is_any(first, &["create", "drop"])
                    && is_any(second, &["database", "tablespace"]))
                || (is_any(first, &["alter"]) && is_any(second, &["system"]))
                || (is_any(first, &["create", "drop", "reindex"]) && is_concurrent)
        }
        // `refusal_by_driver` has checked the first word.
        Dialect::MySql => false,
        Dialect::Sqlite => {
            let is_to_savepoint = tokens.iter().any(|token| token.is_keyword("to"));
            is_any(first, &["begin", "commit", "end", "vacuum"])
                || (is_any(first, &["rollback"]) && !is_to_savepoint)
        }
    }
}

fn is_any(token: Option<&SqlToken<'_>>, keywords: &[&str]) -> bool {
    token.is_some_and(|token| keywords.iter().any(|keyword| token.is_keyword(keyword)))
}

const SQLITE_CHANGING_KEYWORDS: &[&str] = &[
    "alter",
    "analyze",
    "attach",
    "begin",
    "commit",
    "create",
    "delete",
    "detach",
    "drop",
    "end",
    "insert",
    "reindex",
    "release",
    "replace",
    "rollback",
    "savepoint",
    "update",
    "vacuum",
];

/// The first words of all statements of PostgreSQL.
const POSTGRES_COMMANDS: &str = "abort alter analyse analyze begin call checkpoint close cluster comment commit copy create \
     deallocate declare delete discard do drop end execute explain fetch grant import insert \
     listen load lock merge move notify prepare reassign refresh reindex release repack reset \
     revoke rollback savepoint security select set show start table truncate unlisten update \
     vacuum values wait with";

/// The first words of all statements of MySQL and MariaDB.
const MYSQL_COMMANDS: &str = "alter analyze backup begin binlog cache call case change check checksum clone \
                     close commit create deallocate declare delete desc describe do drop execute \
                     explain fetch flush for get grant handler help if import insert install \
                     iterate kill leave load lock loop open optimize prepare purge release rename \
                     repair repeat replace reset resignal restart return revoke rollback savepoint \
                     select set show shutdown signal start stop table truncate uninstall unlock \
                     update use values while with xa";
