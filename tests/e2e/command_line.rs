//! Exit codes, prompts, help, lists and the other rules that hold for every command.

use crate::{home, repository};
use exit_status::{CHECK_STATUSES, EXIT_STATUSES};
use runbook_tests::terminal::{Control, Terminal};

/// The table in the source of the program.
#[path = "../../host/cli/src/exit_status.rs"]
#[expect(dead_code, reason = "the program uses the rest")]
mod exit_status;

/// The rows of the table with this heading row in a document: code and meaning.
fn rows<'a>(document: &'a str, heading: &str) -> Vec<(&'a str, &'a str)> {
    let (_, table) =
        document.split_once(&format!("{heading}\n| --- | --- |\n")).expect("the table is there");
    let row = |line: &'a str| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | ");
    table.lines().map_while(row).collect()
}

#[test]
fn exit_statuses_are_the_same_in_the_program_its_help_and_the_documents() {
    let out = home().run(&["help", "exit-codes"]).status(0).stdout;
    let documents =
        std::fs::read_to_string(repository().join("docs/runbooks.md")).expect("it is there");
    let (of_runs, of_checks) = out.split_once("\ncheck:\n").expect("two families");
    let printed = |text: &str, code: u8, meaning: &str| {
        text.lines().any(|line| line.trim() == format!("{code}  {meaning}"))
    };
    let runs: Vec<(String, &str)> =
        EXIT_STATUSES.iter().map(|(_, code, meaning)| (code.to_string(), *meaning)).collect();
    let checks: Vec<(String, &str)> =
        CHECK_STATUSES.iter().map(|(_, code, meaning)| (code.to_string(), *meaning)).collect();
    let named = |table: &[(&str, &'static str)]| {
        table.iter().map(|(code, meaning)| ((*code).to_owned(), *meaning)).collect::<Vec<_>>()
    };
    let documents: &'static str = documents.leak();
    assert_eq!(named(&rows(documents, "| exit code | meaning |")), runs);
    assert_eq!(named(&rows(documents, "| exit code | what was found |")), checks);
    for (_, code, meaning) in EXIT_STATUSES {
        assert!(printed(of_runs, *code, meaning), "{code} in\n{out}");
    }
    for (_, code, meaning) in CHECK_STATUSES {
        assert!(printed(of_checks, *code, meaning), "{code} in\n{out}");
    }
}

#[test]
fn a_mistake_on_the_command_line_of_check_ends_with_its_own_code() {
    for line in [
        &["--color", "never", "check", "--bogus"][..],
        &["check", "--bogus"],
        &["--journal=x://y", "check", "x.toml"],
    ] {
        home().run(line).status(3);
    }
    home().run(&["--color", "never", "exec", "--bogus"]).status(2);
}

/// A runbook that says that it destroys something.
const DESTRUCTIVE: &str = r#"
format = 1
[runbook]
name = "drop"
risk = "destructive"
[targets.db]
sql = "sqlite:work.db"
create = true
[[step]]
id = "drop"
uses = "sql:transaction"
bind.db = "db"
with = { statements = ["create table dropped (a)"] }
irreversible = "an example"
"#;

#[test]
fn without_a_prompt_a_destructive_run_needs_yes() {
    let is_done = |env: &runbook_tests::env::TestEnv| env.path().join("work.db").exists();
    for no_input in [&[][..], &["--no-input"]] {
        for terminal in [false, true].iter().filter(|terminal| !**terminal || !no_input.is_empty())
        {
            for yes in [false, true] {
                let env = home();
                env.file("r.toml", DESTRUCTIVE);
                let mut line = no_input.to_vec();
                line.extend(["exec", "r.toml"]);
                line.extend(yes.then_some("--yes"));
                let status = if *terminal {
                    Terminal::open()
                        .spawn(&env.command(&line), Control::None)
                        .wait()
                        .expect("it ends")
                        .code()
                } else {
                    Some(env.run(&line).status)
                };
                assert_eq!(
                    (status, is_done(&env)),
                    (Some(if yes { 0 } else { 2 }), yes),
                    "{line:?} on a terminal: {terminal}"
                );
            }
        }
    }
}

#[test]
fn without_a_prompt_undo_and_prune_need_yes() {
    let env = home();
    env.file(
        "r.toml",
        &DESTRUCTIVE.replace("risk = \"destructive\"\n", "").replace(
            "irreversible = \"an example\"",
            "undo = \
             { uses = \"sql:transaction\", bind.db = \"db\", with = { statements = [\"drop table dropped\"] } }",
        ),
    );
    env.run(&["exec", "r.toml"]).status(0);
    let run = env.newest_run();
    for line in
        [&["undo", &run][..], &["--no-input", "undo", &run], &["prune", "--older-than", "0s"]]
    {
        env.run(line).status(2).err("--yes");
    }
    env.run(&["show", &run]).status(0).out("Succeeded.");
    env.run(&["undo", &run, "--yes"]).status(0);
}

#[test]
fn doctor_shows_every_option_of_every_command_with_its_origin() {
    let env = home();
    let help = env.run(&["help", "options"]).status(0).stdout;
    let (_, shared) = help.split_once("Options of every command:").expect("they have a heading");
    let names: Vec<_> = shared
        .lines()
        .filter_map(|line| line.trim().strip_prefix("--")?.split_whitespace().next())
        .collect();
    assert!(names.len() >= 10, "{names:?}");
    let shown = env.run(&["doctor", "--locked", "--cache", "other"]);
    for name in names {
        let row = shown.stdout.lines().find(|line| line.split_whitespace().next() == Some(name));
        let row = row.unwrap_or_else(|| panic!("{name} is not in\n{}", shown.stdout));
        let origin = if ["locked", "cache"].contains(&name) {
            format!("from --{name}")
        } else {
            "default".to_owned()
        };
        assert!(row.ends_with(&origin), "{row}");
    }
    let mut command = env.command(&["doctor"]);
    let shown = command.env("RUNBOOK_AUDIT_LOG", "/elsewhere").output().expect("it starts");
    assert!(String::from_utf8_lossy(&shown.stdout).contains("from RUNBOOK_AUDIT_LOG"), "{shown:?}");
}

#[test]
fn doctor_checks_boundary_and_trust_files_and_reports_mistyped_variables() {
    let env = home();
    env.file("broken.toml", "format = 1\n[[allow]]\ncapability = \"sqll\"\n");
    for (variable, check) in [("RUNBOOK_BOUNDARY", "boundary"), ("RUNBOOK_TRUST", "trust")] {
        for file in ["not-there.toml", "broken.toml"] {
            let found = env.command(&["doctor"]).env(variable, file).output().expect("it starts");
            let found = runbook_tests::env::finish(found).status(3);
            let row =
                found.stdout.lines().find(|line| line.starts_with(check) && line.contains("FAIL"));
            assert!(
                row.is_some_and(|row| row.contains(file)),
                "{variable} {file}: {}",
                found.stdout
            );
        }
    }
    let found = env
        .command(&["doctor"])
        .env("RUNBOOK_BOUNDRY", "x")
        .env("RUNBOOK_ENV", "prod")
        .output()
        .expect("it starts");
    let found = runbook_tests::env::finish(found)
        .status(3)
        .out("`RUNBOOK_BOUNDRY`: no such setting; did you mean `RUNBOOK_BOUNDARY`?");
    let row = found.stdout.lines().find(|line| line.starts_with("environment")).expect("a row");
    assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["environment", "prod", "RUNBOOK_ENV"]);
}

#[test]
fn a_report_that_has_no_folder_is_refused_before_anything_runs() {
    let env = home();
    env.file(
        "r.toml",
        "format = 1\n[runbook]\nname = \"r\"\n[targets.db]\nsql = \"sqlite:x.db\"\ncreate = true\n\
         [[step]]\nid = \"a\"\nuses = \"sql:execute\"\nbind.db = \"db\"\n\
         with = { statement = \"create table t (x)\" }\nirreversible = \"no\"\n",
    );
    for report in ["junit=nowhere/x.xml", "html=/nonexistent/x.html", "json=."] {
        env.run(&["exec", "r.toml", "--report", report]).status(2).err("could not be written");
    }
    assert!(!env.path().join("x.db").exists(), "something ran");
    env.run(&["runs"]).status(0).without("r.toml");
    env.run(&["exec", "r.toml", "--report", "junit=x.xml"]).status(0);
}

#[test]
fn help_explains_a_command_in_a_command() {
    let env = home();
    env.run(&["help", "secret", "set"]).status(0).out("Usage: runbook secret set");
    env.run(&["help", "secret", "sett"]).status(2).err("did you mean `set`?");
    env.run(&["help", "undo"])
        .status(0)
        .out("before undoing")
        .without("Do not ask before starting");
    env.run(&["help", "resume"]).status(0).without("Do not ask");
    env.run(&["help", "ls"]).status(0).out("Usage: runbook runs");
}

#[test]
fn the_help_of_a_command_is_about_that_command() {
    let env = home();
    let commands =
        ["exec", "run", "runs", "ls", "show", "logs", "locks break", "secret set", "check"];
    for command in commands {
        let words: Vec<&str> = command.split(' ').collect();
        for line in [
            [&["help"], words.as_slice()].concat(),
            [words.as_slice(), &["--help"]].concat(),
            [words.as_slice(), &["-h"]].concat(),
        ] {
            env.run(&line).status(0).without("--audit-log").out("runbook help options");
        }
    }
    let all = env.run(&["help"]).status(0);
    all.out("Set up:").out("exec         Run a runbook [also: run]").without("--audit-log");
    env.run(&["--help"]).status(0).out("Set up:").without("--audit-log");
}

#[test]
fn aliases_of_commands_do_the_same() {
    let env = home();
    rusqlite::Connection::open(env.path().join("shop.db"))
        .expect("a database")
        .execute_batch("create table t (a)")
        .expect("made");
    env.file("r.toml", &select("one", 1));
    env.run(&["run", "r.toml"]).status(0);
    assert_eq!(env.run(&["ls"]).status(0).stdout, env.run(&["runs"]).status(0).stdout);
    let run = env.newest_run();
    assert_eq!(
        env.run(&["logs", &run]).status(0).stdout,
        env.run(&["show", &run]).status(0).stdout
    );
}

#[test]
fn an_empty_run_id_is_refused() {
    let env = home();
    for line in [&["show", ""][..], &["audit", "show", ""], &["resume", ""], &["approve", "x", ""]]
    {
        env.run(line).status(2).err("a value is required");
    }
}

#[test]
fn completions_are_scripts_for_each_shell() {
    for (shell, sign) in [
        ("bash", "-F _clap_complete_runbook runbook"),
        ("zsh", "#compdef runbook"),
        ("fish", "--command runbook"),
    ] {
        home().run(&["completions", shell]).status(0).out(sign);
    }
}

#[test]
fn bundled_plugins_are_listed_and_inspected_without_running_them() {
    let env = home();
    let list = env.run(&["plugin", "list"]).status(0).stdout;
    for operation in [
        "http:get",
        "postgres:dump",
        "docker:stop",
        "sqlite:backup",
        "webhook:post",
        "slack:post",
        "sql:query",
        "smoke:run",
    ] {
        assert!(list.contains(operation), "{operation} in\n{list}");
    }
    env.run(&["plugin", "inspect", "docker"])
        .status(0)
        .out("docker.stop")
        .out("runbook:docker/control@1.0.0")
        .out("sha256:");
    env.run(&["plugin", "inspect", "dokcer"]).status(2).err("did you mean `docker`?");
}

#[test]
fn doctor_says_where_everything_is() {
    home().run(&["doctor"]).status(0).out("journal can be written").out("ok");
}

#[test]
fn an_unknown_command_is_a_usage_error() {
    home().run(&["exek"]).status(2).err("exek");
}

#[test]
fn a_new_journal_lists_no_runs() {
    home().run(&["runs"]).status(0).err("no run has been made yet");
}

#[test]
fn version_is_printed() {
    home().run(&["--version"]).status(0).out("runbook 0.1.0");
}

#[test]
fn undo_and_cancel_of_an_undone_run_report_that_it_is_undone() {
    let env = home();
    let reversible = DESTRUCTIVE.replace("risk = \"destructive\"\n", "").replace(
        "irreversible = \"an example\"",
        "undo = \
         { uses = \"sql:transaction\", bind.db = \"db\", with = { statements = [\"drop table dropped\"] } }",
    );
    env.file("r.toml", &reversible);
    env.run(&["exec", "r.toml"]).status(0);
    let run = env.newest_run();
    env.run(&["cancel", &run, "--yes"])
        .status(2)
        .err("has ended, so there is nothing to cancel")
        .err(&format!("runbook undo {run}"));
    env.run(&["undo", &run, "--yes"]).status(0);
    for yes in [&[][..], &["--yes"]] {
        env.run(&[&["undo", &run], yes].concat())
            .status(0)
            .err("is undone already; nothing of it is left to undo");
    }
    env.run(&["cancel", &run, "--yes"])
        .status(2)
        .err("it is undone")
        .err(&format!("runbook show {run}"));
}

#[test]
fn help_describes_what_a_command_does() {
    let env = home();
    env.run(&["check", "--help"])
        .status(0)
        .out("Smoke tests may write, and remove what they wrote")
        .without("changes nothing");
    env.run(&["lock", "--help"])
        .status(0)
        .out("the text of each runbook and of every file that it consists of");
    env.run(&["help", "options"])
        .status(0)
        .out("Refuse a runbook without an entry in the `runbook.lock` beside it");
}

#[test]
fn audit_show_suggests_runs_for_an_unknown_or_ambiguous_id() {
    let env = home();
    env.run(&["audit", "show", "zz"]).status(2).err("has no run `zz`").err("it has no run yet");
    env.file("r.toml", &DESTRUCTIVE.replace("create table", "create table if not exists"));
    for _ in 0..2 {
        env.run(&["exec", "r.toml", "--yes"]).status(0);
    }
    let run = env.newest_run();
    env.run(&["audit", "show", "zz"]).status(2).err("has no run `zz`").err(&run);
    env.run(&["audit", "show", &run[..2]]).status(2).err("2 runs of the audit log").err(&run);
    env.run(&["audit", "show", &run]).status(0).out("sql");
}

#[test]
fn an_example_of_a_parameter_fits_the_parameter() {
    let env = home();
    let kinds = [
        (
            "type = \"string\"\npattern = \"OPS-[0-9]+\"",
            "--set a=…`, a value that matches `OPS-[0-9]+`",
        ),
        ("type = \"string\"", "--set a=orders`"),
        ("type = \"int\"\nmin = 100", "--set a=100`"),
        ("type = \"int\"", "--set a=5`"),
        ("type = \"enum\"\nchoices = [\"blue\", \"green\"]", "--set a=blue`"),
        ("type = \"duration\"\nmax = \"10s\"", "--set a=10s`"),
    ];
    for (kind, example) in kinds {
        env.file(
            "r.toml",
            &format!(
                "format = 1\n[runbook]\nname = \"r\"\n[params.a]\nrequired = true\n{kind}\n\
                 [[step]]\nid = \"a\"\nmanual = {{ instructions = \"x\" }}\n"
            ),
        );
        let said = env.run(&["exec", "r.toml"]).status(2).stderr;
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(example), "{kind}: {said}");
    }
}

/// A runbook of one query that expects one row and gets one, or none.
fn select(name: &str, n_rows: u8) -> String {
    format!(
        "format = 1\n[runbook]\nname = \"{name}\"\n[targets.db]\nsql = \"sqlite:shop.db\"\n\
             [[step]]\nid = \"look\"\nuses = \"sql:query\"\nbind.db = \"db\"\n\
             with = {{ statement = \"select 1 where 1 = {n_rows}\", row_count = 1 }}\n"
    )
}

#[test]
fn runs_are_listed_by_state_runbook_and_age() {
    let env = home();
    rusqlite::Connection::open(env.path().join("shop.db"))
        .expect("a database")
        .execute_batch("create table t (a)")
        .expect("made");
    env.file("good.toml", &select("good", 1));
    env.file("bad.toml", &select("bad", 0));
    for (file, status) in [("good.toml", 0), ("bad.toml", 1), ("good.toml", 0)] {
        env.run(&["exec", file]).status(status);
    }
    let names = |options: &[&str]| -> Vec<String> {
        let listed = env.run(&[&["runs", "--format", "json"], options].concat()).status(0).stdout;
        let runs = listed
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
        runs.map(|run| run["name"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names(&[]), ["good", "bad", "good"]);
    assert_eq!(names(&["--state", "failed-clean"]), ["bad"]);
    assert_eq!(
        names(&["--state", "failed-clean", "--state", "succeeded"]),
        ["good", "bad", "good"]
    );
    assert_eq!(names(&["--runbook", "good", "--limit", "1"]), ["good"]);
    assert_eq!(names(&["--since", "1h"]).len(), 3);
    assert_eq!(names(&["--since", "0s"]), <[&str; 0]>::default());
    env.run(&["runs", "--state", "dirty"]).status(0).err("there is no such run");
    env.run(&["runs", "--state", "broken"])
        .status(2)
        .err("succeeded-with-warnings")
        .err("interrupted");
}

/// Every command that lists something prints one JSON object a line with `--format json`, and
/// nothing else on stdout.
#[test]
fn every_list_is_lines_of_json_for_programs() {
    let env = home();
    env.file(
        "r.toml",
        "format = 1\n[runbook]\nname = \"r\"\n[[step]]\nid = \"look\"\n\
         manual = { instructions = \"look\" }\n",
    );
    env.run(&["exec", "r.toml"]).status(5);
    env.run(&["secret", "keygen"]).status(0);
    env.run_with_input(&["secret", "set", "s.age#word"], "a value").status(0);
    let lists: &[&[&str]] = &[
        &["list"],
        &["runs"],
        &["locks"],
        &["doctor"],
        &["plugin", "list"],
        &["secret", "list", "s.age"],
    ];
    for list in lists {
        let printed = env.run(&[list, &["--format", "json"][..]].concat()).status(0).stdout;
        let entries: Vec<serde_json::Value> = printed
            .lines()
            .map(|line| {
                serde_json::from_str(line)
                    .unwrap_or_else(|error| panic!("{list:?}: {error}: {line}"))
            })
            .collect();
        assert!(entries.iter().all(serde_json::Value::is_object), "{list:?}");
        assert!(!entries.is_empty() || *list == ["locks"], "{list:?} is empty");
    }
}
