//! What a shell is offered when it completes a command line, asked as a shell asks.

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

/// What a shell is offered for the last of these words.
fn offered(env: &TestEnv, words: &[&str]) -> Vec<String> {
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
fn runs_and_the_steps_that_wait() {
    let env = prepared();
    let run = env.newest_run();
    assert_eq!(offered(&env, &["show", ""]), [run.as_str()]);
    assert_eq!(offered(&env, &["resume", &run[..4]]), [run.as_str()]);
    assert_eq!(offered(&env, &["answer", &run, ""]), ["look"]);
    assert_eq!(
        offered(&env, &["resume", &run, "--decide", "l"]),
        ["look=done", "look=retry", "look=not-done", "look=fail"]
    );
    assert!(offered(&env, &["show", "zzz"]).is_empty());
}

#[test]
fn parameters_of_the_runbook_and_their_values() {
    let env = prepared();
    assert_eq!(offered(&env, &["exec", "r.toml", "--set", ""]), ["incident=", "speed="]);
    assert_eq!(offered(&env, &["exec", "r.toml", "--set", "speed="]), ["speed=slow", "speed=fast"]);
    assert_eq!(offered(&env, &["plan", "r.toml", "--env", ""]), ["staging"]);
}

#[test]
fn plugins_and_keys_and_commands() {
    let env = home();
    assert_eq!(offered(&env, &["plugin", "inspect", "sq"]), ["sql", "sqlite"]);
    assert_eq!(offered(&env, &["explain", "step.ret"]), ["step.retry"]);
    assert_eq!(offered(&env, &["prun"]), ["prune"]);
}

#[test]
fn where_there_is_nothing_nothing_is_offered_and_nothing_is_made() {
    let env = home();
    assert!(offered(&env, &["show", ""]).is_empty());
    assert!(offered(&env, &["exec", "missing.toml", "--set", ""]).is_empty());
    env.file("broken.toml", "format = [");
    assert!(offered(&env, &["exec", "broken.toml", "--set", ""]).is_empty());
    assert!(!env.path().join(".local").exists(), "completing makes no journal");
}

#[test]
fn bash_itself_completes() {
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
