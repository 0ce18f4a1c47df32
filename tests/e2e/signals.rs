//! Every signal is sent to a run in progress. Its effect is read from the database, not from the
//! output.

use crate::{home, query_texts, repository};
use runbook_tests::env::{ProgramOutput, TestEnv, finish};
use runbook_tests::running::RunningProgram;
use runbook_tests::{send, wait_for};
use rusqlite::Connection;
use std::sync::atomic::{AtomicUsize, Ordering};

/// An effect, a probe that polls until the test opens the gate, and another effect.
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
enum SignalEffect {
    /// None: the run continues to its end.
    Continue,
    /// The run is cancelled and undone, with this exit status.
    Cancel(i32),
    /// The program stops at once, and the run can be resumed to its end.
    StopAtOnce,
    /// The program is killed as by a crash, and the run can be resumed to its end.
    Kill,
}

/// The effect of each signal as in docs/semantics.md: number, name, effect.
const TABLE: &[(&str, &str, SignalEffect)] = &[
    ("1", "SIGHUP", SignalEffect::Continue),
    ("2", "SIGINT", SignalEffect::Cancel(130)),
    ("3", "SIGQUIT", SignalEffect::StopAtOnce),
    ("4", "SIGILL", SignalEffect::Kill),
    ("5", "SIGTRAP", SignalEffect::Kill),
    ("6", "SIGABRT", SignalEffect::Kill),
    ("7", "SIGBUS", SignalEffect::Kill),
    ("8", "SIGFPE", SignalEffect::Kill),
    ("9", "SIGKILL", SignalEffect::Kill),
    ("10", "SIGUSR1", SignalEffect::Continue),
    ("11", "SIGSEGV", SignalEffect::Kill),
    ("12", "SIGUSR2", SignalEffect::Continue),
    ("13", "SIGPIPE", SignalEffect::Continue),
    ("14", "SIGALRM", SignalEffect::Cancel(143)),
    ("15", "SIGTERM", SignalEffect::Cancel(143)),
    ("16", "SIGSTKFLT", SignalEffect::Cancel(143)),
    ("17", "SIGCHLD", SignalEffect::Continue),
    ("18", "SIGCONT", SignalEffect::Continue),
    ("19", "SIGSTOP", SignalEffect::Continue),
    ("20", "SIGTSTP", SignalEffect::Continue),
    ("21", "SIGTTIN", SignalEffect::Continue),
    ("22", "SIGTTOU", SignalEffect::Continue),
    ("23", "SIGURG", SignalEffect::Continue),
    ("24", "SIGXCPU", SignalEffect::Cancel(143)),
    ("25", "SIGXFSZ", SignalEffect::Continue),
    ("26", "SIGVTALRM", SignalEffect::Cancel(143)),
    ("27", "SIGPROF", SignalEffect::Cancel(143)),
    ("28", "SIGWINCH", SignalEffect::Continue),
    ("29", "SIGIO", SignalEffect::Cancel(143)),
    ("30", "SIGPWR", SignalEffect::Cancel(143)),
    ("31", "SIGSYS", SignalEffect::Kill),
    ("34", "SIGRTMIN", SignalEffect::Cancel(143)),
    ("64", "SIGRTMAX", SignalEffect::Cancel(143)),
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

/// Lets a run continue that polls the gate.
pub fn open_gate(env: &TestEnv) {
    database(env).execute("insert into gate values (1)", []).expect("good SQL");
}

/// The effects of the run, read from the database.
pub fn done(env: &TestEnv) -> Vec<String> {
    query_texts(env, "work.db", "select what from done order by what")
}

/// Waits until a run has recorded more than `looks` attempts of the step `gate`. The steps before
/// are recorded by then, too.
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

fn end(child: RunningProgram) -> ProgramOutput {
    finish(child.wait_with_output().expect("it ends"))
}

/// Sends the signal until the program has ended. The handler for traps of guests consumes the first
/// one.
fn kill(mut child: RunningProgram, signal: &str) {
    wait_for("the program dies", || {
        let gone = child.try_wait().expect("it is ours").is_some();
        if !gone {
            send(&child, signal);
        }
        gone
    });
}

/// Starts the program with `arguments`, sends a signal while the run polls the gate, and checks the
/// effect.
fn check_signal(env: &TestEnv, arguments: &[&str], signal: &str, effect: SignalEffect) {
    let looks = looks_at_the_gate(env);
    let child = env.spawn(arguments);
    wait_for_the_gate(env, looks);
    assert_eq!(done(env), ["first"], "signal {signal}");
    match effect {
        SignalEffect::Continue => {
            send(&child, signal);
            send(&child, "CONT");
            open_gate(env);
            let finished = end(child).status(0);
            assert_eq!(done(env), ["first", "second"], "signal {signal}: {finished:?}");
        }
        SignalEffect::Cancel(status) => {
            send(&child, signal);
            let finished = end(child).status(status).err("cancelling: ");
            assert!(done(env).is_empty(), "signal {signal}: what was done is undone: {finished:?}");
        }
        SignalEffect::StopAtOnce => {
            send(&child, signal);
            end(child).status(130).err("stopping at once");
            resume_and_check(env, signal);
        }
        SignalEffect::Kill => {
            kill(child, signal);
            resume_and_check(env, signal);
        }
    }
}

fn resume_and_check(env: &TestEnv, signal: &str) {
    assert_eq!(done(env), ["first"], "signal {signal}: nothing is undone, nothing more is done");
    open_gate(env);
    env.run(&["resume", &env.newest_run()]).status(0);
    assert_eq!(done(env), ["first", "second"], "signal {signal}: nothing is done twice");
}

/// Calls a function for each item, on four threads.
fn for_each_in_parallel<T: Sync>(all: &[T], f: impl Fn(&T) + Sync) {
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
fn every_signal_has_the_documented_effect_on_a_run() {
    let numbers: Vec<u32> =
        TABLE.iter().map(|(number, ..)| number.parse().expect("a number")).collect();
    assert_eq!(
        numbers,
        (1..=31).chain([34, 64]).collect::<Vec<_>>(),
        "every signal is in the table"
    );
    for_each_in_parallel(TABLE, |(number, _, effect)| {
        check_signal(&prepared(), &["exec", "r.toml"], number, *effect);
    });
}

/// The number and the effect of every signal.
fn every_signal() -> Vec<(&'static str, SignalEffect)> {
    TABLE.iter().map(|(number, _, effect)| (*number, *effect)).collect()
}

#[test]
fn every_signal_has_the_same_effect_on_a_resumed_run() {
    for_each_in_parallel(&every_signal(), |(signal, effect)| {
        let env = prepared();
        let child = env.spawn(&["exec", "r.toml"]);
        wait_for_the_gate(&env, 0);
        kill(child, "KILL");
        check_signal(&env, &["resume", &env.newest_run()], signal, *effect);
    });
}

#[test]
fn an_undo_outlives_its_terminal_and_is_resumed_after_every_other_signal() {
    for_each_in_parallel(&every_signal(), |(signal, effect)| {
        let env = prepared();
        open_gate(&env);
        env.run(&["exec", "r.toml"]).status(0);
        let run = env.newest_run();
        // The undo waits for this lock on the database.
        let lock = database(&env);
        lock.execute_batch("begin immediate").expect("it is free");
        let child = env.spawn(&["undo", &run, "--yes"]);
        wait_for("the undo has begun", || undo_began(&env));
        send(&child, signal);
        if *effect == SignalEffect::Kill {
            kill(child, signal);
            lock.execute_batch("rollback").expect("it was begun");
        } else {
            lock.execute_batch("rollback").expect("it was begun");
            // Continues a process that the signal has stopped.
            send(&child, "CONT");
            let finished = end(child);
            if *effect == SignalEffect::Continue {
                assert_eq!(finished.status, 0, "signal {signal}: {finished:?}");
                assert_eq!(done(&env), ["second"], "signal {signal}");
                return;
            }
            assert!([0, 7, 130, 143].contains(&finished.status), "signal {signal}: {finished:?}");
        }
        // An unfinished undo can be finished by the command that `show` names.
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
    let found = query_texts(
        env,
        ".local/state/runbook/journal.db",
        "select event from events where event like '%\"undo-started\"%'",
    );
    !found.is_empty()
}

#[test]
fn checks_end_with_their_terminal_and_an_interrupted_round_is_unknown() {
    for_each_in_parallel(&every_signal(), |(signal, effect)| {
        let env = prepared();
        let mut child = env.spawn(&["check", "checks.toml", "--events", "events.jsonl"]);
        wait_for("the check looks", || {
            std::fs::read_to_string(env.path().join("events.jsonl"))
                .is_ok_and(|text| text.contains("attempt-started"))
        });
        match effect {
            SignalEffect::Kill => kill(child, signal),
            SignalEffect::Continue if *signal != "1" => {
                send(&child, signal);
                send(&child, "CONT");
                open_gate(&env);
                end(child).status(0);
            }
            SignalEffect::Continue | SignalEffect::Cancel(_) | SignalEffect::StopAtOnce => {
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
            SignalEffect::Continue => "goes on",
            SignalEffect::Cancel(130) => "exit code 130",
            SignalEffect::Cancel(_) => "exit code 143",
            SignalEffect::StopAtOnce => "stops at once",
            SignalEffect::Kill => "killed",
        };
        assert!(row.contains(words), "{name}: `{words}` is not in: {row}");
    }
}
