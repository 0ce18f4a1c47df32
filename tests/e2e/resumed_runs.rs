//! A resumed run uses the texts and grants that were reviewed, and a suite is read only once.

use crate::home;
use runbook_tests::env::TestEnv;
use std::os::unix::fs::symlink;
use std::path::Path;

/// A manual step, then a step that writes a file into the directory `out`.
const RUNBOOK: &str = r#"format = 1
INCLUDE
[runbook]
name = "begun"
[targets.db]
sql = "sqlite:shop.db"
[[step]]
id = "look"
manual = { instructions = "Look." }
[[step]]
id = "copy"
needs = ["look"]
uses = "sqlite:backup"
bind = { db = "db", directory = "out" }
with = { file = "x.zst" }
irreversible = "a copy"
"#;

fn prepared(include: &str, own: &str) -> TestEnv {
    let env = home();
    rusqlite::Connection::open(env.path().join("shop.db"))
        .expect("a file")
        .execute_batch("create table t (a)")
        .expect("made");
    env.file("r.toml", &format!("{}{own}", RUNBOOK.replace("INCLUDE", include)));
    for folder in ["good", "bad"] {
        std::fs::create_dir_all(env.path().join(folder)).expect("made");
    }
    env
}

fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder).expect("a folder").count()
}

/// The id of the only run.
fn run_id(env: &TestEnv) -> String {
    let runs = env.run(&["runs", "--format", "json"]).status(0).stdout;
    let runs: serde_json::Value =
        serde_json::from_str(runs.lines().next().expect("a run")).expect("JSON");
    let run = if runs.is_array() { &runs[0] } else { &runs };
    run["run"].as_str().expect("an id").to_owned()
}

/// Other files of the runbook have paths that end in the same file name.
#[test]
fn a_resumed_run_finds_each_file_by_its_whole_path() {
    let env = prepared("include = [\"shared/targets.prod.toml\", \"x-targets.prod.toml\"]", "");
    env.file(
        "shared/targets.prod.toml",
        "format = 1\n[targets.out]\nfiles = \"bad\"\naccess = \"write\"\n",
    );
    env.file(
        "x-targets.prod.toml",
        "format = 1\n[targets.other]\nfiles = \"bad\"\naccess = \"write\"\n",
    );
    env.file(
        "targets.prod.toml",
        "format = 1\n[targets.out]\nfiles = \"good\"\naccess = \"write\"\n",
    );
    for (folder, path) in [(".", "r.toml"), ("good", "../r.toml")] {
        for copy in ["good/x.zst", "bad/x.zst"] {
            let _ = std::fs::remove_file(env.path().join(copy));
        }
        env.run_in(folder, &["exec", "--env", "prod", path]).status(5);
        let run = run_id(&env);
        env.run(&["answer", &run, "look"]).status(0);
        env.run_in("bad", &["resume", &run]).status(0);
        assert_eq!(
            (files(&env.path().join("good")), files(&env.path().join("bad"))),
            (1, 0),
            "{folder} {path}"
        );
    }
}

#[test]
fn a_link_changed_while_a_run_waits_is_refused_on_resume() {
    let env = prepared("", "[targets.out]\nfiles = \"out\"\naccess = \"write\"\n");
    let link = env.path().join("out");
    symlink("good", &link).expect("a link");
    env.run(&["lock", "r.toml"]).status(0);
    env.run(&["exec", "r.toml"]).status(5);
    let run = run_id(&env);
    env.run(&["answer", &run, "look"]).status(0);
    std::fs::remove_file(&link).expect("removed");
    symlink("bad", &link).expect("a link");
    env.run(&["resume", &run]).status(6).err("the run could reach what").err("bad");
    assert_eq!(files(&env.path().join("bad")), 0);
    std::fs::remove_file(&link).expect("removed");
    symlink("good", &link).expect("a link");
    env.run(&["resume", &run]).status(0);
    assert_eq!(files(&env.path().join("good")), 1);
}

/// Another thread replaces the suite all the time. The text that is compared with the lockfile must
/// be the text that runs.
#[test]
fn a_suite_replaced_while_it_is_prepared_runs_as_it_was_compared() {
    let env = home();
    let suite = |number: u32| {
        format!(
            "format = 1\n[runbook]\nname = \"s\"\n[targets.db]\nsql = \"sqlite:shop.db\"\n\
                 [[check]]\nid = \"one\"\nuses = \"sql:query\"\nbind.db = \"db\"\n\
                 with = {{ statement = \"select {number} as which\" }}\n"
        )
    };
    rusqlite::Connection::open(env.path().join("shop.db"))
        .expect("a file")
        .execute_batch("create table t (a)")
        .expect("made");
    let path = env.file("s.toml", &suite(1));
    env.file("other.toml", &suite(22_222));
    env.run(&["lock", "s.toml"]).status(0);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let temporary = path.with_file_name("next.toml");
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                for number in [22_222, 1] {
                    std::fs::write(&temporary, suite(number)).expect("written");
                    std::fs::rename(&temporary, &path).expect("exchanged");
                }
            }
        });
        let done: Vec<_> = (0..12).map(|_| env.run(&["check", "s.toml"])).collect();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        for done in done {
            assert!(!done.stdout.contains("22222"), "{}", done.stdout);
            assert!(done.status == 0 || done.stderr.contains("is not what"), "{}", done.stderr);
        }
    });
}
