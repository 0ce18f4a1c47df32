//! Maintenance statements, which the parser does not know for every dialect. Each form is listed
//! whole; anything more is not one.

use super::{Dialect, EVERYTHING, StatementClass, StatementFacts, relation_of};
use std::collections::BTreeSet;

/// The words that may stand between the first one and the names.
fn words_of(dialect: Dialect, first: &str) -> Option<&'static [&'static str]> {
    Some(match (dialect, first) {
        (Dialect::Postgres, "VACUUM") => &["FULL", "FREEZE", "VERBOSE", "ANALYZE"],
        (Dialect::Postgres, "ANALYZE" | "ANALYSE") => &["VERBOSE"],
        (Dialect::Postgres, "REINDEX") => &["TABLE", "INDEX", "CONCURRENTLY"],
        (Dialect::Postgres, "CHECKPOINT") | (Dialect::Sqlite, "VACUUM" | "ANALYZE" | "REINDEX") => {
            &[]
        }
        (Dialect::MySql, "ANALYZE" | "OPTIMIZE" | "REPAIR") => {
            &["TABLE", "TABLES", "LOCAL", "NO_WRITE_TO_BINLOG"]
        }
        (Dialect::MySql, "CHECK") => &["TABLE", "TABLES"],
        (Dialect::Postgres | Dialect::MySql | Dialect::Sqlite, _) => return None,
    })
}

/// The facts of a maintenance statement; `None` if it is none, or one in a form that is not known.
pub(super) fn classify(dialect: Dialect, statement: &str) -> Option<StatementFacts> {
    let text = statement.trim().trim_end_matches(';').trim_end();
    if text.contains("--") || text.contains("/*") {
        return None;
    }
    let end = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
    let first = text[..end].to_uppercase();
    let allowed = words_of(dialect, &first)?;
    let mut rest = text[end..].trim_start();
    if dialect == Dialect::Postgres {
        rest = after_options(rest)?;
    }
    let mut words = 0;
    let mut whole_database = false;
    loop {
        let end =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let word = rest[..end].to_uppercase();
        if first == "REINDEX"
            && dialect == Dialect::Postgres
            && matches!(word.as_str(), "SCHEMA" | "DATABASE" | "SYSTEM")
        {
            whole_database = true;
            break;
        }
        if !allowed.contains(&word.as_str()) {
            break;
        }
        words += 1;
        rest = rest[end..].trim_start();
    }
    if whole_database {
        return Some(facts([EVERYTHING.to_owned()]));
    }
    // Without this word, `ANALYZE update …` runs the update.
    if dialect == Dialect::MySql && words == 0 {
        return None;
    }
    if rest.is_empty() {
        return Some(facts([]));
    }
    let names: Option<BTreeSet<_>> =
        rest.split(',').map(|name| relation_of(dialect, name.trim())).collect();
    Some(facts(names?))
}

fn facts(relations: impl IntoIterator<Item = String>) -> StatementFacts {
    StatementFacts {
        classes: BTreeSet::from([StatementClass::Maintain]),
        relations: relations.into_iter().collect(),
    }
}

/// What follows `(analyze, verbose)`.
fn after_options(text: &str) -> Option<&str> {
    let Some(inner) = text.strip_prefix('(') else { return Some(text) };
    let (options, rest) = inner.split_once(')')?;
    let plain = options.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, ' ' | ',' | '_'));
    plain.then_some(rest.trim_start())
}
