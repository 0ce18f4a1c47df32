//! SQL: a statement has a class or it has none; nothing panics, and a `select` never hides a write.
#![no_main]

use libfuzzer_sys::fuzz_target;
use runbook_authority::pattern::{Dialect, StatementClass, classify, canonical_relation};

fuzz_target!(|text: &str| {
    for dialect in [Dialect::Postgres, Dialect::MySql, Dialect::Sqlite] {
        let Some(facts) = classify(dialect, text) else { continue };
        for relation in &facts.relations {
            // A name has one spelling, which is its own.
            assert!(relation == "*" || canonical_relation(dialect, relation).is_none_or(|again| &again == relation), "{relation}");
        }
        if facts.classes.contains(&StatementClass::Select) {
            let more = format!("{text}; drop table t");
            let is_still_one = classify(dialect, &more).is_some_and(|facts| facts.classes.contains(&StatementClass::Select));
            // Unless the end is inside of a comment or a text that was never closed.
            assert!(!is_still_one || text.contains("--") || text.contains("/*") || text.contains('#') || text.contains(['\'', '"', '`', '$', '[']), "{text}");
        }
    }
});
