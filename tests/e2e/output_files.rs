//! Files that an operator names for output never replace a file that the program reads.

use crate::home;
use runbook_tests::env::TestEnv;
use std::os::unix::fs::symlink;

const STEP: &str = "[targets.db]\nsql = \"sqlite:shop.db\"\n[[step]]\nid = \"put\"\n\
                    uses = \"sql:execute\"\nbind.db = \"db\"\nirreversible = \"it is a test\"\n\
                    with = { statement = \"insert into t values (1)\" }\n";

const CHECK: &str = "[targets.db]\nsql = \"sqlite:shop.db\"\n[[check]]\nid = \"look\"\n\
                     uses = \"sql:query\"\nbind.db = \"db\"\n\
                     with = { statement = \"select 1 as n\", first_row = { n = 1 } }\n";

/// Files below the home that must not be replaced. The journal and the key are protected paths.
const PROTECTED_FILES: &[&str] = &[
    "work/r.toml",
    "work/s.toml",
    "work/targets.prod.toml",
    "work/.runbook.toml",
    "work/runbook.lock",
    "work/shop.db",
    "work/shop",
    "work/mine.wasm",
    "work/secrets.age",
    "work/linked.json",
    ".config/runbook/identity.txt",
    ".local/state/runbook/journal.db",
];

fn prepared() -> TestEnv {
    let env = home();
    env.file("work/r.toml", &format!("format = 1\n[runbook]\nname = \"r\"\n{STEP}"));
    env.file("work/s.toml", &format!("format = 1\n[runbook]\nname = \"s\"\n{CHECK}"));
    env.file("work/targets.prod.toml", "format = 1\n[targets.db]\nsql = \"sqlite:shop.db\"\n");
    env.file("work/.runbook.toml", "format = 1\n");
    let database = rusqlite::Connection::open(env.path().join("work/shop.db")).expect("it opens");
    database.execute_batch("create table t (a)").expect("SQL");
    drop(database);
    std::fs::copy(env.path().join("work/shop.db"), env.path().join("work/shop")).expect("copied");
    env.file("work/mine.wasm", "\0asm and more");
    env.file("work/secrets.age", "age-encryption.org/v1 and more");
    symlink("r.toml", env.path().join("work/linked.json")).expect("a link");
    env.file(".config/runbook/identity.txt", "# a key\n");
    env.run_in("work", &["lock", "r.toml", "s.toml"]).status(0);
    env.run_in("work", &["exec", "r.toml"]).status(0);
    env
}

#[test]
fn no_output_option_overwrites_a_file_that_the_program_reads() {
    let env = prepared();
    let run = env.run_in("work", &["runs", "--format", "json"]).stdout;
    let run: serde_json::Value = serde_json::from_str(run.trim()).expect("JSON");
    let run = run["run"].as_str().expect("an id");
    let rows = || {
        let database =
            rusqlite::Connection::open(env.path().join("work/shop.db")).expect("it opens");
        database.query_row("select count(*) from t", [], |row| row.get::<_, i64>(0)).expect("SQL")
    };
    for kept in PROTECTED_FILES {
        let path = env.path().join(kept);
        let name = path.display().to_string();
        let report = format!("json={name}");
        for (status, command) in [
            (2, &["plan", "r.toml", "--out", &name][..]),
            (2, &["exec", "r.toml", "--report", &report]),
            (2, &["exec", "r.toml", "--events", &name]),
            (2, &["exec", "r.toml", "--run-id", run, "--report", &report]),
            (3, &["check", "s.toml", "--output", &name]),
            (3, &["check", "s.toml", "--events", &name]),
            (2, &["report", run, "--format", "json", "--output", &name]),
            (2, &["review", ".", "--output", &name]),
        ] {
            let before = std::fs::read(&path).expect("it is there");
            env.run_in("work", command).status(status).err("another file");
            let after = std::fs::read(&path).expect("it is there");
            // The journal file may change when it is opened, but keeps its runs.
            assert!(before == after || kept.ends_with("journal.db"), "{kept}: {command:?}");
            assert_eq!(rows(), 1, "nothing was run: {kept}: {command:?}");
        }
    }
    env.run_in("work", &["show", run]).status(0).out("Succeeded");
    env.run_in("work", &["exec", "r.toml", "--report", "json=one", "--events", "one"])
        .status(2)
        .err("two of the files");
    for again in ["new", "replaced"] {
        env.run_in(
            "work",
            &["exec", "r.toml", "--report", "json=report.json", "--events", "events.jsonl"],
        )
        .status(0);
        env.run_in("work", &["plan", "r.toml", "--out", "plan.json"]).status(0).err("written");
        assert!(env.read("work/report.json").contains("\"r\""), "{again}");
    }
    env.run_in("work", &["plan", "r.toml", "--out", "report.json"]).status(2).err("is not a plan");
}
