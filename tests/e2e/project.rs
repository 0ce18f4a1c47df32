//! Projects: their runbooks are listed and found by name from any folder below, and their limits
//! apply. And the configuration of one person.

use crate::home;
use runbook_tests::env::TestEnv;

fn runbook(name: &str, title: &str) -> String {
    format!(
        "format = 1\n[runbook]\nname = \"{name}\"\ntitle = \"{title}\"\n[params.incident]\n\
             type = \"string\"\nrequired = true\nhelp = \"which\"\n[params.wait]\n\
             type = \"duration\"\ndefault = \"1s\"\n[targets.db]\nsql = \"sqlite:shop.db\"\n\
             create = true\n[[step]]\nid = \"look\"\nuses = \"sql:query\"\nbind.db = \"db\"\n\
             with = {{ statement = \"select 1 as one\" }}\n"
    )
}

fn suite(name: &str) -> String {
    let text = runbook(name, "").replace("[[step]]", "[[check]]");
    text.replace("[params.incident]\ntype = \"string\"\nrequired = true\nhelp = \"which\"\n", "")
}

/// Makes the database that the runbooks of a folder look into.
fn database(env: &TestEnv, folder: &str) {
    let path = env.path().join(folder).join("shop.db");
    rusqlite::Connection::open(path)
        .expect("it opens")
        .execute_batch("create table t (a)")
        .expect("SQL");
}

/// A project with two runbooks in a folder of its own, a suite, and files that are neither.
fn project() -> TestEnv {
    let env = home();
    env.file("p/.runbook.toml", "format = 1\nrunbooks = [\"ops\", \"checks\"]\n");
    env.file(
        "p/ops/emergency.toml",
        &runbook("emergency-db", "Ends the query that holds the lock"),
    );
    env.file("p/ops/deploy.toml", &runbook("deploy", "Deploys"));
    env.file(
        "p/ops/targets.prod.toml",
        "format = 1\n[targets.db]\nsql = \"sqlite:prod.db\"\ncreate = true\n",
    );
    env.file("p/checks/front.toml", &suite("front"));
    env.file("p/other/hidden.toml", &runbook("hidden", "Is in no folder of the project"));
    env.file("p/ops/deep/x", "");
    database(&env, "p/ops");
    database(&env, "p/checks");
    env
}

/// The names in the list, in its order.
fn names(json: &str) -> Vec<String> {
    let line =
        |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("each line is JSON");
    json.lines().map(|text| line(text)["name"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn the_runbooks_of_a_project_are_listed_from_every_folder_in_it() {
    let env = project();
    for folder in ["p", "p/ops", "p/ops/deep", "p/checks"] {
        let listed = env.run_in(folder, &["list", "--format", "json"]).status(0);
        assert_eq!(names(&listed.stdout), ["deploy", "emergency-db", "front"], "{folder}");
    }
    let text = env
        .run_in("p", &["list"])
        .status(0)
        .out("emergency-db")
        .out("Ends the query that holds the lock")
        .out("incident [wait]");
    text.out("ops/emergency.toml").out("checks").without("hidden").without("targets.prod");
}

#[test]
fn every_command_that_takes_a_runbook_takes_its_name_from_every_folder_of_the_project() {
    let env = project();
    for folder in ["p", "p/ops", "p/ops/deep", "p/checks"] {
        env.run_in(folder, &["exec", "emergency-db", "--set", "incident=INC-1"])
            .status(0)
            .out("Succeeded");
        env.run_in(folder, &["plan", "deploy", "--offline", "--set", "incident=INC-1"])
            .status(0)
            .out("Deploys");
        env.run_in(folder, &["validate", "deploy", "front"])
            .status(0)
            .out("ok, 1 step")
            .out("ok, 1 check");
        env.run_in(folder, &["check", "front"]).status(0);
    }
    // A file takes precedence over a runbook with that name.
    env.file("p/ops/deploy", &runbook("other", "Another"));
    env.run_in("p/ops", &["plan", "deploy", "--offline", "--set", "incident=INC-1"])
        .status(0)
        .out("Another");
    std::fs::remove_file(env.path().join("p/ops/deploy")).expect("it is there");
    env.run_in("p/checks", &["lock", "deploy"]).status(0);
    assert!(env.path().join("p/ops/runbook.lock").exists());
}

#[test]
fn an_unknown_or_ambiguous_runbook_name_is_reported() {
    let env = project();
    for command in ["exec", "plan", "validate", "lock"] {
        env.run_in("p", &[command, "emergency"])
            .status(2)
            .err("neither a file `emergency` nor a runbook")
            .err("emergency-db");
    }
    env.run_in("p", &["check", "frnt"]).status(3).err("did you mean `front`?");
    env.file("p/ops/second.toml", &runbook("deploy", "Deploys, too"));
    env.run_in("p", &["exec", "deploy"])
        .status(2)
        .err("2 runbooks are called `deploy`")
        .err("ops/deploy.toml")
        .err("ops/second.toml");
    env.file("p/ops/broken.toml", "[runbook]\nname = \n");
    env.run_in("p", &["list"]).status(0).err("`ops/broken.toml` is not listed").out("emergency-db");
    env.run_in("p", &["exec", "brokn"]).status(2).err("ops/broken.toml");
}

#[test]
fn without_a_project_runbooks_are_found_in_the_working_directory() {
    let env = home();
    env.run(&["list"]).status(0).err("there is no runbook in");
    env.file("here.toml", &runbook("here", "Here"));
    env.file("runbooks/below.toml", &runbook("below", "Below"));
    let listed = env.run(&["list", "--format", "json"]).status(0);
    assert_eq!(names(&listed.stdout), ["below", "here"]);
    database(&env, "runbooks");
    env.run(&["exec", "below", "--set", "incident=1"]).status(0);
}

#[test]
fn a_project_adds_limits_and_cannot_change_settings_of_the_operator() {
    let env = project();
    let nothing = "format = 1\n[[allow]]\ncapability = \"http\"\nverbs = [\"get\"]\n\
                   hosts = [\"example.com\"]\n";
    let all = "format = 1\n[[allow]]\ncapability = \"sql\"\nverbs = [\"query\"]\n";
    env.file("p/narrow.toml", nothing);
    env.file("all.toml", all);
    let exec = ["exec", "ops/deploy.toml", "--set", "incident=1"];
    env.run_in("p", &exec).status(0);
    env.file("p/.runbook.toml", "format = 1\nboundary = \"narrow.toml\"\n");
    let wider = env.path().join("all.toml").display().to_string();
    env.run_in("p", &[&exec[..], &["--boundary", &wider]].concat()).status(6).err("narrow.toml");
    env.run_in("p/ops/deep", &["exec", "../deploy.toml", "--set", "incident=1"])
        .status(6)
        .err("narrow.toml");
    env.file("p/.runbook.toml", "format = 1\nlocked = true\n");
    env.run_in("p", &exec).status(6);
    for key in ["journal", "cache", "identity", "audit_log"] {
        env.file("p/.runbook.toml", &format!("format = 1\n{key} = \"x\"\n"));
        env.run_in("p", &exec).status(2).err("E0125").err("set by each operator");
    }
}

#[test]
fn variables_and_flags_override_the_configuration() {
    let env = home();
    let config = ".config/runbook/config.toml";
    env.file("r.toml", &runbook("r", "R"));
    database(&env, ".");
    env.file(config, "format = 1\njournal = \"mine.db\"\ncolor = \"always\"\n");
    let exec = ["exec", "r.toml", "--set", "incident=1"];
    env.run(&exec).status(0).err("\u{1b}[");
    let mine = env.path().join(".config/runbook/mine.db");
    assert!(mine.exists());
    env.run(&["doctor"]).out("mine.db").out("config.toml:2");
    env.run(&[&exec[..], &["--journal", "flag.db", "--color", "never"]].concat())
        .status(0)
        .without("\u{1b}[");
    assert!(env.path().join("flag.db").exists());
    let variable = env
        .command(&["runs"])
        .env("RUNBOOK_JOURNAL", "variable.db")
        .output()
        .expect("the program starts");
    assert!(
        String::from_utf8_lossy(&variable.stderr).contains("no run has been made yet"),
        "{variable:?}"
    );
    for wrong in [
        "format = 1\njournl = \"x\"\n",
        "format = 1\ncolor = \"red\"\n",
        "color = \"never\"\n",
        "format = \n",
    ] {
        env.file(config, wrong);
        env.run(&exec).status(2).err("config.toml:");
    }
}

#[test]
fn the_limits_of_a_project_apply_from_every_folder() {
    let env = project();
    let file = env.path().join("p/ops/deploy.toml").display().to_string();
    std::fs::create_dir_all(env.path().join("away/links")).expect("a folder");
    std::os::unix::fs::symlink(env.path().join("p/ops"), env.path().join("away/links/ops"))
        .expect("a link");
    let link = env.path().join("away/links/ops/deploy.toml").display().to_string();
    let set = ["--set", "incident=1"];
    env.run_in("away", &[&["plan", &file, "--out", "plan.json"][..], &set].concat()).status(0);
    env.file(
        "p/narrow.toml",
        "format = 1\n[[allow]]\ncapability = \"http\"\nverbs = [\"get\"]\n\
         hosts = [\"example.com\"]\n",
    );
    env.file("p/trust.toml", "format = 1\n");
    for (limits, status, said) in [
        ("boundary = \"narrow.toml\"\n", 6, "narrow.toml"),
        ("locked = true\n", 6, "is not locked"),
        ("boundary = \"gone.toml\"\n", 6, "gone.toml"),
        ("trust = \"gone.toml\"\n", 6, "gone.toml"),
        ("journal = \"x\"\n", 2, "set by each operator"),
    ] {
        env.file("p/.runbook.toml", &format!("format = 1\n{limits}"));
        // A nearer project file names the runbooks but removes no limit.
        for nearer in [None, Some("p/ops/.runbook.toml")] {
            if let Some(nearer) = nearer {
                env.file(nearer, "format = 1\n");
            }
            for folder in ["away", "p", "p/ops", "p/ops/deep", "."] {
                for named in [&file, &link] {
                    env.run_in(folder, &[&["exec", named][..], &set].concat())
                        .status(status)
                        .err(said);
                    env.run_in(folder, &[&["plan", named][..], &set].concat())
                        .status(status)
                        .err(said);
                }
            }
            env.run_in("away", &["exec", "--plan", "plan.json"]).status(status).err(said);
        }
        std::fs::remove_file(env.path().join("p/ops/.runbook.toml")).expect("it is there");
    }
    env.run_in("away", &["runs"]).status(0).without("deploy");
    env.file("p/.runbook.toml", "format = 1\n");
    env.run_in("away", &["exec", "--plan", "plan.json"]).status(0);
}

#[test]
fn a_resumed_run_obeys_the_limits_of_its_project() {
    let env = home();
    let waits = runbook("waits", "Waits").replace("required = true", "default = \"x\"");
    env.file(
        "p/r.toml",
        &format!(
            "{waits}[[step]]\nid = \"ask\"\nmanual = {{ instructions = \"look\" }}\n{}",
            "[[step]]\nid = \"after\"\nuses = \"sql:query\"\nbind.db = \"db\"\n\
             with = { statement = \"select 1 as one\" }\n"
        ),
    );
    database(&env, "p");
    std::fs::create_dir_all(env.path().join("away")).expect("a folder");
    let run = "0197a5c4-0000-4000-8000-00000000c0de";
    env.run(&["exec", "p/r.toml", "--run-id", run]).status(5);
    env.run(&["answer", run, "ask"]).status(0);
    env.file(
        "p/narrow.toml",
        "format = 1\n[[allow]]\ncapability = \"http\"\nverbs = [\"get\"]\n\
         hosts = [\"example.com\"]\n",
    );
    env.file("p/.runbook.toml", "format = 1\nboundary = \"narrow.toml\"\n");
    env.run_in("away", &["resume", run]).status(6).err("narrow.toml");
    env.file("p/.runbook.toml", "format = 1\n");
    env.run_in("away", &["resume", run]).status(0);
}

#[test]
fn no_variable_turns_the_locked_setting_off() {
    let env = home();
    env.file("p/r.toml", &runbook("r", "R"));
    database(&env, "p");
    let exec = |file: &str, text: &str| {
        env.file(file, text);
        for variable in ["false", "0", "no", "off"] {
            let done = env
                .command(&["exec", "r.toml", "--set", "incident=1"])
                .current_dir(env.path().join("p"))
                .env("RUNBOOK_LOCKED", variable)
                .output()
                .expect("the program starts");
            assert_eq!(done.status.code(), Some(6), "{file}: {variable}: {done:?}");
        }
        let doctor = env
            .command(&["doctor"])
            .current_dir(env.path().join("p"))
            .env("RUNBOOK_LOCKED", "false")
            .output();
        let said = String::from_utf8(doctor.expect("the program starts").stdout).expect("text");
        let row = said.lines().find(|line| line.starts_with("locked")).expect("a row");
        assert!(row.contains("yes") && row.contains(&format!("{file}:2")), "{row}");
        std::fs::remove_file(env.path().join(file)).expect("it is there");
    };
    exec(".config/runbook/config.toml", "format = 1\nlocked = true\n");
    exec("p/.runbook.toml", "format = 1\nlocked = true\n");
}

#[test]
fn a_relative_home_is_not_used() {
    let env = home();
    env.file(
        ".config/runbook/config.toml",
        "format = 1\njournal = \"evil.db\"\ncache = \"evil\"\n",
    );
    for home in ["", ".", "./", ".."] {
        let done = env.command(&["doctor"]).env("HOME", home).output().expect("the program starts");
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr)
        );
        assert!(
            !said.contains("evil") && said.contains("nor `HOME` is set to an absolute path"),
            "{home:?}: {said}"
        );
    }
}

#[test]
fn an_invalid_project_does_not_prevent_reading_or_cancelling_runs() {
    let env = home();
    let waits = runbook("waits", "Waits").replace("required = true", "default = \"x\"");
    env.file(
        "good/r.toml",
        &format!("{waits}[[step]]\nid = \"ask\"\nmanual = {{ instructions = \"look\" }}\n"),
    );
    database(&env, "good");
    for (number, wrong) in
        ["boundry = \"x\"\n", "journal = \"x\"\n", "boundary = \"/etc/passwd\"\n", "= \n"]
            .iter()
            .enumerate()
    {
        let run = format!("0197a5c4-0000-4000-8000-00000000000{number}");
        env.run(&["exec", "good/r.toml", "--run-id", &run]).status(5);
        env.file("wrong/.runbook.toml", &format!("format = 1\n{wrong}"));
        for command in [
            &["exec", "../good/r.toml"][..],
            &["validate", "../good/r.toml"],
            &["list"],
            &["resume", &run],
            &["doctor"],
        ] {
            assert_ne!(env.run_in("wrong", command).status, 0, "{wrong}: {command:?}");
        }
        for command in [
            &["runs"][..],
            &["show", &run],
            &["report", &run],
            &["locks"],
            &["audit", "verify"],
            &["explain", "E0202"],
            &["answer", &run, "ask"],
            &["cancel", &run, "--yes"],
            &["prune", "--older-than", "90d", "--dry-run"],
        ] {
            env.run_in("wrong", command).status(0).err("this command does without the project");
        }
        env.run(&["show", &run]).status(0).out("Cancelled");
    }
    // The limits of the runbook's own project hold for what a cancel undoes.
    let run = "0197a5c4-0000-4000-8000-00000000000a";
    env.run(&["exec", "good/r.toml", "--run-id", run]).status(5);
    env.file("good/.runbook.toml", "format = 1\nboundry = \"x\"\n");
    assert_ne!(env.run_in("wrong", &["cancel", run, "--yes"]).status, 0);
}
