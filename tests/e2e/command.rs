//! The bundled plugin `command`: runs an existing program as a check or as a step.

use crate::home;
use runbook_tests::env::{TestEnv, first_run};
use serde_json::Value as Json;

/// Writes a shell script and returns its path as a TOML string.
fn script(env: &TestEnv, name: &str, commands: &str) -> String {
    format!("\"{}\"", env.script(name, commands).display())
}

/// A service whose state is a file: `service enable|disable` and `state`, which ends with 0 if it
/// is enabled and with 3 if it is not.
fn service(env: &TestEnv) -> String {
    let file = env.path().join("enabled");
    let control = script(
        env,
        "service",
        &format!(
            "case $1 in enable) echo on > {0};; disable) rm -f {0};; *) exit 64;; esac; echo \
             $1 >> {0}.log; echo \"$1 done\"",
            file.display()
        ),
    );
    let state = script(env, "state", &format!("test -e {} || exit 3", file.display()));
    format!(
        "format = 1\n[runbook]\nname = \"service\"\n[targets.service]\nprocess = {control}\n\
         arguments = [{{ one_of = [\"enable\", \"disable\"] }}]\n[targets.state]\nprocess = {state}\n\
         arguments = []\nread_only = true\n[[step]]\nid = \"enable\"\nuses = \"command:run\"\n\
         bind = {{ program = \"service\", condition = \"state\" }}\n\
         with = {{ arguments = [\"enable\"], only_if = {{ exit_codes = [3], otherwise = [0] }} }}\n\
         undo = {{ uses = \"command:run\", bind.program = \"service\", with = {{ arguments = \
         [\"disable\"] }} }}\n"
    )
}

fn calls(env: &TestEnv) -> Vec<String> {
    std::fs::read_to_string(env.path().join("enabled.log"))
        .unwrap_or_default()
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_step_runs_its_program_if_it_is_needed_and_its_undo_runs_another() {
    let env = home();
    env.file("r.toml", &service(&env));
    env.run(&["exec", "--dry-run", "r.toml"]).status(0).out("enable");
    assert_eq!(calls(&env), Vec::<String>::new(), "a dry run runs nothing");
    env.run(&["exec", "--yes", "r.toml"]).status(0).out("it ended with 0: enable done");
    let id = first_run(&env.run(&["runs"]));
    env.run(&["exec", "--yes", "r.toml"]).status(0).out("not needed");
    assert_eq!(calls(&env), ["enable"], "it is needed once");
    env.run(&["undo", "--yes", &id]).status(0);
    assert_eq!(calls(&env), ["enable", "disable"]);
    assert!(!env.path().join("enabled").exists());
}

#[test]
fn a_program_that_reports_success_without_its_effect_fails_the_step() {
    let env = home();
    let lies = script(&env, "deploy", "echo deployed");
    let state = script(&env, "state", "exit 3");
    let text = |with: &str, bind: &str| {
        format!(
            "format = 1\n[runbook]\nname = \"deploy\"\n[targets.deploy]\nprocess = {lies}\n\
             arguments = []\n[targets.state]\nprocess = {state}\narguments = []\nread_only = true\n\
             [targets.out]\nfiles = \"out\"\n[[step]]\nid = \"deploy\"\nuses = \"command:run\"\n\
             bind = {{ program = \"deploy\", {bind} }}\nwith = {{ {with} }}\n\
             irreversible = \"a deployment is not undone by this runbook\"\n"
        )
    };
    std::fs::create_dir(env.path().join("out")).expect("a folder can be made");
    for (with, bind, said) in [
        ("creates = \"release.txt\"", "files = \"out\"", "there is no `release.txt`"),
        ("only_if = { exit_codes = [3] }", "condition = \"state\"", "still needed"),
    ] {
        env.file("r.toml", &text(with, bind));
        let ended = env.run(&["exec", "--yes", "r.toml"]);
        assert_ne!(ended.status, 0, "{with}");
        assert!(format!("{}{}", ended.stdout, ended.stderr).contains(said), "{ended:?}");
    }
    env.file("r.toml", &text("only_if = { exit_codes = [0] }", "condition = \"state\""));
    let asked = env.run(&["exec", "--yes", "r.toml"]);
    assert!(
        format!("{}{}", asked.stdout, asked.stderr).contains("neither yes nor no"),
        "{asked:?}"
    );
    assert_ne!(asked.status, 0);
}

#[test]
fn a_check_judges_exit_code_and_output_and_changes_nothing() {
    let env = home();
    let program = script(&env, "state", "echo ready; echo noise >&2; touch made; exit ${1:-0}");
    let check = |with: &str, status: i32| {
        env.file(
            "checks.toml",
            &format!(
                "format = 1\n[runbook]\nname = \"c\"\n[targets.it]\nprocess = {program}\n\
                 arguments = [{{ repeat = {{ regex = \"[0-9]\" }} }}]\nread_only = true\n\
                 [[check]]\nid = \"it\"\nuses = \"command:check\"\nbind.program = \"it\"\n\
                 with = {{ {with} }}\n"
            ),
        );
        env.run(&["check", "checks.toml"]).status(status)
    };
    check("stdout_contains = [\"ready\"]", 0);
    check("arguments = [\"3\"]", 2);
    check("arguments = [\"3\"], exit_codes = [3]", 0);
    check("arguments = [\"3\"], warn_exit_codes = [3]", 1);
    check("stdout_lacks = [\"ready\"]", 2);
    check("stderr_empty = true", 2);
    check("arguments = [\"x\"]", 3).out("not granted");
    assert!(!env.path().join("made").exists(), "a probe changes nothing");
}

#[test]
fn only_slots_that_the_input_uses_are_granted() {
    let env = home();
    let without = service(&env).replace(", only_if = { exit_codes = [3], otherwise = [0] }", "");
    env.file("r.toml", &without);
    let reviewed = env.run(&["review", "--format", "json", "r.toml"]).status(0).stdout;
    let reviewed: Json = serde_json::from_str(&reviewed).expect("JSON");
    let step = &reviewed["runbooks"][0]["steps"][0];
    let granted: Vec<_> =
        step["rows"].as_array().expect("rows").iter().map(|row| &row["verb"]).collect();
    assert_eq!(granted, ["process.run"], "{step:#}");
    assert_eq!(step["withheld"][0]["slot"], "condition", "{step:#}");
}
