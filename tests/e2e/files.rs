//! The bundled plugin `files`, on real directories.

use crate::home;
use runbook_tests::env::TestEnv;
use std::path::Path;
use std::time::{Duration, SystemTime};

const HEAD: &str = "format = 1\n[runbook]\nname = \"files\"\n[targets.dir]\nfiles = \"data\"\n";

/// A folder `data` with these files, each with its age in seconds.
fn with_files(files: &[(&str, &str, u64)]) -> TestEnv {
    let env = home();
    std::fs::create_dir(env.path().join("data")).expect("a new folder");
    for (name, content, age) in files {
        write(&env.path().join("data").join(name), content, *age);
    }
    env
}

fn write(path: &Path, content: &str, age_s: u64) {
    std::fs::write(path, content).expect("a file");
    let file = std::fs::File::options().write(true).open(path).expect("the file");
    file.set_modified(SystemTime::now() - Duration::from_secs(age_s)).expect("its time");
}

fn read(env: &TestEnv, name: &str) -> String {
    std::fs::read_to_string(env.path().join("data").join(name))
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn names(env: &TestEnv) -> Vec<String> {
    let entries = std::fs::read_dir(env.path().join("data")).expect("the folder");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn step(keys: &str, uses: &str, with: &str, end: &str) -> String {
    format!(
        "{HEAD}access = \"write\"\n{keys}\n[[step]]\nid = \"a\"\nuses = \"files:{uses}\"\n\
         bind.directory = \"dir\"\nwith = {with}\n{end}\n"
    )
}

#[test]
fn the_probes_compare_what_is_in_a_directory() {
    let log =
        "2020-01-01T00:00:00Z ERROR long ago\n2999-01-01T00:00:00Z ERROR in the window\nfine\n";
    let env = with_files(&[
        ("dump-1.sql", "old", 100_000),
        ("dump-2.sql", "newer", 7_200),
        ("app.log", log, 0),
        ("app.log.1", "2020-01-01T00:00:00Z ERROR older\n", 500),
    ]);
    for (uses, with, status, words) in [
        ("exists", "{ path = \"app.log\" }", 0, "`app.log` is a file"),
        ("exists", "{ path = \"none\" }", 2, "`none` is not there"),
        ("exists", "{ path = \"maintenance\", exists = false }", 0, "is not there"),
        ("age", "{ name = \"dump-*.sql\", crit = \"26h\" }", 0, "`dump-2.sql` was changed 7"),
        ("age", "{ name = \"dump-*.sql\", warn = \"1h\", crit = \"26h\" }", 1, "dump-2.sql"),
        ("age", "{ name = \"dump-*.sql\", crit = \"1h\" }", 2, "dump-2.sql"),
        ("age", "{ name = \"*.gz\", crit = \"1h\" }", 2, "there is no file `*.gz`"),
        ("size", "{ name = \"dump-*\", min_bytes = 8, max_bytes = 8 }", 0, "2 files of 8 B"),
        ("size", "{ name = \"dump-*\", max_bytes = 7 }", 2, "more than 7 B"),
        ("size", "{ name = \"none\" }", 2, "fewer than 1 file"),
        ("count", "{ path = \"app.log\", pattern = \"ERROR\", crit = 2 }", 0, "2 of 3 lines"),
        (
            "count",
            "{ path = \"app.log\", pattern = \"ERROR\", crit = 2, rotated = true }",
            2,
            "3 of 4",
        ),
        (
            "count",
            "{ path = \"app.log\", pattern = \"ERROR\", window = \"1h\", crit = 0 }",
            2,
            "1 of 2",
        ),
        ("count", "{ path = \"app.log\", pattern = \"fine\", min = 1 }", 0, "1 of 3 lines"),
    ] {
        let suite = format!(
            "{HEAD}[[check]]\nid = \"c\"\nuses = \"files:{uses}\"\nbind.directory = \"dir\"\n\
             with = {with}\n"
        );
        env.file("suite.toml", &suite);
        let shown = env.run(&["check", "suite.toml"]).status(status);
        assert!(shown.stdout.contains(words), "{uses} {with}: {}", shown.stdout);
    }
}

#[test]
fn a_plan_shows_the_difference_and_an_undo_puts_the_old_file_back() {
    let env = with_files(&[("app.toml", "port = 1\nhost = \"a\"\n", 0)]);
    let with = "{ path = \"app.toml\", content = \"port = 2\\nhost = \\\"a\\\"\\n\" }";
    env.file("r.toml", &step("", "replace", with, "undo = \"auto\""));
    for command in [&["plan", "r.toml"][..], &["exec", "--dry-run", "r.toml"]] {
        let shown = env.run(command).status(0).stdout;
        for line in ["@@ -1,2 +1,2 @@", "-port = 1", "+port = 2"] {
            assert!(shown.contains(line), "{line}: {shown}");
        }
    }
    assert_eq!(names(&env), ["app.toml"]);
    env.run(&["exec", "r.toml", "--yes"]).status(0);
    assert_eq!(read(&env, "app.toml"), "port = 2\nhost = \"a\"\n");
    assert_eq!(names(&env).len(), 2, "the backup is beside it");
    let id = env.newest_run();
    env.run(&["undo", &id, "--yes"]).status(0);
    assert_eq!(read(&env, "app.toml"), "port = 1\nhost = \"a\"\n");
    assert_eq!(names(&env), ["app.toml"]);
    // A file that was not there is gone after the undo, unless somebody else changed it.
    let with = "{ path = \"new\", content = \"a\" }";
    env.file("new.toml", &step("", "replace", with, "undo = \"auto\""));
    env.run(&["exec", "new.toml", "--yes"]).status(0);
    assert_eq!(read(&env, "new"), "a");
    write(&env.path().join("data/new"), "theirs", 0);
    let shown = env.run(&["undo", &env.newest_run(), "--yes"]);
    assert!((shown.stdout + &shown.stderr).contains("changed by somebody else"));
    assert_eq!(read(&env, "new"), "theirs");
}

#[test]
fn a_run_that_is_killed_at_any_host_call_ends_as_if_it_were_not() {
    let mut killed = 0;
    for failpoint in ["entered", "returned"] {
        for number in 1.. {
            let env = with_files(&[
                ("a", "old", 0),
                ("b", "b", 0),
                ("1.bak", "x", 900),
                ("2.bak", "x", 10),
            ]);
            let runbook =
                step("", "replace", "{ path = \"a\", content = \"new\" }", "undo = \"auto\"")
                    + "[[step]]\nid = \"b\"\nuses = \"files:rename\"\nbind.directory = \"dir\"\n\
                   undo = \"auto\"\nwith = { from = \"b\", to = \"c\" }\n\
                   [[step]]\nid = \"p\"\nuses = \"files:prune\"\nbind.directory = \"dir\"\n\
                   irreversible = \"they are old\"\n\
                   with = { name = \"*.bak\", keep = 1, older_than = \"1m\" }\n";
            env.file("r.toml", &runbook);
            let mut command = env.command(&["exec", "r.toml", "--yes"]);
            command.env("RUNBOOK_TEST_KILL", format!("{failpoint}:{number}"));
            let first = runbook_tests::env::finish(command.output().expect("the program starts"));
            if first.status != -1 {
                break;
            }
            killed += 1;
            let id = env.newest_run();
            let resumed = env.run(&["resume", &id]);
            if resumed.status == 5 {
                // The names have changed, and nobody but the operator can say by whom.
                env.run(&["resume", &id, "--decide", "b=done"]).status(0);
            } else {
                resumed.status(0);
            }
            assert_eq!(read(&env, "a"), "new", "{failpoint}:{number}");
            let names = names(&env);
            assert!(names[0] == "2.bak" && names[1] == "a", "{names:?}");
            assert!(names[2].starts_with("a.before-") && names[3] == "c", "{names:?}");
            assert_eq!(names.len(), 4, "{names:?}");
            assert_eq!(read(&env, &names[2]), "old");
        }
    }
    assert!(killed > 12, "{killed}");
}

#[test]
fn a_failed_run_puts_back_names_and_files() {
    let env = with_files(&[("a", "old", 0), ("b", "b", 0)]);
    let runbook = step("", "replace", "{ path = \"a\", content = \"new\" }", "undo = \"auto\"")
        + "[[step]]\nid = \"b\"\nuses = \"files:rename\"\nbind.directory = \"dir\"\nundo = \"auto\"\n\
           with = { from = \"b\", to = \"c\" }\n\
           [[step]]\nid = \"d\"\nuses = \"files:exists\"\nbind.directory = \"dir\"\n\
           with = { path = \"none\" }\n";
    env.file("r.toml", &runbook);
    env.run(&["exec", "r.toml", "--yes"]).status(1);
    assert_eq!((read(&env, "a"), names(&env)), ("old".to_owned(), vec!["a".into(), "b".into()]));
    // An existing file is not replaced by a rename.
    env.file("r.toml", &step("", "rename", "{ from = \"a\", to = \"b\" }", "undo = \"auto\""));
    let shown = env.run(&["exec", "r.toml", "--yes"]).status(1);
    assert!((shown.stdout + &shown.stderr).contains("there already"));
}

#[test]
fn a_retention_keeps_the_newest_and_what_the_target_protects_and_names_what_it_removed() {
    let day = 86_400;
    let files: Vec<(String, u64)> =
        (1..=9).map(|age| (format!("dump-{age}.sql"), age * day + 60)).collect();
    let files: Vec<(&str, &str, u64)> =
        files.iter().map(|(name, age)| (name.as_str(), "x", *age)).collect();
    let env = with_files(&files);
    let with = "{ name = \"dump-*.sql\", keep = 2, older_than = \"3d\", max = 4 }";
    let end = "irreversible = \"dumps are copied elsewhere\"";
    env.file("r.toml", &step("min_age = \"6d\"", "prune", with, end));
    let plan = env.run(&["plan", "r.toml"]).status(0).stdout;
    assert!(plan.contains("dump-9.sql") && !plan.contains("dump-5.sql"), "{plan}");
    let shown = env.run(&["exec", "r.toml", "--yes"]).status(0).stdout;
    assert!(shown.contains("removed 4 files (4 B)"), "{shown}");
    assert_eq!(names(&env), ["dump-1.sql", "dump-2.sql", "dump-3.sql", "dump-4.sql", "dump-5.sql"]);
    let events = env.run(&["show", &env.newest_run(), "--format", "jsonl"]).status(0).stdout;
    assert!(events.contains("\"removed\":[\"dump-9.sql\""), "{events}");
    let audit = env.run(&["audit", "show", &env.newest_run()]).status(0).stdout;
    assert!(audit.contains("file dump-9.sql of"), "{audit}");
    // Nothing more is old enough.
    env.run(&["exec", "r.toml", "--yes"]).status(0);
    assert_eq!(names(&env).len(), 5);
}

/// Runs the program where `data` is on a file system of its own, of 256 KiB.
fn on_a_small_disk(env: &TestEnv, prepare: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let command = env.command(arguments);
    let program = command.get_program().to_owned();
    let mut wrapped = std::process::Command::new("unshare");
    let script = format!(
        "mount -t tmpfs -o size=256k tmpfs data && {prepare}; \"$0\" \"$@\"; status=$?; \
         ls -A data; cat data/a 2>/dev/null | head -c 40; exit $status"
    );
    wrapped.args(["--map-root-user", "--mount", "sh", "-c", &script]).arg(program).args(arguments);
    wrapped.current_dir(command.get_current_dir().unwrap_or_else(|| env.path()));
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    let output = wrapped
        .stdin(std::process::Stdio::null())
        .output()
        .expect("`unshare` is part of every Debian");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text.into_owned())
}

#[test]
fn a_replacement_on_a_full_disk_leaves_the_old_file_and_nothing_else() {
    let env = with_files(&[]);
    let content = "x".repeat(300 << 10);
    let with = format!("{{ path = \"a\", content = \"{content}\" }}");
    env.file("r.toml", &step("", "replace", &with, "undo = \"auto\""));
    let (status, shown) =
        on_a_small_disk(&env, "printf old-file > data/a", &["exec", "r.toml", "--yes"]);
    assert_eq!(status, Some(1), "{shown}");
    assert!(shown.contains("the disk is full"), "{shown}");
    assert!(shown.contains("\na\nold-file"), "only the old file is there: {shown}");
}

#[test]
fn a_rename_to_another_file_system_is_refused_and_changes_nothing() {
    let env = with_files(&[]);
    env.file("r.toml", &step("", "rename", "{ from = \"a\", to = \"sub/b\" }", "undo = \"auto\""));
    let prepare = "printf here > data/a && mkdir data/sub && mount -t tmpfs tmpfs data/sub";
    let (status, shown) = on_a_small_disk(&env, prepare, &["exec", "r.toml", "--yes"]);
    assert_eq!(status, Some(1), "{shown}");
    assert!(shown.contains("on another file system"), "{shown}");
    assert!(shown.contains("here"), "{shown}");
}
