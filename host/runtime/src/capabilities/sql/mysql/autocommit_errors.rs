//! Decides by the error number whether a statement that commits by itself was not started.
//!
//! A definition of one object checks names and privileges before it changes anything. A statement
//! about several objects changes them one by one, and a statement that runs others (CALL, CREATE
//! TABLE … SELECT) may have run some of them before the error.

use super::super::words;
use runbook_authority::pattern::{Dialect, words as sql_words};

/// The statement could not lock its tables.
const LOCK_ERRORS: &[u16] = &[1205, 1213];

/// The numbers of errors about a name: it does not exist, exists already, or the user has no
/// privilege on it.
const NAME_AND_PRIVILEGE_ERRORS: &[u16] = &[
    1007, // there is such a database
    1008, // no such database
    1044, 1046, // none that is open to the user, none chosen
    1049, // no such database
    1050, 1051, // there is such a table, no such table
    1054, // no such column
    1060, 1061, 1068,
    1072, // a column or a key is there twice, two primary keys, no such column of a key
    1064, // syntax
    1091, // nothing to drop
    1142, 1143, // no privilege
    1146, // no such table
    1227, // no privilege
    1304, 1305, // there is such a routine, no such routine
    1347, // a view where a table is wanted, or the other way round
    1359, 1360, // there is such a trigger, no such trigger
    1370, // no privilege
    1537, 1539, // there is such an event, no such event
    1965, // a view where a table is wanted (MariaDB)
    4089, 4090, 4091, 4092, // not a sequence, no such sequence, no such view (MariaDB)
];

/// Whether an error with this number means that the statement was not started.
pub(super) fn was_not_started(statement: &str, number: u16) -> bool {
    match affected_objects(statement) {
        AffectedObjects::One => {
            LOCK_ERRORS.contains(&number) || NAME_AND_PRIVILEGE_ERRORS.contains(&number)
        }
        AffectedObjects::Several => LOCK_ERRORS.contains(&number),
        AffectedObjects::Unknown => false,
    }
}

/// The objects that a statement changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AffectedObjects {
    /// The statement defines one object.
    One,
    /// The statement defines several objects, and locks all of them before it changes the first.
    Several,
    /// The statement runs other statements, which are not known, so an error may come after some of
    /// them.
    Unknown,
}

/// Kinds of objects that one statement may list, or whose definition has several parts.
const LISTED_KINDS: &[&str] = &["role", "user"];

fn affected_objects(statement: &str) -> AffectedObjects {
    let mut statement_words = sql_words(statement)
        .skip_while(|word| word.to_uppercase() != words::first_word(Dialect::MySql, statement));
    let (verb, rest): (_, Vec<String>) =
        (statement_words.next().unwrap_or_default(), statement_words.collect());
    let has_word = |word: &str| rest.iter().any(|other| other == word);
    let is_table = rest.iter().take(2).any(|word| word == "table");
    let fills_table = is_table
        && (has_word("select")
            || has_word("values")
            || rest.iter().filter(|word| *word == "table").count() > 1);
    let has_several_names = statement.contains(',')
        || LISTED_KINDS.iter().any(|kind| rest.first().is_some_and(|word| word == kind));
    match verb.as_str() {
        // OR REPLACE drops the old object before it creates the new one.
        "create" if fills_table || rest.first().is_some_and(|word| word == "or") => {
            AffectedObjects::Unknown
        }
        "alter" | "create"
            if !LISTED_KINDS.iter().any(|kind| rest.first().is_some_and(|word| word == kind)) =>
        {
            AffectedObjects::One
        }
        "drop" | "rename" | "truncate" if has_several_names => AffectedObjects::Several,
        "drop" | "rename" | "truncate" => AffectedObjects::One,
        _ => AffectedObjects::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::{AffectedObjects, affected_objects};

    #[test]
    fn definitions_are_classified_by_the_objects_that_they_affect() {
        for (statement, expected) in [
            ("alter table t add a int, drop b", AffectedObjects::One),
            ("/* x */ DROP TABLE t", AffectedObjects::One),
            ("drop table a, b", AffectedObjects::Several),
            ("rename table a to b, c to d", AffectedObjects::Several),
            ("create table t (a int)", AffectedObjects::One),
            ("create view v as select 1", AffectedObjects::One),
            ("create table t as select f()", AffectedObjects::Unknown),
            ("create temporary table t select f()", AffectedObjects::Unknown),
            ("create table t table v", AffectedObjects::Unknown),
            ("create or replace table t (a int)", AffectedObjects::Unknown),
            ("create user a, b", AffectedObjects::Unknown),
            ("call p()", AffectedObjects::Unknown),
            ("optimize table t", AffectedObjects::Unknown),
            ("grant select on t to a", AffectedObjects::Unknown),
        ] {
            assert_eq!(affected_objects(statement), expected, "{statement}");
        }
    }
}
