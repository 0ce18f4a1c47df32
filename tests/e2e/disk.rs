//! The bundled plugin `disk`: a probe that runs a program with read-only access.

use crate::home;

const SUITE: &str = r#"format = 1
[runbook]
name = "disk"
[targets.df]
process = "/usr/bin/df"
arguments = ["-P", "-k", "--", { repeat = { one_of = ["/", "/usr"] } }]
read_only = true
[[check]]
id = "space"
uses = "disk:space"
bind.program = "df"
with = { paths = ["/", "/usr"], warn_percent = 100, crit_percent = 100 }
"#;

#[test]
fn a_probe_measures_how_full_a_file_system_is() {
    let env = home();
    env.file("checks.toml", SUITE);
    let found = env.run(&["check", "--format", "json", "checks.toml"]).status(0);
    let found: serde_json::Value = serde_json::from_str(&found.stdout).expect("JSON");
    let measured = &found["checks"][0]["measurements"][0];
    assert_eq!((&measured["unit"], &measured["warn"]), (&"%".into(), &"100".into()), "{found:#}");
    assert!(
        measured["value"].as_f64().is_some_and(|used| (0.0..=100.0).contains(&used)),
        "{found:#}"
    );
    env.run(&["check", "--format", "nagios", "checks.toml"]).status(0).out("%;100;100");
}

#[test]
fn an_unreadable_path_is_not_healthy_and_other_arguments_are_denied() {
    let env = home();
    env.file(
        "checks.toml",
        &SUITE
            .replace("one_of = [\"/\"", "one_of = [\"/nowhere\", \"/\"")
            .replace("paths = [\"/\"", "paths = [\"/nowhere\""),
    );
    env.run(&["check", "checks.toml"]).status(3).out("No such file");
    env.file("checks.toml", &SUITE.replace("paths = [\"/\"", "paths = [\"/etc\""));
    env.run(&["check", "checks.toml"]).status(3).out("not granted");
}

#[test]
fn a_target_that_does_not_say_that_it_only_reads_is_refused() {
    let env = home();
    env.file("checks.toml", &SUITE.replace("read_only = true\n", ""));
    env.run(&["validate", "checks.toml"]).err("read_only");
}
