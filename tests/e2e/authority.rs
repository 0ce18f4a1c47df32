//! Boundary and lockfile: what may run is what was reviewed, and no more than security allows.

use crate::{bundled, home};
use runbook_tests::env::{Finished, TestEnv};

const RUNBOOK: &str = r#"format = 1
[runbook]
name = "check"
[targets.shop]
sql = "sqlite:shop.db"
create = true
[[preflight]]
id = "there"
uses = "sql:query"
bind.db = "shop"
with = { statement = "select 1 as one" }
"#;

/// The same with a step that changes the database.
const WIDER: &str = r#"
[[step]]
id = "write"
uses = "sql:transaction"
bind.db = "shop"
with = { statements = ["create table if not exists t (x)"] }
irreversible = "an example"
"#;

fn env_with(runbook: &str) -> TestEnv {
    let env = home();
    env.file("r.toml", runbook);
    env.file("shop.db", "");
    env
}

#[test]
fn a_locked_runbook_runs_and_a_wider_one_is_refused_until_it_is_accepted() {
    let env = env_with(RUNBOOK);
    env.run(&["lock", "r.toml"]).status(0).out("locked for the first time");
    env.run(&["lock", "r.toml"]).status(0).out("as locked");
    env.run(&["exec", "--locked", "r.toml"]).status(0);
    env.file("r.toml", &format!("{RUNBOOK}{WIDER}"));
    let refused = |finished: Finished| {
        finished
            .status(6)
            .err("is not what")
            .err("step `write` of r.toml, slot `db`")
            .err("now possible: transaction with a `define` statement")
    };
    refused(env.run(&["exec", "--yes", "r.toml"])).err("runbook lock --accept r.toml");
    refused(env.run(&["plan", "r.toml"]));
    env.run(&["lock", "r.toml"]).status(6).out("widened").err("not written");
    env.run(&["lock", "--accept", "r.toml"]).status(0).out("locked anew").out("widened");
    env.run(&["exec", "--yes", "r.toml"]).status(0);
}

#[test]
fn a_runbook_that_gave_something_up_needs_no_acceptance_but_a_new_entry() {
    let env = env_with(&format!("{RUNBOOK}{WIDER}"));
    env.run(&["lock", "r.toml"]).status(0);
    env.file("r.toml", RUNBOOK);
    env.run(&["exec", "r.toml"]).status(6).err("narrowed");
    env.run(&["lock", "r.toml"]).status(0).out("narrowed");
    env.run(&["exec", "r.toml"]).status(0);
}

#[test]
fn a_swapped_binary_is_refused() {
    let env = env_with(&RUNBOOK.replace("sql:query", "./mine.wasm:query"));
    let component = bundled("sql");
    std::fs::write(env.path().join("mine.wasm"), component).expect("a file can be written");
    env.run(&["lock", "r.toml"]).status(0);
    env.run(&["exec", "r.toml"]).status(0);
    // A custom section more: the same program, another digest.
    let swapped = [component, &[0, 2, 1, b'x']].concat();
    std::fs::write(env.path().join("mine.wasm"), swapped).expect("a file can be written");
    env.run(&["exec", "r.toml"]).status(6).err("moved").err("plugin `./mine.wasm`: is other code");
}

#[test]
fn ci_refuses_what_is_not_locked() {
    let env = env_with(RUNBOOK);
    env.run(&["validate", "--locked", "r.toml"]).status(6).err("is not locked").err("runbook lock r.toml");
    env.run(&["validate", "r.toml"]).status(0);
}

#[test]
fn a_damaged_lockfile_stops_everything_and_is_shown_at_its_line() {
    let env = env_with(RUNBOOK);
    env.file("runbook.lock", "format = 1\n[[plugin]]\nname = \"x\"\n");
    env.run(&["exec", "r.toml"]).status(6).err("runbook.lock:2").err("has no `reference`");
}

const BOUNDARY: &str = "format = 1\n[[allow]]\ncapability = \"sql\"\nverbs = [\"query\"]\nengines = [\"sqlite\"]\n";

#[test]
fn what_is_beyond_the_boundary_is_refused_with_a_call_that_would_be_possible() {
    let env = env_with(RUNBOOK);
    env.file("boundary.toml", BOUNDARY);
    env.run(&["exec", "--boundary", "boundary.toml", "r.toml"]).status(0);
    env.file("r.toml", &format!("{RUNBOOK}{WIDER}"));
    env.run(&["exec", "--yes", "--boundary", "boundary.toml", "r.toml"])
        .status(6)
        .err("slot `db` of step `write` reaches beyond the boundary")
        .err("it would allow: transaction with a `define`")
        .err("boundary.toml:2, allows only verbs = query");
    assert_eq!(env.run(&["runs", "--json"]).stdout.lines().count(), 1, "the second one was never a run");
}

#[test]
fn a_boundary_that_cannot_be_read_stops_everything() {
    let env = env_with(RUNBOOK);
    env.run(&["plan", "--boundary", "nobody.toml", "r.toml"]).status(6).err("`nobody.toml` cannot be read");
    env.file("boundary.toml", "format = 1\n[[allow]]\ncapability = \"sql\"\nverbs = [\"qery\"]\n");
    env.run(&["plan", "--boundary", "boundary.toml", "r.toml"]).status(6).err("did you mean `query`?");
}
