//! Errors of the server that say that a statement which commits by itself was not begun.
//!
//! A definition of one object looks at names and rights before it changes anything, also where the
//! server takes it without an error when it is prepared. What is about several objects is done one
//! by one, and what runs other statements (CALL, CREATE TABLE … SELECT) has perhaps done some of
//! them before the error.

use super::super::words;
use runbook_authority::pattern::{Dialect, words as sql_words};

/// It did not get its tables.
const NO_LOCK: &[u16] = &[1205, 1213];

/// The numbers of errors about a name: it does not exist, exists already, or the user has no right
/// to it.
const NAMES_AND_RIGHTS: &[u16] = &[
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
    match scope(statement) {
        Scope::One => NO_LOCK.contains(&number) || NAMES_AND_RIGHTS.contains(&number),
        Scope::Several => NO_LOCK.contains(&number),
        Scope::Open => false,
    }
}

/// What a statement is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// The definition of one object.
    One,
    /// Definitions of objects, all of which it locks before the first.
    Several,
    /// Code whose statements are not known, so an error may come after some of them.
    Open,
}

/// Kinds of objects of which one statement names several, or whose definition has several parts.
const SEVERAL: &[&str] = &["role", "user"];

fn scope(statement: &str) -> Scope {
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
        || SEVERAL.iter().any(|kind| rest.first().is_some_and(|word| word == kind));
    match verb.as_str() {
        // It drops what is there before it makes the new one.
        "create" if fills || rest.first().is_some_and(|word| word == "or") => Scope::Open,
        "alter" | "create"
            if !SEVERAL.iter().any(|kind| rest.first().is_some_and(|word| word == kind)) =>
        {
            Scope::One
        }
        "drop" | "rename" | "truncate" if lists => Scope::Several,
        "drop" | "rename" | "truncate" => Scope::One,
        _ => Scope::Open,
    }
}

#[cfg(test)]
mod tests {
    use super::{Scope, scope};

    #[test]
    fn a_definition_is_of_one_object_of_several_or_runs_what_it_names() {
        for (statement, expected) in [
            ("alter table t add a int, drop b", Scope::One),
            ("/* x */ DROP TABLE t", Scope::One),
            ("drop table a, b", Scope::Several),
            ("rename table a to b, c to d", Scope::Several),
            ("create table t (a int)", Scope::One),
            ("create view v as select 1", Scope::One),
            ("create table t as select f()", Scope::Open),
            ("create temporary table t select f()", Scope::Open),
            ("create table t table v", Scope::Open),
            ("create or replace table t (a int)", Scope::Open),
            ("create user a, b", Scope::Open),
            ("call p()", Scope::Open),
            ("optimize table t", Scope::Open),
            ("grant select on t to a", Scope::Open),
        ] {
            assert_eq!(scope(statement), expected, "{statement}");
        }
    }
}
