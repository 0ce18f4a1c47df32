//! Commands that messages tell people to run: every file name in them is quoted as one argument for
//! a shell.

use crate::{home, repository};
use runbook_tests::env::TestEnv;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

const RUNBOOK: &str = "format = 1\n[runbook]\nname = \"r\"\n[targets.db]\nsql = \"sqlite:shop.db\"\n[[preflight]]\n\
     id = \"look\"\nuses = \"sql:query\"\nbind.db = \"db\"\nwith = { statement = \"select 1\" }\n";

/// File names that a shell would execute or split if they were not quoted.
const STEMS: &[&str] = &[
    "plain",
    "a b",
    "x;touch pwned;",
    "$(touch pwned)",
    "`touch pwned`",
    "it's",
    "a&touch pwned",
    "-x",
    "*",
    "a\ntouch pwned",
    "~",
    "#a",
];

/// The commands between backticks in a text. A backtick between single quotes is a part of the
/// command.
fn commands(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("`runbook ").chain(text.match_indices("`chmod ")) {
        let (mut quoted, mut escaped) = (false, false);
        let end = text[at + 1..].find(|c: char| {
            let is_plain = !escaped;
            escaped = is_plain && !quoted && c == '\\';
            quoted ^= is_plain && c == '\'';
            c == '`' && !quoted
        });
        found.push(text[at + 1..at + 1 + end.expect("a command ends")].to_owned());
    }
    found
}

/// The arguments that a shell passes to the program when it runs `command`.
fn arguments(env: &TestEnv, command: &str) -> Vec<String> {
    let folder = env.path().join("stub");
    std::fs::create_dir_all(&folder).expect("made");
    for name in ["runbook", "chmod"] {
        let stub = env.file(&format!("stub/{name}"), "#!/bin/sh\nprintf '%s\\0' \"$@\"\n");
        std::fs::set_permissions(stub, std::fs::Permissions::from_mode(0o755)).expect("made");
    }
    let path = format!("{}:/usr/bin:/bin", folder.display());
    let done = Command::new("sh")
        .args(["-c", command])
        .env("PATH", path)
        .current_dir(env.path())
        .output()
        .expect("a shell");
    String::from_utf8_lossy(&done.stdout).split_terminator('\0').map(str::to_owned).collect()
}

/// Runs a command, and checks the commands that it prints for people to copy.
fn check_printed_commands(env: &TestEnv, name: &str, command: &[&str]) {
    let done = env.run(command);
    let said = done.stdout + &done.stderr;
    let commands = commands(&said);
    assert!(!commands.is_empty(), "{command:?} names no command: {said}");
    for line in commands {
        assert!(!line.contains('\n'), "{line:?}");
        let arguments = arguments(env, &line);
        // A name with a newline is escaped, so it does not end in `name` literally.
        let is_there = arguments
            .iter()
            .any(|argument| argument.strip_suffix("#NAME").unwrap_or(argument).ends_with(name));
        assert!(is_there || name.contains('\n'), "{line} → {arguments:?}");
        assert!(
            !arguments.iter().any(|argument| argument.starts_with("-x")),
            "{line} → {arguments:?}"
        );
    }
    assert!(!env.path().join("pwned").exists(), "{command:?} told to run: {said}");
}

#[test]
fn a_hostile_file_name_is_one_argument_of_every_command_that_is_printed() {
    for stem in STEMS {
        let env = home();
        rusqlite::Connection::open(env.path().join("shop.db"))
            .and_then(|db| db.execute_batch("create table t (a)"))
            .expect("made");
        let name = format!("{stem}.toml");
        env.file(&name, RUNBOOK);
        check_printed_commands(&env, &name, &["validate", "--locked", "--", &name]);
        check_printed_commands(&env, &name, &["check", "--", &name]);
        env.run(&["lock", "--", &name]).status(0);
        env.file(&name, &RUNBOOK.replace("select 1", "select 2"));
        check_printed_commands(&env, &name, &["lock", "--", &name]);
        check_printed_commands(&env, &name, &["exec", "--yes", "--", &name]);
        std::fs::set_permissions(
            env.path().join("runbook.lock"),
            std::fs::Permissions::from_mode(0o666),
        )
        .expect("set");
        env.file("limit.toml", "format = 1\n");
        let store = format!("{stem}.age");
        check_printed_commands(&env, &store, &["secret", "list", "--", &store]);
        let boundary = format!("{stem}.limit");
        env.file(&boundary, "format = 1\n[[allow]]\ncapability = \"sql\"\nverbs = [\"query\"]\n");
        std::fs::set_permissions(
            env.path().join(&boundary),
            std::fs::Permissions::from_mode(0o666),
        )
        .expect("set");
        check_printed_commands(
            &env,
            &boundary,
            &[&format!("--boundary={boundary}"), "review", "--", &name],
        );
    }
}

/// Checks the sources: a path in a printed command goes through `file_argument`.
#[test]
fn no_command_in_a_message_has_an_unquoted_path() {
    let mut looked_at = 0;
    let folders = [
        "host/cli/src",
        "host/cli/src/commands",
        "host/cli/src/commands/review",
        "host/cli/src/commands/plugin",
    ];
    for folder in folders {
        for entry in std::fs::read_dir(repository().join(folder)).expect("sources").flatten() {
            let path = entry.path();
            if path.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("readable");
            for (at, _) in text.match_indices("`runbook ").chain(text.match_indices("`chmod ")) {
                let line_start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
                let is_comment = text[line_start..at].trim_start().starts_with("//");
                let statement = text[at..].split(';').next().unwrap_or_default();
                let (command, arguments) =
                    statement[1..].split_once('`').unwrap_or((statement, ""));
                if is_comment || !command.contains('{') {
                    continue;
                }
                looked_at += 1;
                let is_raw =
                    arguments.split(".hint(").next().unwrap_or_default().contains(".display()")
                        && !arguments.contains("runbook_text::file_argument(");
                assert!(!is_raw, "{}: `{command}` holds a path as it is", path.display());
            }
        }
    }
    assert!(looked_at > 20, "{looked_at}");
}
