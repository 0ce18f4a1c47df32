//! `review --diff REVISION:PATH`: a git revision is reviewed like the files of the working tree.

use crate::home;
use runbook_tests::env::{ProgramOutput, TestEnv, finish};
use std::process::Command;

/// Targets beside the runbook, elsewhere in the repository, and outside of it by a relative and an
/// absolute path.
const RUNBOOK: &str = r#"format = 1
[runbook]
name = "check"
[targets.beside]
sql = "sqlite:beside.db"
[targets.inside]
sql = "sqlite:../other/inside.db"
[targets.outside]
sql = "sqlite:../../outside.db"
[targets.absolute]
sql = "sqlite:/var/lib/none/absolute.db"
"#;

fn with_steps(targets: &[&str]) -> String {
    let step = |target: &&str| {
        format!(
            "[[step]]\nid = \"{target}\"\nuses = \"sql:query\"\nbind.db = \"{target}\"\n\
                 with = {{ statement = \"select 1 as one\" }}\n"
        )
    };
    format!("{RUNBOOK}{}", targets.iter().map(step).collect::<String>())
}

/// A repository in `repo` with a runbook in `sub`, all in a first revision.
struct Repository(TestEnv);

impl Repository {
    fn new() -> Self {
        let env = home();
        env.file("repo/sub/r.toml", &with_steps(&["beside", "inside", "outside", "absolute"]));
        env.file("repo/other/readme.md", "");
        std::fs::create_dir_all(env.path().join("temporary-place")).expect("a folder can be made");
        let repository = Self(env);
        repository.git(&["init", "-q"]);
        repository.commit("main");
        repository
    }

    fn git(&self, arguments: &[&str]) {
        let done = std::process::Command::new("git")
            .args([
                "-c",
                "user.name=t",
                "-c",
                "user.email=t@localhost",
                "-c",
                "init.defaultBranch=main",
            ])
            .args(arguments)
            .current_dir(self.0.path().join("repo"))
            .env("HOME", self.0.path())
            .output()
            .expect("git runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    fn commit(&self, tag: &str) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", tag]);
        self.git(&["tag", "-f", tag]);
    }

    /// Runs `review --diff` in a folder of the repository, and checks that the output names no
    /// temporary folder.
    fn diff(&self, folder: &str, sides: [&str; 2], more: &[&str]) -> ProgramOutput {
        let mut command =
            self.0.command(&[&["review", "--diff", sides[0], sides[1]], more].concat());
        command
            .current_dir(self.0.path().join("repo").join(folder))
            .env("TMPDIR", self.0.path().join("temporary-place"));
        finish(command.output().expect("it runs")).without("temporary-place").without(".tmp/")
    }
}

#[test]
fn a_revision_is_reviewed_like_its_files_from_every_folder() {
    let repository = Repository::new();
    for (folder, old, new) in [
        (".", "main:sub", "sub"),
        (".", "main:.", "."),
        (".", "main:", "."),
        (".", "main:sub/r.toml", "sub/r.toml"),
        (".", "main:./sub", "sub"),
        ("sub", "main:sub", "."),
        ("sub", "main:.", "."),
        ("sub", "main:./r.toml", "r.toml"),
        ("sub", "main:../sub", "../sub"),
        ("sub", "main:sub", "main:."),
        ("other", "main:sub/r.toml", "../sub/r.toml"),
    ] {
        for sides in [[old, new], [new, old]] {
            repository.diff(folder, sides, &[]).status(0).out("no difference in authority");
        }
    }
    // A changed target is shown with its path in the working tree.
    repository.0.file(
        "repo/sub/r.toml",
        &with_steps(&[]).replace("[targets.beside]", "[[step]]\nid = \"a\"\nkind = \"manual\"\n"),
    );
    repository.0.file(
        "repo/sub/r.toml",
        &with_steps(&["beside"]).replace("../../outside.db", "../../elsewhere.db"),
    );
    let here = repository.0.path().canonicalize().expect("it is there");
    for (folder, old, new) in
        [(".", "sub", "main:sub"), ("sub", ".", "main:sub"), ("sub", "r.toml", "main:./r.toml")]
    {
        for format in ["text", "json"] {
            let found = repository.diff(folder, [old, new], &["--format", format]).status(1);
            for path in ["repo/other/inside.db", "outside.db"] {
                let path = here.join(path).display().to_string();
                assert!(
                    format == "json" || found.stdout.contains(&path),
                    "{path}: {}",
                    found.stdout
                );
            }
        }
    }
}

#[test]
fn an_error_in_a_revision_names_the_path_that_was_given() {
    let repository = Repository::new();
    repository
        .diff(".", ["main:subb/r.toml", "."], &[])
        .status(2)
        .err("`subb/r.toml` is not in revision `main`")
        .err("other/, sub/");
    repository
        .diff("sub", ["main:sub/x.toml", "."], &[])
        .status(2)
        .err("in `sub` there are: r.toml");
    repository.diff("sub", ["main:r.toml", "r.toml"], &[]).status(2).err("`main:./r.toml`");
    repository.diff(".", ["main:../../etc", "."], &[]).status(2).err("is not in revision");
    repository.diff(".", ["nobody:sub", "."], &[]).status(2).err("there is no revision `nobody`");
    repository.diff(".", ["--output=x:sub", "."], &[]).status(2);
    // Every way in which a file can be wrong.
    for (name, text) in [
        ("syntax", "format = = 1\n".to_owned()),
        ("key", format!("{RUNBOOK}\n[nonsense]\na = 1\n")),
        (
            "include",
            "format = 1\ninclude = [\"missing.toml\"]\n[runbook]\nname = \"a\"\n".to_owned(),
        ),
        ("plugin", with_steps(&["beside"]).replace("sql:query", "./missing.wasm:query")),
        ("operation", with_steps(&["beside"]).replace("sql:query", "sql:nothing")),
        ("folder", with_steps(&["beside"]).replace("sqlite:beside.db", "ftp:beside")),
    ] {
        repository.0.file("repo/sub/r.toml", &text);
        repository.commit(name);
        for (folder, path) in [(".", "sub"), (".", "sub/r.toml"), ("sub", "./r.toml"), ("sub", ".")]
        {
            let found = repository.diff(folder, [&format!("{name}:{path}"), "main:sub"], &[]);
            assert_ne!(found.status, 0, "{name}: {}", found.stdout);
            let named = format!("{name}:sub/");
            // In a folder, a file that is no TOML is skipped.
            let is_skipped = name == "syntax" && !path.contains(".toml");
            assert!(is_skipped || found.stderr.contains(&named), "{name} {path}: {}", found.stderr);
        }
    }
}

/// A revision can exclude files from `git archive` by `export-ignore`. A review includes them.
#[test]
fn a_revision_hides_no_file_from_a_review() {
    let repository = Repository::new();
    repository.0.file("repo/.gitattributes", "*.toml export-ignore\n");
    repository.0.file("repo/sub/other.toml", &with_steps(&["outside"]));
    repository.commit("hiding");
    repository.diff(".", ["main:.", "hiding:."], &[]).status(1).out("sub/other.toml");
}

const PROD: &str = "format = 1\n[targets.beside]\nsql = \"sqlite:prod.db\"\n";

/// The targets of every environment are compared, also without `--env`.
#[test]
fn a_diff_covers_every_environment_beside_a_runbook() {
    let repository = Repository::new();
    let diff = |old: &str| {
        repository.0.run_in("repo", &["review", "--diff", &format!("{old}:sub"), "sub"])
    };
    diff("main").status(0).out("no difference");
    repository.0.file("repo/sub/targets.prod.toml", PROD);
    diff("main").status(1).out("sub/r.toml@prod").out("prod.db");
    repository.commit("with-prod");
    diff("with-prod").status(0).out("no difference");
    repository.0.file("repo/sub/targets.prod.toml", &PROD.replace("prod.db", "other.db"));
    diff("with-prod").status(1).out("sub/r.toml@prod").out("other.db");
    std::fs::remove_file(repository.0.path().join("repo/sub/targets.prod.toml"))
        .expect("it is there");
    diff("with-prod").status(0).out("sub/r.toml@prod");
}

/// A runbook in a hidden folder can be run, so it is reviewed.
#[test]
fn a_runbook_in_a_hidden_folder_is_reviewed_and_compared() {
    let repository = Repository::new();
    repository.0.file("repo/sub/.hidden/h.toml", &with_steps(&["absolute"]));
    repository.0.run_in("repo", &["review", "sub"]).out(".hidden/h.toml");
    repository
        .0
        .run_in("repo", &["review", "--diff", "main:sub", "sub"])
        .status(1)
        .out(".hidden/h.toml");
}

#[test]
fn validate_compares_the_targets_of_an_environment_with_the_lockfile() {
    let repository = Repository::new();
    let env = &repository.0;
    let validate =
        || env.run_in("repo/sub", &["validate", "--locked", "r.toml", "targets.prod.toml"]);
    env.file("repo/sub/targets.prod.toml", PROD);
    env.run_in("repo/sub", &["lock", "r.toml"]).status(0);
    validate().status(0).err("no runbook is locked in environment `prod`");
    env.run_in("repo/sub", &["lock", "--env", "prod", "r.toml"]).status(0);
    validate().status(0).without("no runbook is locked");
    env.file("repo/sub/targets.prod.toml", &PROD.replace("prod.db", "other.db"));
    validate().status(6).err("other.db");
}

/// Changes of the limits of a checkout: the file, its new text (`None`: removed), the exit status,
/// and the expected message.
const LIMIT_CHANGES: &[(&str, Option<&str>, i32, &str)] = &[
    (".runbook.toml", None, 1, "widened"),
    (
        ".runbook.toml",
        Some("format = 1\nboundary = \"limit.toml\"\n"),
        1,
        "`locked` of .runbook.toml: is gone; it was true",
    ),
    (
        ".runbook.toml",
        Some("format = 1\nboundary = \"limit.toml\"\nlocked = false\n"),
        1,
        "`locked` of .runbook.toml: is false",
    ),
    (
        ".runbook.toml",
        Some("format = 1\nlocked = true\n"),
        1,
        "`boundary` of .runbook.toml: is gone",
    ),
    (
        ".runbook.toml",
        Some("format = 1\nboundary = \"other.toml\"\nlocked = true\n"),
        1,
        "is \"other.toml\", and was \"limit.toml\"",
    ),
    (
        ".runbook.toml",
        Some("format = 1\nboundary = \"limit.toml\"\nlocked = true\nrunbooks = [\"/tmp\"]\n"),
        0,
        "`runbooks` of .runbook.toml: is new: [\"/tmp\"]",
    ),
    (
        "limit.toml",
        Some("format = 1\n[[allow]]\ncapability = \"sql\"\nverbs = [\"query\", \"execute\"]\n"),
        1,
        "moved",
    ),
    ("limit.toml", None, 1, "limit.toml: is gone"),
    ("checks/runbook.lock", None, 1, "checks/runbook.lock: is gone"),
    (
        "checks/.runbook.toml",
        Some("format = 1\nlocked = true\n"),
        0,
        "checks/.runbook.toml: is new",
    ),
];

#[test]
fn a_diff_shows_every_limit_that_a_checkout_loses() {
    for (file, text, status, said) in LIMIT_CHANGES {
        let env = home();
        let git = |arguments: &[&str]| {
            let done =
                Command::new("git").args(arguments).current_dir(env.path()).output().expect("git");
            assert!(done.status.success(), "{arguments:?}: {done:?}");
        };
        git(&["init", "-q", "."]);
        git(&["config", "user.email", "a@example.com"]);
        git(&["config", "user.name", "a"]);
        let runbook = "format = 1\n[runbook]\nname = \"r\"\n[targets.db]\nsql = \"sqlite:shop.db\"\n\
             [[preflight]]\nid = \"look\"\nuses = \"sql:query\"\nbind.db = \"db\"\n\
             with = { statement = \"select 1\" }\n";
        env.file("checks/r.toml", runbook);
        env.file(
            "limit.toml",
            "format = 1\n[[allow]]\ncapability = \"sql\"\nverbs = [\"query\"]\n",
        );
        env.file(".runbook.toml", "format = 1\nboundary = \"limit.toml\"\nlocked = true\n");
        env.run(&["lock", "checks/r.toml"]).status(0);
        git(&["add", "checks", "limit.toml", ".runbook.toml"]);
        git(&["commit", "-q", "-m", "one"]);
        for folders in [["HEAD:.", "."], ["HEAD:checks", "checks"]] {
            env.run(&["review", "--diff", folders[0], folders[1]]).status(0).out("no difference");
        }
        match text {
            Some(text) => drop(env.file(file, text)),
            None => std::fs::remove_file(env.path().join(file)).expect("it is there"),
        }
        for folders in [["HEAD:.", "."], ["HEAD:checks", "checks"]] {
            env.run(&["review", "--diff", folders[0], folders[1]])
                .status(*status)
                .out(said)
                .without("no difference");
        }
    }
}
