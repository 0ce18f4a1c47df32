//! `plan --out` and `exec --plan`: a saved plan runs once and exactly as shown. Any difference is
//! refused before the first effect.

use crate::home;
use runbook_tests::env::TestEnv;
use rusqlite::Connection;

const RUNBOOK: &str = r#"format = 1
include = ["more.toml"]
[runbook]
name = "raises"
[params.id]
type = "int"
default = 1
[[step]]
id = "raise"
uses = "sql:execute"
bind.db = "db"
irreversible = "it is a test"
with = { statement = "update orders set total = total + 1 where id = ?1 -- {{ run.id }}", parameters = ["{{ params.id }}"] }
"#;

fn shop() -> TestEnv {
    let env = home();
    let tables = "create table orders (id integer, total integer); insert into orders values (1, \
                  10), (2, 20);";
    for name in ["shop.db", "other.db"] {
        Connection::open(env.path().join(name))
            .expect("it opens")
            .execute_batch(tables)
            .expect("SQL");
    }
    env.file("r.toml", RUNBOOK);
    env.file("more.toml", "format = 1\n[targets.db]\nsql = \"sqlite:shop.db\"\n");
    env
}

fn total(env: &TestEnv, name: &str) -> i64 {
    let connection = Connection::open(env.path().join(name)).expect("it opens");
    connection.query_row("select sum(total) from orders", [], |row| row.get(0)).expect("SQL")
}

#[test]
fn a_plan_runs_as_planned_and_only_once() {
    let env = shop();
    env.run(&["plan", "r.toml", "--set", "id=2", "--out", "p.json"])
        .status(0)
        .out("raise")
        .err("runbook exec --plan p.json");
    assert_eq!(total(&env, "shop.db"), 30, "a plan changes nothing");
    std::fs::create_dir(env.path().join("elsewhere")).expect("a folder");
    env.run_in("elsewhere", &["exec", "--plan", "../p.json", "-y"])
        .status(0)
        .out("id = 2")
        .out("Succeeded");
    assert_eq!(total(&env, "shop.db"), 31);
    env.run(&["exec", "--plan", "p.json", "-y"]).status(0).err("was begun before");
    assert_eq!(total(&env, "shop.db"), 31);
}

/// Changes after a plan was made: the file, the text to replace, its replacement, and the expected
/// message.
const CHANGES: &[(&str, &str, &str, &str)] = &[
    ("r.toml", "total + 1", "total + 100", "total + 100"),
    ("r.toml", "it is a test", "it is another test", "it is another test"),
    ("more.toml", "shop.db", "other.db", "other.db"),
    ("more.toml", "[targets.db]", "# a comment\n[targets.db]", "# a comment"),
    ("p.json", "\"id\": 1", "\"id\": 2", "planned with"),
    ("p.json", "where id = ?1", "where id = 7", "planned with"),
];

#[test]
fn a_difference_from_the_plan_is_shown_and_nothing_runs() {
    for (name, old, new, said) in CHANGES {
        let env = shop();
        env.run(&["plan", "r.toml", "--out", "p.json"]).status(0);
        let text = env.read(name);
        assert!(text.contains(old), "{name} has no `{old}`: {text}");
        env.file(name, &text.replacen(old, new, 1));
        env.run(&["exec", "--plan", "p.json", "-y"])
            .status(6)
            .err("is not what `p.json` holds")
            .err(said);
        assert_eq!((total(&env, "shop.db"), total(&env, "other.db")), (30, 30), "{name}: {old}");
        env.run(&["runs"]).status(0).without("raises");
    }
}

#[test]
fn an_invalid_plan_and_options_that_contradict_a_plan_are_refused() {
    let env = shop();
    env.run(&["exec", "--plan", "p.json"]).status(2).err("the plan `p.json` cannot be read");
    for wrong in ["", "{}", "[]", "{\"format\": 1}"] {
        env.file("p.json", wrong);
        env.run(&["exec", "--plan", "p.json"]).status(2).err("is not a plan of this version");
    }
    std::fs::remove_file(env.path().join("p.json")).expect("it is there");
    env.run(&["plan", "r.toml", "--out", "p.json"]).status(0);
    let text = env.read("p.json");
    env.file("q.json", &text.replace("\"format\": 1,", "\"format\": 2,"));
    env.run(&["exec", "--plan", "q.json"]).status(2).err("has format 2");
    for more in [
        &["r.toml"][..],
        &["--set", "id=2"],
        &["--dry-run"],
        &["--run-id", "0197a5c4-0000-4000-8000-00000000c0de"],
    ] {
        env.run(&[&["exec", "--plan", "p.json"], more].concat())
            .status(2)
            .err("cannot be used with");
    }
    env.run(&["exec", "--plan", "p.json", "--env", "prod"])
        .status(2)
        .err("the plan was made with no environment");
    env.run(&["exec"]).status(2).err("FILE|NAME");
    assert_eq!(total(&env, "shop.db"), 30);
}

#[test]
fn a_plan_of_another_operator_is_refused() {
    let env = shop();
    env.file("r.toml", &RUNBOOK.replace("{{ run.id }}", "{{ run.id }} {{ run.operator }}"));
    env.run(&["plan", "r.toml", "--out", "p.json"]).status(0);
    let text = env.read("p.json");
    let plan: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let me = plan["operator"].as_str().expect("a name");
    env.file("of-ada.json", &text.replace(me, "ada@desk"));
    env.run(&["exec", "--plan", "of-ada.json", "-y"])
        .status(6)
        .err("planned with")
        .err("ada@desk")
        .err(me);
    assert_eq!(total(&env, "shop.db"), 30);
    env.run(&["exec", "--plan", "p.json", "-y"]).status(0);
    assert_eq!(total(&env, "shop.db"), 31);
}

#[test]
fn a_plan_runs_only_in_its_own_journal() {
    let env = shop();
    env.run(&["plan", "r.toml", "--out", "p.json"]).status(0);
    for (journal, folder) in [("other.journal", "."), ("p/journal.db", ".")] {
        std::fs::create_dir_all(env.path().join("p")).expect("a folder");
        env.run_in(folder, &["--journal", journal, "exec", "--plan", "p.json", "-y"])
            .status(6)
            .err("belongs to the journal")
            .err(journal);
    }
    assert_eq!(total(&env, "shop.db"), 30);
    // A symlink to the journal is the same journal.
    let default = env.path().join(".local/state/runbook/journal.db");
    std::os::unix::fs::symlink(default.parent().expect("a folder"), env.path().join("state"))
        .expect("a link");
    env.run(&["--journal", "state/journal.db", "exec", "--plan", "p.json", "-y"]).status(0);
    env.run(&["exec", "--plan", "p.json", "-y"]).status(0).err("was begun before");
    assert_eq!(total(&env, "shop.db"), 31);
}
