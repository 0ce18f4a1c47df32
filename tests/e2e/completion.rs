//! Completions of a command line, requested as a shell requests them.

use crate::home;
use runbook_tests::env::TestEnv;
use std::process::Command;

const RUNBOOK: &str = r#"
format = 1
[runbook]
name = "asks"
[params.incident]
type = "string"
default = "none"
help = "the ticket"
[params.speed]
type = "enum"
choices = ["slow", "fast"]
default = "slow"
[[step]]
id = "look"
title = "Look at the graph"
manual = { instructions = "Look at the graph, and say what you see.", choices = ["good", "bad"] }
"#;

fn prepared() -> TestEnv {
    let env = home();
    env.file("r.toml", RUNBOOK);
    env.file("targets.staging.toml", "format = 1\n");
    env.run(&["exec", "r.toml", "--yes"]).status(5);
    env
}

/// The completions of the last of these words.
fn complete(env: &TestEnv, words: &[&str]) -> Vec<String> {
    let mut command = env.command(&["--", "runbook"]);
    command
        .args(words)
        .env("COMPLETE", "bash")
        .env("_CLAP_IFS", "\n")
        .env("_CLAP_COMPLETE_INDEX", words.len().to_string());
    let finished =
        runbook_tests::env::finish(command.output().expect("the program starts")).status(0);
    assert_eq!(finished.stderr, "", "a shell that completes shows no error");
    finished.stdout.lines().filter(|line| !line.starts_with("--")).map(str::to_owned).collect()
}

#[test]
fn runs_and_waiting_steps_are_completed() {
    let env = prepared();
    let run = env.newest_run();
    assert_eq!(complete(&env, &["show", ""]), [run.as_str()]);
    assert_eq!(complete(&env, &["resume", &run[..4]]), [run.as_str()]);
    assert_eq!(complete(&env, &["answer", &run, ""]), ["look"]);
    assert_eq!(
        complete(&env, &["resume", &run, "--decide", "l"]),
        ["look=done", "look=retry", "look=not-done", "look=fail"]
    );
    assert!(complete(&env, &["show", "zzz"]).is_empty());
}

#[test]
fn parameters_and_their_values_are_completed() {
    let env = prepared();
    assert_eq!(complete(&env, &["exec", "r.toml", "--set", ""]), ["incident=", "speed="]);
    assert_eq!(
        complete(&env, &["exec", "r.toml", "--set", "speed="]),
        ["speed=slow", "speed=fast"]
    );
    assert_eq!(complete(&env, &["plan", "r.toml", "--env", ""]), ["staging"]);
}

#[test]
fn plugins_keys_and_commands_are_completed() {
    let env = home();
    assert_eq!(complete(&env, &["plugin", "inspect", "sq"]), ["sql", "sqlite"]);
    assert_eq!(complete(&env, &["explain", "step.ret"]), ["step.retry"]);
    assert_eq!(complete(&env, &["prun"]), ["prune"]);
}

#[test]
fn completion_without_a_journal_is_empty_and_creates_nothing() {
    let env = home();
    assert!(complete(&env, &["show", ""]).is_empty());
    assert!(complete(&env, &["exec", "missing.toml", "--set", ""]).is_empty());
    env.file("broken.toml", "format = [");
    assert!(complete(&env, &["exec", "broken.toml", "--set", ""]).is_empty());
    assert!(!env.path().join(".local").exists(), "completing makes no journal");
}

#[test]
fn completion_works_in_bash() {
    let env = prepared();
    let program = env!("CARGO_BIN_EXE_runbook");
    let folder = std::path::Path::new(program).parent().expect("it is in a folder").display();
    let script = format!(
        "PATH={folder}:$PATH; source <(runbook completions bash); COMP_WORDS=(runbook show \
                 ''); COMP_CWORD=2; COMP_TYPE=9; _clap_complete_runbook runbook '' show; printf \
                 '%s\\n' \"${{COMPREPLY[@]}}\""
    );
    let mut bash = Command::new("bash");
    bash.args(["-c", &script])
        .env_clear()
        .env("HOME", env.path())
        .env("PATH", "/usr/bin:/bin")
        .current_dir(env.path());
    let finished = runbook_tests::env::finish(bash.output().expect("bash starts")).status(0);
    assert!(finished.stdout.contains(&env.newest_run()), "{finished:?}");
}
