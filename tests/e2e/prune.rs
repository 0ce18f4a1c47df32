//! `runbook prune`: old runs are removed, dirty ones stay.

use crate::home;
use runbook_tests::env::TestEnv;
use runbook_tests::postgres::Postgres;

const CLEAN: &str = "format = 1\n[runbook]\nname = \"clean\"\n[targets.db]\n\
                     sql = \"sqlite:work.db\"\n[[step]]\nid = \"look\"\nuses = \"sql:query\"\n\
                     bind.db = \"db\"\nwith.statement = \"select 1 as n\"\n";

/// Fails after its effect, and the undo fails, too.
const DIRTY: &str = r#"
format = 1
[runbook]
name = "dirty"
[targets.db]
sql = "sqlite:work.db"
[[step]]
id = "make"
uses = "sql:transaction"
bind.db = "db"
with.statements = ["create table made (n int)"]
undo = { uses = "sql:transaction", bind = { db = "db" }, with = { statements = ["drop table missing"] } }
[[step]]
id = "fail"
uses = "sql:query"
bind.db = "db"
with = { statement = "select 1 as n", row_count = 2 }
"#;

fn prepared(journal: &str) -> TestEnv {
    let env = home();
    rusqlite::Connection::open(env.path().join("work.db"))
        .expect("a file")
        .execute_batch("vacuum")
        .expect("a database");
    env.file("clean.toml", CLEAN);
    env.file("dirty.toml", DIRTY);
    for (file, status) in [("clean.toml", 0), ("clean.toml", 0), ("dirty.toml", 7)] {
        env.run(&["exec", file, "--yes", "--journal", journal]).status(status);
    }
    env
}

fn runs(env: &TestEnv, journal: &str) -> Vec<String> {
    let listed = env.run(&["runs", "--journal", journal]).status(0).stdout;
    listed
        .lines()
        .map(|line| line.split_whitespace().next_back().unwrap_or_default().to_owned())
        .collect()
}

fn check_prune(journal: &str) {
    let env = prepared(journal);
    let prune = |more: &[&str]| {
        let mut arguments = vec!["prune", "--journal", journal];
        arguments.extend(more);
        env.run(&arguments)
    };
    // Nothing is old enough.
    prune(&["--older-than", "1h", "--yes"]).status(0).err("nothing to remove");
    assert_eq!(runs(&env, journal), ["dirty", "clean", "clean"]);
    // Without a terminal and without `--yes`, nothing is removed.
    prune(&["--older-than", "0s"]).status(2).err("--yes").err("remove 2 runs");
    prune(&["--older-than", "0s", "--dry-run"])
        .status(0)
        .err("2 runs")
        .err("would be removed")
        .err("1 dirty run");
    assert_eq!(runs(&env, journal), ["dirty", "clean", "clean"]);
    prune(&["--older-than", "0s", "--yes"]).status(0).err("removed 2 runs");
    assert_eq!(runs(&env, journal), ["dirty"]);
    prune(&["--older-than", "0s", "--dirty", "--yes"]).status(0).err("removed 1 run");
    assert!(runs(&env, journal).is_empty());
}

#[test]
fn prune_removes_old_runs_from_a_file_journal() {
    check_prune("journal.db");
}

#[test]
fn prune_removes_old_runs_from_a_server_journal() {
    let postgres = Postgres::start(0);
    check_prune(&postgres.database("runs"));
}

#[test]
fn a_time_without_a_unit_is_refused() {
    home().run(&["prune", "--older-than", "90"]).status(2).err("such as `90d`");
    home().run(&["prune"]).status(2).err("--older-than");
}

#[test]
fn prune_creates_no_journal() {
    let env = home();
    env.run(&["prune", "--older-than", "1d", "--yes", "--journal", "none.db"])
        .status(0)
        .err("no run has been made yet");
    assert!(!env.path().join("none.db").exists());
}
