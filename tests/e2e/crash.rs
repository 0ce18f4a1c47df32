//! A run is killed after every record of the journal and resumed. It reaches the same final state,
//! and no completed step runs twice.

use crate::{home, query_texts};
use runbook_tests::env::TestEnv;
use runbook_tests::running::RunningProgram;
use std::process::Stdio;

const RUNBOOK: &str = r#"
format = 1
[runbook]
name = "crash"
title = "Killed anywhere"
[targets.db]
sql = "sqlite:crash.db"
[targets.out]
files = "out"
access = "write"
[locks]
exclusive = ["crash"]
[[preflight]]
id = "sound"
uses = "sqlite:integrity-check"
bind.db = "db"
[[step]]
id = "first"
uses = "sql:transaction"
bind.db = "db"
with = { statements = ["insert into effects values ('first')"] }
irreversible = "counted"
[[step]]
id = "copy"
uses = "sqlite:backup"
bind = { db = "db", directory = "out" }
with = { file = "copy.db" }
undo = "auto"
[[step]]
id = "second"
uses = "sql:transaction"
bind.db = "db"
with = { statements = ["insert into effects values ('second')"] }
irreversible = "counted"
[[verify]]
id = "both"
uses = "sql:query"
bind.db = "db"
with = { statement = "select count(*) as n from effects", first_row = { n = 2 } }
"#;

/// [`RUNBOOK`] with a step before the end that polls for a condition that never holds.
fn runbook_with_wait() -> String {
    let wait = "[[step]]\nid = \"wait\"\nuses = \"sql:query\"\nbind.db = \"db\"\n\
                with = { statement = \"select 1 as n\", row_count = 2 }\n\
                until = \"outcome == 'pass'\"\nevery = \"100ms\"\nwithin = \"60s\"\n";
    RUNBOOK.replace("[[verify]]", &format!("{wait}[[verify]]"))
}

fn prepared() -> TestEnv {
    let env = home();
    env.file("r.toml", RUNBOOK);
    std::fs::create_dir(env.path().join("out")).expect("a folder can be made");
    let database =
        rusqlite::Connection::open(env.path().join("crash.db")).expect("a database can be made");
    database
        .execute_batch("create table effects (name text primary key)")
        .expect("a table can be made");
    env
}

fn effects(env: &TestEnv) -> Vec<String> {
    query_texts(env, "crash.db", "select name from effects order by name")
}

fn records(env: &TestEnv) -> i64 {
    let path = env.path().join(".local/state/runbook/journal.db");
    let Ok(journal) =
        rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)
    else {
        return 0;
    };
    journal.query_row("select count(*) from events", [], |row| row.get(0)).unwrap_or(0)
}

#[test]
fn killed_after_each_record_the_run_is_resumed_to_the_same_end() {
    let whole = prepared();
    whole.run(&["exec", "r.toml"]).status(0);
    let n_records = records(&whole);
    assert!(n_records >= 10, "{n_records} records");
    for stop in 1..n_records {
        let env = prepared();
        let mut command = env.command(&["exec", "r.toml"]);
        command.env("RUNBOOK_TEST_KILL", format!("record:{stop}"));
        let killed = command.output().expect("the program starts");
        assert!(
            killed.status.code().is_none(),
            "record {stop}: it was to be killed: {}",
            String::from_utf8_lossy(&killed.stderr)
        );
        assert_eq!(records(&env), stop);
        let run = env.newest_run();
        let resumed = env.run(&["resume", &run]);
        if resumed.status == 5 {
            // A write that is not idempotent and cannot be observed is never repeated by itself:
            // the operator decides.
            let done = effects(&env);
            let step = if resumed.stderr.contains("`second`") { "second" } else { "first" };
            let decision = if done.iter().any(|name| name == step) { "done" } else { "retry" };
            env.run(&["resume", &run, "--decide", &format!("{step}={decision}")]).status(0);
        } else {
            assert_eq!(resumed.status, 0, "record {stop}\n{}\n{}", resumed.stdout, resumed.stderr);
        }
        assert_eq!(effects(&env), ["first", "second"], "record {stop}");
        assert!(env.path().join("out/copy.db").exists(), "record {stop}");
        env.run(&["show", &run]).status(0).out("Succeeded");
    }
}

#[test]
fn a_finished_run_can_be_undone_later() {
    let env = prepared();
    env.run(&["exec", "r.toml"]).status(0);
    assert!(env.path().join("out/copy.db").exists());
    env.run(&["undo", &env.newest_run(), "--yes"])
        .status(0)
        .out("Undone, as asked.")
        .err("removed `copy.db`");
    assert!(!env.path().join("out/copy.db").exists());
}

#[test]
fn a_cancelled_run_is_undone_in_order() {
    let env = prepared();
    env.file("r.toml", &runbook_with_wait());
    let child = env.spawn(&["exec", "r.toml"]);
    runbook_tests::wait_for("the copy is made", || env.path().join("out/copy.db").exists());
    runbook_tests::wait_for("it waits", || records(&env) > 14);
    runbook_tests::interrupt(&child);
    let output = child.wait_with_output().expect("the program ends");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        output.status.code(),
        Some(130),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        text.contains("Cancelled. What can be undone is undone, and was observed to be as before."),
        "{text}"
    );
    assert!(!env.path().join("out/copy.db").exists());
}

/// The file with the stderr of `show --follow`.
const FOLLOW_NOTES: &str = "followed.txt";

/// Starts to follow a run, and returns when the copy was reported.
fn start_follower(env: &TestEnv, run: &str) -> RunningProgram {
    let notes = std::fs::File::create(env.path().join(FOLLOW_NOTES)).expect("it can be made");
    let mut command = env.command(&["show", run, "--follow"]);
    let watcher = RunningProgram::start(command.stdout(Stdio::piped()).stderr(notes));
    runbook_tests::wait_for("it is told of the copy", || env.read(FOLLOW_NOTES).contains("✓ copy"));
    watcher
}

#[test]
fn a_run_is_followed_from_another_terminal_until_it_ends() {
    let env = prepared();
    env.file("r.toml", &runbook_with_wait());
    let child = env.spawn(&["exec", "r.toml"]);
    runbook_tests::wait_for("it waits", || {
        env.path().join("out/copy.db").exists() && records(&env) > 14
    });
    let mut watcher = start_follower(&env, &env.newest_run());
    assert_eq!(watcher.try_wait().expect("it can be asked"), None, "it ends while the run goes on");
    runbook_tests::interrupt(&child);
    let run = child.wait_with_output().expect("the program ends");
    let told_of = watcher.wait_with_output().expect("the other terminal ends");
    assert_eq!(told_of.status.code(), Some(0));
    let (told, own) = (env.read(FOLLOW_NOTES), String::from_utf8_lossy(&run.stderr).into_owned());
    // The answer to Ctrl-C and the warning about the journal are printed only where the run was
    // started; all other lines are printed by both.
    let is_own = |line: &&str| {
        line.starts_with("cancelling:")
            || line.starts_with("warning: lock `crash` excludes only runs in")
    };
    let own: Vec<_> = own.lines().filter(|line| !is_own(line)).collect();
    assert_eq!(told.lines().collect::<Vec<_>>(), own);
    assert_eq!(String::from_utf8_lossy(&told_of.stdout), String::from_utf8_lossy(&run.stdout));
}

#[test]
fn follow_reports_that_the_process_of_the_run_died() {
    let env = prepared();
    env.file("r.toml", &runbook_with_wait());
    let mut child = env.spawn(&["exec", "r.toml"]);
    runbook_tests::wait_for("it waits", || {
        env.path().join("out/copy.db").exists() && records(&env) > 14
    });
    let run = env.newest_run();
    let watcher = start_follower(&env, &run);
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    let told = watcher.wait_with_output().expect("it ends by itself");
    assert_eq!(told.status.code(), Some(0));
    let notes = env.read(FOLLOW_NOTES);
    assert!(notes.contains("nobody executes this run any more"), "{notes}");
    assert!(
        String::from_utf8_lossy(&told.stdout).contains(&format!("runbook resume {run}")),
        "{told:?}"
    );
}

#[test]
fn a_second_operator_is_told_who_holds_the_lock() {
    let env = prepared();
    env.file("r.toml", &runbook_with_wait());
    let mut first = env.spawn(&["exec", "r.toml"]);
    runbook_tests::wait_for("the first run holds the lock", || {
        env.path().join("out/copy.db").exists()
    });
    env.run(&["exec", "r.toml"])
        .status(6)
        .out("lock `crash` is held by run")
        .out(&format!("process {}", first.id()));
    first.kill().expect("the program can be killed");
    first.wait().expect("the program ends");
    // The holder is known to be dead, so its lease is not waited for.
    env.file(
        "r.toml",
        &RUNBOOK
            .replace("'first'", "'third'")
            .replace("'second'", "'fourth'")
            .replace("n = 2", "n = 4")
            .replace("copy.db", "copy2.db"),
    );
    env.run(&["exec", "r.toml"]).status(0);
}

/// A step with items, each with its own effect.
const ITEMS: &str = r#"
format = 1
[runbook]
name = "items"
[targets.db]
sql = "sqlite:crash.db"
[locks]
exclusive = ["items"]
[[preflight]]
id = "names"
uses = "sql:query"
bind.db = "db"
with = { statement = "select 'a' as name union select 'b' union select 'c'" }
[[step]]
id = "each"
uses = "sql:transaction"
bind.db = "db"
for_each = "steps.names.output.rows"
as = "row"
key = "{{ row.name }}"
with = { statements = ["insert into effects values ('{{ row.name }}')"] }
irreversible = "counted"
[[verify]]
id = "all"
uses = "sql:query"
bind.db = "db"
with = { statement = "select count(*) as n from effects", first_row = { n = 3 } }
"#;

#[test]
fn killed_after_each_record_every_item_is_done_once() {
    let fresh = || {
        let env = prepared();
        env.file("r.toml", ITEMS);
        env
    };
    let whole = fresh();
    whole.run(&["exec", "r.toml"]).status(0).out("each[a]").out("each[c]");
    let n_records = records(&whole);
    for stop in 1..n_records {
        let env = fresh();
        let mut command = env.command(&["exec", "r.toml"]);
        let killed = command
            .env("RUNBOOK_TEST_KILL", format!("record:{stop}"))
            .output()
            .expect("the program starts");
        assert!(
            killed.status.code().is_none(),
            "record {stop}: {}",
            String::from_utf8_lossy(&killed.stderr)
        );
        let run = env.newest_run();
        let mut resumed = env.run(&["resume", &run]);
        if resumed.status == 5 {
            let done = effects(&env);
            let unknown = |name: &&str| resumed.stderr.contains(&format!("'each[{name}]=retry'`"));
            let name = ["a", "b", "c"]
                .into_iter()
                .find(unknown)
                .unwrap_or_else(|| panic!("which item?\n{}", resumed.stderr));
            let decision = if done.iter().any(|found| found == name) { "done" } else { "retry" };
            resumed = env.run(&["resume", &run, "--decide", &format!("each[{name}]={decision}")]);
        }
        assert_eq!(resumed.status, 0, "record {stop}\n{}\n{}", resumed.stdout, resumed.stderr);
        assert_eq!(effects(&env), ["a", "b", "c"], "record {stop}");
    }
}

/// If a limit of the target truncates the list, no item runs.
#[test]
fn a_list_truncated_by_a_limit_starts_no_item() {
    for (limit, all) in [
        ("", true),
        ("max_rows = 250\n", true),
        ("max_rows = 249\n", false),
        ("max_bytes = \"1KiB\"\n", false),
    ] {
        let env = prepared();
        let rows = "with recursive n (name) as (select 1 union all select name + 1 from n where \
                    name < 250) select name from n";
        let text = ITEMS
            .replace("select 'a' as name union select 'b' union select 'c'", rows)
            .replace("first_row = { n = 3 }", "first_row = { n = 250 }")
            .replacen("[targets.db]\n", &format!("[targets.db]\n{limit}"), 1);
        env.file("r.toml", &text);
        let finished = env.run(&["exec", "r.toml"]);
        let done = query_texts(&env, "crash.db", "select name from effects").len();
        if all {
            finished.status(0).out("each[250]");
            assert_eq!(done, 250, "{limit}");
        } else {
            finished.status(1).out("would leave items out").out("No step had changed anything");
            assert_eq!(done, 0, "{limit}");
        }
    }
}
