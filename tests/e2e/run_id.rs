//! `exec --run-id`: a caller can repeat the command with the same id, and the run starts only once.

use crate::home;
use runbook_tests::env::TestEnv;
use runbook_tests::running::RunningProgram;
use rusqlite::Connection;

const ID: &str = "0197a5c4-0000-4000-8000-00000000c0de";

/// A home with a runbook that adds a row in each run, and its database.
fn with_counter(more: &str) -> TestEnv {
    let env = home();
    Connection::open(env.path().join("n.db"))
        .expect("it opens")
        .execute_batch("create table n (who)")
        .expect("SQL");
    let text = format!(
        "format = 1\n[runbook]\nname = \"counts\"\n[params.who]\ntype = \"string\"\n\
                 default = \"a\"\n[targets.db]\nsql = \"sqlite:n.db\"\n[[step]]\nid = \"add\"\n\
                 uses = \"sql:execute\"\nbind.db = \"db\"\nirreversible = \"it counts\"\n\
                 with = {{ statement = \"insert into n values (?1)\", parameters = [\"{{{{ \
                 params.who }}}}\"] }}\n{more}"
    );
    env.file("n.toml", &text);
    env
}

fn rows(env: &TestEnv) -> i64 {
    let connection = Connection::open(env.path().join("n.db")).expect("it opens");
    connection.query_row("select count(*) from n", [], |row| row.get(0)).expect("SQL")
}

fn exec<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["exec", "n.toml", "-y", "--run-id", ID], more].concat()
}

#[test]
fn a_run_with_a_given_id_runs_once_and_reports_the_same_result_again() {
    let env = with_counter("");
    env.run(&exec(&[])).status(0).out("Succeeded");
    for _ in 0..2 {
        env.run(&exec(&["--report", "json=again.json"]))
            .status(0)
            .out("Succeeded")
            .err("was begun before under this id");
        assert!(env.read("again.json").contains(ID));
    }
    assert_eq!(rows(&env), 1);
    env.run(&["exec", "n.toml", "-y"]).status(0);
    assert_eq!(rows(&env), 2, "without an id each is a run of its own");
}

#[test]
fn a_failed_run_with_a_given_id_is_reported_and_not_repeated() {
    let env = with_counter(
        "[[step]]\nid = \"fails\"\nuses = \"sql:query\"\nbind.db = \"db\"\n\
         with = { statement = \"select * from missing\" }\n",
    );
    let first = env.run(&exec(&[]));
    assert_ne!(first.status, 0);
    env.run(&exec(&[])).status(first.status).err("was begun before");
    assert_eq!(rows(&env), 1);
}

#[test]
fn a_waiting_run_with_a_given_id_is_reported_as_waiting() {
    let env = with_counter("[[step]]\nid = \"look\"\nmanual = { instructions = \"look\" }\n");
    env.run(&exec(&[])).status(5);
    env.run(&exec(&["--no-input"])).status(5).out("look").err("was begun before");
    assert_eq!(rows(&env), 1);
}

#[test]
fn an_id_cannot_be_used_for_another_run() {
    let env = with_counter("");
    env.run(&exec(&[])).status(0);
    env.run(&exec(&["--set", "who=b"])).status(2).err("with another value of `who`");
    env.file("targets.prod.toml", "format = 1\n[targets.db]\nsql = \"sqlite:n.db\"\n");
    env.run(&exec(&["--env", "prod"])).status(2).err("with no environment, not with `--env prod`");
    let text = env.read("n.toml");
    env.file("n.toml", &text.replace("it counts", "it counts up"));
    env.run(&exec(&[])).status(2).err("with another text");
    env.file("n.toml", &text.replace("\"counts\"", "\"other\""));
    env.run(&exec(&[])).status(2).err("of `counts`, not of `other`");
    env.run(&["exec", "n.toml", "-y", "--run-id", "deploy-7"])
        .status(2)
        .err("`deploy-7` is not a UUID");
    for nobodys in ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"]
    {
        env.run(&["exec", "n.toml", "-y", "--run-id", nobodys])
            .status(2)
            .err("names no run of yours");
    }
    assert_eq!(rows(&env), 1);
}

#[test]
fn of_simultaneous_callers_with_one_id_one_starts_the_run() {
    let env = with_counter("");
    let started: Vec<_> = (0..8)
        .map(|_| {
            RunningProgram::start(env.command(&exec(&[])).stderr(std::process::Stdio::piped()))
        })
        .collect();
    for child in started {
        let ended = child.wait_with_output().expect("it ends");
        // The process that executes the run ends with 0. The others report its end (0) or that it
        // is being executed (6).
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(matches!(ended.status.code(), Some(0 | 6)), "{:?}: {said}", ended.status);
    }
    assert_eq!(rows(&env), 1);
    env.run(&exec(&[])).status(0).err("was begun before");
}
