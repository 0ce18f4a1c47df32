//! The program reads only regular files of a bounded size, and the files of a runbook only from the
//! folder of the runbook.

use crate::home;
use runbook_tests::env::TestEnv;
use std::os::unix::fs::symlink;
use std::path::Path;

const RUNBOOK: &str = "format = 1\n[runbook]\nname = \"r\"\n[targets.db]\nsql = \"sqlite:shop.db\"\n[[preflight]]\n\
     id = \"look\"\nuses = \"sql:query\"\nbind.db = \"db\"\nwith = { statement = \"select 1\" }\n";
const SUITE: &str = "format = 1\n[runbook]\nname = \"s\"\n[targets.db]\nsql = \"sqlite:shop.db\"\n\
                     [[check]]\nid = \"look\"\nuses = \"sql:query\"\nbind.db = \"db\"\n\
                     with = { statement = \"select 1\" }\n";

/// A file, and a command that reads it.
struct FileRead {
    file: &'static str,
    command: &'static [&'static str],
    /// Whether it must lie in the folder of the runbook.
    must_be_in_folder: bool,
}

const FILE_READS: &[FileRead] = &[
    FileRead { file: "plain.toml", command: &["validate", "plain.toml"], must_be_in_folder: false },
    FileRead { file: "plain.toml", command: &["review", "plain.toml"], must_be_in_folder: false },
    FileRead {
        file: "plain.toml",
        command: &["fmt", "--check", "plain.toml"],
        must_be_in_folder: false,
    },
    FileRead {
        file: "part.toml",
        command: &["validate", "including.toml"],
        must_be_in_folder: true,
    },
    FileRead {
        file: "part.toml",
        command: &["exec", "--yes", "including.toml"],
        must_be_in_folder: true,
    },
    FileRead { file: "part.toml", command: &["validate", "nesting.toml"], must_be_in_folder: true },
    FileRead { file: "part.toml", command: &["validate", "suiting.toml"], must_be_in_folder: true },
    FileRead { file: "part.toml", command: &["validate", "inputs.toml"], must_be_in_folder: true },
    FileRead {
        file: "part.sql",
        command: &["validate", "statement.toml"],
        must_be_in_folder: true,
    },
    FileRead {
        file: "part.sql",
        command: &["exec", "--yes", "statement.toml"],
        must_be_in_folder: true,
    },
    FileRead {
        file: "targets.prod.toml",
        command: &["validate", "--env", "prod", "r.toml"],
        must_be_in_folder: true,
    },
    FileRead { file: "waivers.toml", command: &["check", "s.toml"], must_be_in_folder: true },
    FileRead {
        file: "runbook.lock",
        command: &["validate", "--locked", "r.toml"],
        must_be_in_folder: false,
    },
    FileRead {
        file: "limit.toml",
        command: &["--boundary", "limit.toml", "validate", "r.toml"],
        must_be_in_folder: false,
    },
    FileRead {
        file: "keys.toml",
        command: &["--trust", "keys.toml", "validate", "r.toml"],
        must_be_in_folder: false,
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
fn only_regular_files_are_read() {
    for file_read in FILE_READS {
        for kind in ["pipe", "device", "folder", "huge"] {
            if kind == "folder" && file_read.command[0] == "review" {
                // `review` of a folder reviews the files in it.
                continue;
            }
            let env = prepared();
            let path = env.path().join(file_read.file);
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
            let done = env.run(file_read.command);
            assert_ne!(done.status, 0, "{kind} {:?}", file_read.command);
            let said: String = done.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
            let reasons = ["not a regular file", "more than 16 MiB", "does not lie in the folder"];
            assert!(
                reasons.iter().any(|reason| said.contains(reason)),
                "{kind} {:?}: {}",
                file_read.command,
                done.stderr
            );
        }
    }
}

const CANARY: &str = "b3BlbnNzaC1rZXktdjEAAAAA";

/// Writes a private key outside of the working folder.
fn key(env: &TestEnv) -> std::path::PathBuf {
    let text = format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{CANARY}\n{CANARY}=\"x\"\n");
    env.file("elsewhere/key", &text)
}

#[test]
fn no_line_of_a_file_outside_the_folder_is_quoted() {
    for file_read in FILE_READS {
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
        symlink(env.path().join("elsewhere/key"), work.join(file_read.file))
            .expect("a link can be made");
        let done = env.run_in("work", file_read.command);
        assert_ne!(done.status, 0, "{:?}", file_read.command);
        assert!(!(done.stdout + &done.stderr).contains(CANARY), "{:?}", file_read.command);
        if file_read.must_be_in_folder {
            let said = env.run_in("work", file_read.command).stderr;
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
fn an_included_file_must_lie_in_the_folder_of_its_runbook() {
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

/// A checkout may hold files that its authors cannot read, and diagnostics quote the text.
#[test]
fn a_hidden_file_cannot_be_included() {
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

/// Other files that a runbook names: plugins, databases and secret stores.
#[test]
fn a_pipe_or_device_that_a_runbook_names_is_refused_without_waiting() {
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
            let reasons = ["not a regular file", "` cannot be read"];
            assert!(reasons.iter().any(|reason| said.contains(reason)), "{what} {kind}: {said}");
        }
    }
}

/// Files of a checkout beside its runbooks, and commands that read them.
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

/// Texts with a secret: the first is no TOML, and the second is TOML with an unknown key.
const KEYS: [&str; 2] =
    ["[default]\ntoken = b3BlbnNzaC1rZXktdjEAAAAA\n", "token = \"b3BlbnNzaC1rZXktdjEAAAAA\"\n"];

#[test]
fn no_file_beside_a_runbook_that_is_a_link_to_a_key_is_quoted_by_any_command() {
    for key in KEYS {
        // Outside of the checkout, and hidden files in it.
        for hidden in ["elsewhere/key.toml", "work/.git/config", "work/.env"] {
            for (file, command) in BESIDE {
                let env = prepared();
                env.file("work/r.toml", RUNBOOK);
                env.file(hidden, key);
                let link = env.path().join("work").join(file);
                let _ = std::fs::remove_file(&link);
                symlink(env.path().join(hidden), &link).expect("a link can be made");
                let done = env.run_in("work", command);
                // `fmt` accepts any TOML.
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
fn a_project_can_name_only_toml_files_in_its_folder() {
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

/// Diagnostics quote texts, so a `Source` is created only in files that check where it comes from.
#[test]
fn sources_are_created_only_in_listed_files() {
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
            // Other types have names that end in `Source`.
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
