//! `--env NAME`: targets that come from the environment, and targets of it that nothing uses.

use crate::home;
use runbook_tests::env::TestEnv;

const RUNBOOK: &str = "format = 1\n[runbook]\nname = \"r\"\n[targets.shop]\nsql = \"sqlite:shop.db\"\ncreate = true\n\
     [targets.other]\nsql = \"sqlite:other.db\"\ncreate = true\n[[step]]\nid = \"look\"\n\
     uses = \"sql:query\"\nbind.db = \"shop\"\nwith = { statement = \"select 1 as one\" }\n\
     [[step]]\nid = \"two\"\nuses = \"sql:query\"\nbind.db = \"other\"\n\
     with = { statement = \"select 1 as one\" }\n";

fn with(environment: &str) -> TestEnv {
    let env = home();
    env.file("r.toml", RUNBOOK);
    env.file("targets.stage.toml", &format!("format = 1\n{environment}"));
    env
}

const STAGE: &str = "sql = \"sqlite:stage.db\"\ncreate = true\n";

#[test]
fn an_unused_target_of_an_environment_is_an_error_in_every_command() {
    for (name, help) in [
        ("shp", "did you mean `shop`?"),
        ("Shop", "did you mean `shop`?"),
        ("quite_another", "shop, other"),
    ] {
        let env = with(&format!("[targets.{name}]\n{STAGE}"));
        for command in [
            &["validate", "r.toml"][..],
            &["plan", "r.toml"],
            &["exec", "r.toml"],
            &["exec", "--dry-run", "r.toml"],
            &["lock", "r.toml"],
        ] {
            let found = env.run(&[command, &["--env", "stage"]].concat()).status(2);
            found.err("E0238").err(help).err("targets.stage.toml:2");
        }
        env.run(&["validate", "r.toml"]).status(0);
    }
}

#[test]
fn a_file_of_an_environment_may_have_the_targets_of_every_runbook_beside_it() {
    let env = with(&format!("[targets.shop]\n{STAGE}[targets.of_others]\n{STAGE}"));
    env.run(&["validate", "r.toml", "--env", "stage"]).status(2).err("of_others");
    env.file(
        "other.toml",
        &RUNBOOK
            .replace("targets.other", "targets.of_others")
            .replace("\"other\"", "\"of_others\""),
    );
    env.run(&["validate", "r.toml", "other.toml", "--env", "stage"]).status(0);
    // A runbook without that target takes it from the environment.
    env.file(
        "other.toml",
        &RUNBOOK
            .replace("[targets.other]\nsql = \"sqlite:other.db\"\ncreate = true\n", "")
            .replace("\"other\"", "\"of_others\""),
    );
    env.run(&["validate", "r.toml", "other.toml", "--env", "stage"]).status(0);
}

#[test]
fn a_run_and_a_check_say_which_environment_they_are_in_even_if_a_variable_named_it() {
    let env = with(&format!("[targets.shop]\n{STAGE}"));
    for database in ["shop.db", "other.db", "stage.db"] {
        env.file(database, "");
    }
    env.file(
        "s.toml",
        "format = 1\n[runbook]\nname = \"s\"\n[targets.shop]\nsql = \"sqlite:shop.db\"\n\
         create = true\n[[check]]\nid = \"look\"\nuses = \"sql:query\"\nbind.db = \"shop\"\n\
         with = { statement = \"select 1 as one\" }\n",
    );
    for (command, file) in [("exec", "r.toml"), ("check", "s.toml")] {
        let named = env.run(&[command, file, "--env", "stage"]).status(0);
        named.err("environment stage");
        let by_variable =
            env.command(&[command, file]).env("RUNBOOK_ENV", "stage").output().expect("it starts");
        runbook_tests::env::finish(by_variable).status(0).err("environment stage");
        assert!(!env.run(&[command, file]).status(0).stderr.contains("environment"), "{command}");
    }
}

#[test]
fn a_plan_says_which_targets_are_those_of_the_environment() {
    let env = with(&format!("[targets.shop]\n{STAGE}"));
    env.run(&["plan", "r.toml", "--env", "stage"])
        .status(0)
        .out("environment: stage (shop; the runbook's own: other)");
    env.run(&["plan", "r.toml"]).status(0).without("environment:");
}
