//! The emergency runbook against a real PostgreSQL and a real Docker engine.

use crate::{home, repository};
use runbook_tests::docker::App;
use runbook_tests::env::TestEnv;
use runbook_tests::http::Receiver;
use runbook_tests::kill_point_stride;
use runbook_tests::postgres::{PASSWORD, Postgres, programs};
use std::process::Command;

/// A stuck database, an application in a container, a webhook, and the runbook bound to them.
struct Emergency {
    env: TestEnv,
    postgres: Postgres,
    app: App,
    ops: Receiver,
}

impl Emergency {
    fn new(name: &str) -> Self {
        let (env, postgres, app, ops) =
            (home(), Postgres::start(2_000), App::start(name), Receiver::start());
        let text = std::fs::read_to_string(repository().join("runbooks/emergency-db.toml"))
            .expect("the runbook ships");
        env.file("emergency-db.toml", &text);
        std::fs::create_dir(env.path().join("backups")).expect("a folder can be made");
        env.run(&["secret", "keygen"]).status(0);
        env.run_with_input(&["secret", "set", "secrets/prod.age#orders-db"], PASSWORD).status(0);
        let emergency = Self { env, postgres, app, ops };
        emergency.targets(emergency.app.port);
        emergency
    }

    /// Writes the targets of the test. `api_port` is the port of the health check.
    fn targets(&self, api_port: u16) {
        let pg_dump = programs().join("pg_dump");
        let text = format!(
            "format = 1\n[targets.orders]\nsql = \"postgres://orders_admin@127.0.0.1:{}/orders\"\n\
             password = \"secret:db-password\"\n[targets.pg-dump]\nprocess = \"{}\"\n\
             arguments = [\"--format=plain\", \"--no-password\"]\nconnection = \"orders\"\n\
             [targets.backups]\nfiles = \"backups\"\naccess = \"write\"\n[targets.app]\n\
             docker = {{ name = \"{}\" }}\n[targets.api]\nhttp = \"http://127.0.0.1:{api_port}\"\n\
             [targets.ops]\nhttp = \"http://127.0.0.1:{}/hooks/ops\"\n",
            self.postgres.port,
            pg_dump.display(),
            self.app.name,
            self.ops.port
        );
        self.env.file("targets.e2e.toml", &text);
    }

    fn exec(&self, more: &[&str]) -> runbook_tests::env::ProgramOutput {
        self.env.run(
            &[&["exec", "emergency-db.toml", "--env", "e2e", "--set", "incident=INC-42"], more]
                .concat(),
        )
    }

    fn backups(&self) -> Vec<std::path::PathBuf> {
        let entries =
            std::fs::read_dir(self.env.path().join("backups")).expect("the folder is there");
        entries.map(|entry| entry.expect("listed").path()).collect()
    }

    fn messages(&self) -> Vec<String> {
        self.ops.received().into_iter().map(|request| request.body).collect()
    }
}

#[test]
fn the_emergency_runs_end_to_end() {
    let emergency = Emergency::new("main");
    let mut sleeper = emergency.postgres.sleeper();
    // A transaction that is never idle, runs only short queries, and locks the table that other
    // sessions and the dump need.
    let script = "begin;\nlock table orders in access exclusive mode;\nselect 1 \\watch 0.3\n";
    let mut chatty = emergency.postgres.named_session("billing-worker", script);
    let holds = "select count(*) from pg_locks where mode = 'AccessExclusiveLock' and granted and \
                 relation = 'orders'::regclass";
    runbook_tests::wait_for("the table is locked", || {
        emergency.postgres.psql("orders", holds) == "1"
    });
    let mut waiter = emergency.postgres.session("select count(*) from orders");
    let waits = "select count(distinct pid) from pg_locks where not granted";
    runbook_tests::wait_for("somebody waits", || emergency.postgres.psql("orders", waits) == "1");
    emergency
        .postgres
        .wait_until_older_than_a_second("pid in (select pid from pg_locks where not granted)");
    let started = emergency.app.started_at();
    emergency
        .exec(&["--set", "max_query_age=1s"])
        .status(0)
        .out("Succeeded. Everything was done.")
        .out("1 terminated, for which 1 waited")
        .out("terminate       done")
        .without(PASSWORD);
    assert!(emergency.app.answers(), "the application serves again");
    assert_ne!(emergency.app.started_at(), started, "it was stopped and started");
    assert!(!sleeper.wait().expect("psql ends").success(), "the old query was terminated");
    assert!(!chatty.wait().expect("psql ends").success(), "the blocker was terminated");
    assert!(waiter.wait().expect("psql ends").success(), "who waited was served");
    let messages = emergency.messages();
    assert!(
        messages.len() == 2 && messages[0].contains("INC-42") && messages[1].contains("is done"),
        "{messages:?}"
    );
    assert_eq!(emergency.ops.received()[0].line, "POST /hooks/ops");
    let vacuumed = emergency.postgres.psql(
        "orders",
        "select last_vacuum is not null or vacuum_count > 0 from pg_stat_user_tables where relname \
         = 'orders'",
    );
    assert_eq!(vacuumed, "t");
    check_backup_restores(&emergency);
    check_password_is_not_on_disk(&emergency);
}

/// Checks that the dump can be decompressed and restored into another database with the same rows.
fn check_backup_restores(emergency: &Emergency) {
    let backups = emergency.backups();
    assert_eq!(backups.len(), 1, "{backups:?}");
    let plain = Command::new("zstd").args(["-dc"]).arg(&backups[0]).output().expect("zstd runs");
    assert!(plain.status.success());
    emergency.postgres.psql("postgres", "create database restored");
    emergency.env.file("dump.sql", &String::from_utf8_lossy(&plain.stdout));
    let file = emergency.env.path().join("dump.sql");
    let restored = emergency
        .postgres
        .client("psql")
        .args(["-Xq", "-v", "ON_ERROR_STOP=1", "-d", "restored", "-f"])
        .arg(&file)
        .output()
        .expect("psql runs");
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    assert_eq!(
        emergency.postgres.psql("restored", "select count(*), sum(amount) from orders"),
        emergency.postgres.psql("orders", "select count(*), sum(amount) from orders")
    );
}

/// Checks that the password is neither in the journal nor in the audit log.
fn check_password_is_not_on_disk(emergency: &Emergency) {
    let mut folders = vec![emergency.env.path().join(".local/state/runbook")];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("the journal is there") {
            let path = entry.expect("listed").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            let bytes = std::fs::read(&path).expect("readable");
            let found = bytes.windows(PASSWORD.len()).any(|window| window == PASSWORD.as_bytes());
            assert!(!found, "the password is in {}", path.display());
        }
    }
    assert!(files >= 3, "journal, chain of the host, chain of the run: {files}");
}

#[test]
fn a_dry_run_shows_what_would_happen_and_touches_nothing() {
    let emergency = Emergency::new("dry");
    let started = emergency.app.started_at();
    emergency
        .exec(&["--dry-run"])
        .status(0)
        .out("docker.stop: stop")
        .out("process.run: dump the database")
        .out("known only at run time");
    assert_eq!(emergency.app.started_at(), started);
    assert!(emergency.backups().is_empty() && emergency.messages().is_empty());
}

#[test]
fn a_step_that_fails_leaves_the_application_running_and_is_announced() {
    let emergency = Emergency::new("fails");
    // No server listens on that port, so the health check never passes.
    emergency.targets(runbook_tests::free_port());
    let text =
        emergency.env.read("emergency-db.toml").replace("within = \"2m\"", "within = \"2s\"");
    emergency.env.file("emergency-db.toml", &text);
    emergency.exec(&[]).status(1).err("undoing 2 steps").out("observed to be as before");
    assert_eq!(
        emergency.app.state(),
        "running",
        "the application is never left stopped by accident"
    );
    let messages = emergency.messages();
    assert!(messages.last().is_some_and(|message| message.contains("undone")), "{messages:?}");
}

#[test]
fn a_backup_that_fails_starts_the_application_again() {
    let emergency = Emergency::new("backup");
    let targets = emergency
        .env
        .read("targets.e2e.toml")
        .replace("/orders\"\npassword", "/nowhere\"\npassword");
    emergency.env.file("targets.e2e.toml", &targets);
    // The database of the connection does not exist, so the preflight fails before any change.
    emergency.exec(&[]).status(4).out("No step had changed anything");
    assert_eq!(emergency.app.state(), "running");
    assert!(emergency.messages().iter().all(|message| !message.contains("starts")));
}

#[test]
fn the_emergency_killed_in_the_dump_is_resumed_and_no_step_runs_twice() {
    let emergency = Emergency::new("kill");
    // The dump waits for a lock that another session holds, so there is time to kill the program in
    // it.
    let mut holder = emergency
        .postgres
        .client("psql")
        .args([
            "-XAt",
            "-d",
            "orders",
            "-c",
            "begin; lock table orders in access exclusive mode; select pg_sleep(600)",
        ])
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("psql runs");
    let holds = "select count(*) from pg_locks where mode = 'AccessExclusiveLock' and granted and \
                 relation = 'orders'::regclass";
    runbook_tests::wait_for("the table is locked", || {
        emergency.postgres.psql("orders", holds) == "1"
    });
    let mut child = emergency.env.spawn(&[
        "exec",
        "emergency-db.toml",
        "--env",
        "e2e",
        "--set",
        "incident=INC-42",
        "--set",
        "max_query_age=1h",
    ]);
    runbook_tests::wait_for("the application is stopped", || emergency.app.state() == "exited");
    let waits = "select count(distinct pid) from pg_locks where not granted";
    runbook_tests::wait_for("the dump waits for the table", || {
        emergency.postgres.psql("orders", waits) == "1"
    });
    child.kill().expect("the program can be killed");
    child.wait().expect("the program ends");
    holder.kill().expect("psql can be killed");
    holder.wait().expect("psql ends");
    emergency.postgres.psql(
        "postgres",
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = 'orders' and pid \
         <> pg_backend_pid()",
    );
    let runs = emergency.env.run(&["runs"]).status(0).stdout;
    let run = runs.split_whitespace().next().expect("there is a run").to_owned();
    emergency.env.run(&["resume", &run]).status(0).out("Succeeded. Everything was done.");
    assert!(emergency.app.answers());
    assert_eq!(emergency.backups().len(), 1, "one whole backup: {:?}", emergency.backups());
    let starts = emergency.messages().iter().filter(|message| message.contains("starts")).count();
    assert_eq!(starts, 1, "the first announcement was not sent again");
}

/// How many records a journal has.
fn records(emergency: &Emergency, journal: &str) -> i64 {
    let path = emergency.env.path().join(journal);
    let Ok(journal) =
        rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)
    else {
        return 0;
    };
    journal.query_row("select count(*) from events", [], |row| row.get(0)).unwrap_or(0)
}

/// Resumes a run to its end. If the outcome of a step is unknown, this decides as an operator would
/// who looks at the messages that were sent.
fn resume_to_the_end(
    emergency: &Emergency,
    journal: &str,
    n_messages_before: usize,
) -> runbook_tests::env::ProgramOutput {
    let runs = emergency.env.run(&["--journal", journal, "runs"]).status(0).stdout;
    let run = runs.split_whitespace().next().expect("there is a run").to_owned();
    let mut decision: Option<String> = None;
    for _ in 0..4 {
        // Earlier decisions are recorded, so only the new one is given.
        let decide: Vec<&str> =
            decision.iter().flat_map(|decision| ["--decide", decision.as_str()]).collect();
        let resumed =
            emergency.env.run(&[&["--journal", journal, "resume", &run], &decide[..]].concat());
        if resumed.status != 5 {
            return resumed;
        }
        let steps = ["announce-start", "announce-end", "terminate", "vacuum", "backup"];
        let step = steps
            .into_iter()
            .find(|step| resumed.stderr.contains(&format!("{step}=not-done")))
            .unwrap_or_else(|| {
                panic!("which step is unknown?\n{}\n{}", resumed.stdout, resumed.stderr);
            });
        let told = emergency.messages().len() - n_messages_before;
        let has_happened = match step {
            "announce-start" => told >= 1,
            "announce-end" => told >= 2,
            _ => false,
        };
        let again =
            if resumed.stderr.contains(&format!("{step}=retry")) { "retry" } else { "not-done" };
        decision = Some(format!("{step}={}", if has_happened { "done" } else { again }));
    }
    panic!("the run waits for ever");
}

#[test]
fn the_emergency_killed_anywhere_ends_as_without_a_kill() {
    let emergency = Emergency::new("killed");
    emergency.exec(&["--journal", "whole.db"]).status(0);
    let n_records = records(&emergency, "whole.db");
    assert!(n_records > 25, "{n_records} records");
    for stop in (1..n_records).step_by(kill_point_stride()) {
        for backup in emergency.backups() {
            std::fs::remove_file(backup).expect("removable");
        }
        let journal = format!("killed-{stop}.db");
        let n_messages_before = emergency.messages().len();
        let arguments = [
            "--journal",
            &journal,
            "exec",
            "emergency-db.toml",
            "--env",
            "e2e",
            "--set",
            "incident=INC-42",
        ];
        let mut command = emergency.env.command(&arguments);
        let killed = command
            .env("RUNBOOK_TEST_KILL", format!("record:{stop}"))
            .output()
            .expect("the program starts");
        assert!(
            killed.status.code().is_none(),
            "record {stop}: {}",
            String::from_utf8_lossy(&killed.stderr)
        );
        let resumed = resume_to_the_end(&emergency, &journal, n_messages_before);
        assert_eq!(resumed.status, 0, "record {stop}\n{}\n{}", resumed.stdout, resumed.stderr);
        runbook_tests::wait_for("the application serves", || emergency.app.answers());
        let backups = emergency.backups();
        assert!(
            backups.len() == 1 && backups[0].to_string_lossy().ends_with(".zst"),
            "record {stop}: {backups:?}"
        );
        let whole = Command::new("zstd").arg("-t").arg(&backups[0]).output().expect("zstd runs");
        assert!(
            whole.status.success(),
            "record {stop}: {}",
            String::from_utf8_lossy(&whole.stderr)
        );
        let messages = emergency.messages().split_off(n_messages_before);
        assert!(messages.len() == 2 && messages[0] != messages[1], "record {stop}: {messages:?}");
    }
    // The lock is free again, and the audit log of all these processes verifies.
    emergency.exec(&["--journal", "whole.db"]).status(0);
    emergency.env.run(&["audit", "verify"]).status(0);
}

#[test]
fn a_container_is_restarted_by_a_step() {
    let app = App::start("restart");
    let env = home();
    env.file(
        "r.toml",
        &format!(
            "format = 1\n[runbook]\nname = \"restart\"\n[targets.app]\n\
             docker = {{ name = \"{}\" }}\n[[step]]\nid = \"again\"\nuses = \"docker:restart\"\n\
             bind.container = \"app\"\nirreversible = \"it serves again\"\n",
            app.name
        ),
    );
    let started = app.started_at();
    env.run(&["exec", "--dry-run", "r.toml"]).status(0);
    assert_eq!(app.started_at(), started, "a dry run restarts nothing");
    env.run(&["exec", "r.toml"]).status(0);
    assert_ne!(app.started_at(), started);
    runbook_tests::wait_for("the application serves", || app.answers());
}
