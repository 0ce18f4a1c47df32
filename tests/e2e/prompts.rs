//! A person at a terminal is asked when the run needs a decision; without a terminal nobody is
//! asked.

use crate::home;
use runbook_tests::env::TestEnv;
use runbook_tests::terminal::{Control, Terminal};
use runbook_tests::wait_for;

const HEAD: &str = r#"format = 1
[runbook]
name = "asks"
[targets.shop]
sql = "sqlite:shop.db"
create = true
[[step]]
id = "make"
uses = "sql:transaction"
bind.db = "shop"
with = { statements = ["create table if not exists t (a)", "insert into t values (1)"] }
irreversible = "an example"
"#;

const MANUAL: &str = r#"
[[step]]
id = "look"
manual = { instructions = "Is replication caught up?", form = { lag_ok = "bool" }, choices = ["go", "stop"], confirm = "I looked" }
"#;

fn approval(words: &str) -> String {
    let step = r#"
[[step]]
id = "empty"
uses = "sql:transaction"
bind.db = "shop"
with = { statements = ["delete from t"] }
irreversible = "looked at"
"#;
    format!("{step}approval = {{ {words} }}\n")
}

/// Runs the program on a terminal, and types one of the lines at each prompt. Returns the exit
/// status and all output.
fn run_on_terminal(env: &TestEnv, arguments: &[&str], lines: &str) -> (i32, String) {
    let terminal = Terminal::open();
    let mut child = terminal.spawn(&env.command(arguments), Control::Session);
    let mut seen = 0;
    for line in lines.split_inclusive('\n') {
        let asks =
            |shown: &str| shown.len() > seen && [": ", "] "].iter().any(|end| shown.ends_with(end));
        let mut has_ended = false;
        wait_for("it asks or ends", || {
            has_ended = child.try_wait().expect("it can be asked").is_some();
            has_ended || asks(&terminal.shown())
        });
        if has_ended {
            break;
        }
        seen = terminal.shown().len();
        terminal.type_keys(line);
    }
    let status = child.wait().expect("it ends");
    (status.code().unwrap_or(-1), terminal.shown())
}

fn rows(env: &TestEnv) -> i64 {
    let database =
        rusqlite::Connection::open(env.path().join("shop.db")).expect("the database is there");
    database.query_row("select count(*) from t", [], |row| row.get(0)).expect("the query works")
}

#[test]
fn a_manual_step_is_prompted_for_until_its_form_is_valid() {
    let env = home();
    env.file("r.toml", &format!("{HEAD}{MANUAL}"));
    let (status, seen) =
        run_on_terminal(&env, &["exec", "r.toml"], "perhaps\nyes\nrun\ngo\nI look\nI looked\n");
    assert_eq!(status, 0, "{seen}");
    for text in [
        "lag_ok (bool):",
        "choose one of go, stop:",
        "must be of type bool, not `perhaps`",
        "`run` is no choice",
        "that is not `I looked`",
        "answered by ",
        "Succeeded.",
    ] {
        assert!(seen.contains(text), "no `{text}` in\n{seen}");
    }
}

#[test]
fn an_approval_must_be_typed_in_full() {
    let env = home();
    env.file("r.toml", &format!("{HEAD}{}", approval("quorum = 1")));
    let (status, seen) =
        run_on_terminal(&env, &["exec", "r.toml"], "y\nyes\napprove\napprove empty\n");
    assert_eq!((status, rows(&env)), (0, 0), "{seen}");
    assert_eq!(seen.matches("that is none of them; nothing was written").count(), 3, "{seen}");
    assert!(seen.contains("delete from t") && seen.contains("approved by "), "{seen}");
}

#[test]
fn a_rejection_at_the_terminal_is_final() {
    let env = home();
    env.file("r.toml", &format!("{HEAD}{}", approval("quorum = 1")));
    let (status, seen) =
        run_on_terminal(&env, &["exec", "r.toml"], "reject\nthe numbers are wrong\n");
    assert_eq!(rows(&env), 1, "{seen}");
    assert!(status == 1 && seen.contains("rejected it: the numbers are wrong"), "{status}\n{seen}");
}

#[test]
fn enter_leaves_the_run_waiting() {
    let env = home();
    env.file("r.toml", &format!("{HEAD}{}", approval("quorum = 1")));
    let (status, seen) = run_on_terminal(&env, &["exec", "r.toml"], "\n");
    assert_eq!((status, rows(&env)), (5, 1), "{seen}");
}

#[test]
fn a_run_at_a_terminal_waits_until_somebody_else_approves() {
    let env = home();
    env.file("r.toml", &format!("{HEAD}{}", approval("not_self = true")));
    let (status, seen) = std::thread::scope(|scope| {
        let run = scope.spawn(|| run_on_terminal(&env, &["exec", "r.toml"], ""));
        wait_for("the run waits", || env.run(&["runs"]).stdout.contains("paused"));
        let id = env.newest_run();
        let ada = env
            .command(&["approve", &id, "empty", "--yes"])
            .env("SUDO_UID", "1")
            .output()
            .expect("the program starts");
        assert!(ada.status.success(), "{}", String::from_utf8_lossy(&ada.stderr));
        run.join().expect("no panic")
    });
    assert_eq!((status, rows(&env)), (0, 0), "{seen}");
    assert!(seen.contains("waiting for somebody else"), "{seen}");
}

#[test]
fn without_a_terminal_or_with_no_input_nobody_is_asked() {
    let env = home();
    env.file("r.toml", &format!("{HEAD}{MANUAL}"));
    env.run(&["exec", "r.toml"]).status(5).err("then `runbook answer").without("choose one of");
    let (status, seen) = run_on_terminal(&env, &["--no-input", "exec", "r.toml"], "");
    assert_eq!(status, 5, "{seen}");
    assert!(!seen.contains("choose one of"), "{seen}");
}

/// A manual step with instructions of three lines. The last line is the most important one.
const FAILOVER: &str = "\n[[step]]\nid = \"failover\"\ntitle = \"Move the address\"\n\
     manual = { instructions = \"\"\"Move the address:\n1. run failover on lb1\n\
     2. NEVER while the replica lags\n\"\"\", confirm = \"moved\" }\n";

#[test]
fn resume_shows_all_instructions_of_a_manual_step() {
    let env = home();
    env.file("r.toml", &format!("{HEAD}{FAILOVER}"));
    env.run(&["exec", "r.toml"]).status(5);
    let run = env.newest_run();
    // Markdown says `2\.`, so that the instructions begin no list.
    let last = "NEVER while the replica lags";
    for line in [
        &["show", &run][..],
        &["report", &run],
        &["report", &run, "--format", "markdown"],
        &["report", &run, "--format", "html"],
    ] {
        env.run(line).status(0).out(last).out("Move the address");
    }
    let (status, seen) = run_on_terminal(&env, &["resume", &run], "moved\n");
    assert!(status == 0 && seen.contains(last), "{status}\n{seen}");
}

#[test]
fn a_long_question_is_wrapped_at_a_word() {
    let env = home();
    env.file("r.toml", &format!("{HEAD}{}", approval("quorum = 1")));
    let mut terminal = runbook_tests::terminal::Terminal::open();
    let mut child =
        terminal.spawn(&env.command(&["exec", "r.toml"]), runbook_tests::terminal::Control::None);
    runbook_tests::wait_for("it asks", || terminal.shown().contains("leaves it"));
    terminal.type_keys("\n");
    assert_eq!(child.wait().expect("it ends").code(), Some(5));
    terminal.close();
    let shown = terminal.shown();
    let (_, question) = shown.split_once("type `approve empty`").expect("it asks");
    let first = question.lines().next().expect("a line");
    assert!("  type `approve empty`".len() + first.trim_end().chars().count() <= 80, "{shown}");
}

/// Opens the prompt of an approval, runs `other` before it is answered, and then approves. Returns
/// the exit status, the output and the number of rows.
fn approve_after(other: &[&str], head: &str) -> (Option<i32>, String, i64) {
    let env = home();
    env.file("r.toml", &format!("{HEAD}{}", approval(head)));
    env.run(&["exec", "r.toml", "--yes"]).status(5);
    let run = env.newest_run();
    let terminal = Terminal::open();
    let mut child = terminal.spawn(&env.command(&["approve", &run, "empty"]), Control::Session);
    wait_for("it asks", || terminal.shown().contains("[y/N]"));
    let (verb, rest) = other.split_first().expect("a command");
    let arguments: Vec<&str> = [*verb, &run].into_iter().chain(rest.iter().copied()).collect();
    env.run(&arguments).status(0);
    terminal.type_keys("y\n");
    let status = child.wait().expect("it ends");
    let _ = env.run(&["resume", &run]);
    (status.code(), terminal.shown().split_whitespace().collect::<Vec<_>>().join(" "), rows(&env))
}

#[test]
fn of_two_simultaneous_decisions_the_second_is_told_about_the_first() {
    let approve = ["approve", "empty", "--yes"];
    let cases: [(&[&str], &str, i32, &str, i64); 4] = [
        (&approve, "quorum = 1", 0, "said so too, a moment ago", 0),
        (&approve, "quorum = 2", 0, "said so too, a moment ago", 1),
        (&["reject", "empty", "--reason", "not now"], "quorum = 1", 2, "was rejected by", 1),
        (&["cancel", "--yes"], "quorum = 1", 2, "does not wait any more", 1),
    ];
    for (other, head, expected, told, left) in cases {
        let (status, shown, rows) = approve_after(other, head);
        assert_eq!((status, rows), (Some(expected), left), "{other:?}: {shown}");
        assert!(shown.contains(told), "{other:?}: {shown}");
        assert!(
            !shown.contains("another process") && !shown.contains("E0508"),
            "{other:?}: {shown}"
        );
    }
}

#[test]
fn a_second_answer_is_refused_and_names_who_answered_first() {
    let env = home();
    let manual =
        "\n[[step]]\nid = \"look\"\nmanual = { instructions = \"look\", confirm = \"I looked\" }\n";
    env.file("r.toml", &format!("{HEAD}{manual}"));
    let terminal = Terminal::open();
    let mut child = terminal.spawn(&env.command(&["exec", "r.toml"]), Control::Session);
    wait_for("it asks", || terminal.shown().contains("when it is done:"));
    let run = env.newest_run();
    env.run(&["answer", &run, "look", "--confirm", "I looked"]).status(0);
    terminal.type_keys("I looked\n");
    child.wait().expect("it ends");
    let shown = terminal.shown().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        shown.contains("was answered by") && shown.contains("a moment ago; nothing was written"),
        "{shown}"
    );
    env.run(&["resume", &run]).status(0).out("Succeeded.");
}

/// An approver sees which database a step would change, and approvals of two databases have
/// different digests.
#[test]
fn an_approver_is_shown_the_target_and_its_address() {
    let digests: Vec<String> = ["prod", "test"]
        .into_iter()
        .map(|name| {
            let env = home();
            let text = format!("{HEAD}{}", approval("quorum = 1"))
                .replace("\"shop\"", &format!("\"{name}\""));
            let text = text
                .replace("[targets.shop]", &format!("[targets.{name}]"))
                .replace("sqlite:shop.db", &format!("sqlite:{name}.db"));
            env.file("r.toml", &text);
            let place = format!("`{name}` (database ");
            let file = format!("{name}.db");
            let asked = env.run(&["exec", "r.toml", "--yes"]).status(5);
            assert!(
                asked.stderr.contains(&place) && asked.stderr.contains(&file),
                "{}",
                asked.stderr
            );
            let run = env.newest_run();
            for format in ["text", "json", "markdown"] {
                env.run(&["show", &run, "--format", format]).status(0).out(&file);
            }
            let approved =
                env.run(&["approve", &run, "empty", "--yes"]).status(0).err(&place).err(&file);
            let again = env.run(&["approve", &run, "empty", "--yes"]).status(0);
            assert!(
                format!("{}{}", again.stdout, again.stderr).contains("approved by you already"),
                "{}",
                again.stderr
            );
            let digest = approved
                .stderr
                .lines()
                .find_map(|line| line.trim().strip_prefix("digest "))
                .expect("it has one");
            digest.to_owned()
        })
        .collect();
    assert_ne!(digests[0], digests[1], "what is approved is bound to where it is done");
}

#[test]
fn a_rejected_step_cannot_be_approved() {
    let env = home();
    env.file("r.toml", &format!("{HEAD}{}", approval("quorum = 1")));
    env.run(&["exec", "r.toml", "--yes"]).status(5);
    let run = env.newest_run();
    env.run(&["reject", &run, "empty", "--reason", "wrong database"]).status(0);
    for again in
        [&["approve", &run, "empty", "--yes"][..], &["reject", &run, "empty", "--reason", "x"]]
    {
        env.run(again).status(2).err("is rejected already, by ").err("wrong database");
    }
    assert_eq!(rows(&env), 1);
}

/// A manual step calls no plugin, so a dry run does not prompt for it: in the runbook, in a nested
/// one, and with a condition.
#[test]
fn a_dry_run_and_a_plan_skip_manual_steps() {
    let env = home();
    let manual = "[[step]]\nid = \"look\"\nmanual = { instructions = \"look\" }\n";
    env.file("inner.toml", &format!("format = 1\n[runbook]\nname = \"inner\"\n{manual}"));
    env.file(
        "r.toml",
        &format!(
            "format = 1\n[runbook]\nname = \"r\"\n[params.go]\ntype = \"bool\"\n\
                  default = false\n{manual}[[step]]\nid = \"in\"\nrunbook = \"inner.toml\"\n\
                  [[step]]\nid = \"never\"\nwhen = \"params.go\"\n\
                  manual = {{ instructions = \"look\" }}\n"
        ),
    );
    let dry = env.run(&["exec", "r.toml", "--dry-run"]).status(0);
    assert_eq!(
        dry.stdout.matches("a person does it and says what they found").count(),
        2,
        "{}",
        dry.stdout
    );
    env.run(&["plan", "r.toml", "--out", "p.json"]).status(0);
    env.run(&["exec", "--plan", "p.json"]).status(5).out("look");
}
