//! Every signal, sent to a run in the middle of its work: what it does is counted in the database,
//! not read from the screen.

use crate::{home, repository, texts};
use runbook_tests::env::{Finished, TestEnv, finish};
use runbook_tests::running::Running;
use runbook_tests::{send, wait_for};
use rusqlite::Connection;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One thing is done, a probe looks until the test opens the gate, and another is done.
pub const RUNBOOK: &str = r#"
format = 1
[runbook]
name = "signals"
[targets.db]
sql = "sqlite:work.db"
[[step]]
id = "first"
uses = "sql:transaction"
bind.db = "db"
with = { statements = ["insert into done values ('first')"] }
undo = { uses = "sql:transaction", bind.db = "db", with = { statements = ["delete from done where what = 'first'"] }, idempotent = true }
[[step]]
id = "gate"
uses = "sql:query"
bind.db = "db"
with = { statement = "select count(*) as n from gate", first_row = { n = 1 } }
until = "outcome == 'pass'"
every = "50ms"
within = "5m"
[[step]]
id = "second"
uses = "sql:transaction"
bind.db = "db"
with = { statements = ["insert into done values ('second')"] }
irreversible = "an example"
"#;

const SUITE: &str = r#"
format = 1
[runbook]
name = "suite"
[targets.db]
sql = "sqlite:work.db"
[[check]]
id = "gate"
uses = "sql:query"
bind.db = "db"
with = { statement = "select count(*) as n from gate", first_row = { n = 1 } }
until = "outcome == 'pass'"
every = "50ms"
within = "5m"
"#;

/// What a signal does to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// Nothing: it goes on to its end.
    GoesOn,
    /// It ends in order, undone, with this exit status.
    Ends(i32),
    /// It stops at once, and is resumed to its end.
    Stops,
    /// The program is killed, as by a crash; the run is resumed to its end.
    Dies,
}

/// What docs/semantics.md says of each signal, by number.
const TABLE: &[(&str, &str, Effect)] = &[
    ("1", "SIGHUP", Effect::GoesOn),
    ("2", "SIGINT", Effect::Ends(130)),
    ("3", "SIGQUIT", Effect::Stops),
    ("4", "SIGILL", Effect::Dies),
    ("5", "SIGTRAP", Effect::Dies),
    ("6", "SIGABRT", Effect::Dies),
    ("7", "SIGBUS", Effect::Dies),
    ("8", "SIGFPE", Effect::Dies),
    ("9", "SIGKILL", Effect::Dies),
    ("10", "SIGUSR1", Effect::GoesOn),
    ("11", "SIGSEGV", Effect::Dies),
    ("12", "SIGUSR2", Effect::GoesOn),
    ("13", "SIGPIPE", Effect::GoesOn),
    ("14", "SIGALRM", Effect::Ends(143)),
    ("15", "SIGTERM", Effect::Ends(143)),
    ("16", "SIGSTKFLT", Effect::Ends(143)),
    ("17", "SIGCHLD", Effect::GoesOn),
    ("18", "SIGCONT", Effect::GoesOn),
    ("19", "SIGSTOP", Effect::GoesOn),
    ("20", "SIGTSTP", Effect::GoesOn),
    ("21", "SIGTTIN", Effect::GoesOn),
    ("22", "SIGTTOU", Effect::GoesOn),
    ("23", "SIGURG", Effect::GoesOn),
    ("24", "SIGXCPU", Effect::Ends(143)),
    ("25", "SIGXFSZ", Effect::GoesOn),
    ("26", "SIGVTALRM", Effect::Ends(143)),
    ("27", "SIGPROF", Effect::Ends(143)),
    ("28", "SIGWINCH", Effect::GoesOn),
    ("29", "SIGIO", Effect::Ends(143)),
    ("30", "SIGPWR", Effect::Ends(143)),
    ("31", "SIGSYS", Effect::Dies),
    ("34", "SIGRTMIN", Effect::Ends(143)),
    ("64", "SIGRTMAX", Effect::Ends(143)),
];

pub fn prepared() -> TestEnv {
    let env = home();
    database(&env)
        .execute_batch("create table done (what text); create table gate (open)")
        .expect("good SQL");
    env.file("r.toml", RUNBOOK);
    env.file("checks.toml", SUITE);
    env
}

pub fn database(env: &TestEnv) -> Connection {
    let database = Connection::open(env.path().join("work.db")).expect("a file");
    database.busy_timeout(std::time::Duration::from_secs(20)).expect("it can wait");
    database
}

/// Lets a run that waits at the gate go on.
pub fn open_gate(env: &TestEnv) {
    database(env).execute("insert into gate values (1)", []).expect("good SQL");
}

/// What was done, in the world.
pub fn done(env: &TestEnv) -> Vec<String> {
    texts(env, "work.db", "select what from done order by what")
}

/// Waits until a run has recorded that it looks at the gate: what it did before is recorded, too.
pub fn wait_for_the_gate(env: &TestEnv, looks: i64) {
    wait_for("the run looks at the gate", || looks_at_the_gate(env) > looks);
}

pub fn looks_at_the_gate(env: &TestEnv) -> i64 {
    let journal = env.path().join(".local/state/runbook/journal.db");
    let Ok(journal) =
        Connection::open_with_flags(journal, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)
    else {
        return 0;
    };
    let query = "select count(*) from events where event like '%\"attempt-ended\"%' and event like \
                 '%\"gate\"%'";
    journal.query_row(query, [], |row| row.get(0)).unwrap_or(0)
}

fn end(child: Running) -> Finished {
    finish(child.wait_with_output().expect("it ends"))
}

/// Sends the signal until the program is gone: a handler that is there for faults of guests passes
/// the first one on.
fn kill(mut child: Running, signal: &str) {
    wait_for("the program dies", || {
        let gone = child.try_wait().expect("it is ours").is_some();
        if !gone {
            send(&child, signal);
        }
        gone
    });
}

/// Sends a signal to a run that executes `arguments` and stands at the gate, and checks what comes
/// of it.
fn sent(env: &TestEnv, arguments: &[&str], signal: &str, effect: Effect) {
    let looks = looks_at_the_gate(env);
    let child = env.spawn(arguments);
    wait_for_the_gate(env, looks);
    assert_eq!(done(env), ["first"], "signal {signal}");
    match effect {
        Effect::GoesOn => {
            send(&child, signal);
            send(&child, "CONT");
            open_gate(env);
            let finished = end(child).status(0);
            assert_eq!(done(env), ["first", "second"], "signal {signal}: {finished:?}");
        }
        Effect::Ends(status) => {
            send(&child, signal);
            let finished = end(child).status(status).err("cancelling: ");
            assert!(done(env).is_empty(), "signal {signal}: what was done is undone: {finished:?}");
        }
        Effect::Stops => {
            send(&child, signal);
            end(child).status(130).err("stopping at once");
            resumed(env, signal);
        }
        Effect::Dies => {
            kill(child, signal);
            resumed(env, signal);
        }
    }
}

fn resumed(env: &TestEnv, signal: &str) {
    assert_eq!(done(env), ["first"], "signal {signal}: nothing is undone, nothing more is done");
    open_gate(env);
    env.run(&["resume", &env.newest_run()]).status(0);
    assert_eq!(done(env), ["first", "second"], "signal {signal}: nothing is done twice");
}

/// Calls a function for each, on four threads.
fn each<T: Sync>(all: &[T], f: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(one) = all.get(next.fetch_add(1, Ordering::SeqCst)) {
                    f(one);
                }
            });
        }
    });
}

#[test]
fn every_signal_does_to_a_run_what_the_table_says() {
    let numbers: Vec<u32> =
        TABLE.iter().map(|(number, ..)| number.parse().expect("a number")).collect();
    assert_eq!(
        numbers,
        (1..=31).chain([34, 64]).collect::<Vec<_>>(),
        "every signal is in the table"
    );
    each(TABLE, |(number, _, effect)| sent(&prepared(), &["exec", "r.toml"], number, *effect));
}

/// Every signal, and what it does to a run.
fn every_signal() -> Vec<(&'static str, Effect)> {
    TABLE.iter().map(|(number, _, effect)| (*number, *effect)).collect()
}

#[test]
fn a_signal_does_to_a_resumed_run_what_it_does_to_a_new_one() {
    each(&every_signal(), |(signal, effect)| {
        let env = prepared();
        let child = env.spawn(&["exec", "r.toml"]);
        wait_for_the_gate(&env, 0);
        kill(child, "KILL");
        sent(&env, &["resume", &env.newest_run()], signal, *effect);
    });
}

#[test]
fn an_undo_outlives_its_terminal_and_is_resumed_after_every_other_signal() {
    each(&every_signal(), |(signal, effect)| {
        let env = prepared();
        open_gate(&env);
        env.run(&["exec", "r.toml"]).status(0);
        let run = env.newest_run();
        // What is being undone waits for the database.
        let lock = database(&env);
        lock.execute_batch("begin immediate").expect("it is free");
        let child = env.spawn(&["undo", &run, "--yes"]);
        wait_for("the undo has begun", || undo_began(&env));
        send(&child, signal);
        if *effect == Effect::Dies {
            kill(child, signal);
            lock.execute_batch("rollback").expect("it was begun");
        } else {
            lock.execute_batch("rollback").expect("it was begun");
            // After a signal that stops a process.
            send(&child, "CONT");
            let finished = end(child);
            if *effect == Effect::GoesOn {
                assert_eq!(finished.status, 0, "signal {signal}: {finished:?}");
                assert_eq!(done(&env), ["second"], "signal {signal}");
                return;
            }
            assert!([0, 7, 130, 143].contains(&finished.status), "signal {signal}: {finished:?}");
        }
        // Whatever it left, a person finishes by the commands that it names.
        if done(&env) != ["second"] {
            let shown = env.run(&["show", &run]).stdout;
            let command = if shown.contains("DIRTY") { "undo" } else { "resume" };
            let arguments =
                if command == "undo" { vec!["undo", &run, "--yes"] } else { vec!["resume", &run] };
            let finished = env.run(&arguments);
            assert_eq!(done(&env), ["second"], "signal {signal}: {shown}\n{finished:?}");
        }
    });
}

fn undo_began(env: &TestEnv) -> bool {
    let found = texts(
        env,
        ".local/state/runbook/journal.db",
        "select event from events where event like '%\"undo-started\"%'",
    );
    !found.is_empty()
}

#[test]
fn checks_end_with_their_terminal_and_an_interrupted_round_is_unknown() {
    each(&every_signal(), |(signal, effect)| {
        let env = prepared();
        let mut child = env.spawn(&["check", "checks.toml", "--events", "events.jsonl"]);
        wait_for("the check looks", || {
            std::fs::read_to_string(env.path().join("events.jsonl"))
                .is_ok_and(|text| text.contains("attempt-started"))
        });
        match effect {
            Effect::Dies => kill(child, signal),
            Effect::GoesOn if *signal != "1" => {
                send(&child, signal);
                send(&child, "CONT");
                open_gate(&env);
                end(child).status(0);
            }
            Effect::GoesOn | Effect::Ends(_) | Effect::Stops => {
                send(&child, signal);
                wait_for("it ends", || child.try_wait().expect("it is ours").is_some());
                end(child).status(3);
            }
        }
    });
}

#[test]
fn the_documented_table_of_signals_is_the_tested_one() {
    let text =
        std::fs::read_to_string(repository().join("docs/semantics.md")).expect("it is there");
    for (_, name, effect) in TABLE {
        let row =
            text.lines().find(|line| line.starts_with('|') && line.contains(&format!("`{name}`")));
        let row = row.unwrap_or_else(|| panic!("{name} is not in docs/semantics.md"));
        let words = match effect {
            Effect::GoesOn => "goes on",
            Effect::Ends(130) => "exit code 130",
            Effect::Ends(_) => "exit code 143",
            Effect::Stops => "stops at once",
            Effect::Dies => "killed",
        };
        assert!(row.contains(words), "{name}: `{words}` is not in: {row}");
    }
}
