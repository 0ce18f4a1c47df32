//! `validate` refuses the statements that would be refused at run time, on each server and for each
//! operation. No command runs a statement that `validate` refuses.

use super::indirect_access::{Statement, statements};
use super::{MARIADB_WRITES, POSTGRES_WRITES, READS, SQLITE_WRITES, with_secret};
use crate::home;
use runbook_tests::env::TestEnv;
use runbook_tests::mariadb::{self, MariaDb};
use runbook_tests::postgres::{PASSWORD, Postgres};
use runbook_tests::statements::{Case, Server};
use std::collections::{BTreeMap, BTreeSet};

const OPERATIONS: &[&str] = &["query", "execute", "transaction"];

/// Statements that do not affect each other, texts that are no statement, and texts with several.
const TEXTS: &[&str] = &[
    "select a from t",
    "select a from t where a = 1;",
    "select a from t; -- and that is all",
    "select 'a; b' as \"c; d\" /* ; select 2 */",
    "values (1), (2)",
    "(select 1)",
    "with x as (select a from t) select * from x",
    "with update_of as (select a from t) select * from update_of",
    "explain select a from t",
    "insert into t values (5)",
    "insert into t select a from t where a > 1000",
    "update t set a = a",
    "delete from t where a = 99",
    "with x as (select 1) delete from t where a = 99",
    "with x as (select 99 as n) update t set a = a where a in (select n from x)",
    "create table if not exists made (a int)",
    "drop table if exists made",
    "create index if not exists made_index on t (a)",
    "select a from t for update",
    "select max(a) from t for update",
    "select * from generate_series(1, 2) as g for update",
    "with x as (select 1) select * from x for update",
    "select 1 for update",
    "",
    " ; ",
    "-- nothing",
    "xx",
    "selekt a from t",
    "delete form t",
    "delete t",
    "insert t values (5)",
    "update t a = 1",
    "select a form t",
    "'text'",
    "select 1; select 2",
    "select 1;; select 2",
    "update t set a = a; drop table t",
    "delete from t where a = 99; delete from t where a = 98",
    "; select 1",
    "commit",
    "end",
    "rollback",
    "begin",
    "savepoint s",
    "release s",
    "vacuum",
    "analyze",
    "show tables",
    "pragma user_version",
    "pragma writable_schema = on",
    "table t",
    "do $$ begin perform 1; end $$",
    "attach 'other.db' as o",
    "select load_extension('x')",
    "select no_such_function_anywhere(1)",
    "create trigger made before insert on t begin select 1; end",
    "drop trigger if exists made",
    "alter system set work_mem = '1MB'",
    "create database made",
];

/// Validates a runbook with a step for each statement. Returns the numbers of the steps that are
/// refused, and of those with a warning.
fn validate_statements(env: &TestEnv, asked: &[Statement]) -> (BTreeSet<usize>, BTreeSet<usize>) {
    let mut text =
        "format = 1\n[runbook]\nname = \"n\"\n[secrets.word]\nsource = \"age:s.age#word\"\n"
            .to_owned();
    let mut steps = BTreeMap::new();
    for (number, Statement { target, operation, text: statement }) in asked.iter().enumerate() {
        let quoted = serde_json::to_string(statement).expect("text is JSON, and a TOML string");
        let key = if *operation == "transaction" {
            format!("statements = [{quoted}]")
        } else {
            format!("statement = {quoted}")
        };
        let more = if *operation == "query" { "" } else { "irreversible = \"it is a test\"\n" };
        text += &format!(
            "[targets.t{number}]\n{target}\n[[step]]\nid = \"s{number}\"\n\
             uses = \"sql:{operation}\"\nbind.db = \"t{number}\"\n{more}"
        );
        text += &format!("with.{key}\n");
        steps.insert(text.lines().count(), number);
    }
    env.file("v.toml", &text);
    let finished = env.run(&["validate", "v.toml"]);
    let told = format!("{}{}", finished.stdout, finished.stderr);
    let (mut refused, mut warned) = (BTreeSet::new(), BTreeSet::new());
    let mut is_error = true;
    for line in told.lines() {
        match line.trim_start().chars().next() {
            Some('×') => is_error = true,
            Some('⚠') => is_error = false,
            _ => {}
        }
        if let Some((_, place)) = line.split_once("[v.toml:") {
            let place =
                place.split(':').next().and_then(|place| place.parse().ok()).expect("a line");
            let step = *steps
                .get(&place)
                .unwrap_or_else(|| panic!("line {place} is no statement: {told}"));
            if is_error {
                refused.insert(step)
            } else {
                warned.insert(step)
            };
        }
    }
    assert_eq!(finished.status, if refused.is_empty() { 0 } else { 2 }, "{told}");
    (refused, warned)
}

fn asked(target: &str, texts: &[String]) -> Vec<Statement> {
    let by = |text: &String| {
        let (target, text) = (target.to_owned(), text.clone());
        OPERATIONS.iter().map(move |operation| Statement {
            target: target.clone(),
            operation,
            text: text.clone(),
        })
    };
    texts.iter().flat_map(by).collect()
}

/// Statements from the grammar that also tests the gate.
fn generated_statements(server: Server) -> Vec<String> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[3]
    };
    (0..60)
        .map(|_| Case::new(server, &std::array::from_fn::<u8, 128, _>(|_| next())).statement)
        .collect()
}

/// Codes of faults that depend only on the text of a statement, not on the database.
const TEXT_FAULTS: &[&str] =
    &["sql.read-only", "sql.several-statements", "sql.empty", "sql.transaction"];

/// Compares `validate` with a run of the same statements. A statement that `validate` refuses must
/// fail in the run. A statement that fails in the run with one of [`TEXT_FAULTS`] must have been
/// refused or warned about, except those in `only_the_server_knows`.
fn compare(env: &TestEnv, target: &str, texts: &[String], only_the_server_knows: &[&str]) {
    let asked = asked(target, texts);
    let (refused, warned) = validate_statements(env, &asked);
    let ran = statements(env, &asked);
    let mut unforeseen = BTreeSet::new();
    for (number, (asked, (done, told))) in asked.iter().zip(&ran).enumerate() {
        let what = format!("`{}` by {}", asked.text, asked.operation);
        assert!(
            !(*done && refused.contains(&number)),
            "{what} is refused by validate and done by the server: {told}"
        );
        let is_of_the_text =
            TEXT_FAULTS.iter().any(|code| told.contains(&format!("\"code\":\"{code}\"")));
        if is_of_the_text && !refused.contains(&number) && !warned.contains(&number) {
            unforeseen.insert(format!("{}: {}", asked.operation, asked.text));
        }
    }
    let listed: BTreeSet<String> =
        only_the_server_knows.iter().map(|text| (*text).to_owned()).collect();
    let surprising: Vec<_> = unforeseen.difference(&listed).collect();
    assert!(surprising.is_empty(), "refused for what they are, and not foreseen: {surprising:#?}");
    assert!(refused.len() > 40, "only {} were foreseen", refused.len());
}

fn texts() -> Vec<String> {
    TEXTS.iter().map(|text| (*text).to_owned()).collect()
}

/// The statements of `writes` that `validate` does not refuse for `query`. Checks that it refuses
/// none of `reads`.
fn writes_unforeseen(env: &TestEnv, target: &str, writes: &[&str], reads: &[&str]) -> Vec<String> {
    let query = |text: &&str| Statement {
        target: target.to_owned(),
        operation: "query",
        text: (*text).to_owned(),
    };
    let reads: Vec<_> = reads.iter().map(query).collect();
    let (refused, warned) = validate_statements(env, &reads);
    assert!(refused.is_empty() && warned.is_empty(), "reads are refused: {refused:?}, {warned:?}");
    let (refused, _) = validate_statements(env, &writes.iter().map(query).collect::<Vec<_>>());
    let all = writes.iter().enumerate();
    all.filter(|(number, _)| !refused.contains(number))
        .map(|(_, text)| (*text).to_owned())
        .collect()
}

#[test]
fn validate_and_the_server_agree_about_statements_on_postgresql() {
    let postgres = Postgres::start(1);
    postgres.psql(
        "orders",
        "create table t (a int); alter table t owner to orders_admin; insert into t values (1)",
    );
    let env = with_secret(PASSWORD);
    let target = format!(
        "sql = \"postgres://orders_admin@127.0.0.1:{}/orders\"\npassword = \"secret:word\"\n\
         timeout = \"5s\"",
        postgres.port
    );
    compare(&env, &target, &texts(), &["query: ; select 1"]);
    postgres.psql(
        "orders",
        "create table if not exists secrets (id bigint primary key, v varchar(40), n int); grant \
         all on secrets to orders_admin",
    );
    compare_generated(&env, &target, Server::Postgres);
    let unforeseen = writes_unforeseen(&env, &target, POSTGRES_WRITES, READS);
    // Not even the scanner reads a NUL; a `TABLE` is a view, perhaps.
    assert_eq!(unforeseen, ["select 1\u{0};", "table t for update"]);
}

/// Checks generated statements: none that `validate` refuses succeeds on the server.
fn compare_generated(env: &TestEnv, target: &str, server: Server) {
    let asked = asked(target, &generated_statements(server));
    let (refused, _) = validate_statements(env, &asked);
    for (number, (asked, (done, told))) in asked.iter().zip(&statements(env, &asked)).enumerate() {
        let is_wrong = *done && refused.contains(&number);
        assert!(
            !is_wrong,
            "`{}` by {} is refused by validate and done by the server: {told}",
            asked.text, asked.operation
        );
    }
}

#[test]
fn validate_and_the_server_agree_about_statements_on_mariadb() {
    let server = MariaDb::start();
    server.sql("create table shop.t (a int); insert into shop.t values (1)");
    let env = with_secret(mariadb::PASSWORD);
    let target = format!(
        "sql = \"mysql://shop@127.0.0.1:{}/shop\"\npassword = \"secret:word\"\ntimeout = \"5s\"",
        server.port
    );
    // MariaDB refuses to lock rows where MySQL may not.
    compare(
        &env,
        &target,
        &texts(),
        &["query: select a from t for update", "query: select max(a) from t for update"],
    );
    server.sql(
        "create table if not exists shop.secrets (id bigint primary key, v varchar(40), n int)",
    );
    compare_generated(&env, &target, Server::MariaDb);
    let reads: Vec<&str> =
        READS.iter().filter(|statement| !statement.contains("\"update\"")).copied().collect();
    let unforeseen = writes_unforeseen(&env, &target, MARIADB_WRITES, &reads);
    assert_eq!(unforeseen, [""; 0], "not foreseen");
}

#[test]
fn validate_and_the_server_agree_about_statements_on_sqlite() {
    let env = with_secret("unused");
    rusqlite::Connection::open(env.path().join("data.db"))
        .expect("a database can be made")
        .execute_batch("create table t (a); insert into t values (1)")
        .expect("good SQL");
    let target = "sql = \"sqlite:data.db\"";
    compare(&env, target, &texts(), &[]);
    let unforeseen = writes_unforeseen(&env, target, SQLITE_WRITES, READS);
    // Whether there is a column `a` comes first.
    assert_eq!(unforeseen, ["select edit(a) from t"]);
}

/// One statement that changes, and one that never runs where it stands.
const REFUSED: &str = "format = 1\n[runbook]\nname = \"r\"\n[targets.db]\nsql = \"sqlite:r.db\"\n[[step]]\n\
     id = \"first\"\nuses = \"sql:execute\"\nbind.db = \"db\"\nirreversible = \"it is a test\"\n\
     with.statement = \"insert into t values (1)\"\n[[step]]\nid = \"ask\"\n\
     manual = { instructions = \"look\", confirm = \"looked\" }\n[[step]]\nid = \"second\"\n\
     uses = \"sql:query\"\nbind.db = \"db\"\nwith.statement = \"STATEMENT\"\n";

fn rows(env: &TestEnv) -> i64 {
    let database =
        rusqlite::Connection::open(env.path().join("r.db")).expect("the database is there");
    database.query_row("select count(*) from t", [], |row| row.get(0)).expect("a number")
}

fn made() -> TestEnv {
    let env = home();
    rusqlite::Connection::open(env.path().join("r.db"))
        .expect("made")
        .execute_batch("create table t (a)")
        .expect("good SQL");
    env
}

#[test]
fn no_command_runs_plans_or_locks_what_validate_refuses() {
    let env = made();
    env.file("r.toml", &REFUSED.replace("STATEMENT", "delete from t"));
    for command in [
        &["validate", "r.toml"][..],
        &["exec", "r.toml", "-y"],
        &["exec", "r.toml", "--dry-run"],
        &["plan", "r.toml"],
        &["plan", "r.toml", "--offline"],
        &["lock", "r.toml"],
        &["lock", "--accept", "r.toml"],
    ] {
        env.run(command).status(2).err("E0237").err("r.toml:19");
    }
    assert_eq!(rows(&env), 0, "something was done");
    assert!(!env.path().join("runbook.lock").exists(), "it was locked");
    env.run(&["runs"]).status(0).without("r.toml");
    // A suite is no better.
    let suite = "format = 1\n[runbook]\nname = \"s\"\n[targets.db]\nsql = \"sqlite:r.db\"\n\
                 [[check]]\nid = \"c\"\nuses = \"sql:query\"\nbind.db = \"db\"\n\
                 with.statement = \"select 1; select 2\"\n";
    env.file("s.toml", suite);
    // What a suite could not look at is unknown.
    for (command, status) in [("validate", 2), ("check", 3), ("lock", 2)] {
        env.run(&[command, "s.toml"]).status(status).err("E0237").err("more than one statement");
    }
    // Nor is one that another runbook nests.
    env.file(
        "outer.toml",
        "format = 1\n[runbook]\nname = \"o\"\n[[step]]\nid = \"all\"\nrunbook = \"r.toml\"\n",
    );
    for command in
        [&["validate", "outer.toml"][..], &["exec", "outer.toml", "-y"], &["plan", "outer.toml"]]
    {
        env.run(command).status(2).err("E0237").err("r.toml:19");
    }
    assert_eq!(rows(&env), 0, "something was done");
}

#[test]
fn a_run_with_a_refused_statement_is_not_resumed_and_can_be_cancelled() {
    let env = made();
    env.file("r.toml", &REFUSED.replace("STATEMENT", "select a from t"));
    env.run(&["exec", "r.toml", "-y", "--no-input"]).status(5);
    assert_eq!(rows(&env), 1);
    let run = env.newest_run();
    env.run(&["answer", &run, "ask", "--confirm", "looked"]).status(0);
    env.file("r.toml", &REFUSED.replace("STATEMENT", "delete from t"));
    env.run(&["resume", &run, "--accept-changes"]).status(2).err("E0237").err("r.toml:19");
    env.run(&["cancel", &run, "--yes"]);
    env.run(&["runs", "--format", "json"]).status(0).out(&run).without("\"ended\":null");
    assert_eq!(rows(&env), 1, "the statement was run");
}
