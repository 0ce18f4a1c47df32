//! Generates SQL statements by a grammar, runs those that the gate allows on real servers, and asks
//! the servers which relations were touched.
//!
//! Only the gate is tested here: there is no cursor, no read-only transaction, and no question that
//! the host asks the server before it commits. A case is generated from bytes: a test takes them
//! from a random number generator, and a fuzzer takes them from its corpus.

mod grammar;
mod mariadb_judge;
mod postgres_judge;

pub use mariadb_judge::MariaDbJudge;
pub use postgres_judge::PostgresJudge;

use grammar::Grammar;
use runbook_authority::gate::{GateDecision, GateRequest, decide};
use runbook_authority::grant::{self, GrantSite};
use runbook_authority::manifest::KnownInput;
use runbook_authority::targets::Folder;
use runbook_authority::{Binding, EffectiveGrants, Manifest, Mode, Targets, Verb};
use runbook_document::{Diagnostics, Source, Spanned, Value};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// Further bytes are ignored.
pub const MAX_CHOICES: usize = 256;

/// The server whose SQL dialect a statement is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// PostgreSQL.
    Postgres,
    /// MariaDB.
    MariaDb,
}

/// A statement, and the classes of statements that its target grants on the relations `orders` and
/// `seen`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    server: Server,
    /// The classes of statements that the target grants.
    pub classes: Vec<&'static str>,
    /// The statement.
    pub statement: String,
}

impl Case {
    /// Generates a case from `choices`, one byte for each choice of the grammar. If there are too
    /// few, the missing bytes are zeros.
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

/// How a case ended that touched only what is granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaseOutcome {
    /// The gate denied the statement: it was not sent to the server.
    Denied,
    /// The gate allowed the statement, and the server returned an error.
    Failed,
    /// The statement ran, and touched only what is granted.
    Ran,
}

/// How many cases had each outcome.
#[derive(Debug, Default)]
pub struct Tally {
    /// Generated cases.
    pub generated: u64,
    /// Cases that the gate allowed.
    pub allowed: u64,
    /// Cases that the server ran.
    pub ran: u64,
}

impl Tally {
    /// Counts one more case.
    pub fn count(&mut self, outcome: CaseOutcome) {
        self.generated += 1;
        self.allowed += u64::from(outcome != CaseOutcome::Denied);
        self.ran += u64::from(outcome == CaseOutcome::Ran);
    }
}

/// The grants for each set of classes, kept because parsing a target takes longer than deciding a
/// statement.
#[derive(Debug, Default)]
struct Gate(BTreeMap<Vec<&'static str>, EffectiveGrants>);

impl Gate {
    fn allows(&mut self, case: &Case) -> bool {
        let grants = self
            .0
            .entry(case.classes.clone())
            .or_insert_with(|| effective_grants(case.server, &case.classes));
        let operation = GateRequest::Sql {
            slot: "s",
            verb: Verb::SqlExecute,
            statement: Some(&case.statement),
        };
        matches!(decide(grants, Mode::Effects, &operation), GateDecision::Allow)
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

/// The grants of an operation on a target with the relations `orders` and `seen` (a view of
/// `orders`) and these classes of statements.
fn effective_grants(server: Server, classes: &[&str]) -> EffectiveGrants {
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
    let spanned = |text: &str| Spanned { value: text.to_owned(), span: 0..0 };
    let bindings = [Binding { slot: spanned("s"), target: spanned("t") }];
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

const TABLE_COLUMNS: &str = "(id bigint primary key, v varchar(40), n int)";
