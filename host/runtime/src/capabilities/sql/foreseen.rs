//! Statements that can never run, whatever the database contains: found before any database is
//! asked.
//!
//! Invariant: nothing is decided here. What is refused here, the driver or the server refuses when
//! its turn comes, and a test asks them. So this check may miss a mistake, but must never report a
//! wrong one.

use super::{mysql, postgres, sqlite, words};
use runbook_authority::Verb;
use runbook_authority::pattern::{
    Dialect, Piece, StatementClass, classify, not_understood, statements_of,
};
use runbook_authority::targets::SqlTarget;

/// What is known of a statement by its text alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Foreseen {
    /// It never runs, and why.
    Refused(String),
    /// It is not understood, and why; the server may understand it.
    Doubtful(String),
}

/// What becomes of a statement that a verb runs on a target; `None` if that depends on the
/// database.
pub fn foresee(target: &SqlTarget, verb: Verb, statement: &str) -> Option<Foreseen> {
    let dialect = target.dialect();
    let statements = statements_of(dialect, statement);
    let by_shape = || statements.as_deref().and_then(|statements| of_shape(dialect, statements));
    let by_verb = || {
        statements.as_deref()?.first().and_then(|pieces| of_verb(dialect, verb, pieces, statement))
    };
    let refused = by_shape().or_else(|| of_driver(target, verb, statement)).or_else(by_verb);
    let doubt = || {
        not_understood(dialect, statement).filter(|_| is_understood_as_a_rule(dialect, statement))
    };
    refused.map(Foreseen::Refused).or_else(|| doubt().map(Foreseen::Doubtful))
}

/// Whether there is a statement in a text, as far as every reader would see the same.
pub(super) fn is_empty(dialect: Dialect, text: &str) -> bool {
    statements_of(dialect, text).is_some_and(|statements| statements.is_empty())
}

/// Whether a statement is of a kind that the parser nearly always understands. SQLite's own parser
/// was asked before.
fn is_understood_as_a_rule(dialect: Dialect, statement: &str) -> bool {
    let first = words::first(dialect, statement);
    dialect != Dialect::Sqlite
        && ["SELECT", "WITH", "VALUES", "INSERT", "UPDATE", "DELETE"].contains(&first.as_str())
}

/// What a driver or the host says of the text before it asks anybody.
fn of_driver(target: &SqlTarget, verb: Verb, statement: &str) -> Option<String> {
    let asked = match (target.dialect(), verb) {
        (Dialect::Postgres, Verb::SqlQuery) if !is_cursor(statement) => {
            return Some(ONLY_READS.to_owned());
        }
        (Dialect::Postgres, Verb::SqlQuery) => postgres::refuse_acting(statement),
        (Dialect::Postgres, Verb::SqlTransaction) => postgres::refuse_ends(statement),
        (Dialect::MySql, Verb::SqlQuery) => mysql::refuse_writes(statement),
        (Dialect::MySql, Verb::SqlTransaction) => mysql::refuse_ends(statement),
        (Dialect::Sqlite, _) => return sqlite::refused(target, verb, statement),
        (Dialect::Postgres | Dialect::MySql, _) => Ok(()),
    };
    asked.err().map(|fault| fault.message)
}

const ONLY_READS: &str = "only a statement that returns rows and changes nothing can be queried; what changes something \
     is for `execute`";

/// Whether PostgreSQL may open a cursor over a statement, as far as its first word says.
fn is_cursor(statement: &str) -> bool {
    let first = words::first(Dialect::Postgres, statement);
    first.is_empty() || ["SELECT", "TABLE", "VALUES", "WITH"].contains(&first.as_str())
}

/// Keywords with which a statement that has no body begins: a semicolon in it is its end.
const WITHOUT_BODY: &[&str] = &[
    "analyze", "delete", "drop", "explain", "grant", "insert", "merge", "pragma", "reindex",
    "replace", "revoke", "select", "show", "table", "truncate", "update", "vacuum", "values",
    "with",
];

/// Keywords of definitions that have bodies.
const WITH_BODY: &[&str] =
    &["begin", "event", "function", "package", "procedure", "rule", "trigger"];

fn of_shape(dialect: Dialect, statements: &[Vec<Piece<'_>>]) -> Option<String> {
    let Some(pieces) = statements.first() else {
        return Some("there is no statement in it".to_owned());
    };
    let has_no_body = is_any(pieces.first(), WITHOUT_BODY)
        || (is_any(pieces.first(), &["alter", "create"])
            && !statements.iter().flatten().any(|piece| is_any(Some(piece), WITH_BODY)));
    if statements.len() > 1 && has_no_body {
        return Some("there is more than one statement in it, and one is run at a time".to_owned());
    }
    if statements.len() > 1 {
        return None;
    }
    let name = match dialect {
        Dialect::Postgres => "PostgreSQL",
        Dialect::MySql => "MySQL or MariaDB",
        // Its own parser is asked.
        Dialect::Sqlite => return None,
    };
    let commands = if dialect == Dialect::Postgres { POSTGRES } else { MYSQL };
    let is_label = pieces.get(1) == Some(&Piece::Sign(':'));
    match pieces[0] {
        Piece::Word(word)
            if !is_label
                && !commands
                    .split_whitespace()
                    .any(|command| command.eq_ignore_ascii_case(word)) =>
        {
            return Some(format!("no statement of {name} begins with `{word}`"));
        }
        Piece::Quoted => {
            return Some(format!("no statement of {name} begins with a text or a name in quotes"));
        }
        Piece::Word(_) | Piece::Sign(_) => {}
    }
    let missing = lacking(dialect, pieces)?;
    Some(format!("`{missing}` is missing in it"))
}

/// The keyword without which a statement is none.
fn lacking(dialect: Dialect, pieces: &[Piece<'_>]) -> Option<&'static str> {
    let has = |keyword: &str| pieces.iter().any(|piece| piece.is(keyword));
    let follows = |keyword: &str| pieces.get(1).is_some_and(|piece| piece.is(keyword));
    let is_postgres = dialect == Dialect::Postgres;
    match pieces.first() {
        Some(first)
            if first.is("delete") && if is_postgres { !follows("from") } else { !has("from") } =>
        {
            Some("from")
        }
        Some(first) if first.is("insert") && is_postgres && !follows("into") => Some("into"),
        Some(first) if first.is("update") && !has("set") => Some("set"),
        _ => None,
    }
}

fn of_verb(dialect: Dialect, verb: Verb, pieces: &[Piece<'_>], statement: &str) -> Option<String> {
    let refused = if verb == Verb::SqlQuery {
        changes(dialect, pieces, statement).then_some(ONLY_READS)
    } else if verb == Verb::SqlTransaction {
        ends_by_itself(dialect, pieces).then_some(
            "it cannot be part of a transaction, which the host begins and ends; it is for \
             `execute`",
        )
    } else {
        let ends = ["commit", "end", "release", "rollback"];
        let is_end =
            verb == Verb::SqlExecute && dialect == Dialect::Sqlite && is_any(pieces.first(), &ends);
        is_end.then_some("there is no transaction to end: each call has a connection of its own")
    };
    refused.map(str::to_owned)
}

/// Whether a query of the statement is refused by the way in which it would be run.
fn changes(dialect: Dialect, pieces: &[Piece<'_>], statement: &str) -> bool {
    let first = pieces.first();
    if verb_of_with(pieces).is_some_and(|verb| {
        is_any(Some(&verb), &["delete", "insert", "merge", "replace", "update"])
    }) {
        return true;
    }
    match dialect {
        Dialect::Sqlite => is_any(first, SQLITE_CHANGES),
        // The driver has looked at the first word.
        Dialect::MySql => false,
        Dialect::Postgres => {
            let written = [StatementClass::Insert, StatementClass::Update, StatementClass::Delete];
            let has_class = || {
                let facts = classify(dialect, statement);
                facts.is_some_and(|facts| written.iter().any(|class| facts.classes.contains(class)))
            };
            makes_a_table(pieces) || locks_rows(pieces) || has_class()
        }
    }
}

/// The keyword that says what a statement with common tables does.
fn verb_of_with<'a>(pieces: &[Piece<'a>]) -> Option<Piece<'a>> {
    const VERBS: &[&str] =
        &["delete", "insert", "merge", "replace", "select", "table", "update", "values"];
    if !is_any(pieces.first(), &["with"]) {
        return None;
    }
    let mut depth = 0_usize;
    for (at, piece) in pieces.iter().enumerate() {
        match piece {
            Piece::Sign('(') => depth += 1,
            Piece::Sign(')') => depth = depth.saturating_sub(1),
            // A common table may bear such a name.
            Piece::Word(_) if depth == 0 && is_any(Some(piece), VERBS) => {
                let is_name = pieces
                    .get(at + 1)
                    .is_some_and(|next| next.is("as") || *next == Piece::Sign('('));
                if !is_name || piece.is("values") {
                    return Some(*piece);
                }
            }
            Piece::Word(_) | Piece::Quoted | Piece::Sign(_) => {}
        }
    }
    None
}

/// `SELECT … INTO t`: the word is reserved, so it is no name.
fn makes_a_table(pieces: &[Piece<'_>]) -> bool {
    is_any(pieces.first(), &["select"]) && pieces.iter().any(|piece| piece.is("into"))
}

/// `SELECT … FROM t … FOR UPDATE`, where `t` is no function and no common table: those have no rows
/// to lock.
fn locks_rows(pieces: &[Piece<'_>]) -> bool {
    let locks = pieces
        .windows(2)
        .any(|pair| pair[0].is("for") && is_any(Some(&pair[1]), &["key", "no", "share", "update"]));
    let Some(from) = pieces.iter().position(|piece| piece.is("from")) else { return false };
    let mut rest = &pieces[from + 1..];
    while let [Piece::Word(_) | Piece::Quoted, Piece::Sign('.'), ..] = rest {
        rest = &rest[2..];
    }
    let is_relation = matches!(rest.first(), Some(Piece::Word(_) | Piece::Quoted))
        && rest.get(1) != Some(&Piece::Sign('('));
    is_any(pieces.first(), &["select"]) && locks && is_relation
}

/// Whether a database refuses the statement in a transaction of the host's.
fn ends_by_itself(dialect: Dialect, pieces: &[Piece<'_>]) -> bool {
    let (first, second) = (pieces.first(), pieces.get(1));
    match dialect {
        Dialect::Postgres => {
            let concurrently = pieces.iter().take(4).any(|piece| piece.is("concurrently"));
            is_any(first, &["vacuum"])
                || (is_any(first, &["create", "drop"])
                    && is_any(second, &["database", "tablespace"]))
                || (is_any(first, &["alter"]) && is_any(second, &["system"]))
                || (is_any(first, &["create", "drop", "reindex"]) && concurrently)
        }
        // The driver has looked at the first word.
        Dialect::MySql => false,
        Dialect::Sqlite => {
            let goes_back_to_a_savepoint = pieces.iter().any(|piece| piece.is("to"));
            is_any(first, &["begin", "commit", "end", "vacuum"])
                || (is_any(first, &["rollback"]) && !goes_back_to_a_savepoint)
        }
    }
}

fn is_any(piece: Option<&Piece<'_>>, keywords: &[&str]) -> bool {
    piece.is_some_and(|piece| keywords.iter().any(|keyword| piece.is(keyword)))
}

const SQLITE_CHANGES: &[&str] = &[
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
const POSTGRES: &str = "abort alter analyse analyze begin call checkpoint close cluster comment commit copy create \
     deallocate declare delete discard do drop end execute explain fetch grant import insert \
     listen load lock merge move notify prepare reassign refresh reindex release repack reset \
     revoke rollback savepoint security select set show start table truncate unlisten update \
     vacuum values wait with";

/// The first words of all statements of MySQL and MariaDB.
const MYSQL: &str = "alter analyze backup begin binlog cache call case change check checksum clone \
                     close commit create deallocate declare delete desc describe do drop execute \
                     explain fetch flush for get grant handler help if import insert install \
                     iterate kill leave load lock loop open optimize prepare purge release rename \
                     repair repeat replace reset resignal restart return revoke rollback savepoint \
                     select set show shutdown signal start stop table truncate uninstall unlock \
                     update use values while with xa";
