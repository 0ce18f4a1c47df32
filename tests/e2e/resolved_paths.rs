//! The path that is checked is the path that is opened, however the runbook is named.

use crate::home;
use runbook_tests::env::{ProgramOutput, TestEnv, finish};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Makes a database and copies it into a directory.
const RUNBOOK: &str = r#"format = 1
[runbook]
name = "place"
[targets.shop]
sql = "sqlite:SHOP"
create = true
[targets.out]
files = "OUT"
access = "write"
[[step]]
id = "make"
uses = "sql:transaction"
bind.db = "shop"
with = { statements = ["create table if not exists t (x)"] }
irreversible = "an example"
[[step]]
id = "copy"
uses = "sqlite:backup"
bind = { db = "shop", directory = "out" }
with = { file = "copy-{{ run.id }}.db" }
irreversible = "an example"
"#;

fn runbook(shop: &str, out: &str) -> String {
    RUNBOOK.replace("SHOP", shop).replace("OUT", out)
}

/// Writes `site/app/r.toml` with its directories, and symlinks that lead to it.
fn site(shop: &str, out: &str) -> TestEnv {
    let env = home();
    env.file("site/app/r.toml", &runbook(shop, out));
    for folder in
        ["site/app/out", "site/app/data", "site/app/sub", "site/app/app", "site/other", "elsewhere"]
    {
        std::fs::create_dir_all(env.path().join(folder)).expect("a folder can be made");
    }
    for (to, link) in [
        ("app", "site/link"),
        ("../app/r.toml", "site/other/file.toml"),
        ("site", "site-link"),
        ("app/sub", "site/sub-link"),
    ] {
        symlink(to, env.path().join(link)).expect("a link can be made");
    }
    env
}

/// Working directories below the home, each with a path of the runbook from there.
const RUNBOOK_PATHS: &[(&str, &str)] = &[
    ("site/app", "r.toml"),
    ("site/app", "./r.toml"),
    ("site", "app/r.toml"),
    ("", "site/app/r.toml"),
    ("site/other", "../app/r.toml"),
    ("site/app/sub", "../r.toml"),
    ("site", "app/sub/../r.toml"),
    ("site", "link/r.toml"),
    ("site/link", "r.toml"),
    ("", "site-link/app/r.toml"),
    ("site", "sub-link/../r.toml"),
    ("site/other", "file.toml"),
    ("site", "other/file.toml"),
];

/// Runs a command with the runbook named by `way`. A leading `/` stands for the home.
fn run(env: &TestEnv, (folder, way): (&str, &str), arguments: &[&str]) -> ProgramOutput {
    let way = way
        .strip_prefix('/')
        .map_or_else(|| way.to_owned(), |rest| real_home(env).join(rest).display().to_string());
    let all: Vec<&str> = arguments
        .iter()
        .map(|argument| if *argument == "RUNBOOK" { way.as_str() } else { argument })
        .collect();
    let output = env
        .command(&all)
        .current_dir(env.path().join(folder))
        .output()
        .expect("the program can be started");
    ProgramOutput {
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn runbook_paths() -> impl Iterator<Item = (&'static str, &'static str)> {
    RUNBOOK_PATHS.iter().copied().chain([
        ("", "/site/app/r.toml"),
        ("site/other", "/site/link/r.toml"),
        ("", "/site-link/app/r.toml"),
    ])
}

/// The home with all symlinks resolved.
fn real_home(env: &TestEnv) -> PathBuf {
    env.path().canonicalize().expect("the home is there")
}

/// A boundary that allows these directories and files, and nothing else of their kind.
fn boundary(env: &TestEnv, name: &str, directories: &[&str], files: &[&str]) -> String {
    let list = |paths: &[&str]| {
        let paths: Vec<_> =
            paths.iter().map(|path| format!("\"{}\"", env.path().join(path).display())).collect();
        format!("[{}]", paths.join(", "))
    };
    let text = format!(
        "format = 1\n[[allow]]\ncapability = \"sql\"\n\
         verbs = [\"transaction\", \"backup\", \"query\"]\nfiles = {}\n[[allow]]\n\
         capability = \"files\"\nverbs = [\"read\", \"write\", \"remove\"]\ndirectories = {}\n",
        list(files),
        list(directories)
    );
    env.file(name, &text).display().to_string()
}

/// A text without whitespace and the bars of a frame, so that wrapped lines can be compared.
fn unwrapped(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() && *c != '│').collect()
}

fn copies(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("copy-")).count()
}

#[test]
fn a_boundary_checks_the_path_that_is_opened_however_the_runbook_is_named() {
    let env = site("data/shop.db", "out");
    let right = boundary(&env, "right.toml", &["site/app/out"], &["site/app/data/shop.db"]);
    // Paths that a wrong join of the working directory, the runbook and the target would give.
    let others = [
        "site/app/app/out",
        "site/out",
        "out",
        "site/other/out",
        "site/app/sub/out",
        "site/app/out/out",
    ];
    let wrong = boundary(&env, "wrong.toml", &others, &["site/app/data/shop.db"]);
    let out = real_home(&env).join("site/app/out");
    for (number, way) in runbook_paths().enumerate() {
        let refused = run(&env, way, &["--boundary", &wrong, "exec", "RUNBOOK"]).status(6);
        let named = format!("write a file below {}", out.display());
        let read = format!("read a file below {}", out.display());
        let removed = format!("remove a file below {}", out.display());
        let said = unwrapped(&refused.stderr);
        assert!(
            [named, read, removed].iter().any(|text| said.contains(&unwrapped(text))),
            "{way:?}: {}",
            refused.stderr
        );
        assert_eq!(copies(&out), number, "{way:?}: a refused run wrote");
        run(&env, way, &["--boundary", &right, "exec", "RUNBOOK"]).status(0);
        assert_eq!(copies(&out), number + 1, "{way:?}: it wrote elsewhere");
        assert!(env.path().join("site/app/data/shop.db").exists());
        run(&env, way, &["--boundary", &right, "review", "RUNBOOK"]).status(0);
        run(&env, way, &["--boundary", &wrong, "review", "RUNBOOK"]).status(6);
    }
}

#[test]
fn a_lockfile_applies_however_the_runbook_is_named_and_in_every_checkout() {
    let env = site("data/shop.db", "out");
    run(&env, ("", "site/app/r.toml"), &["lock", "RUNBOOK"]).status(0);
    let locked = env.read("site/app/runbook.lock");
    assert!(locked.contains("\"./out\"") && locked.contains("\"./data/shop.db\""), "{locked}");
    assert!(!locked.contains(&env.path().display().to_string()), "{locked}");
    for way in runbook_paths() {
        run(&env, way, &["exec", "--locked", "RUNBOOK"]).status(0);
        run(&env, way, &["lock", "RUNBOOK"]).status(0).out("as locked");
        assert_eq!(env.read("site/app/runbook.lock"), locked, "{way:?}");
    }
    for folder in ["checkout/out", "checkout/data"] {
        std::fs::create_dir_all(env.path().join(folder)).expect("a folder can be made");
    }
    env.file("checkout/r.toml", &env.read("site/app/r.toml"));
    env.file("checkout/runbook.lock", &locked);
    run(&env, ("", "checkout/r.toml"), &["exec", "--locked", "RUNBOOK"]).status(0);
}

#[test]
fn a_symlink_in_the_checkout_is_checked_by_its_destination() {
    // The symlink is the directory itself, a parent of it, the database, or a parent of it.
    for (shop, out) in [
        ("data/shop.db", "in/link"),
        ("data/shop.db", "in/link/deep"),
        ("in/file.db", "out"),
        ("in/link/shop.db", "out"),
        ("in/link/deep/../shop.db", "in/link/../elsewhere"),
    ] {
        let env = site(shop, out);
        std::fs::create_dir_all(env.path().join("site/app/in")).expect("a folder can be made");
        std::fs::create_dir_all(env.path().join("elsewhere/deep")).expect("a folder can be made");
        env.file("elsewhere/shop.db", "");
        symlink("../../../elsewhere", env.path().join("site/app/in/link"))
            .expect("a link can be made");
        symlink("../../../elsewhere/shop.db", env.path().join("site/app/in/file.db"))
            .expect("a link can be made");
        let inside = boundary(&env, "inside.toml", &["site"], &["site"]);
        let both = boundary(&env, "both.toml", &["site", "elsewhere"], &["site", "elsewhere"]);
        // A boundary may itself be written through a link.
        symlink("elsewhere", env.path().join("alias")).expect("a link can be made");
        let alias = boundary(&env, "alias.toml", &["site-link", "alias"], &["site-link", "alias"]);
        for way in [("site/app", "r.toml"), ("", "site/link/r.toml"), ("site/other", "file.toml")] {
            let elsewhere = real_home(&env).join("elsewhere").display().to_string();
            let refused = run(&env, way, &["--boundary", &inside, "exec", "RUNBOOK"]).status(6);
            assert!(unwrapped(&refused.stderr).contains(&elsewhere), "{way:?}: {}", refused.stderr);
            run(&env, way, &["--boundary", &both, "exec", "RUNBOOK"]).status(0);
            run(&env, way, &["--boundary", &alias, "exec", "RUNBOOK"]).status(0);
        }
    }
}

#[test]
fn a_symlink_changed_after_the_review_is_a_difference() {
    let env = site("data/shop.db", "in/link");
    std::fs::create_dir_all(env.path().join("site/app/in")).expect("a folder can be made");
    let link = env.path().join("site/app/in/link");
    symlink("../out", &link).expect("a link can be made");
    let way = ("site", "app/r.toml");
    run(&env, way, &["lock", "RUNBOOK"]).status(0);
    run(&env, way, &["exec", "RUNBOOK"]).status(0);
    std::fs::remove_file(&link).expect("a link can be removed");
    symlink("../../../elsewhere", &link).expect("a link can be made");
    run(&env, way, &["exec", "RUNBOOK"]).status(6).err("directories: ").err("elsewhere");
    assert_eq!(copies(&env.path().join("elsewhere")), 0);
}

#[test]
fn a_program_is_checked_by_its_name_and_its_real_path() {
    let env = home();
    let text = |program: &str| {
        format!(
            "format = 1\n[runbook]\nname = \"program\"\n[targets.db]\n\
                 sql = \"postgres://a@127.0.0.1:1/d\"\n[targets.out]\nfiles = \"out\"\n\
                 access = \"write\"\n[targets.program]\nprocess = {program:?}\n\
                 connection = \"db\"\narguments = [{{ repeat = {{ regex = \".*\" }} }}]\n[[step]]\n\
                 id = \"one\"\nuses = \"postgres:dump\"\n\
                 bind = {{ db = \"db\", program = \"program\", directory = \"out\" }}\n\
                 with = {{ file = \"x.zst\" }}\nirreversible = \"an example\"\n"
        )
    };
    let bin = env.path().join("bin");
    std::fs::create_dir_all(&bin).expect("a folder can be made");
    for name in ["wrapper", "other"] {
        std::fs::write(bin.join(name), "#!/bin/sh\n").expect("written");
    }
    for name in ["dump", "load"] {
        symlink("wrapper", bin.join(name)).expect("a link can be made");
    }
    std::fs::create_dir_all(env.path().join("mine")).expect("a folder can be made");
    symlink(bin.join("other"), env.path().join("mine/dump")).expect("a link can be made");
    let allow = |name: &str, program: &Path| {
        let rule = format!(
            "format = 1\n[[allow]]\ncapability = \"process\"\nverbs = [\"run\"]\n\
                     programs = [{program:?}]\n[[allow]]\ncapability = \"files\"\n\
                     verbs = [\"read\", \"write\", \"remove\"]\n[[allow]]\ncapability = \"sql\"\n\
                     verbs = [\"query\", \"execute\", \"transaction\"]\n"
        );
        env.file(name, &rule).display().to_string()
    };
    let by_link = allow("by-link.toml", &bin.join("dump"));
    let by_folder = allow("by-folder.toml", &env.path().join("mine/*"));
    for (program, boundary, status) in [
        (bin.join("dump"), &by_link, 0),
        // A program may behave differently under another name.
        (bin.join("load"), &by_link, 6),
        (bin.join("other"), &by_link, 6),
        // A folder is allowed, but not the destinations of symlinks in it.
        (env.path().join("mine/dump"), &by_folder, 6),
    ] {
        env.file("r.toml", &text(&program.display().to_string()));
        let found = env.run(&["--boundary", boundary, "validate", "r.toml"]);
        assert_eq!(found.status, status, "{}: {}", program.display(), found.stderr);
    }
}

/// Every protected path is refused by whatever path or symlink a target names it, before anything
/// runs or changes.
#[test]
fn no_target_reaches_a_protected_path_by_any_name() {
    let env = home();
    let cache = env
        .command(&[])
        .get_envs()
        .find(|(name, _)| *name == "RUNBOOK_CACHE")
        .and_then(|(_, value)| value.map(PathBuf::from));
    let cache = cache.expect("the cache of tests is named");
    let program = PathBuf::from(env.command(&[]).get_program());
    for folder in
        [".local/state/runbook/audit", ".config/runbook", "elsewhere", "app", "app/dumps", "kept"]
    {
        std::fs::create_dir_all(env.path().join(folder)).expect("a folder can be made");
    }
    for (to, link) in
        [(".local", "elsewhere/link"), ("../.config/runbook", "app/keys"), ("../kept", "app/out")]
    {
        symlink(
            if to == ".local" { real_home(&env).join(to) } else { to.into() },
            env.path().join(link),
        )
        .expect("a link can be made");
    }
    let home = real_home(&env);
    let flags = [
        "--journal",
        "kept/journal.db",
        "--audit-log",
        "elsewhere/audit",
        "--identity",
        "app/key.txt",
    ];
    let write = |directory: &Path| runbook("shop.db", &directory.display().to_string());
    let mut cases: Vec<(String, &str)> = Vec::new();
    for directory in [
        &home,
        &home.join(".local"),
        &home.join(".local/state/runbook"),
        &home.join(".local/state/runbook/audit"),
        &home.join("elsewhere/link/state"),
        &home.join(".config"),
        &home.join("app/keys"),
        // The next run may use the default cache.
        &home.join(".cache/runbook"),
        &home.join(".cache/runbook/x"),
        &cache,
        &cache.join("x"),
        cache.parent().expect("it is in a folder"),
        program.parent().expect("it is in a folder"),
        Path::new("/etc"),
        Path::new("/etc/runbook/x"),
        Path::new("/"),
        Path::new("."),
        Path::new("out"),
        Path::new("../kept"),
        Path::new("../elsewhere/audit/x"),
        Path::new("../elsewhere"),
    ] {
        cases.push((write(directory), "out"));
    }
    for file in [
        "../kept/journal.db",
        "../kept/journal.db-wal",
        "out/journal.db",
        "../elsewhere/audit/x.db",
        "/etc/runbook/x.db",
        "key.txt",
    ] {
        cases.push((runbook(file, "dumps"), "shop"));
    }
    for (text, target) in &cases {
        env.file("app/r.toml", text);
        for command in ["validate", "plan", "exec"] {
            let refused = env.run(&[&flags[..], &[command, "app/r.toml"]].concat()).status(6);
            let said = unwrapped(&refused.stderr);
            assert!(
                said.contains("E0118") && said.contains(&format!("[targets.{target}]")),
                "{text}\n{}",
                refused.stderr
            );
        }
    }
    assert!(
        !env.path().join("kept/journal.db").exists() && !env.path().join("app/shop.db").exists(),
        "something ran"
    );
    assert_eq!(copies(&home.join("app/dumps")), 0);
    // Variables of this run say nothing of the next one.
    for (variable, directory) in [
        ("XDG_STATE_HOME", ".local/state/runbook"),
        ("XDG_CONFIG_HOME", ".config/runbook"),
        ("XDG_CACHE_HOME", ".cache/runbook"),
    ] {
        env.file("app/r.toml", &write(&home.join(directory)));
        let mut command = env.command(&["validate", "app/r.toml"]);
        let refused =
            finish(command.env(variable, "/elsewhere").output().expect("the program starts"));
        refused.status(6).err("E0118");
    }
    // A directory beside the protected paths is allowed.
    env.file("app/r.toml", &runbook("shop.db", "dumps"));
    env.run(&[&flags[..], &["exec", "app/r.toml"]].concat()).status(0);
    assert_eq!(copies(&home.join("app/dumps")), 1);
    // The protected paths depend on the flags: the same runbook is refused if the journal lies in
    // its directory.
    let moved = ["--journal", "app/dumps/journal.db", "validate", "app/r.toml"];
    env.run(&moved).status(6).err("E0118");
}
