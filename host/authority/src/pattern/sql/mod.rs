//! The classes of a SQL statement and the relations that it names.
//!
//! Plans show them, and the gate compares them with grants that name classes or relations. Queries
//! are read-only because of how the host runs them, not because of this module. PostgreSQL can be
//! asked which relations a statement touched. MySQL and MariaDB cannot, so there this module is the
//! only defense: it accepts only texts that every SQL parser reads in the same way, and only known
//! parts of the language.

mod maintenance;
mod scanner;
mod side_effects;
mod statement_names;
mod visitor;

pub use scanner::{SqlToken, split_statements};
pub use side_effects::{catalog_reference_types, pure_functions, side_effect_function, words};
pub use statement_names::{StatementNames, statement_names};

use scanner::is_unambiguous;
use sqlparser::ast::{ObjectName, ObjectNamePart, Statement};
use sqlparser::dialect::{MySqlDialect, PostgreSqlDialect, SQLiteDialect};
use sqlparser::parser::{Parser, ParserError};
use std::collections::BTreeSet;
use visitor::StatementVisitor;

/// The database whose SQL a statement is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// The dialect of `PostgreSQL`.
    Postgres,
    /// The dialect of `MySQL` and `MariaDB`.
    MySql,
    /// The dialect of `SQLite`.
    Sqlite,
}

/// The class of a statement, as grants name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StatementClass {
    /// SELECT, VALUES, EXPLAIN, SHOW.
    Select,
    /// INSERT, and what else adds rows.
    Insert,
    /// UPDATE and MERGE, which change rows.
    Update,
    /// DELETE and TRUNCATE, which remove rows.
    Delete,
    /// CREATE, ALTER, DROP, GRANT.
    Define,
    /// VACUUM, ANALYZE, REINDEX, OPTIMIZE.
    Maintain,
    /// Any other statement, and any statement with a part that is not known.
    Other,
}

const CLASSES: &[(StatementClass, &str)] = &[
    (StatementClass::Select, "select"),
    (StatementClass::Insert, "insert"),
    (StatementClass::Update, "update"),
    (StatementClass::Delete, "delete"),
    (StatementClass::Define, "define"),
    (StatementClass::Maintain, "maintain"),
    (StatementClass::Other, "other"),
];

impl StatementClass {
    /// Its name in grants.
    pub fn name(self) -> &'static str {
        CLASSES.iter().find(|(class, _)| *class == self).map_or("", |(_, name)| *name)
    }

    /// The class called `name`.
    pub fn find(name: &str) -> Option<Self> {
        CLASSES.iter().find(|(_, known)| *known == name).map(|(class, _)| *class)
    }

    /// The names that a grant may use.
    pub fn names() -> Vec<&'static str> {
        CLASSES.iter().map(|(_, name)| *name).collect()
    }
}

/// The classes and relations of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementFacts {
    /// Its classes. For example, an INSERT that overwrites existing rows is also an UPDATE. A grant
    /// must have all of them.
    pub classes: BTreeSet<StatementClass>,
    /// The tables and views that it names, as [`canonical_relation`] writes them; `*` if it may use
    /// others.
    pub relations: BTreeSet<String>,
}

/// Classifies one statement; `None` if the text is not exactly one statement that every SQL parser
/// reads in the same way.
pub fn classify(dialect: Dialect, statement: &str) -> Option<StatementFacts> {
    if !is_unambiguous(dialect, statement) {
        return None;
    }
    if let Some(facts) = maintenance::classify(dialect, statement) {
        return Some(facts);
    }
    let mut statements = parse(dialect, statement).ok()?.into_iter();
    let (Some(parsed), None) = (statements.next(), statements.next()) else { return None };
    let StatementVisitor { mut classes, mut relations, .. } =
        StatementVisitor::visit_statement(dialect, &parsed);
    if side_effect_function(dialect, statement).is_some() {
        classes.insert(StatementClass::Other);
    }
    if side_effects::names_relations_in_text(statement) {
        relations.insert(ANY_RELATION.to_owned());
    }
    if dialect == Dialect::MySql {
        relations.extend(
            statement_names::pure_functions_with_space(statement)
                .into_iter()
                .map(|name| format!("{FUNCTION_PREFIX}{name} (…)")),
        );
    }
    Some(StatementFacts { classes, relations })
}

fn parse(dialect: Dialect, statement: &str) -> Result<Vec<Statement>, ParserError> {
    match dialect {
        Dialect::Postgres => Parser::parse_sql(&PostgreSqlDialect {}, statement),
        Dialect::MySql => Parser::parse_sql(&MySqlDialect {}, statement),
        Dialect::Sqlite => Parser::parse_sql(&SQLiteDialect {}, statement),
    }
}

/// The syntax error of a statement; `None` if it has none, or if the text is ambiguous. The parser
/// does not know every part of every dialect, so a server may accept the statement nevertheless.
pub fn syntax_error(dialect: Dialect, statement: &str) -> Option<String> {
    if !is_unambiguous(dialect, statement) {
        return None;
    }
    match parse(dialect, statement).err()? {
        ParserError::TokenizerError(reason) | ParserError::ParserError(reason) => Some(reason),
        ParserError::RecursionLimitExceeded => None,
    }
}

/// The prefix of the name of a function that may read any relation, among the relations of a
/// statement. No relation begins with it, because a name with a space has quotes.
pub(crate) const FUNCTION_PREFIX: &str = "function ";

/// Stands for relations that cannot be listed, such as `all tables in schema public`. No grant can
/// name it.
const ANY_RELATION: &str = "*";

/// The canonical form of the name of a relation, in a grant or a statement. It has quotes only
/// where they matter: in PostgreSQL, `"Orders"` is another table than `orders`. `None` if the text
/// is not a name.
pub fn canonical_relation(dialect: Dialect, text: &str) -> Option<String> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let (part, after) = first_part(dialect, rest)?;
        parts.push(part);
        match after.strip_prefix('.') {
            Some(remaining) => rest = remaining,
            None if after.is_empty() => return Some(parts.join(".")),
            None => return None,
        }
    }
}

/// The first part of a dotted name, in canonical form, and the text after it.
fn first_part(dialect: Dialect, text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|c| {
        matches!(
            (c, dialect),
            ('"', Dialect::Postgres | Dialect::Sqlite) | ('`', Dialect::MySql | Dialect::Sqlite)
        )
    });
    let Some(quote) = quote else {
        let end =
            text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        return (!word.is_empty()).then(|| (canonical_name(dialect, word, Quoting::No), rest));
    };
    let inner = &text[1..];
    let end = inner.find(quote).filter(|end| *end > 0 && !inner[end + 1..].starts_with(quote))?;
    Some((canonical_name(dialect, &inner[..end], Quoting::Yes), &inner[end + 1..]))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quoting {
    Yes,
    No,
}

/// The canonical form of one part of a name. PostgreSQL folds unquoted names to lower case, SQLite
/// all names, MySQL none.
fn canonical_name(dialect: Dialect, name: &str, quoted: Quoting) -> String {
    let folded = match (dialect, quoted) {
        (Dialect::Postgres, Quoting::No) | (Dialect::Sqlite, Quoting::Yes | Quoting::No) => {
            name.to_lowercase()
        }
        (Dialect::Postgres, Quoting::Yes) | (Dialect::MySql, Quoting::Yes | Quoting::No) => {
            name.to_owned()
        }
    };
    let is_plain = folded.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && (dialect != Dialect::Postgres || !folded.contains(|c: char| c.is_ascii_uppercase()));
    if is_plain { folded } else { format!("\"{}\"", folded.replace('"', "\"\"")) }
}

fn relation_name(dialect: Dialect, name: &ObjectName) -> String {
    let part = |part: &ObjectNamePart| match part {
        ObjectNamePart::Identifier(name) => canonical_name(
            dialect,
            &name.value,
            if name.quote_style.is_some() { Quoting::Yes } else { Quoting::No },
        ),
        ObjectNamePart::Function(_) => ANY_RELATION.to_owned(),
    };
    name.0.iter().map(part).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes_of(dialect: Dialect, statement: &str) -> Option<String> {
        let facts = classify(dialect, statement)?;
        Some(facts.classes.into_iter().map(StatementClass::name).collect::<Vec<_>>().join("+"))
    }

    fn class(statement: &str) -> Option<String> {
        classes_of(Dialect::Postgres, statement)
    }

    fn relations_of(dialect: Dialect, statement: &str) -> Option<String> {
        classify(dialect, statement)
            .map(|facts| facts.relations.into_iter().collect::<Vec<_>>().join(","))
    }

    #[test]
    fn statements_have_a_class_and_their_relations() {
        let facts =
            classify(Dialect::Postgres, "select * from public.orders o join \"Items\" i on true")
                .expect("parses");
        assert_eq!(facts.classes, BTreeSet::from([StatementClass::Select]));
        assert_eq!(facts.relations.into_iter().collect::<Vec<_>>(), ["\"Items\"", "public.orders"]);
        assert_eq!(class("update orders set a = 1").as_deref(), Some("update"));
        assert_eq!(class("drop table orders").as_deref(), Some("define"));
        assert_eq!(class("VACUUM (ANALYZE) orders").as_deref(), Some("maintain"));
    }

    #[test]
    fn every_relation_that_is_changed_is_named() {
        for (statement, expected) in [
            ("drop table a, b", "a,b"),
            ("drop table a cascade", "*,a"),
            ("drop view v", "v"),
            ("drop schema s", "*,s"),
            ("truncate a, b", "a,b"),
            ("truncate a cascade", "*,a"),
            ("alter table a add x int", "a"),
            ("alter table a add x int references b (x)", "*,a"),
            ("alter table a rename to b", "*,a"),
            ("create table c as select * from a", "a,c"),
            ("create table c (like a)", "*,c"),
            ("create table c (x int references a)", "*,c"),
            ("create table c () inherits (a)", "*,c"),
            ("create index i on a (x)", "a"),
            ("create view v as select * from a", "a,v"),
            ("grant all on a to b", "a"),
            ("grant all on all tables in schema public to b", "*"),
            ("revoke all on a from b", "a"),
            ("insert into a select * from b", "a,b"),
            ("update a set x = (select 1 from b)", "a,b"),
            ("delete from a using b", "a,b"),
            ("merge into a using b on true when matched then delete", "a,b"),
            ("vacuum a", "a"),
            ("vacuum full secrets, a", "a,secrets"),
            ("analyze verbose a", "a"),
            ("reindex table a", "a"),
            ("reindex schema public", "*"),
            ("select table_to_xml('secrets', true, true, '')", "*,function table_to_xml"),
            ("select * from a, dblink('dbname=x', 'select 1') as d(x int)", "*,a,dblink"),
            ("select * from a union all table secrets", "*,a"),
            ("select * from generate_series(1, 3) as n, a", "a"),
            ("select (select max(x) from b) from a", "a,b"),
            ("select * from a where exists (select 1 from b) order by (select 1 from c)", "a,b,c"),
            ("with w as (select 1 from b) select * from w", "b,w"),
            ("copy a to stdout", "*"),
            ("select x::regtype::text from a", "*,a"),
            ("select '{1}'::_regtype from a", "*,a"),
            ("select regexp_replace(x, 'a', 'b') from a", "a"),
            ("select pg_typeof(x) from a", "a,function pg_typeof"),
            ("lock table a", "*,a"),
        ] {
            assert_eq!(
                relations_of(Dialect::Postgres, statement).as_deref(),
                Some(expected),
                "{statement}"
            );
        }
        // The parser does not know these statements. The gate denies them if a target names
        // relations.
        for statement in ["insert into a table b", "table secrets"] {
            assert_eq!(relations_of(Dialect::Postgres, statement), None, "{statement}");
        }
        for (statement, expected) in [
            ("select a.x from a join b using (x)", "a,b"),
            ("delete a from a join b on a.x = b.x", "a,b"),
            ("update a join b on a.x = b.x set b.y = 1", "a,b"),
            ("show index from secrets", "*"),
            ("show columns from secrets", "*"),
            ("show create table secrets", "*"),
            ("describe secrets", "secrets"),
            ("explain select * from secrets", "secrets"),
            ("select stored(1) from a", "a,function stored"),
            ("select count(*), max(x) from a", "a"),
            ("select `count`(x) from a", "a,function `count`"),
            ("select count (x) from a", "a,function count (…)"),
            ("select char (3), if (1, 2, 3), left (x, 1) from a", "a"),
            ("optimize table secrets, a", "a,secrets"),
            ("create table c (x int) engine = merge union = (a, b)", "*,c"),
        ] {
            assert_eq!(
                relations_of(Dialect::MySql, statement).as_deref(),
                Some(expected),
                "{statement}"
            );
        }
    }

    #[test]
    fn a_statement_has_every_class_of_what_it_does() {
        for (statement, expected) in [
            ("with x as (update orders set a = 1 returning 1) select * from x", "select+update"),
            ("select * into copy_of from orders", "select+other"),
            ("select * from orders for update", "select+other"),
            ("select * from orders for share", "select+other"),
            ("select 'delete from x' as \"update\"", "select"),
            ("insert into a values (1)", "insert"),
            ("insert into a values (1) on conflict do nothing", "insert"),
            ("insert into a values (1) on conflict (x) do update set x = 2", "insert+update"),
            ("merge into a using b on true when matched then delete", "update+delete"),
            ("explain select 1", "select"),
            ("explain (verbose, format json) delete from a", "select"),
            ("explain analyze delete from a", "delete+other"),
            ("explain (analyze) create table evil as select 1", "select+other"),
            ("explain (analyze false) select 1", "select+other"),
            ("select nextval('s')", "select+other"),
            ("select setval('s', 1)", "select+other"),
            ("select lo_from_bytea(0, 'x')", "select+other"),
            ("select pg_notify('a', 'b')", "select+other"),
            ("select pg_read_file('/etc/passwd')", "select+other"),
            ("select pg_advisory_lock(1)", "select+other"),
            ("select pg_export_snapshot()", "select+other"),
            ("call f()", "other"),
            ("show work_mem", "select"),
        ] {
            assert_eq!(class(statement).as_deref(), Some(expected), "{statement}");
        }
        for (statement, expected) in [
            ("replace into a values (1)", "insert+update+delete"),
            ("insert into a values (1) on duplicate key update x = 2", "insert+update"),
            ("show processlist", "select"),
            ("select get_lock('a', 1)", "select+other"),
        ] {
            assert_eq!(
                classes_of(Dialect::MySql, statement).as_deref(),
                Some(expected),
                "{statement}"
            );
        }
        assert_eq!(
            classes_of(Dialect::Sqlite, "insert or replace into a values (1)").as_deref(),
            Some("insert+update+delete")
        );
    }

    #[test]
    fn a_text_that_is_not_one_statement_has_no_class() {
        for statement in [
            "select 1; drop table orders",
            "selec 1",
            "",
            "vacuum; drop table x",
            "do $$ begin end $$",
        ] {
            assert_eq!(class(statement), None, "{statement}");
        }
        for statement in [
            "/*M! insert into log */ select v from orders",
            "select v from orders /*! into outfile '/x' */",
            "analyze update secrets set v = 'x' # orders",
            "analyze update secrets set v = 'x'",
            "select \"v\" from orders",
        ] {
            assert_eq!(classes_of(Dialect::MySql, statement), None, "{statement}");
        }
    }

    #[test]
    fn a_name_has_one_canonical_form() {
        for (dialect, text, expected) in [
            (Dialect::Postgres, "Public.Orders", Some("public.orders")),
            (Dialect::Postgres, "\"orders\"", Some("orders")),
            (Dialect::Postgres, "\"Orders\"", Some("\"Orders\"")),
            (Dialect::Postgres, "\"public.orders\"", Some("\"public.orders\"")),
            (Dialect::MySql, "shop.`Orders`", Some("shop.Orders")),
            (Dialect::Sqlite, "`Orders`", Some("orders")),
            (Dialect::Postgres, "orders(v)", None),
            (Dialect::Postgres, "a b", None),
            (Dialect::Postgres, "", None),
            (Dialect::Postgres, "a.", None),
            (Dialect::Postgres, "*", None),
        ] {
            assert_eq!(canonical_relation(dialect, text).as_deref(), expected, "{text}");
        }
    }
}
