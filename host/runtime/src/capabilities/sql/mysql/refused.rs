//! Errors of the server that say that a statement which commits by itself was not begun.
//!
//! A definition of one object looks at names and rights before it changes anything, also where the
//! server takes it without an error when it is prepared. What is about several objects is done one
//! by one, and what runs other statements (CALL, CREATE TABLE … SELECT) has perhaps done some of
//! them before the error.

use super::super::words;
use runbook_authority::pattern::{Dialect, words as sql_words};

/// It did not get its tables.
const LOCK_ERRORS: &[u16] = &[1205, 1213];

/// The numbers of errors about a name: it does not exist, exists already, or the user has no right
/// to it.
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

/// Whether an error of this number says that the statement was not begun.
pub(super) fn is_not_begun(statement: &str, number: u16) -> bool {
    match affected_objects(statement) {
        AffectedObjects::One => {
            LOCK_ERRORS.contains(&number) || NAME_AND_PRIVILEGE_ERRORS.contains(&number)
        }
        AffectedObjects::Several => LOCK_ERRORS.contains(&number),
        AffectedObjects::Unknown => false,
    }
}

/// What a statement is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AffectedObjects {
    /// The definition of one object.
    One,
    /// Definitions of objects, all of which it locks before the first.
    Several,
    /// Code whose statements are not known, so an error may come after some of them.
    Unknown,
}

/// Kinds of objects of which one statement names several, or whose definition has several parts.
const LISTED_KINDS: &[&str] = &["role", "user"];

fn affected_objects(statement: &str) -> AffectedObjects {
    let mut words_of = sql_words(statement)
        .skip_while(|word| word.to_uppercase() != words::first(Dialect::MySql, statement));
    let (verb, rest): (_, Vec<String>) = (words_of.next().unwrap_or_default(), words_of.collect());
    let has = |word: &str| rest.iter().any(|other| other == word);
    let is_table = rest.iter().take(2).any(|word| word == "table");
    let fills = is_table
        && (has("select")
            || has("values")
            || rest.iter().filter(|word| *word == "table").count() > 1);
    let lists = statement.contains(',')
        || LISTED_KINDS.iter().any(|kind| rest.first().is_some_and(|word| word == kind));
    match verb.as_str() {
        // It drops what is there before it makes the new one.
        "create" if fills || rest.first().is_some_and(|word| word == "or") => {
            AffectedObjects::Unknown
        }
        "alter" | "create"
            if !LISTED_KINDS.iter().any(|kind| rest.first().is_some_and(|word| word == kind)) =>
        {
            AffectedObjects::One
        }
        "drop" | "rename" | "truncate" if lists => AffectedObjects::Several,
        "drop" | "rename" | "truncate" => AffectedObjects::One,
        _ => AffectedObjects::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::{AffectedObjects, affected_objects};

    #[test]
    fn a_definition_is_of_one_object_of_several_or_runs_what_it_names() {
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
