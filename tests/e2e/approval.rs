//! A step that waits for approval: nothing happens before a second person has approved.

use crate::home;
use runbook_tests::env::{ProgramOutput, TestEnv, finish};
use runbook_tests::postgres::Postgres;

const RUNBOOK: &str = r#"format = 1
[runbook]
name = "tidy"
[targets.shop]
sql = "sqlite:shop.db"
create = true
[[step]]
id = "make"
uses = "sql:transaction"
bind.db = "shop"
with = { statements = ["create table if not exists t (a)", "insert into t values (1)"] }
irreversible = "an example"
[[step]]
id = "drop"
uses = "sql:transaction"
bind.db = "shop"
with = { statements = ["delete from t"] }
irreversible = "looked at by two"
approval = { not_self = true, expires = "15m" }
"#;

/// Starts a run that waits for approval, and returns its id.
fn waiting() -> (TestEnv, String) {
    let env = home();
    env.file("r.toml", RUNBOOK);
    env.run(&["exec", "r.toml"])
        .status(5)
        .err("drop: waits for approval; it would:")
        .err("runbook approve")
        .err("paused: it waits for approval of `drop`")
        .out("waiting for a person");
    let run = env.newest_run();
    (env, run)
}

/// The user id of `daemon`, which exists on every system and is not root.
const DAEMON: &str = "1";

/// Runs the program as if user `daemon` had started it with `sudo`.
fn as_daemon(env: &TestEnv, arguments: &[&str]) -> ProgramOutput {
    assert!(
        rustix::process::geteuid().is_root(),
        "these tests become other users, so they need root"
    );
    finish(env.command(arguments).env("SUDO_UID", DAEMON).output().expect("the program starts"))
}

fn rows(env: &TestEnv) -> i64 {
    let database =
        rusqlite::Connection::open(env.path().join("shop.db")).expect("the database is there");
    database.query_row("select count(*) from t", [], |row| row.get(0)).expect("the query works")
}

#[test]
fn a_second_operator_approves_and_the_run_goes_on() {
    let (env, run) = waiting();
    assert_eq!(rows(&env), 1);
    env.run(&["resume", &run]).status(5);
    env.run(&["approve", &run, "drop", "--yes"]).status(6).err("`not_self` asks for somebody else");
    as_daemon(&env, &["approve", &run, "drop"]).status(2).err("a person must answer");
    as_daemon(&env, &["approve", &run, "make", "--yes"]).status(2).err("these do: `drop`");
    as_daemon(&env, &["approve", &run, "drop", "--yes"])
        .status(0)
        .err("delete from t")
        .err("digest sha256:")
        .out("approved by daemon@");
    assert_eq!(rows(&env), 1, "an approval does nothing by itself");
    env.run(&["resume", &run]).status(0);
    assert_eq!(rows(&env), 0);
    env.run(&["approve", &run, "drop", "--yes"]).status(2).err("does not wait for approval");
}

/// Environment variables do not change who approves; another user id does.
#[test]
fn the_approver_is_taken_from_the_system_and_not_from_the_environment() {
    assert!(
        rustix::process::geteuid().is_root(),
        "these tests become other users, so they need root"
    );
    let postgres = Postgres::start(1);
    let journal = postgres.database("persons");
    let env = home();
    env.file("r.toml", RUNBOOK);
    let with = |command: &mut std::process::Command| {
        finish(command.env("RUNBOOK_JOURNAL", &journal).output().expect("it starts"))
    };
    with(&mut env.command(&["exec", "r.toml"])).status(5);
    let listed = with(&mut env.command(&["runs", "--limit", "1"]));
    let run = runbook_tests::env::first_run(&listed);
    let approve = ["approve", run.as_str(), "drop", "--yes"];
    with(env.command(&approve).env("USER", "ada").env("LOGNAME", "ada").env("SUDO_USER", "ada"))
        .status(6)
        .err("`not_self` asks for somebody else");
    let other = tempfile::tempdir().expect("a folder can be made");
    std::os::unix::fs::chown(other.path(), Some(1), Some(1)).expect("root may");
    let plain = env.command(&[]);
    let mut command = std::process::Command::new("setpriv");
    command
        .args(["--reuid", DAEMON, "--regid", DAEMON, "--clear-groups"])
        .arg(plain.get_program())
        .args(approve);
    // For another user, variables change nothing either.
    command
        .env_clear()
        .env("HOME", other.path())
        .env("USER", "root")
        .env("SUDO_UID", "0")
        .current_dir(other.path());
    with(&mut command).status(0).out("approved by daemon@");
}

/// Two steps that wait at the same time. One needs two approvals.
const TWO_BRANCHES: &str = r#"format = 1
[runbook]
name = "two"
[targets.shop]
sql = "sqlite:shop.db"
create = true
[[step]]
id = "one"
needs = []
uses = "sql:transaction"
bind.db = "shop"
with = { statements = ["create table a (a)"] }
irreversible = "an example"
approval = { quorum = 2 }
[[step]]
id = "other"
needs = []
uses = "sql:transaction"
bind.db = "shop"
with = { statements = ["create table b (a)"] }
irreversible = "an example"
approval = {}
"#;

#[test]
fn approve_lists_missing_approvals_and_suggests_resume_only_when_the_run_can_continue() {
    let env = home();
    env.file("r.toml", TWO_BRANCHES);
    env.run(&["exec", "r.toml"]).status(5);
    let run = env.newest_run();
    let approve = |step| ["approve", run.as_str(), step, "--yes"];
    let first = env.run(&approve("one")).status(0);
    first
        .out("the run waits for 1 more person to approve `one` (1 of 2): `runbook approve")
        .out("and for 1 more person to approve `other` (0 of 1)")
        .without("runbook resume");
    env.run(&approve("one"))
        .status(0)
        .out("approved by you already, and a person counts once")
        .out("(1 of 2)")
        .without("runbook resume");
    env.run(&approve("other"))
        .status(0)
        .out("goes on with it; the run also waits for 1 more person to approve `one` (1 of 2)");
    // The suggested command continues the run.
    env.run(&["resume", &run]).status(5).err("✓ other").err("`one`");
    as_daemon(&env, &approve("one")).status(0).out("continue with `runbook resume");
    env.run(&["resume", &run]).status(0).out("Succeeded");
}

#[test]
fn a_rejected_step_never_happens() {
    let (env, run) = waiting();
    as_daemon(&env, &["reject", &run, "drop", "--reason", "the numbers are wrong"])
        .status(0)
        .out("rejected by daemon@");
    env.run(&["resume", &run]).err("the numbers are wrong");
    assert_eq!(rows(&env), 1);
    env.run(&["show", &run]).status(0).out("the numbers are wrong");
}

const BY_HAND: &str = r#"format = 1
[runbook]
name = "look"
[targets.shop]
sql = "sqlite:shop.db"
create = true
[[step]]
id = "look"
manual = { instructions = "Is replication caught up?", form = { lag_ok = "bool", note = "string" }, choices = ["go", "stop"], confirm = "orders" }
[[step]]
id = "make"
uses = "sql:transaction"
bind.db = "shop"
when = "steps.look.output.lag_ok"
with = { statements = ["create table t (a)", "insert into t values ('{{ steps.look.output.note }}')"] }
irreversible = "an example"
"#;

#[test]
fn answers_of_a_person_are_used_by_later_steps() {
    let env = home();
    env.file("r.toml", BY_HAND);
    env.run(&["exec", "r.toml"])
        .status(5)
        .err("a person must do this")
        .err("Is replication caught up?")
        .err("runbook answer");
    let run = env.newest_run();
    env.run(&["answer", &run, "look", "--set", "lag_ok=perhaps", "--choice", "run"])
        .status(2)
        .err("nothing was written")
        .err("`lag_ok` must be of type bool, not `perhaps`")
        .err("`note` is not given")
        .err("`--choice` is one of: go, stop")
        .err("--confirm \"orders\"");
    let good = [
        "answer",
        &run,
        "look",
        "--set",
        "lag_ok=yes",
        "--set",
        "note=fine",
        "--choice",
        "go",
        "--confirm",
        "orders",
    ];
    env.run(&good).status(0).out("answered by ");
    env.run(&good).status(2).err("does not wait for an answer");
    env.run(&["resume", &run]).status(0).out("done by ");
    let database =
        rusqlite::Connection::open(env.path().join("shop.db")).expect("the database is there");
    let note: String =
        database.query_row("select a from t", [], |row| row.get(0)).expect("the query works");
    assert_eq!(note, "fine");
}
