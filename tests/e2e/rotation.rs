//! `rotate:password` against a real PostgreSQL: what the server, the store and the outputs have at
//! each point, also after the program was killed there.

use crate::home;
use runbook_tests::env::{ProgramOutput, TestEnv, finish, first_run};
use runbook_tests::postgres::{PASSWORD, Postgres};
use runbook_tests::running::RunningProgram;
use runbook_tests::{send, wait_for};
use std::process::{Command, Stdio};

/// A home whose store has the password of `orders_admin`.
fn with_store(postgres: &Postgres) -> TestEnv {
    let env = home();
    env.run(&["secret", "keygen", "--output", "key.txt"]).status(0);
    let set = ["--identity", "key.txt", "secret", "set", "s.age#db"];
    env.run_with_input(&set, PASSWORD).status(0);
    postgres.psql("postgres", &format!("alter role orders_admin password '{PASSWORD}'"));
    env
}

/// A runbook that rotates the password of `orders_admin`, by a role of these targets.
fn runbook(env: &TestEnv, port: u16, source: &str, admin: &str, targets: &str) {
    env.file(
        "r.toml",
        &format!(
            "format = 1\n[runbook]\nname = \"rotate\"\n[secrets.db]\nsource = \"{source}\"\n\
             [targets.orders]\nsql = \"postgres://orders_admin@127.0.0.1:{port}/orders\"\n\
             password = \"secret:db\"\n[targets.word]\nsecret = \"db\"\n{targets}\n[[step]]\n\
             id = \"rotate\"\nuses = \"rotate:password\"\n\
             bind = {{ secret = \"word\", admin = \"{admin}\", login = \"orders\" }}\n\
             undo = \"auto\"\n"
        ),
    );
}

fn run(env: &TestEnv, arguments: &[&str], kill: Option<(&str, u32)>) -> ProgramOutput {
    let mut command = env.command(&[&["--identity", "key.txt"], arguments].concat());
    if let Some((failpoint, number)) = kill {
        command.env("RUNBOOK_TEST_KILL", format!("{failpoint}:{number}"));
    }
    finish(command.output().expect("the program starts"))
}

/// The values that the store keeps: the current one, and that of a rotation.
fn kept_values(env: &TestEnv) -> Vec<String> {
    let age = runbook_tests::program(&["/usr/bin/age", "/usr/local/bin/age"], "age");
    let output = Command::new(age)
        .args(["-d", "-i", "key.txt", "s.age"])
        .current_dir(env.path())
        .output()
        .expect("age runs");
    let text = String::from_utf8(output.stdout).expect("a store is text");
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{key} = \"")));
        line.map(|rest| rest.trim_end_matches('"').to_owned())
    };
    let values: Vec<_> = ["value", "pending", "previous"].into_iter().filter_map(value).collect();
    assert!(!values.is_empty(), "{text}");
    values
}

fn logs_in(postgres: &Postgres, password: &str) -> bool {
    let output = postgres
        .client("psql")
        .env("PGUSER", "orders_admin")
        .env("PGPASSWORD", password)
        .args(["-XAt", "-d", "orders", "-c", "select 1"])
        .output()
        .expect("psql runs");
    output.status.success()
}

fn log_every_statement(postgres: &Postgres) {
    postgres.psql("postgres", "alter system set log_statement = 'all'");
    postgres.psql("postgres", "select pg_reload_conf()");
}

#[test]
fn a_role_gets_a_new_password_that_nobody_sees_and_an_undo_puts_the_old_one_back() {
    let postgres = Postgres::start(1);
    let env = with_store(&postgres);
    log_every_statement(&postgres);
    runbook(&env, postgres.port, "age:s.age#db", "orders", "");
    let before = postgres.log().len();
    let done = run(&env, &["exec", "r.toml", "--yes", "-v", "--report", "json=r.json"], None);
    assert_eq!(done.status, 0, "{}{}", done.stdout, done.stderr);
    let values = kept_values(&env);
    let [new, old] = values.as_slice() else { panic!("{values:?}") };
    assert_eq!((old.as_str(), new.len()), (PASSWORD, 43));
    assert!(logs_in(&postgres, new) && !logs_in(&postgres, PASSWORD));
    let log = postgres.log()[before..].to_owned();
    assert!(log.contains("ALTER ROLE \"orders_admin\" PASSWORD 'SCRAM-SHA-256$4096:"), "{log}");
    let audit = run(&env, &["audit", "show"], None).status(0).out("secrets.rotate");
    let report = env.read("r.json");
    for text in [&log, &done.stdout, &done.stderr, &report, &audit.stdout] {
        assert!(!text.contains(new.as_str()) && !text.contains(PASSWORD), "{text}");
    }
    let stored = run(&env, &["secret", "get", "s.age#db"], None).status(0).stdout;
    assert_eq!(stored, *new);
    // The next run of the same runbook connects with the new value, and rotates it again.
    run(&env, &["exec", "r.toml", "--yes"], None).status(0);
    let values = kept_values(&env);
    assert_eq!(values[1], *new);
    let id = first_run(&run(&env, &["runs", "--limit", "1"], None).status(0));
    let undone = run(&env, &["undo", &id, "--yes"], None).status(0);
    assert!(logs_in(&postgres, new), "{}{}", undone.stdout, undone.stderr);
    assert_eq!(kept_values(&env)[0], *new);
    assert!(!logs_in(&postgres, &values[0]));
}

/// Kills the program at every entered and every returned host call of a rotation.
#[test]
fn a_rotation_killed_anywhere_leaves_a_kept_value_that_logs_in_and_is_completed() {
    let postgres = Postgres::start(1);
    log_every_statement(&postgres);
    for failpoint in ["entered", "returned"] {
        for number in 1.. {
            let env = with_store(&postgres);
            runbook(&env, postgres.port, "age:s.age#db", "orders", "");
            let before = postgres.log().len();
            let first = run(&env, &["exec", "r.toml", "--yes"], Some((failpoint, number)));
            let context = format!("{failpoint} {number}: {}{}", first.stdout, first.stderr);
            let kept = kept_values(&env);
            assert!(kept.iter().any(|value| logs_in(&postgres, value)), "{context}");
            if first.status == -1 {
                let id = first_run(&run(&env, &["runs", "--limit", "1"], None).status(0));
                let resumed = run(&env, &["resume", &id], None);
                let context = format!("{context}{}{}", resumed.stdout, resumed.stderr);
                assert!(resumed.status == 0 || resumed.stderr.contains("has ended"), "{context}");
            }
            let values = kept_values(&env);
            assert_eq!(values[1..], [PASSWORD], "{context}");
            assert!(logs_in(&postgres, &values[0]), "{context}");
            // A value that was kept before the crash is continued with: only one was made.
            if kept.len() == 2 {
                assert!(kept.contains(&values[0]), "{context}");
            }
            let log = postgres.log()[before..].to_owned();
            // The test itself sets the first password in plain text.
            assert!(!log.contains(&values[0]), "{context}: {log}");
            if first.status != -1 {
                // One host call makes several requests to the gate, and returns once.
                let points = if failpoint == "entered" { 5 } else { 1 };
                assert!(number > points, "{context}");
                break;
            }
        }
    }
}

#[test]
fn a_rotation_is_refused_where_no_password_can_be_verified_or_kept() {
    let postgres = Postgres::start(1);
    let env = with_store(&postgres);
    let before = env.read("s.age");
    let refused = |why: &str| {
        let text = failed_clean(&run(&env, &["exec", "r.toml", "--yes"], None));
        assert!(text.contains(why), "no `{why}` in {text}");
        assert_eq!(env.read("s.age"), before, "{why}: the store was changed");
        assert!(logs_in(&postgres, PASSWORD), "{why}");
    };
    // The role of the journal is let in with any password.
    runbook(&env, postgres.port, "age:s.age#db", "orders", "");
    env.file(
        "r.toml",
        &env.read("r.toml")
            .replace("orders_admin@", "journal@")
            .replace("/orders\"", "/postgres\""),
    );
    refused("lets role `journal` in with any password");
    // Another secret than that of the target that logs in.
    let other = "[secrets.other]\nsource = \"age:s.age#db\"\n";
    runbook(&env, postgres.port, "age:s.age#db", "orders", other);
    env.file("r.toml", &env.read("r.toml").replace("secret = \"db\"", "secret = \"other\""));
    refused("`password` of target `orders` is not secret `other`");
    // Another server.
    let elsewhere = "[targets.far]\nsql = \"postgres://a@127.0.0.1:9/orders\"\n";
    runbook(&env, postgres.port, "age:s.age#db", "far", elsewhere);
    refused("are two servers");
    // A source that cannot be written is refused before a run begins.
    for (source, kind) in
        [("systemd:db", "a credential of systemd"), ("env:DB", "a variable of the environment")]
    {
        runbook(&env, postgres.port, source, "orders", "");
        let refused = words(&run(&env, &["validate", "r.toml"], None).status(6).err("E0116"));
        assert!(refused.contains(kind), "{refused}");
    }
    assert!(logs_in(&postgres, PASSWORD));
}

/// What a program wrote, without the breaks and frames of its lines.
fn words(output: &ProgramOutput) -> String {
    let text = format!("{} {}", output.stdout, output.stderr);
    text.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ")
}

/// Checks that a run failed before it changed anything, and says so. Returns what it wrote.
fn failed_clean(failed: &ProgramOutput) -> String {
    let text = words(failed);
    assert_eq!(failed.status, 1, "{text}");
    assert!(text.contains("No step had changed anything"), "{text}");
    assert!(!text.contains("undone") && !text.contains("DIRTY"), "{text}");
    text
}

#[test]
fn a_rotation_that_fails_before_the_server_takes_it_has_changed_nothing() {
    let postgres = Postgres::start(1);
    let env = with_store(&postgres);
    runbook(&env, postgres.port, "age:s.age#db", "orders", "");
    let fails = |why: &str| {
        let text = failed_clean(&run(&env, &["exec", "r.toml", "--yes"], None));
        assert!(text.contains(why), "no `{why}` in {text}");
    };
    // The value of the store is not the password.
    postgres.psql("postgres", "alter role orders_admin password 'another'");
    fails("takes no value that secret `db`");
    postgres.psql("postgres", &format!("alter role orders_admin password '{PASSWORD}'"));
    // The server lets nobody change anything.
    postgres.psql("postgres", "alter role orders_admin set default_transaction_read_only = on");
    fails("read-only transaction");
    postgres.psql("postgres", "alter role orders_admin reset default_transaction_read_only");
    // The lock, and then the store, cannot be written.
    std::fs::create_dir(env.path().join(".s.age.db.rotation")).expect("a folder can be made");
    fails("cannot be written");
    std::fs::remove_dir(env.path().join(".s.age.db.rotation")).expect("it is there");
    let recipients = env.read("s.age.recipients");
    env.file("s.age.recipients", "nobody");
    fails("secret `db` cannot be had");
    env.file("s.age.recipients", &recipients);
    assert_eq!(kept_values(&env), [PASSWORD]);
    assert!(logs_in(&postgres, PASSWORD));
    run(&env, &["exec", "r.toml", "--yes"], None).status(0);
    assert!(logs_in(&postgres, &kept_values(&env)[0]));
}

#[test]
fn a_failed_verify_undoes_a_rotation_and_the_old_password_is_observed() {
    let postgres = Postgres::start(1);
    let env = with_store(&postgres);
    runbook(&env, postgres.port, "age:s.age#db", "orders", "");
    let verify = "[[verify]]\nid = \"none\"\nuses = \"sql:query\"\nbind.db = \"orders\"\n\
                  with = { statement = \"select 1 as n\", row_count = 7 }\n";
    env.file("r.toml", &(env.read("r.toml") + verify));
    run(&env, &["exec", "r.toml", "--yes"], None)
        .status(1)
        .without("DIRTY")
        .err("has the password");
    assert_eq!(kept_values(&env)[0], PASSWORD);
    assert!(logs_in(&postgres, PASSWORD));
}

#[test]
fn whoever_meets_a_half_done_rotation_is_told_which_command_finishes_it() {
    let postgres = Postgres::start(1);
    let query = "[[step]]\nid = \"look\"\nuses = \"sql:query\"\nbind.db = \"orders\"\n\
                 with = { statement = \"select 1 as n\" }\n";
    // Killed after the server took the password, and before the store knows that.
    for number in 1.. {
        let env = with_store(&postgres);
        runbook(&env, postgres.port, "age:s.age#db", "orders", "");
        let steps = env.read("r.toml");
        env.file("look.toml", &(steps.split("[[step]]").next().unwrap_or("").to_owned() + query));
        let killed = run(&env, &["exec", "r.toml", "--yes"], Some(("entered", number)));
        assert_eq!(killed.status, -1, "no point is between the server and the store");
        if logs_in(&postgres, PASSWORD) {
            continue;
        }
        let id = first_run(&run(&env, &["runs", "--limit", "1"], None).status(0));
        let told = ["`runbook resume ", "finishes it"];
        for command in [
            &["secret", "list", "s.age"][..],
            &["secret", "get", "s.age#db"],
            &["exec", "look.toml", "--yes"],
            &["doctor", "--targets", "look.toml"],
        ] {
            let output = run(&env, command, None);
            let text = words(&output);
            assert!(told.iter().all(|part| text.contains(part)), "{command:?}: {text}");
        }
        run(&env, &["resume", &id], None).status(0);
        assert!(logs_in(&postgres, &kept_values(&env)[0]));
        run(&env, &["secret", "list", "s.age"], None).status(0).without("half done");
        return;
    }
}

/// A proxy before PostgreSQL that forwards COMMIT and then ends the connection, so that nobody
/// learns what the server answered. It does so once.
fn proxy_that_loses_an_answer_to_commit(port: u16) -> u16 {
    use std::io::{Read as _, Write as _};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::sync::atomic::{AtomicBool, Ordering};
    static LOST: AtomicBool = AtomicBool::new(false);
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
    let own_port = listener.local_addr().expect("it is bound").port();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.expect("a connection");
            let mut server = TcpStream::connect(("127.0.0.1", port)).expect("the server runs");
            let (mut answers, mut back) =
                (server.try_clone().expect("a copy"), client.try_clone().expect("a copy"));
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut answers, &mut back);
                let _ = back.shutdown(Shutdown::Both);
            });
            std::thread::spawn(move || {
                let mut bytes = [0; 8192];
                while let Ok(n) = client.read(&mut bytes) {
                    let is_commit = bytes[..n].windows(6).any(|window| window == b"COMMIT");
                    let loses = is_commit && !LOST.swap(true, Ordering::SeqCst);
                    if loses {
                        let _ = client.shutdown(Shutdown::Both);
                    }
                    if n == 0 || server.write_all(&bytes[..n]).is_err() {
                        break;
                    }
                }
                let _ = server.shutdown(Shutdown::Write);
            });
        }
    });
    own_port
}

#[test]
fn an_answer_to_commit_that_is_lost_is_decided_by_logging_in() {
    let postgres = Postgres::start(1);
    let env = with_store(&postgres);
    let port = proxy_that_loses_an_answer_to_commit(postgres.port);
    runbook(&env, port, "age:s.age#db", "orders", "");
    let done = run(&env, &["exec", "r.toml", "--yes"], None);
    let context = format!("{}{}", done.stdout, done.stderr);
    // The server may be slower than the first login after the loss; then the step is undone.
    assert!(matches!(done.status, 0 | 1), "{context}");
    let values = kept_values(&env);
    assert!(logs_in(&postgres, &values[0]), "{context}");
    assert_eq!(done.status == 0, values[0] != PASSWORD, "{context}");
}

/// What a store says about `db`: the run that made its value, and whether a value is pending.
fn maker(env: &TestEnv) -> (Option<String>, bool) {
    let age = runbook_tests::program(&["/usr/bin/age", "/usr/local/bin/age"], "age");
    let mut command = Command::new(age);
    command.args(["-d", "-i", "key.txt", "s.age"]).current_dir(env.path());
    let text = String::from_utf8(command.output().expect("age runs").stdout).expect("text");
    let line = text.lines().find_map(|line| line.strip_prefix("rotated_by = \""));
    (line.map(|by| by.trim_end_matches('"').to_owned()), text.contains("\npending = "))
}

#[test]
fn rotations_at_the_same_time_come_one_after_the_other() {
    let postgres = Postgres::start(1);
    let env = with_store(&postgres);
    runbook(&env, postgres.port, "age:s.age#db", "orders", "");
    let start = || {
        let mut command = env.command(&["--identity", "key.txt", "exec", "r.toml", "--yes"]);
        RunningProgram::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()))
    };
    let running: Vec<_> = (0..4).map(|_| start()).collect();
    for program in running {
        finish(program.wait_with_output().expect("it ends")).status(0);
    }
    assert!(logs_in(&postgres, &kept_values(&env)[0]));
    assert!(!env.path().join(".s.age.db.rotation").exists(), "the lock leaves no file");
}

/// What one of two processes does to the same secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Rotate,
    /// Undoes the rotation that was done before.
    Restore,
}

/// Stops one process at each host call, lets the other one run meanwhile as far as it can, and
/// continues the first.
fn interleave(first: Act, second: Act) {
    let postgres = Postgres::start(1);
    for number in 1.. {
        let env = with_store(&postgres);
        runbook(&env, postgres.port, "age:s.age#db", "orders", "");
        run(&env, &["exec", "r.toml", "--yes"], None).status(0);
        let before = first_run(&run(&env, &["runs", "--limit", "1"], None).status(0));
        let start = |act: Act, stop: Option<u32>| {
            let arguments = match act {
                Act::Rotate => vec!["exec", "r.toml", "--yes"],
                Act::Restore => vec!["undo", &before, "--yes"],
            };
            let mut command = env.command(&[&["--identity", "key.txt"], &arguments[..]].concat());
            if let Some(number) = stop {
                command.env("RUNBOOK_TEST_STOP", format!("entered:{number}"));
            }
            RunningProgram::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()))
        };
        let mut stopped = start(first, Some(number));
        let mut is_over = false;
        wait_for("the first one stops or ends", || {
            is_over = stopped.try_wait().expect("a child").is_some();
            is_over || stopped.is_stopped()
        });
        let mut other = start(second, None);
        // It ends, or it waits for the first one; the second is seen by patience only, and the
        // result is the same with less of it.
        for _ in 0..40 {
            if other.try_wait().expect("a child").is_some() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        if !is_over {
            send(&stopped, "CONT");
        }
        let ended = [(first, stopped), (second, other)]
            .map(|(act, program)| (act, finish(program.wait_with_output().expect("it ends"))));
        let context = format!("{first:?} stopped at {number}, {second:?}: {ended:#?}");
        let (by, is_pending) = maker(&env);
        let values = kept_values(&env);
        assert!(logs_in(&postgres, &values[0]), "{context}");
        assert!(!is_pending, "{context}");
        assert!(!env.path().join(".s.age.db.rotation").exists(), "{context}");
        let by = by.unwrap_or_default();
        let is_done =
            |wanted: Act| ended.iter().any(|(act, output)| *act == wanted && output.status == 0);
        // What a run says that it has done is still so: a rotation is undone by its own undo alone.
        if is_done(Act::Rotate) {
            assert!(!by.starts_with(&before), "{context}: {by}");
        } else if is_done(Act::Restore) {
            assert!(
                by.starts_with(&before) && by.ends_with(" rotate, restored"),
                "{context}: {by}"
            );
            assert_eq!(values[0], PASSWORD, "{context}");
        } else {
            panic!("nothing was done: {context}");
        }
        if is_over {
            assert!(number > 5, "{context}");
            break;
        }
    }
}

#[test]
fn two_rotations_interleaved_anywhere_leave_the_value_of_the_store_valid() {
    interleave(Act::Rotate, Act::Rotate);
}

#[test]
fn a_rotation_during_which_an_earlier_one_is_undone_stays_valid() {
    interleave(Act::Rotate, Act::Restore);
}

#[test]
fn an_undo_during_which_another_rotation_runs_takes_nothing_of_it_back() {
    interleave(Act::Restore, Act::Rotate);
}

#[test]
fn two_undos_of_one_rotation_interleaved_anywhere_put_the_old_value_back() {
    interleave(Act::Restore, Act::Restore);
}

#[test]
fn another_role_may_set_the_password_and_a_refusal_of_the_server_keeps_the_old_one() {
    let postgres = Postgres::start(1);
    let env = with_store(&postgres);
    let set = ["--identity", "key.txt", "secret", "set", "s.age#postgres"];
    env.run_with_input(&set, "postgres-word").status(0);
    let admin = |user: &str, secret: &str| {
        format!(
            "[secrets.{secret}]\nsource = \"age:s.age#{secret}\"\n[targets.admin]\n\
             sql = \"postgres://{user}@127.0.0.1:{}/orders\"\npassword = \"secret:{secret}\"\n\
             superuser = true\n",
            postgres.port
        )
    };
    runbook(&env, postgres.port, "age:s.age#db", "admin", &admin("postgres", "postgres"));
    run(&env, &["exec", "r.toml", "--yes"], None).status(0);
    let new = run(&env, &["secret", "get", "s.age#db"], None).status(0).stdout;
    assert!(logs_in(&postgres, &new) && !logs_in(&postgres, PASSWORD));
    // A role that may not change it.
    postgres.psql("postgres", "create role nobody_special login password 'nobody-word'");
    let set = ["--identity", "key.txt", "secret", "set", "s.age#nobody"];
    env.run_with_input(&set, "nobody-word").status(0);
    runbook(&env, postgres.port, "age:s.age#db", "admin", &admin("nobody_special", "nobody"));
    failed_clean(&run(&env, &["exec", "r.toml", "--yes"], None));
    assert!(logs_in(&postgres, &new));
    assert_eq!(run(&env, &["secret", "get", "s.age#db"], None).status(0).stdout, new);
}
