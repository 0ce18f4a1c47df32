//! Locks between processes that cannot see each other, and of processes that are stopped: the
//! effects of two holders never overlap.

use crate::{home, query_texts};
use runbook_tests::env::{ProgramOutput, TestEnv, finish, first_run};
use runbook_tests::postgres::Postgres;
use runbook_tests::running::RunningProgram;
use runbook_tests::wait_for;
use rustix::process::{Pid, Signal, kill_process};
use std::process::{Command, Stdio};

/// Two effects under a lock. [`WAIT`] can be inserted between them.
const RUNBOOK: &str = r#"
format = 1
[runbook]
name = "locked"
[params.who]
type = "string"
required = true
[targets.db]
sql = "sqlite:work.db"
[locks]
exclusive = ["thing"]
[[step]]
id = "first"
uses = "sql:transaction"
bind.db = "db"
with.statements = ["insert into effects values ('{{ params.who }} first')"]
irreversible = "counted"
[[step]]
id = "second"
uses = "sql:transaction"
bind.db = "db"
with.statements = ["insert into effects values ('{{ params.who }} second')"]
irreversible = "counted"
"#;

const WAIT: &str = r#"
[[step]]
id = "wait"
uses = "sql:query"
bind.db = "db"
with = { statement = "select name from said", row_count = 1 }
until = "outcome == 'pass'"
every = "100ms"
within = "120s"
"#;

/// The duration of leases in these tests, in milliseconds: short enough to wait for, and long
/// enough for a busy machine to renew them.
const SHORT_LEASE_MS: &str = "3000";

fn prepared(wait: &str) -> TestEnv {
    let env = home();
    let (before, after) = RUNBOOK.split_at(RUNBOOK.rfind("[[step]]").expect("two steps"));
    env.file("r.toml", &format!("{before}{wait}{after}"));
    database(&env)
        .execute_batch("create table effects (name text not null); create table said (name text)")
        .expect("good SQL");
    env
}

fn database(env: &TestEnv) -> rusqlite::Connection {
    let database =
        rusqlite::Connection::open(env.path().join("work.db")).expect("a database can be made");
    database.busy_timeout(std::time::Duration::from_secs(5)).expect("it can wait");
    database
}

fn effects(env: &TestEnv) -> Vec<String> {
    query_texts(env, "work.db", "select name from effects order by rowid")
}

/// The journals that two operators share.
fn journals(postgres: &Postgres, name: &str) -> [(&'static str, String); 2] {
    [("SQLite", "shared.db".to_owned()), ("PostgreSQL", postgres.database(name))]
}

fn run(env: &TestEnv, journal: &str, arguments: &[&str]) -> ProgramOutput {
    finish(
        env.command(arguments)
            .env("RUNBOOK_JOURNAL", journal)
            .output()
            .expect("the program starts"),
    )
}

/// The program in its own pid namespace on the same machine, as in a container.
fn command_in_pid_namespace(env: &TestEnv, journal: &str, arguments: &[&str]) -> Command {
    let plain = env.command(arguments);
    let mut command = Command::new("unshare");
    command
        .args(["--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(plain.get_program())
        .args(arguments);
    command.env_clear().current_dir(env.path()).stdin(Stdio::null());
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("RUNBOOK_JOURNAL", journal).env("RUNBOOK_TEST_LEASE_MS", SHORT_LEASE_MS);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Both processes have the same host name and pid, and neither can see the other.
#[test]
fn an_operator_in_another_pid_namespace_takes_no_lock_and_no_run_of_a_live_process() {
    let postgres = Postgres::start(1);
    for (name, journal) in journals(&postgres, "namespaces") {
        let env = prepared(WAIT);
        let mut first = RunningProgram::start(&mut command_in_pid_namespace(
            &env,
            &journal,
            &["exec", "r.toml", "--set", "who=a"],
        ));
        wait_for("the first effect", || effects(&env) == ["a first"]);
        let second = || {
            finish(
                command_in_pid_namespace(&env, &journal, &["exec", "r.toml", "--set", "who=b"])
                    .output()
                    .expect("it starts"),
            )
        };
        second().status(6).out("lock `thing` is held by run");
        wait_for("the run is recorded", || {
            run(&env, &journal, &["runs"]).stdout.contains("running")
        });
        let runs = run(&env, &journal, &["runs"]).status(0);
        let line = runs
            .stdout
            .lines()
            .find(|line| line.contains("running"))
            .expect("a run goes on")
            .to_owned();
        let id = line.split_whitespace().next().expect("an id").to_owned();
        finish(
            command_in_pid_namespace(&env, &journal, &["resume", &id]).output().expect("it starts"),
        )
        .status(6)
        .err("is executed by process")
        .err("its lease ends in")
        .err(&format!("then `runbook resume {id} --journal "))
        .without("kill");
        // The namespace of the test cannot resume it either. A cancel reaches the process through
        // the journal.
        run(&env, &journal, &["resume", &id]).status(6);
        assert_eq!(effects(&env), ["a first"], "{name}: nothing of the second operator happened");
        run(&env, &journal, &["cancel", &id]).status(0).err("was asked to end run");
        wait_for("it ends", || first.try_wait().expect("it can be asked").is_some());
        let output = finish(first.wait_with_output().expect("it has ended"));
        output.err("cancels the run");
        database(&env).execute("insert into said values ('go')", []).expect("it can be written");
        second().status(0);
        assert_eq!(effects(&env), ["a first", "b first", "b second"], "{name}");
    }
}

/// A dead process of another namespace cannot be distinguished from a live one, so its lock is free
/// only when its lease ends.
#[test]
fn the_lock_of_a_dead_operator_in_another_pid_namespace_is_free_when_its_lease_ends() {
    let env = prepared(WAIT);
    let mut first = RunningProgram::start(&mut command_in_pid_namespace(
        &env,
        "shared.db",
        &["exec", "r.toml", "--set", "who=a"],
    ));
    wait_for("the first effect", || effects(&env) == ["a first"]);
    wait_for("it is recorded", || run(&env, "shared.db", &["runs"]).stdout.contains("running"));
    let id = first_run(&run(&env, "shared.db", &["runs"]));
    wait_for("it is recorded", || {
        run(&env, "shared.db", &["show", &id]).stdout.contains("✓ first")
    });
    first.kill().expect("it runs");
    first.wait().expect("it ends");
    wait_for("its lease ends", || run(&env, "shared.db", &["runs"]).stdout.contains("interrupted"));
    run(&env, "shared.db", &["show", &id])
        .status(0)
        .out("interrupted")
        .out(&format!("runbook resume {id}"));
    database(&env).execute("insert into said values ('go')", []).expect("it can be written");
    run(&env, "shared.db", &["resume", &id]).status(0);
    assert_eq!(effects(&env), ["a first", "a second"]);
}

/// A run whose process is stopped at a failpoint, as by Ctrl-Z or on a machine that sleeps.
struct StoppedRun {
    env: TestEnv,
    journal: String,
    failpoint: String,
    child: RunningProgram,
    run: String,
}

impl StoppedRun {
    fn at(failpoint: String, journal: String) -> Self {
        let env = prepared("");
        let mut command = env.command(&["exec", "r.toml", "--set", "who=a"]);
        command
            .env("RUNBOOK_JOURNAL", &journal)
            .env("RUNBOOK_TEST_STOP", &failpoint)
            .env("RUNBOOK_TEST_LEASE_MS", SHORT_LEASE_MS);
        let child = RunningProgram::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
        wait_for(&format!("{failpoint}: it is stopped"), || child.is_stopped());
        let run = first_run(&run(&env, &journal, &["runs"]));
        Self { env, journal, failpoint, child, run }
    }

    /// Continues the process, and waits until it ends.
    fn continue_to_end(self) -> (TestEnv, String, String, ProgramOutput) {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a process has a pid");
        kill_process(pid, Signal::CONT).expect("it runs");
        let output = finish(self.child.wait_with_output().expect("it ends"));
        (self.env, self.journal, self.run, output)
    }
}

/// Every failpoint at which the program can be stopped: after each record, and before and after
/// each host call.
fn stop_points() -> Vec<String> {
    let env = prepared("");
    run(&env, "shared.db", &["exec", "r.toml", "--set", "who=a"]).status(0);
    let n_records: i64 = rusqlite::Connection::open(env.path().join("shared.db"))
        .and_then(|journal| journal.query_row("select count(*) from events", [], |row| row.get(0)))
        .expect("the journal is there");
    let records = (1..n_records).map(|n| format!("record:{n}"));
    // Each of the two steps asks which database it is, and changes it.
    records.chain((1..=2).flat_map(|n| [format!("entered:{n}"), format!("returned:{n}")])).collect()
}

/// Resumes a run to its end; an unknown outcome is decided by the observed state.
fn resume_to_end(env: &TestEnv, journal: &str, run_id: &str) -> ProgramOutput {
    let mut finished = run(env, journal, &["resume", run_id]);
    for _ in 0..2 {
        if finished.status != 5 {
            break;
        }
        let step = if finished.stderr.contains("`second`") { "second" } else { "first" };
        let is_done = effects(env).iter().any(|effect| *effect == format!("a {step}"));
        let decision = format!("{step}={}", if is_done { "done" } else { "retry" });
        finished = run(env, journal, &["resume", run_id, "--decide", &decision]);
    }
    finished
}

#[test]
fn a_run_stopped_beyond_its_lease_does_nothing_after_another_run_took_its_lock() {
    let postgres = Postgres::start(1);
    for (index, failpoint) in stop_points().into_iter().enumerate() {
        for (name, journal) in journals(&postgres, &format!("lock_{index}")) {
            let stopped = StoppedRun::at(failpoint.clone(), journal);
            let (env, failpoint) = (&stopped.env, &stopped.failpoint);
            let before = effects(env);
            // Until the lease ends, the lock is busy: the process exists and may continue.
            wait_for("the lease ends", || {
                run(env, &stopped.journal, &["exec", "r.toml", "--set", "who=b"]).status == 0
            });
            let of_b = ["b first".to_owned(), "b second".to_owned()];
            let both: Vec<String> = before.into_iter().chain(of_b).collect();
            assert_eq!(effects(env), both, "{name} {failpoint}");
            let failpoint = failpoint.clone();
            let (env, journal, id, output) = stopped.continue_to_end();
            // A run that was stopped before it had the lock takes it now. A run that had completed
            // its effects before it was stopped ends normally.
            let had_lock = failpoint != "record:1";
            if had_lock && output.status != 0 {
                assert_eq!(effects(&env), both, "{name} {failpoint}: {output:?}");
                assert_eq!(output.status, 5, "{name} {failpoint}: {output:?}");
                let said = format!("{}{}", output.stdout, output.stderr);
                assert!(
                    said.contains("the lease on lock `thing` was lost"),
                    "{name} {failpoint}: {said}"
                );
                let finished = resume_to_end(&env, &journal, &id);
                assert_eq!(finished.status, 0, "{name} {failpoint}: {finished:?}");
            }
            let after = effects(&env);
            let of_a: Vec<&String> =
                after.iter().filter(|effect| effect.starts_with('a')).collect();
            assert_eq!(of_a, ["a first", "a second"], "{name} {failpoint}: each once: {after:?}");
            let at =
                |effect: &str| after.iter().position(|done| done == effect).expect("it happened");
            assert_eq!(
                at("b second"),
                at("b first") + 1,
                "{name} {failpoint}: nothing between: {after:?}"
            );
        }
    }
}

#[test]
fn a_run_stopped_beyond_its_lease_does_nothing_after_another_process_resumed_it() {
    let postgres = Postgres::start(1);
    for (index, failpoint) in stop_points().into_iter().enumerate() {
        for (name, journal) in journals(&postgres, &format!("run_{index}")) {
            let stopped = StoppedRun::at(failpoint.clone(), journal);
            let (env, journal) = (&stopped.env, &stopped.journal);
            wait_for("the lease ends", || run(env, journal, &["resume", &stopped.run]).status != 6);
            let finished = resume_to_end(env, journal, &stopped.run);
            let is_over = finished.status == 0 || finished.stderr.contains("has ended");
            assert!(is_over, "{name} {failpoint}: {finished:?}");
            let done = effects(env);
            let shown = run(env, journal, &["show", &stopped.run]).status(0).stdout;
            let (env, journal, id, output) = stopped.continue_to_end();
            assert_eq!(effects(&env), done, "{name} {failpoint}: {output:?}");
            assert_eq!(done, ["a first", "a second"], "{name} {failpoint}");
            output.status(5).err("is not executed here any more").err("runbook show");
            assert_eq!(
                run(&env, &journal, &["show", &id]).stdout,
                shown,
                "{name} {failpoint}: nothing was written"
            );
        }
    }
}

/// Breaking a lock needs a reason. The run that held it has no further effect and reports why.
#[test]
fn a_run_whose_lock_was_broken_begins_no_effect() {
    let postgres = Postgres::start(1);
    for (name, journal) in journals(&postgres, "broken") {
        let env = prepared(WAIT);
        run(&env, &journal, &["locks"]).status(0);
        let mut first = RunningProgram::start(
            env.command(&["exec", "r.toml", "--set", "who=a"]).env("RUNBOOK_JOURNAL", &journal),
        );
        wait_for("the first effect", || effects(&env) == ["a first"]);
        let listed = run(&env, &journal, &["locks", "--format", "json"]).status(0).stdout;
        let lock: serde_json::Value = serde_json::from_str(listed.trim()).expect("one lock");
        assert_eq!((&lock["name"], &lock["pid"]), (&"thing".into(), &first.id().into()), "{name}");
        run(&env, &journal, &["locks"]).status(0).out("thing");
        run(&env, &journal, &["locks", "break", "thin", "--reason", "x", "--yes"])
            .status(2)
            .err("did you mean `thing`?");
        run(&env, &journal, &["locks", "break", "thing", "--reason", "the host is gone"])
            .status(2)
            .err("--yes");
        run(
            &env,
            &journal,
            &["locks", "break", "thing", "--reason", "the host is gone\n✓ a done", "--yes"],
        )
        .status(0)
        .err("is free");
        run(&env, &journal, &["locks"]).status(0).err("no lock is held");
        database(&env).execute("insert into said values ('go')", []).expect("it can be written");
        wait_for("it stops", || first.try_wait().expect("it can be asked").is_some());
        assert_eq!(effects(&env), ["a first"], "{name}: nothing was done without the lock");
        let runs = run(&env, &journal, &["runs", "--state", "paused", "--format", "json"])
            .status(0)
            .stdout;
        let id = serde_json::from_str::<serde_json::Value>(runs.trim()).expect("one run")["run"]
            .as_str()
            .expect("an id")
            .to_owned();
        run(&env, &journal, &["show", &id])
            .status(0)
            .err("took the lock `thing` from this run")
            .err("the host is gone")
            .without("\n✓ a done");
        run(&env, &journal, &["exec", "r.toml", "--set", "who=b"]).status(0);
        let other = first_run(&run(&env, &journal, &["runs", "--limit", "1"]).status(0));
        // The run that had the lock in between is named.
        run(&env, &journal, &["resume", &id])
            .status(0)
            .err("a run held it since this run released it")
            .err(&format!("runbook show {other}"));
        assert_eq!(effects(&env), ["a first", "b first", "b second", "a second"], "{name}");
        let audited = env.run(&["audit", "show", &id]).status(0).stdout;
        assert!(
            audited.contains("lock-taken") && audited.contains("the host is gone"),
            "{name}: {audited}"
        );
        env.run(&["audit", "verify"]).status(0);
    }
}

/// If the audit log cannot be written, the lock is not broken.
#[test]
fn no_lock_is_broken_without_a_record_in_the_audit_log() {
    let env = prepared(WAIT);
    let journal = env.path().join("j.db").display().to_string();
    let mut first = RunningProgram::start(
        env.command(&["exec", "r.toml", "--set", "who=a"]).env("RUNBOOK_JOURNAL", &journal),
    );
    wait_for("the first effect", || effects(&env) == ["a first"]);
    env.file("no-folder", "");
    let taken = ["locks", "break", "thing", "--reason", "x", "--yes", "--audit-log", "no-folder"];
    run(&env, &journal, &taken).status(3).err("no lock is taken without the audit log");
    run(&env, &journal, &["locks"]).status(0).out("thing");
    database(&env).execute("insert into said values ('go')", []).expect("it can be written");
    assert!(first.wait().expect("it ends").success());
}
