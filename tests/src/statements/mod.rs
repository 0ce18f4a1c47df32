//! What the gate lets through of statements that are made by a grammar, run on real servers, which
//! then say what was touched.
//!
//! The gate alone is on trial here: no cursor, no transaction that only reads, nothing that the
//! host asks the server before it commits. A case is made from bytes, so that a test takes them
//! from a generator of numbers, and a fuzzer those that it finds worth a try.

mod grammar;
mod on_mariadb;
mod on_postgres;

pub use on_mariadb::OnMariaDb;
pub use on_postgres::OnPostgres;

use grammar::Grammar;
use runbook_authority::gate::{GateDecision, Operation, decide};
use runbook_authority::grant::{self, GrantSite};
use runbook_authority::manifest::KnownInput;
use runbook_authority::targets::Folder;
use runbook_authority::{Binding, Effective, Manifest, Mode, Targets, Verb};
use runbook_document::{Diagnostics, Located, Source, Value};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// More bytes than this choose nothing.
pub const MAX_CHOICES: usize = 256;

/// Whose language a statement is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// PostgreSQL.
    Postgres,
    /// MariaDB.
    MariaDb,
}

/// A statement, and what its target grants beside the relations `orders` and `seen`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    server: Server,
    /// The classes of statements that the target grants.
    pub classes: Vec<&'static str>,
    /// The statement.
    pub statement: String,
}

impl Case {
    /// The case that `choices` stand for. Each choice takes a byte; too few are filled up with
    /// zeros.
    pub fn new(server: Server, choices: &[u8]) -> Self {
        let mut grammar = Grammar::new(server, &choices[..choices.len().min(MAX_CHOICES)]);
        Self { server, classes: grammar.classes(), statement: grammar.rule("statement") }
    }

    fn grants(&self, class: &str) -> bool {
        self.classes.contains(&class)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` on {:?} with {:?} granted", self.statement, self.server, self.classes)
    }
}

/// What became of a case that did nothing wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// The gate refused it: no server was asked.
    Refused,
    /// The gate let it through, and the server refused it.
    Failed,
    /// It ran, and touched only what is granted.
    Ran,
}

/// How many cases became what.
#[derive(Debug, Default)]
pub struct Tally {
    /// Cases that were made.
    pub made: u64,
    /// Those that the gate let through.
    pub let_through: u64,
    /// Those that the server ran.
    pub ran: u64,
}

impl Tally {
    /// Counts one more.
    pub fn count(&mut self, judged: Judged) {
        self.made += 1;
        self.let_through += u64::from(judged != Judged::Refused);
        self.ran += u64::from(judged == Judged::Ran);
    }
}

/// Targets by what they grant: reading the text of one takes longer than judging a statement.
#[derive(Debug, Default)]
struct Gate(BTreeMap<Vec<&'static str>, Effective>);

impl Gate {
    fn lets_through(&mut self, case: &Case) -> bool {
        let effective = self
            .0
            .entry(case.classes.clone())
            .or_insert_with(|| effective(case.server, &case.classes));
        let operation =
            Operation::Sql { slot: "s", verb: Verb::SqlExecute, statement: Some(&case.statement) };
        matches!(decide(effective, Mode::Effects, &operation), GateDecision::Allow)
    }
}

const PLUGIN: &str = r#"
format = 1
[plugin]
name = "guest"
version = "1.0.0"
description = "a guest of a test"
[[operation]]
name = "check"
kind = "step"
summary = "runs a statement"
slots = { s = ["execute"] }
[slots.s]
capability = "sql"
verbs = ["execute"]
reason = "r"
"#;

/// What an operation is granted on a target with `orders`, what `seen` shows of it, and some
/// classes.
fn effective(server: Server, classes: &[&str]) -> Effective {
    let scheme = match server {
        Server::Postgres => "postgres",
        Server::MariaDb => "mysql",
    };
    let toml = format!(
        "[targets.t]\nsql = \"{scheme}://a@h/d\"\nrelations = [\"orders\", \"seen\"]\n\
                 statements = {classes:?}\n"
    );
    let source = Source::new("runbook.toml", toml);
    let mut diagnostics = Diagnostics::default();
    let manifest = Manifest::parse(&Source::new("plugin.toml", PLUGIN), &mut diagnostics)
        .expect("the manifest is good");
    let table = runbook_document::parse(&source, &mut diagnostics).expect("the text is TOML");
    let Some(Value::Table(table)) = table.get("targets").map(|node| &node.value) else {
        panic!("there are targets")
    };
    let folder = Folder::without_links(Path::new("/")).expect("it is absolute");
    let mut targets = Targets::default();
    targets.read(&source, table, folder, &mut diagnostics);
    assert!(!diagnostics.has_errors(), "{diagnostics:?}");
    let located = |text: &str| Located { value: text.to_owned(), span: 0..0 };
    let bindings = [Binding { slot: located("s"), target: located("t") }];
    let site = GrantSite {
        step: "step",
        uses: "guest:check",
        operation: "check",
        source: &source,
        span: &(0..0),
        input: KnownInput::empty(),
    };
    grant::grant(&site, &manifest, &bindings, &targets)
        .unwrap_or_else(|refusals| panic!("{refusals:?}"))
}

const TABLES: &str = "(id bigint primary key, v varchar(40), n int)";
