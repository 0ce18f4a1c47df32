//! `rotate:password` against a real PostgreSQL: what the server, the store and the outputs have at
//! each point, also after the program was killed there.

use crate::home;
use runbook_tests::env::{ProgramOutput, TestEnv, finish, first_run};
use runbook_tests::postgres::{PASSWORD, Postgres};
use std::process::Command;

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
    let undone = run(&env, &["undo", &id, "--yes"], None);
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
        let done = run(&env, &["exec", "r.toml", "--yes"], None);
        assert_ne!(done.status, 0, "{why}");
        let text = format!("{}{}", done.stdout, done.stderr);
        let text =
            text.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
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
    // A source that cannot be written.
    env.file("creds/db", PASSWORD);
    let path = env.path().join("creds/db");
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o400))
        .expect("a file of our own");
    runbook(&env, postgres.port, "systemd:db", "orders", "");
    let mut command = env.command(&["exec", "r.toml", "--yes"]);
    command.env("CREDENTIALS_DIRECTORY", env.path().join("creds"));
    let done = finish(command.output().expect("the program starts"));
    assert_ne!(done.status, 0);
    assert!(done.stderr.contains("only a secret of an age store"), "{}", done.stderr);
    assert!(logs_in(&postgres, PASSWORD));
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
    let done = run(&env, &["exec", "r.toml", "--yes"], None);
    assert_ne!(done.status, 0, "{}{}", done.stdout, done.stderr);
    assert!(logs_in(&postgres, &new));
    assert_eq!(run(&env, &["secret", "get", "s.age#db"], None).status(0).stdout, new);
}

/// Whoever can change the list beside a store decides who can open it after the next rotation.
#[test]
fn a_run_encrypts_a_store_to_reviewed_recipients_only() {
    let postgres = Postgres::start(1);
    let env = with_store(&postgres);
    runbook(&env, postgres.port, "age:s.age#db", "orders", "");
    let own = env.read("s.age.recipients").trim().to_owned();
    env.run(&["secret", "keygen", "--output", "other.txt"]).status(0);
    let other = env.read("other.txt");
    let other = other.lines().find_map(|line| line.strip_prefix("# public key: ")).expect("a key");
    let both = format!("{own}\n# a colleague\n{other}\n");
    for command in ["review", "plan"] {
        env.run(&[command, "r.toml"]).status(0).out(&own);
    }
    env.run(&["lock", "r.toml"]).status(0);
    assert!(env.read("runbook.lock").contains(&format!("recipients = [\"{own}\"]")));
    run(&env, &["--locked", "exec", "r.toml", "--yes"], None).status(0);
    run(&env, &["audit", "show"], None).status(0).out(&format!("encrypted to {own}"));
    let unchanged = |why: &str, store: &str, output: &ProgramOutput| {
        assert_ne!(output.status, 0, "{why}: {}", output.stdout);
        assert_eq!(env.read("s.age"), store, "{why}");
        assert!(logs_in(&postgres, &kept_values(&env)[0]), "{why}");
    };
    let store = env.read("s.age");
    // Another list than that of the lockfile: longer, other keys, none.
    for list in [Some(both.as_str()), Some(other), None] {
        match list {
            Some(list) => drop(env.file("s.age.recipients", list)),
            None => std::fs::remove_file(env.path().join("s.age.recipients")).expect("it is there"),
        }
        let refused = run(&env, &["--locked", "exec", "r.toml", "--yes"], None).status(6);
        unchanged("locked", &store, &refused);
    }
    std::fs::remove_file(env.path().join("runbook.lock")).expect("it was written");
    let without = run(&env, &["exec", "r.toml", "--yes"], None);
    unchanged("no list", &store, &without);
    assert!(without.stdout.contains("has no recipients"), "{}", without.stdout);
    // A list that changes after the runbook was read.
    env.file("s.age.recipients", &format!("{own}\n"));
    let program = env.script("add.sh", &format!("echo {other} >> s.age.recipients"));
    let text = env.read("r.toml");
    let adds = format!(
        "[targets.add]\nprocess = \"{}\"\narguments = []\ndirectory = \".\"\n[[step]]\nid = \"add\"\n\
         uses = \"command:run\"\nbind.program = \"add\"\nirreversible = \"x\"\n[[step]]\nid = \"rotate\"\n",
        program.display()
    );
    env.file("late.toml", &text.replace("[[step]]\nid = \"rotate\"\n", &adds));
    let late = run(&env, &["exec", "late.toml", "--yes"], None);
    unchanged("late", &store, &late);
    assert!(late.stdout.contains("was changed since the runbook was read"), "{}", late.stdout);
    // A boundary names the keys, too.
    env.file("s.age.recipients", &both);
    let boundary = |recipients: &str| {
        let text = format!(
            "format = 1\n[[allow]]\ncapability = \"sql\"\nverbs = [\"*\"]\n[[allow]]\n\
             capability = \"secrets\"\nverbs = [\"*\"]\n{recipients}\n"
        );
        env.file("b.toml", &text);
        env.run(&["validate", "--boundary", "b.toml", "r.toml"])
    };
    boundary("").status(6).err("recipients");
    boundary(&format!("recipients = [\"{own}\"]")).status(6).err(other);
    boundary("recipients = [\"age1*\"]").status(0);
    // What was reviewed is what the store is encrypted to.
    env.run(&["lock", "r.toml"]).status(0);
    run(&env, &["--locked", "exec", "r.toml", "--yes"], None).status(0);
    env.run(&["--identity", "other.txt", "secret", "get", "s.age#db"]).status(0);
}

/// Who may only read the folder of a store keeps nobody from rotating a secret of it, and who
/// changes the store is named, or the timeout of the step ends the waiting.
#[test]
fn a_rotation_waits_for_who_changes_the_store_and_for_nobody_else() {
    let postgres = Postgres::start(1);
    let env = with_store(&postgres);
    runbook(&env, postgres.port, "age:s.age#db", "orders", "");
    let opened = [env.path().to_owned(), env.path().join("s.age")];
    let held: Vec<_> =
        opened.iter().map(|path| std::fs::File::open(path).expect("it is there")).collect();
    held.iter().for_each(|file| file.lock().expect("nobody has it"));
    run(&env, &["exec", "r.toml", "--yes"], None).status(0);
    let store = env.read("s.age");
    let lock = std::fs::File::create(env.path().join(".s.age.lock")).expect("a file");
    lock.lock().expect("nobody has it");
    std::io::Write::write_all(&mut &lock, b"4711").expect("it can be written");
    let waited = run(&env, &["exec", "r.toml", "--yes"], None);
    assert_ne!(waited.status, 0);
    let text = format!("{}{}", waited.stdout, waited.stderr);
    assert!(text.contains("process 4711"), "{text}");
    let text = env.read("r.toml").replace("undo = \"auto\"", "undo = \"auto\"\ntimeout = \"1s\"");
    env.file("r.toml", &text);
    let started = std::time::Instant::now();
    assert_ne!(run(&env, &["exec", "r.toml", "--yes"], None).status, 0);
    assert!(started.elapsed().as_secs() < 60);
    assert_eq!(env.read("s.age"), store);
}
