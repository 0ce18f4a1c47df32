//! Maintenance statements, which the parser does not know for every dialect. Only the forms listed
//! here are accepted.

use super::{ANY_RELATION, Dialect, StatementClass, StatementFacts, canonical_relation};
use std::collections::BTreeSet;

/// The words that may stand between the first word and the names.
fn optional_words(dialect: Dialect, first: &str) -> Option<&'static [&'static str]> {
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

/// The facts of a maintenance statement; `None` if the statement has no known form of one.
pub(super) fn classify(dialect: Dialect, statement: &str) -> Option<StatementFacts> {
    let text = statement.trim().trim_end_matches(';').trim_end();
    if text.contains("--") || text.contains("/*") {
        return None;
    }
    let end = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
    let first = text[..end].to_uppercase();
    let optional = optional_words(dialect, &first)?;
    let mut rest = text[end..].trim_start();
    if dialect == Dialect::Postgres {
        rest = after_options(rest)?;
    }
    let mut word_count = 0;
    let mut is_whole_database = false;
    loop {
        let end =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let word = rest[..end].to_uppercase();
        if first == "REINDEX"
            && dialect == Dialect::Postgres
            && matches!(word.as_str(), "SCHEMA" | "DATABASE" | "SYSTEM")
        {
            is_whole_database = true;
            break;
        }
        if !optional.contains(&word.as_str()) {
            break;
        }
        word_count += 1;
        rest = rest[end..].trim_start();
    }
    if is_whole_database {
        return Some(facts([ANY_RELATION.to_owned()]));
    }
    // MySQL needs one of the words: `ANALYZE update …` would run the update.
    if dialect == Dialect::MySql && word_count == 0 {
        return None;
    }
    if rest.is_empty() {
        return Some(facts([]));
    }
    let names: Option<BTreeSet<_>> =
        rest.split(',').map(|name| canonical_relation(dialect, name.trim())).collect();
    Some(facts(names?))
}

fn facts(relations: impl IntoIterator<Item = String>) -> StatementFacts {
    StatementFacts {
        classes: BTreeSet::from([StatementClass::Maintain]),
        relations: relations.into_iter().collect(),
    }
}

/// The text after options such as `(analyze, verbose)`.
fn after_options(text: &str) -> Option<&str> {
    let Some(inner) = text.strip_prefix('(') else { return Some(text) };
    let (options, rest) = inner.split_once(')')?;
    let is_plain =
        options.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, ' ' | ',' | '_'));
    is_plain.then_some(rest.trim_start())
}
