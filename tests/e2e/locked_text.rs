//! The lockfile has the reviewed text of every file of a runbook, so any change of a text is
//! refused until it is accepted.

use crate::{home, query_texts, renamed_plugin};
use runbook_tests::env::TestEnv;

const SHARED: &str = r#"format = 1
# shared
[targets.db]
sql = "sqlite:shop.db"
max_rows = 9
"#;

/// The targets of one environment.
const PROD: &str = r#"format = 1
# production
[targets.db]
sql = "sqlite:shop.db"
max_rows = 7
"#;

const MAIN: &str = r#"format = 1
include = ["shared.toml"]
# the day ends
[runbook]
name = "day"
[params.day]
type = "string"
default = "1"
[[step]]
id = "before"
suite = "checks.toml"
[[step]]
id = "archive"
runbook = "archive.toml"
[[step]]
id = "mark"
uses = "sql:transaction"
bind.db = "db"
with = { statements = ["update t set a = 'main {{ params.day }}'"] }
irreversible = "an example"
"#;

const ARCHIVE: &str = r#"format = 1
include = ["shared.toml"]
# the archive
[runbook]
name = "archive"
[params.file]
type = "string"
default = "f"
[[step]]
id = "move"
uses = "sql:transaction"
bind.db = "db"
with = { statements = ["update t set b = 'nested {{ params.file }}'"] }
irreversible = "an example"
"#;

const CHECKS: &str = r#"format = 1
include = ["shared.toml"]
# the checks
[runbook]
name = "checks"
[params.least]
type = "int"
default = 1
[[check]]
id = "rows"
uses = "sql:query"
bind.db = "db"
with = { statement = "select count(*) as n from t" }
"#;

/// A change of one file.
struct Edit {
    file: &'static str,
    old: &'static str,
    new: &'static str,
}

const STATEMENTS: &[Edit] = &[
    Edit { file: "day.toml", old: "update t set a = 'main {{ params.day }}'", new: "drop table t" },
    Edit {
        file: "archive.toml",
        old: "update t set b = 'nested {{ params.file }}'",
        new: "drop table t",
    },
    Edit {
        file: "checks.toml",
        old: "select count(*) as n from t",
        new: "select count(*) as n from u",
    },
    Edit { file: "shared.toml", old: "max_rows = 9", new: "max_rows = 8" },
    Edit { file: "targets.prod.toml", old: "max_rows = 7", new: "max_rows = 6" },
];

const DEFAULTS: &[Edit] = &[
    Edit { file: "day.toml", old: "default = \"1\"", new: "default = \"2\"" },
    Edit { file: "archive.toml", old: "default = \"f\"", new: "default = \"g\"" },
    Edit { file: "checks.toml", old: "default = 1", new: "default = 2" },
];

const COMMENTS: &[Edit] = &[
    Edit { file: "day.toml", old: "# the day ends", new: "# the day begins" },
    Edit { file: "archive.toml", old: "# the archive", new: "" },
    Edit { file: "checks.toml", old: "# the checks", new: "# the checks " },
    Edit { file: "shared.toml", old: "# shared", new: "# ours" },
    Edit { file: "targets.prod.toml", old: "# production", new: "# production\r" },
];

const FILES: &[(&str, &str)] = &[
    ("day.toml", MAIN),
    ("archive.toml", ARCHIVE),
    ("checks.toml", CHECKS),
    ("shared.toml", SHARED),
    ("targets.prod.toml", PROD),
];

fn prepared() -> TestEnv {
    let env = home();
    for (file, text) in FILES {
        env.file(file, text);
    }
    let database =
        rusqlite::Connection::open(env.path().join("shop.db")).expect("a database can be made");
    let tables =
        "create table t (a text, b text); create table u (a text); insert into t values ('', '')";
    database.execute_batch(tables).expect("tables can be made");
    env
}

fn done(env: &TestEnv) -> Vec<String> {
    query_texts(env, "shop.db", "select a || b from t")
}

const EXEC: &[&str] = &["exec", "--yes", "--env", "prod", "day.toml"];
const LOCKED: &[&str] = &["exec", "--locked", "--yes", "--env", "prod", "day.toml"];
const LOCK: &[&str] = &["lock", "--env", "prod", "day.toml"];
const ACCEPT: &[&str] = &["lock", "--accept", "--env", "prod", "day.toml"];

/// Checks of each edit that it is refused and shown, that `lock` without `--accept` does not write
/// it, and that it runs after it was accepted.
fn assert_changes_are_refused(edits: &[Edit]) {
    for Edit { file, old, new } in edits {
        let env = prepared();
        env.run(LOCK).status(0);
        let locked = env.read("runbook.lock");
        let before = env.read(file);
        let after = before.replace(old, new);
        assert_ne!(before, after, "{file}");
        env.file(file, &after);
        let line = |text: &str, part: &str| {
            text.lines().find(|line| line.contains(part)).unwrap_or_default().trim_end().to_owned()
        };
        let (removed, added) =
            (format!("-{}", line(&before, old)), format!("+{}", line(&after, new)));
        let heading = format!("file `{file}` has another text");
        for arguments in [EXEC, LOCKED, &["plan", "--env", "prod", "day.toml"]] {
            let refused = env
                .run(arguments)
                .status(6)
                .err(&heading)
                .err(&removed)
                .err("runbook lock --accept --env prod day.toml");
            if !new.is_empty() {
                refused.err(&added);
            }
        }
        assert_eq!(done(&env), [""], "{file}: nothing ran");
        env.run(LOCK).status(6).out(&heading).out(&removed).err("not written");
        assert_eq!(env.read("runbook.lock"), locked, "{file}");
        env.run(ACCEPT).status(0).out(&heading).out(&removed);
        env.run(LOCK).status(0).out("as locked");
        env.run(&["validate", "--locked", "--env", "prod", "day.toml"]).status(0);
        if !new.contains("drop") {
            env.run(LOCKED).status(0);
            assert!(done(&env)[0].contains("main"), "{file}");
        }
    }
}

#[test]
fn a_changed_statement_or_value_in_any_file_is_refused_until_it_is_accepted() {
    assert_changes_are_refused(STATEMENTS);
}

#[test]
fn a_changed_parameter_default_in_any_file_is_refused_until_it_is_accepted() {
    assert_changes_are_refused(DEFAULTS);
}

#[test]
fn a_changed_comment_in_any_file_is_refused_until_it_is_accepted() {
    assert_changes_are_refused(COMMENTS);
}

#[test]
fn the_tables_of_edits_cover_every_file() {
    for edits in [STATEMENTS, COMMENTS] {
        let mut files: Vec<_> = edits.iter().map(|edit| edit.file).collect();
        let mut all: Vec<_> = FILES.iter().map(|(file, _)| *file).collect();
        files.sort_unstable();
        all.sort_unstable();
        assert_eq!(files, all);
    }
}

#[test]
fn a_changed_suite_is_refused_until_it_is_accepted() {
    let env = prepared();
    env.run(&["lock", "checks.toml"]).status(0);
    env.run(&["check", "--locked", "checks.toml"]).status(0);
    env.file("checks.toml", &CHECKS.replace("from t", "from u"));
    for arguments in [&["check", "checks.toml"][..], &["check", "--locked", "checks.toml"]] {
        // A monitor reads the exit code of `check`: 3 is unknown.
        env.run(arguments).status(3).err("file `checks.toml` has another text").err("from u");
    }
    env.run(&["lock", "--accept", "checks.toml"]).status(0);
    env.run(&["check", "--locked", "checks.toml"]).status(0);
}

#[test]
fn an_added_or_removed_file_is_shown_whole() {
    let env = prepared();
    env.run(LOCK).status(0);
    env.file("more.toml", "format = 1\n[targets.more]\nsql = \"sqlite:more.db\"\n");
    env.file("day.toml", &MAIN.replace("\"shared.toml\"", "\"shared.toml\", \"more.toml\""));
    env.run(LOCKED)
        .status(6)
        .err("file `more.toml` is a new part of the runbook")
        .err("+sql = \"sqlite:more.db\"");
    env.run(ACCEPT).status(0);
    env.run(LOCKED).status(0);
    env.file("day.toml", MAIN);
    env.run(LOCKED)
        .status(6)
        .err("file `more.toml` is no longer a part of the runbook")
        .err("-sql = \"sqlite:more.db\"");
}

#[test]
fn a_text_is_locked_however_the_runbook_is_named() {
    let env = prepared();
    env.run(LOCK).status(0);
    let full = env.path().join("day.toml").display().to_string();
    for name in ["day.toml", "./day.toml", full.as_str()] {
        env.run(&["lock", "--env", "prod", name]).status(0).out("as locked");
        env.run(&["validate", "--locked", "--env", "prod", name]).status(0);
    }
}

#[test]
fn a_lockfile_of_format_1_says_that_it_does_not_hold_the_text() {
    let env = prepared();
    env.run(LOCK).status(0);
    let whole = env.read("runbook.lock");
    let parts: Vec<&str> =
        whole.split("\n\n").filter(|part| !part.contains("[[runbook.text]]")).collect();
    let old = parts
        .join("\n\n")
        .replace("file = \"day.toml@prod\"\nplugins = [\"sql\"]\n", "file = \"day.toml@prod\"\n");
    assert_eq!(old.len() + "plugins = [\"sql\"]\n".len(), parts.join("\n\n").len());
    env.file("runbook.lock", &(old.trim_end().replace("format = 2", "format = 1") + "\n"));
    env.run(EXEC)
        .status(0)
        .err("does not hold the text of `day.toml`")
        .err("runbook lock --env prod day.toml");
    env.run(LOCKED).status(6).err("does not hold the text of `day.toml`");
    env.run(LOCK).status(0).out("its text is held from now on");
    assert_eq!(env.read("runbook.lock"), whole);
    env.run(LOCKED).status(0);
}

/// The plugin `http` with a manifest in which `get` declares no slot, so it is granted nothing.
fn component_without_grants() -> Vec<u8> {
    let (from, to) = (r#""slots":{"target":["http.get"]}"#, r#""slots":{                     }"#);
    assert_eq!(from.len(), to.len(), "a section keeps its length");
    let mut component = renamed_plugin("http", "mine");
    let at = component
        .windows(from.len())
        .position(|found| found == from.as_bytes())
        .expect("the manifest is in the component");
    component[at..at + from.len()].copy_from_slice(to.as_bytes());
    component
}

#[test]
fn a_runbook_whose_plugins_are_granted_nothing_can_be_locked_and_run() {
    let env = home();
    std::fs::write(env.path().join("mine.wasm"), component_without_grants()).expect("written");
    let step = "[[preflight]]\nid = \"one\"\nuses = \"./mine.wasm:get\"\n";
    env.file("r.toml", &format!("format = 1\n[runbook]\nname = \"r\"\n{step}"));
    env.run(&["lock", "r.toml"]).status(0).out("locked for the first time");
    env.run(&["lock", "r.toml"]).status(0).out("as locked");
    env.run(&["validate", "--locked", "r.toml"]).status(0);
    // The run starts, and the calls of its plugin are denied.
    env.run(&["exec", "--locked", "r.toml"]).without("is not what");
    std::fs::write(
        env.path().join("mine.wasm"),
        [component_without_grants(), vec![0, 2, 1, b'x']].concat(),
    )
    .expect("written");
    env.run(&["validate", "--locked", "r.toml"])
        .status(6)
        .err("plugin `./mine.wasm`: is other code");
}

#[test]
fn the_waivers_of_a_suite_are_a_part_of_what_is_locked() {
    let waiver = |check: &str| {
        format!(
            "format = 1\n[[waiver]]\nsuite = \"checks\"\ncheck = \"{check}\"\n\
                 reason = \"known\"\nexpires = 2099-12-31\n"
        )
    };
    let env = prepared();
    env.run(&["lock", "checks.toml"]).status(0);
    env.run(&["check", "--locked", "checks.toml"]).status(0);
    env.file("waivers.toml", &waiver("rows"));
    env.run(&["check", "--locked", "checks.toml"])
        .status(3)
        .err("file `waivers.toml` is a new part")
        .err("+check = \"rows\"");
    env.run(&["lock", "--accept", "checks.toml"]).status(0);
    env.run(&["validate", "--locked", "checks.toml"]).status(0);
    // If all checks are waived, the result is unknown.
    env.run(&["check", "--locked", "checks.toml"]).status(3).out("waived until 2099-12-31");
    env.file("waivers.toml", &waiver("rows").replace("2099", "2199"));
    env.run(&["check", "--locked", "checks.toml"])
        .status(3)
        .err("file `waivers.toml` has another text")
        .err("+expires = 2199");
    std::fs::remove_file(env.path().join("waivers.toml")).expect("it is there");
    env.run(&["check", "--locked", "checks.toml"])
        .status(3)
        .err("`waivers.toml` is no longer a part");
}

#[test]
fn world_writable_waivers_are_a_warning() {
    use std::os::unix::fs::PermissionsExt as _;
    let env = prepared();
    env.file("waivers.toml", "format = 1\n");
    env.run(&["check", "checks.toml"]).status(0).without("everybody on this host");
    let path = env.path().join("waivers.toml");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).expect("it is there");
    env.run(&["check", "checks.toml"])
        .status(0)
        .err("everybody on this host can change the waivers");
}

/// A runbook is named through a link that has the name of one of its includes. Both files are
/// locked.
#[test]
fn an_include_with_the_name_of_a_link_to_the_runbook_is_locked_separately() {
    let env = prepared();
    std::fs::create_dir(env.path().join("alias")).expect("a folder can be made");
    let alias = "alias/shared.toml";
    std::os::unix::fs::symlink("../archive.toml", env.path().join(alias))
        .expect("a link can be made");
    let names = ["archive.toml", alias];
    let locked = |name: &str| env.run(&["validate", "--locked", name]);
    for name in names {
        env.run(&["lock", name]).status(0);
        names.into_iter().for_each(|name| drop(locked(name).status(0)));
        let held = env.read("runbook.lock");
        assert!(
            held.contains("file = \"archive.toml\"") && held.contains("file = \"shared.toml\""),
            "{held}"
        );
        assert!(!env.path().join("alias/runbook.lock").exists());
        for (file, text) in [("archive.toml", ARCHIVE), ("shared.toml", SHARED)] {
            env.file(file, &format!("{text}# changed\n"));
            for name in names {
                locked(name).status(6).err(&format!("file `{file}` has another text"));
            }
            env.file(file, text);
        }
        names.into_iter().for_each(|name| drop(locked(name).status(0)));
        std::fs::remove_file(env.path().join("runbook.lock")).expect("it is there");
    }
}

/// The CA file of a target is no text of the runbook. In the folder of the runbook it is locked by
/// its digest, elsewhere by its path.
#[test]
fn a_changed_ca_file_is_a_difference_and_is_not_trusted() {
    let env = home();
    let runbook = |ca: &str| {
        format!(
            "format = 1\n[runbook]\nname = \"r\"\n[targets.api]\n\
                 http = \"https://localhost:1\"\nca = {ca:?}\n[[step]]\nid = \"get\"\n\
                 uses = \"http:get\"\nbind.target = \"api\"\nwith = {{ path = \"/\" }}\n"
        )
    };
    let of_the_host = env.file("elsewhere/ca.pem", "one");
    for (ca, file, is_held) in [
        ("ca.pem", "app/ca.pem", true),
        ("./certs/../ca.pem", "app/ca.pem", true),
        (&of_the_host.display().to_string(), "elsewhere/ca.pem", false),
    ] {
        env.file(file, "one");
        env.file("app/r.toml", &runbook(ca));
        env.run(&["lock", "--accept", "app/r.toml"]).status(0);
        env.run(&["--locked", "validate", "app/r.toml"]).status(0);
        env.file(file, "two");
        let after = env.run(&["--locked", "validate", "app/r.toml"]);
        if is_held {
            after.status(6).err("ca ").err("sha256:");
            // From another folder it is the same file.
            env.file(file, "one");
            env.run_in("app", &["--locked", "validate", "r.toml"]).status(0);
        } else {
            after.status(0);
        }
        let row = env.run(&["review", "app/r.toml"]).stdout;
        assert!(
            row.contains("trusting only the authorities of ") && row.contains("sha256:"),
            "{row}"
        );
    }
}
