//! Files that the program reads as a text: only regular ones, of a bounded size, and what a runbook
//! is made of only from its folder.

use crate::home;
use runbook_tests::env::TestEnv;
use std::os::unix::fs::symlink;
use std::path::Path;

const RUNBOOK: &str = "format = 1\n[runbook]\nname = \"r\"\n[targets.db]\nsql = \"sqlite:shop.db\"\n[[preflight]]\n\
     id = \"look\"\nuses = \"sql:query\"\nbind.db = \"db\"\nwith = { statement = \"select 1\" }\n";
const SUITE: &str = "format = 1\n[runbook]\nname = \"s\"\n[targets.db]\nsql = \"sqlite:shop.db\"\n\
                     [[check]]\nid = \"look\"\nuses = \"sql:query\"\nbind.db = \"db\"\n\
                     with = { statement = \"select 1\" }\n";

/// A file that is read: its name, and a command that reads it.
struct Reading {
    file: &'static str,
    command: &'static [&'static str],
    /// Whether it must lie in the folder of the runbook.
    is_part: bool,
}

const READINGS: &[Reading] = &[
    Reading { file: "plain.toml", command: &["validate", "plain.toml"], is_part: false },
    Reading { file: "plain.toml", command: &["review", "plain.toml"], is_part: false },
    Reading { file: "plain.toml", command: &["fmt", "--check", "plain.toml"], is_part: false },
    Reading { file: "part.toml", command: &["validate", "including.toml"], is_part: true },
    Reading { file: "part.toml", command: &["exec", "--yes", "including.toml"], is_part: true },
    Reading { file: "part.toml", command: &["validate", "nesting.toml"], is_part: true },
    Reading { file: "part.toml", command: &["validate", "suiting.toml"], is_part: true },
    Reading { file: "part.toml", command: &["validate", "inputs.toml"], is_part: true },
    Reading { file: "part.sql", command: &["validate", "statement.toml"], is_part: true },
    Reading { file: "part.sql", command: &["exec", "--yes", "statement.toml"], is_part: true },
    Reading {
        file: "targets.prod.toml",
        command: &["validate", "--env", "prod", "r.toml"],
        is_part: true,
    },
    Reading { file: "waivers.toml", command: &["check", "s.toml"], is_part: true },
    Reading { file: "runbook.lock", command: &["validate", "--locked", "r.toml"], is_part: false },
    Reading {
        file: "limit.toml",
        command: &["--boundary", "limit.toml", "validate", "r.toml"],
        is_part: false,
    },
    Reading {
        file: "keys.toml",
        command: &["--trust", "keys.toml", "validate", "r.toml"],
        is_part: false,
    },
];

fn prepared() -> TestEnv {
    let env = home();
    env.file("r.toml", RUNBOOK);
    env.file("s.toml", SUITE);
    let with = |top: &str, step: &str| format!("format = 1\n{top}[runbook]\nname = \"t\"\n{step}");
    env.file(
        "including.toml",
        &RUNBOOK.replacen("[runbook]", "include = [\"part.toml\"]\n[runbook]", 1),
    );
    let in_file = |named: &str| RUNBOOK.replace("with = { statement = \"select 1\" }", named);
    env.file("inputs.toml", &in_file("with_file = \"part.toml\""));
    env.file("statement.toml", &in_file("with_file.statement = \"part.sql\""));
    env.file("nesting.toml", &with("", "[[step]]\nid = \"a\"\nrunbook = \"part.toml\"\n"));
    env.file("suiting.toml", &with("", "[[step]]\nid = \"a\"\nsuite = \"part.toml\"\n"));
    rusqlite::Connection::open(env.path().join("shop.db"))
        .and_then(|db| db.execute_batch("create table t (a)"))
        .expect("made");
    env
}

#[test]
fn what_is_no_regular_file_is_neither_waited_for_nor_read() {
    for reading in READINGS {
        for kind in ["pipe", "device", "folder", "huge"] {
            if kind == "folder" && reading.command[0] == "review" {
                // A folder is asked for what lies in it.
                continue;
            }
            let env = prepared();
            let path = env.path().join(reading.file);
            let made = match kind {
                "pipe" => std::process::Command::new("mkfifo")
                    .arg(&path)
                    .status()
                    .map(|status| assert!(status.success())),
                "device" => symlink("/dev/zero", &path),
                "folder" => std::fs::create_dir(&path),
                _ => std::fs::File::create(&path).and_then(|file| file.set_len((16 << 20) + 1)),
            };
            made.expect("it can be made");
            let done = env.run(reading.command);
            assert_ne!(done.status, 0, "{kind} {:?}", reading.command);
            let said: String = done.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
            let reasons = ["not a regular file", "more than 16 MiB", "does not lie in the folder"];
            assert!(
                reasons.iter().any(|reason| said.contains(reason)),
                "{kind} {:?}: {}",
                reading.command,
                done.stderr
            );
        }
    }
}

const CANARY: &str = "b3BlbnNzaC1rZXktdjEAAAAA";

/// A private key outside of the folder that is worked in.
fn key(env: &TestEnv) -> std::path::PathBuf {
    let text = format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{CANARY}\n{CANARY}=\"x\"\n");
    env.file("elsewhere/key", &text)
}

#[test]
fn no_line_of_a_file_elsewhere_is_quoted() {
    for reading in READINGS {
        let env = prepared();
        symlink(key(&env), env.path().join("work-link")).expect("a link can be made");
        let work = env.path().join("work");
        std::fs::create_dir(&work).expect("a folder can be made");
        for file in
            ["r.toml", "s.toml", "including.toml", "nesting.toml", "suiting.toml", "shop.db"]
                .into_iter()
                .chain(["inputs.toml", "statement.toml"])
        {
            std::fs::copy(env.path().join(file), work.join(file)).expect("copied");
        }
        symlink(env.path().join("elsewhere/key"), work.join(reading.file))
            .expect("a link can be made");
        let done = env.run_in("work", reading.command);
        assert_ne!(done.status, 0, "{:?}", reading.command);
        assert!(!(done.stdout + &done.stderr).contains(CANARY), "{:?}", reading.command);
        if reading.is_part {
            let said = env.run_in("work", reading.command).stderr;
            assert!(
                said.split_whitespace()
                    .collect::<Vec<_>>()
                    .join(" ")
                    .contains("does not lie in the folder"),
                "{said}"
            );
        }
    }
}

#[test]
fn what_a_runbook_includes_lies_in_its_folder_by_whatever_name() {
    let env = prepared();
    let absolute = key(&env).display().to_string();
    std::fs::create_dir_all(env.path().join("work/sub")).expect("a folder can be made");
    symlink("../../elsewhere", env.path().join("work/sub/up")).expect("a link can be made");
    env.file("work/sub/good.toml", "format = 1\n[targets.more]\nsql = \"sqlite:more.db\"\n");
    symlink("sub/good.toml", env.path().join("work/inside.toml")).expect("a link can be made");
    let including = |name: &str| {
        RUNBOOK.replacen("[runbook]", &format!("include = [\"{name}\"]\n[runbook]"), 1)
    };
    for name in [
        "../elsewhere/key",
        "sub/../../elsewhere/key",
        "sub/up/key",
        "/etc/hostname",
        absolute.as_str(),
    ] {
        env.file("work/t.toml", &including(name));
        let done = env.run_in("work", &["validate", "t.toml"]).status(2).err("E0225");
        assert!(!done.stderr.contains(CANARY), "{name}: {}", done.stderr);
    }
    for name in ["sub/good.toml", "./sub/../sub/good.toml", "inside.toml"] {
        env.file("work/t.toml", &including(name));
        env.run_in("work", &["validate", "t.toml"]).status(0);
        env.run(&["validate", "work/t.toml"]).status(0);
    }
    assert!(Path::new(&absolute).exists());
}

/// A checkout holds files that its authors cannot read; what is wrong with a text is quoted.
#[test]
fn no_hidden_file_of_the_checkout_is_a_text_of_a_runbook() {
    for (name, file) in [
        (".git/config", ".git/config"),
        (".env", ".env"),
        (".ci/token.toml", ".ci/token.toml"),
        ("./.env", ".env"),
        ("notes", "notes"),
    ] {
        let env = home();
        env.file("r.toml", &format!("format = 1\ninclude = [{name:?}]\n[runbook]\nname = \"r\"\n"));
        env.file(file, &format!("url = \"{CANARY}\"\n[remote \"{CANARY}\"]\nx = {CANARY}\n"));
        let done = env.run(&["validate", "r.toml"]).status(2);
        assert!(!(done.stdout.clone() + &done.stderr).contains(CANARY), "{name}: {}", done.stderr);
        assert!(done.stderr.contains("ends in `.toml`"), "{name}: {}", done.stderr);
    }
}

/// Whatever else a runbook names that is read: plugins, certificates, databases, stores.
#[test]
fn what_a_runbook_names_is_not_waited_for_either() {
    let whole = |targets: &str, step: &str| {
        format!("format = 1\n[runbook]\nname = \"r\"\n{targets}\n[[step]]\nid = \"a\"\n{step}\n")
    };
    let http = |more: &str| {
        format!("[targets.t]\nhttp = \"https://127.0.0.1:1\"\naddresses = [\"loopback\"]\n{more}")
    };
    let get = "uses = \"http:get\"\nbind.target = \"t\"\nwith.path = \"/\"";
    for kind in ["pipe", "device"] {
        for (what, text, command) in [
            (
                "a plugin",
                whole(&http(""), "uses = \"./named.wasm:get\"\nbind.target = \"t\""),
                "validate",
            ),
            (
                "a database",
                whole(
                    "[targets.t]\nsql = \"sqlite:named.wasm\"",
                    "uses = \"sql:query\"\nbind.db = \"t\"\nwith.statement = \"select 1\"",
                ),
                "exec",
            ),
            (
                "a store",
                whole(
                    &format!(
                        "[secrets.s]\nsource = \"age:named.wasm#a\"\n{}",
                        http("headers = { authorization = \"secret:s\" }")
                    ),
                    get,
                ),
                "exec",
            ),
        ] {
            let env = home();
            env.file("r.toml", &text);
            let path = env.path().join("named.wasm");
            match kind {
                "pipe" => {
                    let made = std::process::Command::new("mkfifo")
                        .arg(&path)
                        .status()
                        .expect("it starts");
                    assert!(made.success());
                }
                _ => symlink("/dev/zero", &path).expect("a link"),
            }
            let mut child = env.command(&[command, "r.toml"]);
            let done = runbook_tests::env::finish(child.output().expect("it starts"));
            assert_ne!(done.status, 0, "{what} {kind}");
            let said = done.stdout + &done.stderr;
            let reasons = ["not a regular file", "named.wasm` cannot be read"];
            assert!(reasons.iter().any(|reason| said.contains(reason)), "{what} {kind}: {said}");
        }
    }
}

/// Files that a checkout has beside its runbooks, and commands that read them.
const BESIDE: &[(&str, &[&str])] = &[
    (".runbook.toml", &["validate", "r.toml"]),
    (".runbook.toml", &["list"]),
    (".runbook.toml", &["doctor"]),
    (".runbook.toml", &["validate", ".runbook.toml"]),
    ("runbook.lock", &["exec", "r.toml"]),
    ("runbook.lock", &["plan", "r.toml"]),
    ("runbook.lock", &["lock", "r.toml"]),
    ("boundary.toml", &["validate", "boundary.toml"]),
    ("trust.toml", &["validate", "trust.toml"]),
    ("settings.toml", &["validate", "settings.toml"]),
    ("config.toml", &["validate", "config.toml"]),
    ("plugin.toml", &["validate", "plugin.toml"]),
    ("waivers.toml", &["validate", "waivers.toml"]),
    ("targets.prod.toml", &["validate", "targets.prod.toml"]),
    ("r.toml", &["validate", "r.toml"]),
    ("r.toml", &["fmt", "--check", "r.toml"]),
    ("r.toml", &["exec", "r.toml"]),
];

/// Whether the lines of the key are said in any way, whose second text is wrong in another way than
/// the first: it is TOML.
const KEYS: [&str; 2] =
    ["[default]\ntoken = b3BlbnNzaC1rZXktdjEAAAAA\n", "token = \"b3BlbnNzaC1rZXktdjEAAAAA\"\n"];

#[test]
fn no_file_beside_a_runbook_that_is_a_link_to_a_key_is_quoted_by_any_command() {
    for key in KEYS {
        // Out of the checkout, and to what its author cannot read in it.
        for hidden in ["elsewhere/key.toml", "work/.git/config", "work/.env"] {
            for (file, command) in BESIDE {
                let env = prepared();
                env.file("work/r.toml", RUNBOOK);
                env.file(hidden, key);
                let link = env.path().join("work").join(file);
                let _ = std::fs::remove_file(&link);
                symlink(env.path().join(hidden), &link).expect("a link can be made");
                let done = env.run_in("work", command);
                // What is TOML can be formatted, whatever it is.
                assert!(done.status != 0 || command[0] == "fmt", "{file} -> {hidden}: {command:?}");
                assert!(
                    !(done.stdout + &done.stderr).contains(CANARY),
                    "{file} -> {hidden}: {command:?}"
                );
            }
        }
    }
}

#[test]
fn a_project_names_no_file_but_texts_in_its_folder() {
    for key in KEYS {
        for hidden in ["elsewhere/key.toml", "work/.git/config", "work/.env", "work/.ci/limit.toml"]
        {
            for limit in ["boundary", "trust"] {
                let env = prepared();
                env.file("work/r.toml", RUNBOOK);
                let absolute = env.file(hidden, key).display().to_string();
                let climbing = hidden
                    .strip_prefix("work/")
                    .map_or_else(|| format!("../{hidden}"), str::to_owned);
                std::fs::create_dir_all(env.path().join("work/sub")).expect("a folder can be made");
                let folder = Path::new(&absolute).parent().expect("a folder");
                symlink(folder, env.path().join("work/sub/up")).expect("a link can be made");
                let through = format!(
                    "sub/up/{}",
                    Path::new(hidden).file_name().expect("a name").to_string_lossy()
                );
                for named in [absolute, climbing, through] {
                    env.file("work/.runbook.toml", &format!("format = 1\n{limit} = {named:?}\n"));
                    for command in [
                        &["validate", "r.toml"][..],
                        &["exec", "r.toml"],
                        &["review", "."],
                        &["lock", "r.toml"],
                        &["list"],
                    ] {
                        let done = env
                            .run_in("work", command)
                            .status(6)
                            .err(&format!("`{limit}` of the project"));
                        assert!(
                            !(done.stdout + &done.stderr).contains(CANARY),
                            "{named}: {command:?}"
                        );
                    }
                }
            }
        }
    }
    let env = prepared();
    env.file("work/r.toml", RUNBOOK);
    env.file(
        "work/sub/limit.toml",
        "format = 1\n[[allow]]\ncapability = \"http\"\nverbs = [\"get\"]\n",
    );
    env.file("work/.runbook.toml", "format = 1\nboundary = \"sub/limit.toml\"\n");
    env.run_in("work", &["validate", "r.toml"]).status(6).err("E0120");
}

/// Every text that findings may quote is made where it is known whether it lies where its name
/// says.
#[test]
fn a_file_becomes_a_text_in_one_place() {
    let sources = crate::repository().join("host/cli/src");
    let mut folders = vec![sources.clone()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path())
        {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("a source");
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            // Other things are called sources of something.
            if code
                .match_indices("Source::new(")
                .any(|(at, _)| !code[..at].ends_with(char::is_alphanumeric))
            {
                found.push(path.strip_prefix(&sources).expect("below").display().to_string());
            }
        }
    }
    found.sort();
    let allowed = [
        "commands/resume.rs",     // texts of the journal
        "completion.rs",          // nothing of it is shown
        "environment_targets.rs", // nothing of it is shown
        "plan_file.rs",           // the part of a plan that was reviewed
        "prepare.rs",             // what was read from below a folder
        "project.rs",             // only the name and the parameters of a runbook are shown
        "text_file.rs",           // the place
        "waivers.rs",             // what was read from below a folder
    ];
    assert_eq!(found, allowed);
}
