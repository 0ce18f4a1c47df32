//! Parameters from flags, variables, files and prompts: which source overrides which, and every
//! error names the source.

use crate::home;
use runbook_tests::env::{ProgramOutput, TestEnv, finish};
use runbook_tests::running::RunningProgram;
use runbook_tests::terminal::{Control, Terminal};
use runbook_tests::wait_for;

const RUNBOOK: &str = r#"
format = 1
[runbook]
name = "parameters"
[params.incident]
type = "string"
required = true
pattern = "^INC-[0-9]+$"
help = "Incident id"
[params.dry_rows]
type = "int"
default = 1
max = 9
[params.hosts]
type = "list"
default = ["a"]
[params.at]
type = "timestamp"
default = "2026-01-31T02:00:00Z"
[targets.db]
sql = "sqlite:shop.db"
[[step]]
id = "tell"
title = "{{ params.incident }} {{ params.dry_rows }} {{ params.hosts | join('+') }}"
uses = "sql:query"
bind.db = "db"
with.statement = "select 1"
"#;

fn prepared() -> TestEnv {
    let env = home();
    rusqlite::Connection::open(env.path().join("shop.db"))
        .expect("a database")
        .execute_batch("create table t (a)")
        .expect("made");
    env.file("r.toml", RUNBOOK);
    env
}

fn run(env: &TestEnv, arguments: &[&str], variables: &[(&str, &str)]) -> ProgramOutput {
    let mut command = env.command(&[&["exec", "r.toml"], arguments].concat());
    finish(command.envs(variables.iter().copied()).output().expect("the program starts"))
}

/// The parameters of the newest run.
fn params(env: &TestEnv) -> serde_json::Value {
    let shown = env.run(&["show", &env.newest_run(), "--format", "json"]).status(0).stdout;
    serde_json::from_str::<serde_json::Value>(&shown).expect("JSON")["params"].clone()
}

#[test]
fn flags_override_variables_which_override_the_params_file() {
    let env = prepared();
    env.file(
        "p.toml",
        "incident = \"INC-1\"\ndry_rows = 2\nhosts = [\"x\", \"y\"]\nat = 2026-01-01T00:00:00Z\n",
    );
    let at = "2026-01-01T00:00:00Z";
    let file = ["--params-file", "p.toml"];
    run(&env, &file, &[]).status(0);
    assert_eq!(
        params(&env),
        serde_json::json!({ "incident": "INC-1", "dry_rows": 2, "hosts": ["x", "y"], "at": at })
    );
    let variables = [("RUNBOOK_PARAM_INCIDENT", "INC-2"), ("RUNBOOK_PARAM_DRY_ROWS", "3")];
    run(&env, &file, &variables).status(0);
    assert_eq!(
        params(&env),
        serde_json::json!({ "incident": "INC-2", "dry_rows": 3, "hosts": ["x", "y"], "at": at })
    );
    run(&env, &[&file[..], &["--set", "incident=INC-3", "--set", "hosts=z"]].concat(), &variables)
        .status(0);
    assert_eq!(
        params(&env),
        serde_json::json!({ "incident": "INC-3", "dry_rows": 3, "hosts": ["z"], "at": at })
    );
}

#[test]
fn an_invalid_parameter_is_reported_with_its_origin() {
    let env = prepared();
    let set = ["--set", "incident=INC-1"];
    run(&env, &set, &[("RUNBOOK_PARAM_DRY_ROWS", "many")])
        .status(2)
        .err("RUNBOOK_PARAM_DRY_ROWS=many");
    let in_file = |text: &str| {
        env.file("p.toml", text);
        run(&env, &[&set[..], &["--params-file", "p.toml"]].concat(), &[]).status(2)
    };
    in_file("dry_rows = 10").err("p.toml: dry_rows = 10");
    in_file("dry_rows = \"x\"").err("p.toml: dry_rows = ");
    in_file("rows = 1").err("p.toml: rows = 1").err("has no parameter `rows`");
    in_file("a = 1\n[").err("p.toml:2:").err("as TOML");
    run(&env, &["--params-file", "nowhere.toml"], &[])
        .status(2)
        .err("nowhere.toml")
        .err("cannot be read");
    in_file("at = 1979-05-27").err("p.toml: at = 1979-05-27");
    in_file(&format!("# {}\nincident = \"INC-2\"", "x".repeat(1 << 20))).err("cannot be read");
    std::fs::write(env.path().join("bytes.toml"), b"a = \"\xff\"").expect("written");
    run(&env, &["--params-file", "bytes.toml"], &[]).status(2).err("not UTF-8");
    let mut piped = env.command(&["exec", "r.toml", "--params-file", "-"]);
    piped.stdin(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = RunningProgram::start(&mut piped);
    let _ = std::io::Write::write_all(
        &mut child.stdin.take().expect("piped"),
        "#".repeat((1 << 20) + 1).as_bytes(),
    );
    finish(child.wait_with_output().expect("it ends")).status(2).err("cannot be read");
    assert!(!env.path().join("state").join("journal.db").exists(), "nothing began");
}

#[test]
fn a_required_parameter_is_prompted_for_until_it_is_valid() {
    let env = prepared();
    let mut terminal = Terminal::open();
    let mut child = terminal.spawn(&env.command(&["exec", "r.toml"]), Control::None);
    wait_for("it asks", || terminal.shown().contains("incident (Incident id): "));
    terminal.type_keys("7\n");
    wait_for("it asks again", || terminal.shown().matches("incident (Incident id): ").count() == 2);
    terminal.type_keys("INC-7\n");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    terminal.close();
    assert_eq!(params(&env)["incident"], "INC-7");
    // Without a terminal it is an error.
    run(&env, &[], &[]).status(2).err("parameter `incident` is required");
}

#[test]
fn a_variable_for_an_unknown_parameter_is_a_warning_with_a_suggestion() {
    let env = crate::home();
    env.file(
        "r.toml",
        "format = 1\n[runbook]\nname = \"r\"\n[params.ids]\ntype = \"list\"\ndefault = [\"1\"]\n\
         [[step]]\nid = \"look\"\nmanual = { instructions = \"look\", confirm = \"I looked\" }\n",
    );
    let mut command = env.command(&["exec", "r.toml", "--dry-run"]);
    command.env("RUNBOOK_PARAM_ID", "2").env("RUNBOOK_PARAM_OTHER", "x");
    let finished = runbook_tests::env::finish(command.output().expect("the program runs"));
    finished
        .err("RUNBOOK_PARAM_ID names no parameter of `r`; did you mean RUNBOOK_PARAM_IDS?")
        .err("RUNBOOK_PARAM_OTHER names no");
}
