//! What a SQL statement is: its class and the relations that it names.
//!
//! This labels plans and narrows grants that name classes or relations. It is never the only wall: reads are read only by the
//! way in which the host runs them, whatever this parser thinks.

use sqlparser::ast::{GrantObjects, ObjectName, Statement, visit_relations};
use sqlparser::dialect::{MySqlDialect, PostgreSqlDialect, SQLiteDialect};
use sqlparser::parser::Parser;
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// Which database's SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `PostgreSQL`.
    Postgres,
    /// `MySQL` and `MariaDB`.
    MySql,
    /// `SQLite`.
    Sqlite,
}

/// The class of a statement, as grants name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StatementClass {
    /// SELECT, VALUES, EXPLAIN, SHOW.
    Select,
    /// INSERT, and what else adds rows.
    Insert,
    /// UPDATE and MERGE.
    Update,
    /// DELETE and TRUNCATE.
    Delete,
    /// CREATE, ALTER, DROP, GRANT.
    Define,
    /// VACUUM, ANALYZE, REINDEX, OPTIMIZE.
    Maintain,
    /// Everything else.
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

/// What is known of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementFacts {
    /// Its class.
    pub class: StatementClass,
    /// The tables and views that it names, as written, unquoted, in lower case.
    pub relations: BTreeSet<String>,
}

/// Reads one statement; `None` if it is not exactly one that the parser understands.
pub fn classify(dialect: Dialect, statement: &str) -> Option<StatementFacts> {
    let statement_text = statement;
    if let Some(facts) = maintenance(statement) {
        return Some(facts);
    }
    let parsed = match dialect {
        Dialect::Postgres => Parser::parse_sql(&PostgreSqlDialect {}, statement),
        Dialect::MySql => Parser::parse_sql(&MySqlDialect {}, statement),
        Dialect::Sqlite => Parser::parse_sql(&SQLiteDialect {}, statement),
    };
    let mut statements = parsed.ok()?.into_iter();
    let (Some(statement), None) = (statements.next(), statements.next()) else { return None };
    let mut relations = BTreeSet::new();
    let _ = visit_relations(&statement, |name: &ObjectName| {
        relations.insert(relation_name(name));
        ControlFlow::<()>::Continue(())
    });
    relations.extend(named_besides(&statement));
    if reads_by_text(statement_text) {
        relations.insert(EVERYTHING.to_owned());
    }
    let class = class_of(&statement);
    // A SELECT can hide a write in a CTE, in INTO or in a lock; only what is nothing but reading is a `select`.
    let class = if class == StatementClass::Select && hides_a_write(&statement) { StatementClass::Other } else { class };
    Some(StatementFacts { class, relations })
}

/// Stands for what cannot be listed, such as `all tables in schema public`: no grant names it.
const EVERYTHING: &str = "*";

/// Beginnings of the names of functions that read relations which are given to them as texts, where no parser sees them.
const READING_BY_TEXT: &[&str] = &[
    "cursor_to_xml",
    "database_to_xml",
    "dblink",
    "lo_get",
    "load_file",
    "pg_read_",
    "query_to_xml",
    "schema_to_xml",
    "table_to_xml",
    "ts_stat",
];

fn reads_by_text(statement: &str) -> bool {
    statement.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).any(|word| {
        READING_BY_TEXT.iter().any(|name| word.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)))
    })
}

/// What a statement names where the parser's walk over relations does not come by.
fn named_besides(statement: &Statement) -> Vec<String> {
    let of_objects = |objects: Option<&GrantObjects>| match objects {
        Some(GrantObjects::Tables(names)) => names.iter().map(relation_name).collect(),
        Some(_) | None => vec![EVERYTHING.to_owned()],
    };
    match statement {
        Statement::Drop { names, table, .. } => names.iter().chain(table).map(relation_name).collect(),
        Statement::Grant(grant) => of_objects(grant.objects.as_ref()),
        Statement::Revoke(revoke) => of_objects(revoke.objects.as_ref()),
        _ => Vec::new(),
    }
}

fn relation_name(name: &ObjectName) -> String {
    name.to_string().replace(['"', '`', '[', ']'], "").to_lowercase()
}

fn class_of(statement: &Statement) -> StatementClass {
    match statement {
        Statement::Query(_) | Statement::Explain { analyze: false, .. } | Statement::ShowVariable { .. } => {
            StatementClass::Select
        }
        Statement::Insert(_) => StatementClass::Insert,
        Statement::Update { .. } | Statement::Merge { .. } => StatementClass::Update,
        Statement::Delete(_) | Statement::Truncate { .. } => StatementClass::Delete,
        Statement::CreateTable(_)
        | Statement::CreateIndex(_)
        | Statement::CreateView { .. }
        | Statement::AlterTable { .. }
        | Statement::Drop { .. }
        | Statement::Grant { .. }
        | Statement::Revoke { .. } => StatementClass::Define,
        Statement::Analyze { .. } => StatementClass::Maintain,
        _ => StatementClass::Other,
    }
}

/// Whether a query's own text names a write. Judged on the printed tree, which has no comments, with strings and quoted names
/// removed; a false alarm denies a narrow grant, a miss would allow one.
fn hides_a_write(statement: &Statement) -> bool {
    let text = without_quotes(&statement.to_string()).to_uppercase();
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .any(|word| matches!(word, "INSERT" | "UPDATE" | "DELETE" | "MERGE" | "INTO" | "SHARE" | "LOCK" | "CALL" | "COPY"))
}

fn without_quotes(text: &str) -> String {
    let mut quote: Option<char> = None;
    text.chars()
        .filter(|c| match quote {
            Some(open) => {
                if *c == open {
                    quote = None;
                }
                false
            }
            None => {
                if matches!(c, '\'' | '"' | '`') {
                    quote = Some(*c);
                }
                quote.is_none()
            }
        })
        .collect()
}

/// Maintenance statements, which the parser does not know for every dialect.
fn maintenance(statement: &str) -> Option<StatementFacts> {
    let text = statement.trim().trim_end_matches(';');
    if text.contains(';') || text.contains("--") || text.contains("/*") {
        return None;
    }
    let word = text.split(|c: char| !c.is_ascii_alphabetic()).next()?.to_uppercase();
    if !matches!(word.as_str(), "VACUUM" | "ANALYZE" | "REINDEX" | "OPTIMIZE" | "CHECKPOINT") {
        return None;
    }
    let upper = text.to_uppercase();
    if upper.split_whitespace().any(|part| part == "INTO") {
        return None;
    }
    let relations = text
        .rsplit_once(|c: char| c.is_whitespace() || c == ')')
        .map(|(_, last)| last.replace(['"', '`'], "").to_lowercase())
        .filter(|last| !last.is_empty() && !matches!(last.as_str(), "analyze" | "verbose" | "full" | "concurrently"));
    Some(StatementFacts { class: StatementClass::Maintain, relations: relations.into_iter().collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(statement: &str) -> Option<StatementClass> {
        classify(Dialect::Postgres, statement).map(|facts| facts.class)
    }

    #[test]
    fn statements_have_a_class_and_their_relations() {
        let facts = classify(Dialect::Postgres, "select * from public.orders o join \"Items\" i on true").expect("parses");
        assert_eq!(facts.class, StatementClass::Select);
        assert_eq!(facts.relations.into_iter().collect::<Vec<_>>(), ["items", "public.orders"]);
        assert_eq!(class("update orders set a = 1"), Some(StatementClass::Update));
        assert_eq!(class("drop table orders"), Some(StatementClass::Define));
        assert_eq!(class("VACUUM (ANALYZE) orders"), Some(StatementClass::Maintain));
    }

    #[test]
    fn every_relation_that_is_changed_is_named() {
        let relations = |statement: &str| {
            classify(Dialect::Postgres, statement).map(|facts| facts.relations.into_iter().collect::<Vec<_>>().join(","))
        };
        for (statement, expected) in [
            ("drop table a, b", "a,b"),
            ("drop view v", "v"),
            ("truncate a, b", "a,b"),
            ("alter table a add x int", "a"),
            ("create table c as select * from a", "a,c"),
            ("create index i on a (x)", "a"),
            ("create view v as select * from a", "a,v"),
            ("grant all on a to b", "a"),
            ("grant all on all tables in schema public to b", "*"),
            ("revoke all on a from b", "a"),
            ("insert into a select * from b", "a,b"),
            ("update a set x = (select 1 from b)", "a,b"),
            ("delete from a using b", "a,b"),
            ("vacuum a", "a"),
            ("select table_to_xml('secrets', true, true, '')", "*"),
            ("select * from a, dblink('dbname=x', 'select 1') as d(x int)", "*,a,dblink"),
        ] {
            assert_eq!(relations(statement).as_deref(), Some(expected), "{statement}");
        }
    }

    #[test]
    fn a_select_that_hides_a_write_is_not_a_select() {
        for statement in [
            "with x as (update orders set a = 1 returning 1) select * from x",
            "select * into copy_of from orders",
            "select * from orders for update",
            "select * from orders for share",
        ] {
            assert_ne!(class(statement), Some(StatementClass::Select), "{statement}");
        }
        assert_eq!(class("select 'delete from x' as \"update\""), Some(StatementClass::Select));
    }

    #[test]
    fn what_does_not_parse_or_is_more_than_one_has_no_class() {
        for statement in ["select 1; drop table orders", "selec 1", "", "vacuum; drop table x", "do $$ begin end $$"] {
            assert_eq!(class(statement), None, "{statement}");
        }
    }
}
