//! Boundary and lockfile: only reviewed runbooks run, and only within the boundary.

use crate::{bundled, home, renamed_plugin, repository};
use runbook_tests::env::{ProgramOutput, TestEnv};

const RUNBOOK: &str = r#"format = 1
[runbook]
name = "check"
[targets.shop]
sql = "sqlite:shop.db"
create = true
[[preflight]]
id = "there"
uses = "sql:query"
bind.db = "shop"
with = { statement = "select 1 as one" }
"#;

/// A further step of [`RUNBOOK`], which changes the database.
const WIDER: &str = r#"
[[step]]
id = "write"
uses = "sql:transaction"
bind.db = "shop"
with = { statements = ["create table if not exists t (x)"] }
irreversible = "an example"
"#;

fn env_with(runbook: &str) -> TestEnv {
    let env = home();
    env.file("r.toml", runbook);
    env.file("shop.db", "");
    env
}

#[test]
fn a_locked_runbook_runs_and_a_wider_one_is_refused_until_it_is_accepted() {
    let env = env_with(RUNBOOK);
    env.run(&["lock", "r.toml"]).status(0).out("locked for the first time");
    env.run(&["lock", "r.toml"]).status(0).out("as locked");
    env.run(&["exec", "--locked", "r.toml"]).status(0);
    env.file("r.toml", &format!("{RUNBOOK}{WIDER}"));
    let refused = |finished: ProgramOutput| {
        finished
            .status(6)
            .err("is not what")
            .err("step `write` of r.toml, slot `db`")
            .err("now possible: transaction with a `define` statement")
    };
    refused(env.run(&["exec", "--yes", "r.toml"])).err("runbook lock --accept r.toml");
    refused(env.run(&["plan", "r.toml"]));
    env.run(&["lock", "r.toml"]).status(6).out("widened").err("not written");
    env.run(&["lock", "--accept", "r.toml"]).status(0).out("locked anew").out("widened");
    env.run(&["exec", "--yes", "r.toml"]).status(0);
}

#[test]
fn a_runbook_that_gave_something_up_is_shown_as_narrowed_and_its_text_needs_acceptance() {
    let env = env_with(&format!("{RUNBOOK}{WIDER}"));
    env.run(&["lock", "r.toml"]).status(0);
    env.file("r.toml", RUNBOOK);
    env.run(&["exec", "r.toml"]).status(6).err("narrowed");
    env.run(&["lock", "r.toml"]).status(6).out("narrowed").out("-id = \"write\"");
    env.run(&["lock", "--accept", "r.toml"]).status(0).out("narrowed");
    env.run(&["exec", "r.toml"]).status(0);
}

#[test]
fn a_swapped_binary_is_refused() {
    let env = env_with(&RUNBOOK.replace("sql:query", "./mine.wasm:query"));
    let component = renamed_plugin("sql", "our");
    std::fs::write(env.path().join("mine.wasm"), &component).expect("a file can be written");
    env.run(&["lock", "r.toml"]).status(0);
    env.run(&["exec", "r.toml"]).status(0);
    // An additional custom section: the same program with another digest.
    let swapped = [component.as_slice(), &[0, 2, 1, b'x']].concat();
    std::fs::write(env.path().join("mine.wasm"), swapped).expect("a file can be written");
    env.run(&["exec", "r.toml"]).status(6).err("moved").err("plugin `./mine.wasm`: is other code");
}

#[test]
fn ci_refuses_what_is_not_locked() {
    let env = env_with(RUNBOOK);
    env.run(&["validate", "--locked", "r.toml"])
        .status(6)
        .err("is not locked")
        .err("runbook lock r.toml");
    env.run(&["validate", "r.toml"]).status(0);
}

#[test]
fn a_damaged_lockfile_stops_everything_and_is_shown_at_its_line() {
    let env = env_with(RUNBOOK);
    env.file("runbook.lock", "format = 1\n[[plugin]]\nname = \"x\"\n");
    env.run(&["exec", "r.toml"]).status(6).err("runbook.lock:2").err("has no `reference`");
}

const BOUNDARY: &str =
    "format = 1\n[[allow]]\ncapability = \"sql\"\nverbs = [\"query\"]\nengines = [\"sqlite\"]\n";

#[test]
fn what_is_beyond_the_boundary_is_refused_with_a_call_that_would_be_possible() {
    let env = env_with(RUNBOOK);
    env.file("boundary.toml", BOUNDARY);
    env.run(&["exec", "--boundary", "boundary.toml", "r.toml"]).status(0);
    env.file("r.toml", &format!("{RUNBOOK}{WIDER}"));
    env.run(&["exec", "--yes", "--boundary", "boundary.toml", "r.toml"])
        .status(6)
        .err("slot `db` of step `write` reaches beyond the boundary")
        .err("it would allow: transaction with a")
        .err("boundary.toml:2, allows only verbs = query");
    assert_eq!(
        env.run(&["runs", "--format", "json"]).stdout.lines().count(),
        1,
        "the second one was never a run"
    );
}

#[test]
fn a_boundary_that_cannot_be_read_stops_everything() {
    let env = env_with(RUNBOOK);
    env.run(&["plan", "--boundary", "nobody.toml", "r.toml"])
        .status(6)
        .err("`nobody.toml` cannot be read");
    env.file("boundary.toml", "format = 1\n[[allow]]\ncapability = \"sql\"\nverbs = [\"qery\"]\n");
    env.run(&["plan", "--boundary", "boundary.toml", "r.toml"])
        .status(6)
        .err("did you mean `query`?");
}

fn shipped() -> String {
    repository().join("runbooks").display().to_string()
}

fn validate(schema: &str, text: &str) -> serde_json::Value {
    let schema: serde_json::Value = serde_json::from_str(schema).expect("a schema is JSON");
    let value: serde_json::Value =
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let validator = jsonschema::validator_for(&schema).expect("a good schema");
    let errors: Vec<_> = validator
        .iter_errors(&value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
    value
}

#[test]
fn the_access_report_is_json_by_its_published_schema() {
    let env = home();
    env.file("boundary.toml", BOUNDARY);
    let schema = std::fs::read_to_string(repository().join("schema/review.v1.json"))
        .expect("the schema is published");
    let plain = env.run(&["review", "--format", "json", &shipped(), "http", "docker"]).status(0);
    let report = validate(&schema, &plain.stdout);
    assert!(report["runbooks"].as_array().is_some_and(|runbooks| runbooks.len() >= 2));
    let beyond = env
        .run(&["review", "--format", "json", "--boundary", "boundary.toml", &shipped()])
        .status(6);
    assert!(beyond.stdout.contains("\"exceeded\"") && beyond.stdout.contains("RB001"));
    validate(&schema, &beyond.stdout);
}

#[test]
fn the_findings_are_sarif() {
    let env = home();
    let sarif = env.run(&["review", "--format", "sarif", &shipped()]).status(0).stdout;
    // The schema of OASIS, with the unclosed regular expression of `language` repaired.
    let sarif = validate(include_str!("sarif-2.1.0.json"), &sarif);
    let results = sarif["runs"][0]["results"].as_array().expect("results");
    assert!(results.iter().any(|result| result["ruleId"] == "RB003"
        && result["locations"][0]["physicalLocation"]["region"]["startLine"].is_u64()));
}

#[test]
fn the_html_report_has_no_script_and_escapes_texts() {
    let env = env_with(
        &RUNBOOK
            .replace("name = \"check\"", "name = \"check\"\ntitle = \"<script>alert(1)</script>\"")
            .replace("shop.db", "<img src=x>.db"),
    );
    let page = env.run(&["review", "--format", "html", "r.toml"]).status(0).stdout;
    assert!(
        page.contains("&lt;img src=x&gt;") && !page.contains("<script") && !page.contains("<img"),
        "{page}"
    );
    assert!(page.contains("default-src 'none'") && !page.contains("http-equiv=\"refresh\""));
}

#[test]
fn the_access_report_is_the_same_every_time() {
    let env = home();
    let first = env.run(&["review", &shipped(), "sql"]).status(0).stdout;
    assert_eq!(env.run(&["review", "sql", &shipped()]).status(0).stdout, first);
    assert!(first.contains("stops container orders-api"), "{first}");
}

#[test]
fn ci_can_fail_on_a_risk() {
    let env = home();
    env.run(&["review", "--fail-on", "critical", &shipped()]).status(0);
    env.run(&["review", "--fail-on", "high", &shipped()]).status(1);
    env.run(&["review", "nobody.toml"]).status(2).err("nobody.toml");
}

#[test]
fn a_difference_names_what_is_possible_now() {
    let env = env_with(RUNBOOK);
    env.file("wider.toml", &format!("{RUNBOOK}{WIDER}"));
    env.run(&["review", "--diff", "r.toml", "wider.toml"])
        .status(1)
        .out("widened")
        .out("now possible: transaction with a `define`");
    env.run(&["review", "--diff", "wider.toml", "r.toml"]).status(0).out("narrowed");
    env.run(&["review", "--diff", "r.toml", "r.toml"]).status(0).out("no difference in authority");
    env.run(&["lock", "r.toml"]).status(0);
    env.run(&["review", "--diff", "runbook.lock", "wider.toml"])
        .status(1)
        .out("is granted, which it was not");
    std::fs::write(env.path().join("a.wasm"), bundled("sql")).expect("written");
    std::fs::write(env.path().join("b.wasm"), bundled("sqlite")).expect("written");
    env.run(&["review", "--diff", "./a.wasm", "./b.wasm"])
        .status(1)
        .out("declares `sql.backup` on slot `db`, which it did not");
}

#[test]
fn revisions_of_git_are_compared() {
    let env = env_with(RUNBOOK);
    let git = |arguments: &[&str]| {
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
            .current_dir(env.path())
            .env("HOME", env.path())
            .output()
            .expect("git runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    git(&["init", "-q"]);
    git(&["add", "r.toml"]);
    git(&["commit", "-q", "-m", "one"]);
    env.run(&["review", "--diff", "HEAD:r.toml", "r.toml"])
        .status(0)
        .out("no difference in authority");
    env.file("r.toml", &format!("{RUNBOOK}{WIDER}"));
    env.run(&["review", "--diff", "HEAD:r.toml", "r.toml"]).status(1).out("step `write` of r.toml");
    env.run(&["review", "--diff", "nobody:r.toml", "r.toml"]).status(2).err("git:");
}

/// A runbook whose secret `a` has this source.
fn runbook_with_secret(source: &str) -> String {
    format!(
        "format = 1\n[runbook]\nname = \"t\"\n[secrets.a]\nsource = \"{source}\"\n\
             [targets.api]\nhttp = \"https://api.example\"\n\
             headers = {{ Authorization = \"Bearer secret:a\" }}\n[[preflight]]\nid = \"look\"\n\
             uses = \"http:get\"\nbind.target = \"api\"\nwith = {{ path = \"/\" }}\n"
    )
}

#[test]
fn the_source_of_a_secret_is_reviewed_compared_locked_and_bounded() {
    let env = home();
    let folder = env.path().canonicalize().expect("it is there");
    let (good, other) = (
        format!("age:{}/s.age#a", folder.display()),
        format!("age:{}/s.age#root-password", folder.display()),
    );
    env.file("r.toml", &runbook_with_secret("age:s.age#a"));
    env.file("other.toml", &runbook_with_secret("age:s.age#root-password"));
    let review = env.run(&["review", "r.toml"]).status(0).stdout;
    let row = review
        .lines()
        .find(|line| line.contains("http.get") && line.contains("https://api.example"))
        .expect("a row");
    assert!(row.contains(&format!("secret:a is {good}")), "{row}");
    assert!(review.contains(&format!("the value of secret `a` ({good}) is sent")), "{review}");
    // A difference, by itself and against the lockfile, in every checkout.
    env.run(&["review", "--diff", "r.toml", "other.toml"]).status(1).out("widened").out(&other);
    env.run(&["lock", "r.toml"]).status(0);
    assert!(
        env.read("runbook.lock").contains("secrets = [\"age:./s.age#a\"]"),
        "{}",
        env.read("runbook.lock")
    );
    env.run(&["validate", "--locked", "r.toml"]).status(0);
    env.file("r.toml", &runbook_with_secret("age:s.age#root-password"));
    env.run(&["validate", "--locked", "r.toml"]).status(6).err("root-password");
    env.file("r.toml", &runbook_with_secret("age:s.age#a"));
    // A store is identified by its resolved path.
    std::os::unix::fs::symlink("s.age", env.path().join("link.age")).expect("a link");
    env.file("s.age", "");
    env.file("linked.toml", &runbook_with_secret("age:link.age#a"));
    env.run(&["review", "linked.toml"]).status(0).out(&format!("secret:a is {good}"));
    // A boundary allows secrets by their source and not by their name in a runbook.
    let boundary = |secrets: &str| {
        format!(
            "format = 1\n[[allow]]\ncapability = \"http\"\nverbs = [\"get\"]\n\
                 hosts = [\"api.example\"]\nheaders = [\"authorization\"]\n\
                 secrets = [\"{secrets}\"]\n"
        )
    };
    for (pattern, file, status) in [
        (good.clone(), "r.toml", 0),
        (good.clone(), "linked.toml", 0),
        (good, "other.toml", 6),
        (format!("age:{}/*#a", folder.display()), "r.toml", 0),
        (format!("age:{}/link.age#*", folder.display()), "r.toml", 0),
        ("*#root-*".to_owned(), "r.toml", 6),
        ("*#root-*".to_owned(), "other.toml", 0),
    ] {
        env.file("boundary.toml", &boundary(&pattern));
        let done = env.run(&["review", "--boundary", "boundary.toml", file]);
        assert_eq!(done.status, status, "{pattern} {file}: {}{}", done.stdout, done.stderr);
    }
    env.file("boundary.toml", &boundary("a"));
    env.run(&["validate", "boundary.toml"])
        .status(2)
        .err("`a` is not the source of a secret")
        .err("age:/srv/checks");
}

#[test]
fn one_secret_name_with_two_sources_is_a_finding() {
    let env = home();
    env.file("checks/one.toml", &runbook_with_secret("age:s.age#a"));
    env.file("checks/two.toml", &runbook_with_secret("age:s.age#a"));
    assert!(!env.run(&["review", "checks"]).status(0).stdout.contains("RB023"));
    env.file("checks/two.toml", &runbook_with_secret("age:s.age#b"));
    env.run(&["review", "checks"])
        .status(0)
        .out("RB023 two-sources  secret `a`")
        .out("s.age#a in checks/one.toml")
        .out("s.age#b in checks/two.toml");
}

/// A boundary rule about servers does not apply to a SQLite file, nor the other way round. The
/// error names the key to use.
#[test]
fn a_boundary_rule_for_the_wrong_kind_of_database_suggests_the_right_key() {
    let env = home();
    let runbook = |target: &str| {
        format!(
            "format = 1\n[runbook]\nname = \"r\"\n[targets.db]\nsql = \"{target}\"\n\
                 [[preflight]]\nid = \"q\"\nuses = \"sql:query\"\nbind.db = \"db\"\n\
                 with = {{ statement = \"select 1\" }}\n"
        )
    };
    let boundary = |keys: &str| {
        format!("format = 1\n[[allow]]\ncapability = \"sql\"\nverbs = [\"query\"]\n{keys}\n")
    };
    let validate = ["validate", "r.toml", "--boundary", "b.toml"];
    env.file("r.toml", &runbook("sqlite:shop.db"));
    for keys in [
        "databases = [\"*\"]",
        "hosts = [\"*\"]",
        "users = [\"*\"]",
        "hosts = [\"*\"]\ndatabases = [\"*\"]",
    ] {
        env.file("b.toml", &boundary(keys));
        let refused = env.run(&validate).status(6).err("E0120");
        let words = refused
            .stderr
            .split_whitespace()
            .filter(|word| *word != "│")
            .collect::<Vec<_>>()
            .join(" ");
        let named = words
            .split("is allowed by `")
            .nth(1)
            .and_then(|rest| rest.split('`').next())
            .unwrap_or_else(|| panic!("{words}"));
        // The suggested key, copied as it is, allows the file.
        env.file("b.toml", &boundary(named));
        env.run(&validate).status(0);
    }
    env.file("r.toml", &runbook("postgres://ada@db.internal/shop"));
    env.file("b.toml", &boundary("files = [\"/srv/shop.db\"]"));
    env.run(&validate).status(6).err("a server is allowed by `hosts` and");
}
