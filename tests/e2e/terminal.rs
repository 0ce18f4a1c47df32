//! Output on a terminal of 80 columns, with wide characters, with and without color.

use crate::home;
use runbook_tests::env::TestEnv;
use std::process::{Command, Stdio};
use unicode_width::UnicodeWidthStr as _;

const RUNBOOK: &str = r#"
format = 1
[runbook]
name = "wide"
title = "注文データベースの緊急メンテナンスと確認、そしてすべての担当者への長い長い連絡（夜間）"
[params.incident]
type = "string"
default = "障害番号四十二、とても長い説明がここに続きます。とても長い説明がここに続きます。"
[targets.db]
sql = "sqlite:work.db"
[[preflight]]
id = "sound"
title = "データベースは壊れていない"
uses = "sqlite:integrity-check"
bind.db = "db"
[[step]]
id = "look"
title = "担当者 の 一覧 を 確認 する"
uses = "sql:query"
bind.db = "db"
with = { statement = "select '担当者の 名前は まだ ありません' as who", first_row = { who = "とても 長い 名前 が ここに あるはず です が ありません" } }
until = "outcome == 'pass'"
every = "400ms"
within = "3s"
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

/// Runs a command on a terminal of 80 columns, and returns all bytes that it sent. `no_color` is the
/// value of `NO_COLOR`.
fn run_on_terminal(env: &TestEnv, command_line: &str, no_color: &str) -> String {
    let program = env.command(&[]);
    let line =
        format!("stty cols 80 rows 24; {} {command_line}", program.get_program().to_string_lossy());
    let mut command = Command::new("script");
    command.args(["--quiet", "--command", &line, "/dev/null"]).current_dir(env.path()).env_clear();
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("TERM", "xterm").env("SHELL", "/bin/sh").env("NO_COLOR", no_color);
    let output = command.stdin(Stdio::null()).output().expect("script is there");
    String::from_utf8(output.stdout).expect("it is text")
}

/// The text without escape sequences.
fn without_escapes(sent: &str) -> String {
    let mut text = String::new();
    let mut rest = sent;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        text.push_str(before);
        let end = after.find(|c: char| c.is_ascii_alphabetic()).map_or(after.len(), |at| at + 1);
        rest = &after[end..];
    }
    text.push_str(rest);
    text
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    let env = prepared();
    env.file(
        "wrong.toml",
        &RUNBOOK.replace("every = ", "evry = ").replace("[targets.db]", "[targets.data]"),
    );
    let commands = [
        "exec r.toml --yes",
        "plan r.toml",
        "validate wrong.toml",
        "audit r.toml",
        "exec nowhere-to-be-found.toml",
        "runs",
        "explain step",
        "explain targets",
        "doctor",
    ];
    for command_line in commands {
        let sent = without_escapes(&run_on_terminal(&env, command_line, "1"));
        assert!(!sent.trim().is_empty(), "`{command_line}` says nothing: {sent}");
        // A line that is redrawn begins with a carriage return.
        for line in sent.split(['\n', '\r']) {
            // Quoted lines of a file are not wrapped.
            if line.contains(" │ ") {
                continue;
            }
            // Lines of the live view are cut by the library that draws it, and several are sent
            // without a line end.
            if line.contains(['⠁', '─', '━']) {
                continue;
            }
            let words_fit =
                line.split_whitespace().all(|word| word.width() < 40) && !line.contains('/');
            assert!(
                line.width() <= 80 || !words_fit,
                "`{command_line}`: {} columns: {line}",
                line.width()
            );
        }
    }
}

#[test]
fn color_is_used_on_a_terminal_unless_no_color_is_set() {
    let env = prepared();
    let (colored, bare) = (
        run_on_terminal(&env, "exec r.toml --yes", ""),
        run_on_terminal(&env, "exec r.toml --yes", "1"),
    );
    assert!(colored.contains("\u{1b}[32m") && colored.contains("\u{1b}[31m"), "{colored}");
    for code in ["\u{1b}[3", "\u{1b}[1;3", "\u{1b}[2m"] {
        assert!(!bare.contains(code), "{bare}");
    }
    // Symbols and words give the same information without color.
    for said in ["✓ sound", "✗ look", "failed"] {
        assert!(
            without_escapes(&colored).contains(said) && without_escapes(&bare).contains(said),
            "{bare}"
        );
    }
}

#[test]
fn a_poll_is_reported_once() {
    let env = prepared();
    let told = env.run(&["exec", "r.toml", "--yes"]).stderr;
    assert_eq!(told.matches("not yet").count(), 1, "{told}");
}
