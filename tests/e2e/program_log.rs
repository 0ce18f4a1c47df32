//! The log of the program: `-v`, `RUNBOOK_LOG`, `--log-format`.

use crate::home;
use runbook_tests::env::{ProgramOutput, TestEnv};

const RUNBOOK: &str = r#"
format = 1
[runbook]
name = "logged"
[params.word]
type = "string"
default = "a-word-of-the-statement"
[targets.db]
sql = "sqlite:work.db"
[[step]]
id = "make"
uses = "sql:transaction"
bind.db = "db"
with.statements = ["create table made (name text)", "insert into made values ('{{ params.word }}')"]
irreversible = "a table of a test"
"#;

fn prepared() -> TestEnv {
    let env = home();
    rusqlite::Connection::open(env.path().join("work.db"))
        .expect("a file")
        .execute_batch("vacuum")
        .expect("a database");
    env.file("r.toml", RUNBOOK);
    env
}

fn exec(arguments: &[&str], variables: &[(&str, &str)]) -> ProgramOutput {
    let env = prepared();
    let mut command = env.command(&[&["exec", "r.toml", "--yes"], arguments].concat());
    command.envs(variables.iter().copied());
    runbook_tests::env::finish(command.output().expect("the program starts"))
}

/// The lines of stderr that belong to the log: they have a level.
fn log_lines(finished: &ProgramOutput) -> Vec<&str> {
    let levels = [" ERROR ", " WARN ", " INFO ", " DEBUG ", " TRACE "];
    finished.stderr.lines().filter(|line| levels.iter().any(|level| line.contains(level))).collect()
}

#[test]
fn nothing_is_logged_by_default() {
    let finished = exec(&[], &[]);
    assert_eq!(finished.status, 0, "{}", finished.stderr);
    assert_eq!(log_lines(&finished), Vec::<&str>::new());
}

#[test]
fn runs_calls_and_host_calls_are_spans_within_each_other() {
    for (arguments, variables) in [
        (&["-v"][..], &[][..]),
        (&["--log", "info"], &[]),
        (&[], &[("RUNBOOK_LOG", "info")]),
        (&["--log-format", "text"], &[]),
    ] {
        let finished = exec(arguments, variables);
        assert_eq!(finished.status, 0, "{}", finished.stderr);
        let lines = log_lines(&finished);
        let host_call = lines
            .iter()
            .find(|line| line.contains("host call{"))
            .unwrap_or_else(|| panic!("{lines:#?}"));
        let order =
            ["run{id=", "call{step=make", "host call{slot=db"].map(|span| host_call.find(span));
        assert!(order.iter().all(Option::is_some) && order.is_sorted(), "{host_call}");
        assert!(host_call.contains("time.busy"), "{host_call}");
    }
}

#[test]
fn each_line_of_a_json_log_is_one_object() {
    let finished = exec(&["-vvv", "--log-format", "json"], &[]);
    assert_eq!(finished.status, 0, "{}", finished.stderr);
    let lines: Vec<&str> = finished.stderr.lines().filter(|line| line.starts_with('{')).collect();
    assert!(lines.len() > 3, "{}", finished.stderr);
    for line in lines {
        let value: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(value["level"].is_string() && value["timestamp"].is_string(), "{line}");
        assert!(
            value["target"].as_str().is_some_and(|target| target.starts_with("runbook")),
            "{line}"
        );
    }
}

/// Neither the program nor a library logs statements, at any level.
#[test]
fn the_log_has_no_statement_and_no_library_message_at_any_level() {
    for (arguments, variables) in [
        (&["-vvv"][..], &[][..]),
        (&[], &[("RUNBOOK_LOG", "trace")]),
        (&["-vvv"], &[("RUST_LOG", "trace")]),
    ] {
        let finished = exec(arguments, variables);
        assert_eq!(finished.status, 0, "{}", finished.stderr);
        assert!(!log_lines(&finished).is_empty());
        assert!(!finished.stderr.contains("a-word-of-the-statement"), "{}", finished.stderr);
        for library in ["sqlx", "hyper", "rustls", "reqwest", "wasmtime", "cranelift"] {
            assert!(
                !finished.stderr.contains(&format!(" {library}")),
                "{library}: {}",
                finished.stderr
            );
        }
    }
}

#[test]
fn an_invalid_log_filter_stops_the_program_at_once() {
    for filter in ["hyper=trace", "info,sqlx=debug", "loud", "runbook_runtime=loud"] {
        let finished = exec(&[], &[("RUNBOOK_LOG", filter)]);
        assert_eq!(finished.status, 2, "{filter}: {}", finished.stderr);
        assert!(finished.stderr.contains("`RUNBOOK_LOG`: "), "{}", finished.stderr);
        assert!(finished.stderr.contains("help: write a level"), "{}", finished.stderr);
    }
}
