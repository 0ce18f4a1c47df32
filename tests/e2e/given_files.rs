//! Arguments of commands: files of a folder that are not all runbooks, and names of environments,
//! tags and folders that do not exist.

use crate::home;
use runbook_tests::env::TestEnv;

const SUITE: &str = r#"format = 1
[runbook]
name = "checks"
[targets.db]
sql = "sqlite:shop.db"
create = true
[[check]]
id = "one"
uses = "sql:query"
bind.db = "db"
tags = ["quick"]
with = { statement = "select 1 as one", first_row = { one = 1 } }
"#;

/// A file of every other kind: its name, its kind in messages, its text, and a mistake as the text
/// to replace and its replacement.
const OTHER_FILES: &[(&str, &str, &str, (&str, &str))] = &[
    (
        "targets.prod.toml",
        "a file of targets",
        "format = 1\n[targets.db]\nsql = \"sqlite:prod.db\"\ncreate = true\n",
        ("sqlite:", "oracle:"),
    ),
    (
        "waivers.toml",
        "a file of waivers",
        "format = 1\n[[waiver]]\nsuite = \"other\"\ncheck = \"a\"\nreason = \"known\"\n\
         expires = 2099-01-31\n",
        ("2099-01-31", "\"soon\""),
    ),
    (
        "shop.with.toml",
        "a file of inputs",
        "format = 1\n[[cases]]\nname = \"a\"\npath = \"/\"\n",
        ("format = 1", "format = 2"),
    ),
    (
        "boundary.toml",
        "a boundary",
        "format = 1\n[[allow]]\ncapability = \"sql\"\nverbs = [\"query\", \"transaction\"]\n",
        ("query", "qeury"),
    ),
    (
        "trust.toml",
        "a trust file",
        "format = 1\n[[key]]\nname = \"us\"\nplugins = [\"*\"]\n\
         public = \"ed25519:d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a\"\n",
        ("ed25519:", "rsa:"),
    ),
    (
        "settings.toml",
        "a settings file",
        "format = 1\naudit_log = \"/var/log/runbook\"\n",
        ("/var", "var"),
    ),
    (
        "config.toml",
        "a configuration",
        "format = 1\njournal = \"journal.db\"\ncolor = \"auto\"\n",
        ("auto", "red"),
    ),
    (
        ".runbook.toml",
        "a project",
        "format = 1\nrunbooks = [\".\"]\nlocked = false\n",
        ("locked", "journal"),
    ),
    (
        "plugin.toml",
        "the manifest of a plugin",
        "format = 1\n[plugin]\nname = \"mine\"\nversion = \"0.1.0\"\ndescription = \"looks\"\n\
         [slots.db]\ncapability = \"sql\"\nverbs = [\"query\"]\nreason = \"looks\"\n[[operation]]\n\
         name = \"look\"\nkind = \"probe\"\nsummary = \"looks\"\nslots = { db = [\"query\"] }\n",
        ("kind = \"probe\"", "kind = \"sonde\""),
    ),
];

/// A folder with a suite and a file of every other kind, and the paths of all of them.
fn folder() -> (TestEnv, Vec<String>) {
    let env = home();
    env.file("checks/checks.toml", SUITE);
    rusqlite::Connection::open(env.path().join("checks/shop.db"))
        .expect("it opens")
        .execute_batch("create table t (a)")
        .expect("SQL");
    for (name, _, text, _) in OTHER_FILES {
        env.file(&format!("checks/{name}"), text);
    }
    let names = OTHER_FILES.iter().map(|(name, ..)| *name).chain(["checks.toml"]);
    (env, names.map(|name| format!("checks/{name}")).collect())
}

fn line<'a>(command: &[&'a str], files: &'a [String]) -> Vec<&'a str> {
    command.iter().copied().chain(files.iter().map(String::as_str)).collect()
}

#[test]
fn files_of_a_folder_that_are_no_runbooks_are_reported_and_skipped() {
    let (env, files) = folder();
    for command in [&["lock"][..], &["lock"], &["check"], &["check", "--locked"], &["review"]] {
        let mut finished = env.run(&line(command, &files)).status(0);
        for (name, noun, ..) in OTHER_FILES {
            finished = finished
                .err(&format!("checks/{name}: skipped, because it is {noun} and not a runbook"));
        }
    }
    let mut finished = env
        .run(&line(&["validate", "--locked"], &files))
        .status(0)
        .out("checks/checks.toml: ok, 1 check");
    for (name, noun, ..) in OTHER_FILES {
        finished = finished.out(&format!("checks/{name}: ok, {noun}"));
    }
}

#[test]
fn a_file_that_is_no_runbook_is_validated_by_its_own_format() {
    for (name, _, text, (good, bad)) in OTHER_FILES {
        let env = home();
        env.file(name, &text.replace(good, bad));
        env.run(&["validate", name])
            .status(2)
            .err(&format!("{name}:"))
            .without("has no `[runbook]`");
        env.file(name, text);
        env.run(&["validate", name]).status(0);
    }
}

#[test]
fn a_file_that_is_no_runbook_cannot_be_run_and_its_kind_is_named() {
    for (name, noun, text, _) in OTHER_FILES {
        let env = home();
        env.file(name, text);
        for command in ["exec", "plan"] {
            env.run(&[command, name]).status(2).err(&format!("`{name}` is {noun}, not a runbook"));
        }
        env.run(&["lock", name]).status(2).err("none of the files is a runbook");
        env.run(&["check", name]).status(3).err("none of the files is a runbook");
        assert!(!env.path().join("runbook.lock").exists());
    }
}

#[test]
fn lock_writes_valid_runbooks_and_skips_invalid_ones() {
    let env = home();
    let writing = SUITE
        .replace("[[check]]", "[[step]]")
        .replace("tags = [\"quick\"]\n", "")
        .replace("sql:query", "sql:transaction")
        .replace(
            "{ statement = \"select 1 as one\", first_row = { one = 1 } }",
            "{ statements = [\"create table if not exists t (a)\"] }",
        );
    env.file("a.toml", &writing);
    env.file("b.toml", SUITE);
    for accept in [&["lock"][..], &["lock", "--accept"]] {
        env.run(&[accept, &["a.toml", "b.toml"]].concat()).status(2).err("E0221").out("b.toml");
        assert!(!env.read("runbook.lock").contains("a.toml"));
    }
    env.file("a.toml", &format!("{writing}irreversible = \"an example\"\n"));
    env.run(&["lock", "a.toml"]).status(0);
    env.run(&["exec", "--locked", "a.toml"]).status(0);
    env.file("a.toml", &writing);
    env.run(&["lock", "--accept", "a.toml"]).status(2).err("E0221");
}

#[test]
fn an_unknown_environment_is_reported_with_the_known_ones() {
    let (env, _) = folder();
    for command in ["validate", "exec", "plan", "lock", "review"] {
        env.run(&[command, "--env", "prdo", "checks/checks.toml"])
            .err("`--env prdo`: there is no `checks/targets.prdo.toml`")
            .err("did you mean `--env prod`?");
        env.run(&[command, "--env", "zzzz", "checks/checks.toml"]).err("environments here: prod");
    }
}

#[test]
fn an_unknown_tag_is_reported_with_the_nearest_one() {
    let (env, _) = folder();
    env.run(&["check", "--tag", "quikc", "checks/checks.toml"])
        .status(3)
        .err("`--tag quikc`: no check of `checks/checks.toml` has this tag")
        .err("did you mean `quick`?")
        .without("check:8");
    env.run(&["check", "--tag", "quick", "checks/checks.toml"]).status(0);
}

#[test]
fn an_unknown_folder_is_reported_with_the_nearest_one() {
    let (env, _) = folder();
    for word in ["chekcs", "chekcs/"] {
        env.run(&["review", word])
            .status(2)
            .err("there is no folder, no file and no bundled plugin")
            .err("did you mean `checks`?");
    }
    env.run(&["review", "dokcer"]).status(2).err("did you mean `docker`?");
    env.run(&["review", "checks/chekcs.toml"]).status(2).err("checks/chekcs.toml");
}

#[test]
fn a_missing_program_directory_or_database_of_a_target_is_a_warning() {
    let env = home();
    let text = "format = 1\n[runbook]\nname = \"r\"\n[targets.dump]\n\
                process = \"/opt/nowhere/pg_dump\"\narguments = [{ repeat = { regex = \".*\" } }]\n\
                [targets.out]\nfiles = \"nowhere\"\naccess = \"write\"\n[targets.db]\n\
                sql = \"sqlite:nowhere.db\"\n[targets.made]\nsql = \"sqlite:made.db\"\n\
                create = true\n[[step]]\nid = \"a\"\nuses = \"sqlite:backup\"\n\
                bind = { db = \"db\", directory = \"out\" }\nwith.file = \"x\"\nundo = \"auto\"\n\
                [[step]]\nid = \"b\"\nuses = \"sql:query\"\nbind.db = \"made\"\n\
                with = { statement = \"select 1\" }\n[[step]]\nid = \"c\"\nuses = \"disk:space\"\n\
                bind.program = \"df\"\nwith.paths = [\"/\"]\n[targets.df]\n\
                process = \"/opt/nowhere/df\"\narguments = [{ repeat = { regex = \".*\" } }]\n\
                read_only = true\n";
    env.file("r.toml", text);
    env.run(&["validate", "r.toml"])
        .status(0)
        .err("warning: target `df` (r.toml:")
        .err("there is no program `/opt/nowhere/df` on this machine")
        .err("target `out`")
        .err("there is no database")
        .without("target `made`");
    std::fs::create_dir(env.path().join("nowhere")).expect("it can be made");
    env.run(&["validate", "r.toml"]).status(0).without("target `out`");
}

#[test]
fn a_missing_directory_is_reported_without_its_path_on_the_host() {
    let env = home();
    env.file(
        "r.toml",
        "format = 1\n[runbook]\nname = \"r\"\n[targets.db]\nsql = \"sqlite:shop.db\"\n\
         [targets.out]\nfiles = \"nowhere\"\naccess = \"write\"\n[[step]]\nid = \"a\"\n\
         uses = \"sqlite:backup\"\nbind = { db = \"db\", directory = \"out\" }\n\
         with.file = \"x.db\"\nundo = \"auto\"\n",
    );
    rusqlite::Connection::open(env.path().join("shop.db"))
        .expect("it opens")
        .execute_batch("create table t (a)")
        .expect("SQL");
    env.run(&["exec", "r.toml"])
        .out("slot `directory`: its directory is not there")
        .without(".runbook-")
        .without("nowhere/");
}
