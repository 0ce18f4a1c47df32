//! The shipped runbooks: the quickstart and the emergency.

use crate::{home, repository};
use runbook_tests::env::TestEnv;

/// A home with the runbooks that ship.
fn with_runbooks() -> TestEnv {
    let env = home();
    for file in ["quickstart.toml", "emergency-db.toml"] {
        let text = std::fs::read_to_string(repository().join("runbooks").join(file))
            .expect("the runbook ships");
        env.file(&format!("runbooks/{file}"), &text);
    }
    std::fs::create_dir_all(env.path().join("runbooks/quickstart")).expect("a folder can be made");
    env
}

fn count(env: &TestEnv, statement: &str) -> i64 {
    let database = rusqlite::Connection::open(env.path().join("runbooks/quickstart/shop.db"))
        .expect("the database is there");
    database.query_row(statement, [], |row| row.get(0)).expect("the query works")
}

#[test]
fn the_quickstart_repairs_its_database() {
    let env = with_runbooks();
    env.run(&["exec", "runbooks/quickstart.toml"])
        .status(0)
        .out("Succeeded. Everything was done.")
        .out("broken = 2");
    assert_eq!(count(&env, "select count(*) from orders"), 3);
    env.run(&["runs"]).status(0).out("succeeded").out("quickstart");
}

#[test]
fn a_failed_verify_restores_the_database() {
    let env = with_runbooks();
    env.run(&["exec", "runbooks/quickstart.toml", "--set", "expected_orders=99"])
        .status(1)
        .err("undoing 1 step")
        .out("expected 99");
    assert_eq!(count(&env, "select count(*) from orders"), 5, "the two broken orders are back");
    env.run(&["runs"]).status(0).out("undone");
    // A retry is another run, and its undo restores the backup of the first run.
    env.run(&["retry", &env.newest_run(), "--from", "repair", "--yes"])
        .status(1)
        .err("undoing 1 step")
        .without("DIRTY");
    assert_eq!(
        count(&env, "select count(*) from orders"),
        5,
        "the two broken orders are back again"
    );
}

#[test]
fn a_retry_of_the_quickstart_restores_the_database_too() {
    let env = with_runbooks();
    env.run(&["exec", "runbooks/quickstart.toml", "--set", "expected_orders=99"]).status(1);
    let run = env.newest_run();
    env.run(&["retry", &run, "--from", "repair", "--yes"])
        .status(1)
        .err("undoing 1 step")
        .out("expected 99");
    assert_eq!(
        count(&env, "select count(*) from orders"),
        5,
        "the backup of the first run is the one that is restored"
    );
}

#[test]
fn a_dry_run_changes_nothing() {
    let env = with_runbooks();
    env.run(&["exec", "runbooks/quickstart.toml", "--dry-run"])
        .status(0)
        .out("nothing was changed")
        .out("sql.transaction");
    assert!(!env.path().join("runbooks/quickstart/shop.db").exists());
    env.run(&["runs"]).status(0).err("no run has been made yet");
}

#[test]
fn a_plan_calls_the_steps_and_an_offline_plan_contacts_nothing() {
    let env = with_runbooks();
    env.run(&["plan", "runbooks/quickstart.toml"])
        .status(0)
        .out("create  would")
        .out("insert into customers values")
        .out("file = \"shop-")
        .out("Steps were asked, and could change nothing");
    env.run(&["plan", "--offline", "runbooks/quickstart.toml"])
        .status(0)
        .out("Nothing was contacted")
        .without("would");
    assert!(!env.path().join("runbooks/quickstart/shop.db").exists());
}

#[test]
fn a_plan_names_secrets_and_shows_what_runs_at_the_same_time() {
    let env = home();
    env.file(
        "r.toml",
        "format = 1\n[runbook]\nname = \"groups\"\n[secrets.token]\n\
         source = \"age:secrets/prod.age#token\"\n[targets.api]\nhttp = \"http://127.0.0.1:1\"\n\
         headers = { Authorization = \"Bearer secret:token\" }\n[[step]]\nid = \"a\"\n\
         uses = \"http:get\"\nbind.target = \"api\"\n[[step]]\nid = \"b\"\nuses = \"http:get\"\n\
         bind.target = \"api\"\n[[step]]\nid = \"c\"\nuses = \"http:get\"\nbind.target = \"api\"\n\
         needs = [\"a\"]\n",
    );
    let plan = env.run(&["plan", "--offline", "r.toml"]).status(0);
    plan.out("those with one number run at the same time")
        .out("1  a")
        .out("2  b")
        .out("2  c")
        .out("token  age:secrets/prod.age#token  a, b, c");
}

#[test]
fn a_run_can_be_shown_and_reported_in_every_format() {
    let env = with_runbooks();
    let wanted = [
        "text=report.txt",
        "json=report.json",
        "junit=report.xml",
        "markdown=report.md",
        "html=report.html",
    ];
    let known: Vec<String> = runbook_report::FORMATS
        .iter()
        .map(|(_, name, end, _)| format!("{name}=report.{end}"))
        .collect();
    assert_eq!(known, wanted, "each format is asked for");
    let reports: Vec<&str> = wanted.iter().flat_map(|wanted| ["--report", wanted]).collect();
    env.run(&[&["exec", "runbooks/quickstart.toml"], &reports[..]].concat()).status(0);
    assert!(env.read("report.txt").contains("✓ repair     done"), "{}", env.read("report.txt"));
    assert!(
        env.read("report.html").starts_with("<!doctype html>")
            && env.read("report.html").contains("repair")
    );
    assert!(
        env.read("report.xml").contains(
            "<testsuite name=\"quickstart\" tests=\"8\" skipped=\"0\" errors=\"0\" failures=\"0\""
        ),
        "{}",
        env.read("report.xml")
    );
    let json: serde_json::Value =
        serde_json::from_str(&env.read("report.json")).expect("the report is JSON");
    assert_eq!(json["state"], "succeeded");
    assert!(env.read("report.md").contains("| repair | done |"));
    let id = json["run"].as_str().expect("a run has an id").to_owned();
    env.run(&["show", &id[..13]]).status(0).out("Orders without customers").out("repair");
    env.run(&["show", "nonsense"]).status(2);
}

#[test]
fn a_second_start_compiles_nothing() {
    let env = with_runbooks();
    let cache = env.path().join("cache");
    let folder = cache.to_str().expect("the path is text");
    env.run(&["--cache", folder, "exec", "runbooks/quickstart.toml"]).status(0);
    let times = || -> Vec<_> {
        let entries = std::fs::read_dir(&cache).expect("the cache is there");
        let mut times: Vec<_> = entries
            .map(|entry| entry.expect("listed"))
            .map(|entry| {
                (entry.file_name(), entry.metadata().expect("there").modified().expect("known"))
            })
            .collect();
        times.sort();
        times
    };
    let first = times();
    assert!(!first.is_empty());
    env.run(&["--cache", folder, "exec", "runbooks/quickstart.toml"]).status(0);
    assert_eq!(times(), first);
}

#[test]
fn every_runbook_that_ships_is_valid() {
    let env = with_runbooks();
    env.run(&["validate", "runbooks/quickstart.toml", "runbooks/emergency-db.toml"])
        .status(0)
        .out("quickstart.toml: ok")
        .out("emergency-db.toml: ok");
    env.run(&["plan", "runbooks/emergency-db.toml", "--set", "incident=INC-1"])
        .status(0)
        .out("docker.stop")
        .out("irreversible: adds a file");
    env.run(&["plan", "runbooks/emergency-db.toml", "--set", "incident=42"]).status(2).err("INC");
}
