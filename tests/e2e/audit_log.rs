//! The audit log records every host call of a run and no secret, and its hash chain reveals every
//! change.

use crate::{home, repository};
use runbook_tests::env::TestEnv;
use runbook_tests::http::Receiver;
use std::path::PathBuf;

const AUDIT: &str = ".local/state/runbook/audit";

fn quickstart() -> TestEnv {
    let env = home();
    let text = std::fs::read_to_string(repository().join("runbooks/quickstart.toml"))
        .expect("the runbook ships");
    env.file("quickstart.toml", &text);
    std::fs::create_dir_all(env.path().join("quickstart")).expect("a folder can be made");
    env
}

fn run_files(env: &TestEnv) -> Vec<PathBuf> {
    let entries =
        std::fs::read_dir(env.path().join(AUDIT).join("runs")).expect("the audit log has runs");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

#[test]
fn a_run_leaves_a_whole_log_and_every_change_of_it_is_found() {
    let env = quickstart();
    env.run(&["exec", "quickstart.toml"]).status(0);
    env.run(&["audit", "verify"]).status(0).out("The audit log is whole").out("1 chain of runs");
    env.run(&["audit", "show"])
        .status(0)
        .out("sql.transaction on `db`")
        .out("statement delete [customers,orders]");
    let file = run_files(&env).remove(0);
    let text = std::fs::read_to_string(&file).expect("readable");
    std::fs::write(&file, text.replacen("sql.transaction", "sql.query", 1)).expect("writable");
    env.run(&["audit", "verify"]).status(1).out("its hash does not fit").out("NOT whole");
    let without_one: String = text
        .lines()
        .enumerate()
        .filter(|(index, _)| *index != 4)
        .flat_map(|(_, line)| [line, "\n"])
        .collect();
    std::fs::write(&file, without_one).expect("writable");
    env.run(&["audit", "verify"]).status(1).out("records were removed, added or moved");
    std::fs::remove_file(&file).expect("removable");
    env.run(&["audit", "verify"]).status(1).out("it is missing");
}

#[test]
fn a_missing_audit_log_is_reported_as_broken() {
    let env = quickstart();
    let assert_broken = |found: runbook_tests::env::ProgramOutput| {
        let found = found.status(1).out("BROKEN").out("NOT whole");
        assert!(!found.stdout.contains("log is whole"), "{}", found.stdout);
    };
    assert_broken(env.run(&["audit", "verify"]));
    env.run(&["exec", "quickstart.toml"]).status(0);
    env.run(&["audit", "verify"]).status(0);
    assert_broken(env.run(&["audit", "verify", "--audit-log", "nope"]));
    let by_variable = env
        .command(&["audit", "verify"])
        .env("RUNBOOK_AUDIT_LOG", "nope")
        .output()
        .expect("it runs");
    assert_broken(runbook_tests::env::finish(by_variable));
    std::fs::remove_dir_all(env.path().join(AUDIT)).expect("removable");
    assert_broken(env.run(&["audit", "verify"]));
    std::fs::create_dir_all(env.path().join(AUDIT)).expect("made");
    assert_broken(env.run(&["audit", "verify", "--strict"]));
}

#[test]
fn a_head_kept_elsewhere_detects_a_replaced_log() {
    let env = quickstart();
    env.run(&["exec", "quickstart.toml"]).status(0);
    let head = env
        .run(&["audit", "verify"])
        .status(0)
        .stdout
        .lines()
        .last()
        .expect("a line")
        .replace("head ", "");
    env.run(&["exec", "quickstart.toml"]).status(0);
    env.run(&["audit", "verify", "--head", &head]).status(0);
    std::fs::remove_dir_all(env.path().join(AUDIT)).expect("removable");
    env.run(&["exec", "quickstart.toml"]).status(0);
    env.run(&["audit", "verify", "--head", &head]).status(1).out("does not hold the head");
}

#[test]
fn a_denied_call_is_in_the_log_with_its_rule_and_no_secret_ever_is() {
    let receiver = Receiver::start_with_response("200 OK", "{\"echo\":\"Bearer hunter2-hunter2\"}");
    let env = home();
    env.run(&["secret", "keygen"]).status(0);
    env.run_with_input(&["secret", "set", "s.age#token"], "hunter2-hunter2").status(0);
    env.file(
        "r.toml",
        &format!(
            "format = 1\n[runbook]\nname = \"t\"\n[secrets.token]\nsource = \"age:s.age#token\"\n\
             [targets.api]\nhttp = \"http://127.0.0.1:{}\"\npaths = [\"/allowed\"]\n\
             headers = {{ authorization = \"Bearer secret:token\" }}\n[[preflight]]\nid = \"one\"\n\
             uses = \"http:get\"\nbind.target = \"api\"\n\
             with = {{ path = \"/allowed?key=hunter2-hunter2\" }}\n[[preflight]]\nid = \"two\"\n\
             uses = \"http:get\"\nbind.target = \"api\"\nwith = {{ path = \"/denied\" }}\n",
            receiver.port
        ),
    );
    env.run(&["exec", "r.toml"]).status(4);
    env.run(&["audit", "show"])
        .status(0)
        .out("GET /allowed?…")
        .out("DENIED by rule `path` of target `api`, key `paths`, `r.toml:6`: GET /denied");
    let files = run_files(&env).into_iter().chain([env.path().join(AUDIT).join("chain.jsonl")]);
    for file in files {
        let text = std::fs::read_to_string(&file).expect("readable");
        assert!(!text.contains("hunter2"), "{}: {text}", file.display());
    }
    assert!(
        receiver.received().iter().all(|request| !request.line.contains("/denied")),
        "the denied request was sent"
    );
    env.run(&["review", "--used", "r.toml"]).status(0).out("used once");
}

#[test]
fn nothing_runs_without_its_audit_log() {
    let env = quickstart();
    env.file("blocked", "a file where the folder should be");
    env.run(&["exec", "--audit-log", "blocked", "quickstart.toml"])
        .status(3)
        .err("audit log")
        .err("--audit-log");
    assert!(!env.path().join("quickstart/shop.db").exists());
}

#[test]
fn suggested_limits_are_sufficient_and_narrower() {
    let env = quickstart();
    env.run(&["exec", "quickstart.toml"]).status(0);
    let proposal = env
        .run(&["review", "suggest", "quickstart.toml"])
        .status(0)
        .out("statements = [\"define\", \"delete\", \"insert\", \"select\"]")
        .stdout;
    let lines: Vec<&str> = proposal
        .lines()
        .filter(|line| line.starts_with("statements") || line.starts_with("relations"))
        .collect();
    let narrowed = env.read("quickstart.toml").replacen(
        "[targets.shop]\n",
        &format!("[targets.shop]\n{}\n", lines.join("\n")),
        1,
    );
    env.file("narrow.toml", &narrowed);
    env.run(&["review", "--diff", "quickstart.toml", "narrow.toml"])
        .status(0)
        .out("narrowed")
        .without("widened");
    env.run(&["exec", "narrow.toml"]).status(0);
    env.run(&["review", "suggest", "narrow.toml"]).status(0).out("nothing can be narrower");
}

/// The program is killed at several host calls. Then each possible number of records is removed
/// from the end of the log.
#[test]
fn records_removed_from_a_killed_run_are_detected_after_the_next_run() {
    let whole = quickstart();
    whole.run(&["exec", "quickstart.toml"]).status(0);
    for (kill, next) in [
        ("entered:1", "resume"),
        ("returned:2", "exec"),
        ("entered:4", "resume"),
        ("returned:4", "exec"),
    ] {
        let env = quickstart();
        let mut command = env.command(&["exec", "quickstart.toml"]);
        let killed = command.env("RUNBOOK_TEST_KILL", kill).output().expect("the program starts");
        assert!(
            killed.status.code().is_none(),
            "{kill}: {}",
            String::from_utf8_lossy(&killed.stderr)
        );
        env.run(&["audit", "verify"]).status(0).out("its process was killed");
        env.run(&["audit", "verify", "--strict"]).status(1).out("NOT whole");
        let file = run_files(&env).remove(0);
        let run = env.newest_run();
        // Only that the next run opens the log matters here, not how that run ends.
        match next {
            "resume" => drop(env.run(&["resume", &run])),
            _ => drop(env.run(&["exec", "quickstart.toml"])),
        }
        env.run(&["audit", "verify", "--strict"]).status(0).out("The audit log is whole");
        let text = std::fs::read_to_string(&file).expect("readable");
        let lines: Vec<&str> = text.lines().collect();
        assert!(!lines.is_empty(), "{kill}: nothing to cut");
        for kept in 0..lines.len() {
            let cut: String = lines[..kept].iter().flat_map(|line| [*line, "\n"]).collect();
            std::fs::write(&file, cut).expect("writable");
            env.run(&["audit", "verify"]).status(1).out("NOT whole");
        }
        std::fs::remove_file(&file).expect("removable");
        env.run(&["audit", "verify"]).status(1).out("it is missing");
    }
}
