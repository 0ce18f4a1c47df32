//! The schemas in `schema/`, which editors use, agree with the program.

use crate::repository;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Codes of mistakes that a schema can find: an unknown or missing key, an unknown word, a value of
/// the wrong type.
const SHAPE_CODES: &[&str] = &["E0202", "E0203", "E0204", "E0205", "E0208"];

fn schema() -> jsonschema::Validator {
    published("runbook.v1.json")
}

fn published(name: &str) -> jsonschema::Validator {
    let text = fs::read_to_string(repository().join("schema").join(name))
        .expect("the schema is published");
    jsonschema::validator_for(&serde_json::from_str(&text).expect("a schema is JSON"))
        .expect("a good schema")
}

fn toml(path: &Path) -> Option<Value> {
    let text = fs::read_to_string(path).expect("a runbook");
    let value: toml::Table = toml::from_str(&text).ok()?;
    Some(serde_json::to_value(value).expect("TOML is JSON but for its dates"))
}

fn runbooks(folder: &str) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(repository().join(folder)).expect("the folder is there");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    assert!(!paths.is_empty(), "{folder} has no runbook");
    paths
}

#[test]
fn the_shipped_runbooks_fit_the_schema() {
    let schema = schema();
    for path in runbooks("runbooks") {
        let value = toml(&path).expect("good TOML");
        let errors: Vec<_> = schema
            .iter_errors(&value)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{}: {errors:#?}", path.display());
    }
}

#[test]
fn a_suite_fits_both_schemas_and_a_runbook_is_no_suite() {
    let suite = toml(&repository().join("tests/wrong/beside/checks.toml")).expect("good TOML");
    assert!(schema().is_valid(&suite) && published("suite.v1.json").is_valid(&suite));
    let runbook = toml(&repository().join("tests/wrong/beside/restore.toml")).expect("good TOML");
    assert!(schema().is_valid(&runbook) && !published("suite.v1.json").is_valid(&runbook));
}

#[test]
fn the_schema_refuses_every_mistake_of_shape() {
    let schema = schema();
    let mut seen = 0;
    for path in runbooks("tests/wrong") {
        let answer =
            fs::read_to_string(path.with_extension("txt")).expect("the answer stands beside it");
        let (Some(code), Some(value)) = (answer.lines().nth(1), toml(&path)) else { continue };
        if SHAPE_CODES.contains(&code) && !answer.contains("the runbook has no step") {
            assert!(
                !schema.is_valid(&value),
                "{}: the schema allows it, and the program says {code}",
                path.display()
            );
            seen += 1;
        }
    }
    assert!(seen > 30, "only {seen} mistakes of shape");
}

#[test]
fn published_schemas_are_what_the_program_prints() {
    for name in [
        "runbook",
        "suite",
        "plugin",
        "boundary",
        "trust",
        "targets",
        "waivers",
        "settings",
        "configuration",
        "project",
        "validation",
        "plan",
        "review",
        "report",
        "events",
    ] {
        let printed = crate::home().run(&["schema", name]).status(0).stdout;
        let path = repository().join("schema").join(format!("{name}.v1.json"));
        let read = |text: &str| serde_json::from_str::<Value>(text).expect("a schema is JSON");
        let published = fs::read_to_string(&path).expect("it is published");
        let is_current = read(&printed) == read(&published);
        assert!(is_current, "write it again: `runbook schema {name} > schema/{name}.v1.json`");
    }
}

#[test]
fn the_manifests_of_the_bundled_plugins_fit_the_schema() {
    let schema = published("plugin.v1.json");
    let mut seen = 0;
    for entry in fs::read_dir(repository().join("plugins")).expect("the folder is there") {
        let path = entry.expect("an entry").path().join("plugin.toml");
        if path.exists() {
            let value = toml(&path).expect("good TOML");
            let errors: Vec<_> = schema
                .iter_errors(&value)
                .map(|error| format!("{}: {error}", error.instance_path()))
                .collect();
            assert!(errors.is_empty(), "{}: {errors:#?}", path.display());
            seen += 1;
        }
    }
    assert!(seen >= 8, "only {seen} manifests");
}

/// Checks that schema and program accept `good`, and refuse it after each of the changes.
fn assert_both_refuse(
    schema: &str,
    good: &str,
    changes: &[(&str, &str)],
    program: &dyn Fn(&str) -> bool,
) {
    let validator = published(schema);
    let fits = |text: &str| {
        let table: toml::Table = toml::from_str(text).expect("good TOML");
        validator.is_valid(&serde_json::to_value(table).expect("TOML is JSON but for its dates"))
    };
    assert!(fits(good) && program(good), "the example is good");
    for (from, to) in changes {
        let bad = good.replace(from, to);
        assert_ne!(bad, good, "`{from}` is in the example");
        assert!(!fits(&bad), "the schema allows `{to}`");
        assert!(!program(&bad), "the program allows `{to}`");
    }
}

#[test]
fn schema_and_program_refuse_the_same_manifests() {
    let good =
        fs::read_to_string(repository().join("plugins/postgres/plugin.toml")).expect("a manifest");
    let program = |text: &str| {
        let mut diagnostics = runbook_document::Diagnostics::default();
        let source = runbook_document::Source::new("plugin.toml", text);
        runbook_authority::Manifest::parse(&source, &mut diagnostics).is_some()
    };
    let changes = [
        ("format = 1", "format = 2"),
        ("name = \"postgres\"", "name = \"Postgres\""),
        ("capability = \"sql\"", "capability = \"sqll\""),
        ("verbs = [\"run\"]", "verbs = [\"walk\"]"),
        ("kind = \"probe\"", "kind = \"sonde\""),
        ("idempotent = true", "idempotent = \"yes\""),
        ("reason = \"where dumps are\"", "raeson = \"where dumps are\""),
    ];
    assert_both_refuse("plugin.v1.json", &good, &changes, &program);
}

#[test]
fn schema_and_program_refuse_the_same_boundaries() {
    let good = "format = 1\n[[allow]]\ncapability = \"http\"\nverbs = [\"get\"]\n\
                reason = \"checks\"\nhosts = [\"*.internal\"]\nports = [443, \"8443\"]\n\
                paths = [\"/v1/**\"]\naddresses = [\"private\", \"10.0.0.7\"]\nredirects = 0\n\
                max_body = \"1 MiB\"\ntimeout = \"10s\"\n[[allow]]\ncapability = \"sql\"\n\
                verbs = [\"query\"]\nstatements = [\"select\"]\nsuperuser = false\n\
                files = [\"/var/lib/app\"]\n[[allow]]\ncapability = \"process\"\n\
                verbs = [\"run\"]\nprograms = [\"/usr/bin/psql\"]\n\
                arguments = [[\"--version\"], [\"-c\", { one_of = [\"a\", \"b\"] }]]\n";
    let program = |text: &str| {
        let mut diagnostics = runbook_document::Diagnostics::default();
        let source = runbook_document::Source::new("boundary.toml", text);
        runbook_authority::boundary::Boundary::parse(&source, &mut diagnostics).is_some()
    };
    let changes = [
        ("verbs = [\"get\"]", "verbs = [\"fetch\"]"),
        ("capability = \"http\"", "capability = \"htttp\""),
        ("paths = [\"/v1/**\"]", "paths = [\"v1\"]"),
        ("redirects = 0", "redirects = \"none\""),
        ("superuser = false", "superuser = \"no\""),
        ("max_body = \"1 MiB\"", "max_body = 1"),
        ("timeout = \"10s\"", "timeout = \"soon\""),
        ("statements = [\"select\"]", "statements = [\"selekt\"]"),
        ("hosts =", "host ="),
        ("superuser = false", "ports = [true]"),
    ];
    assert_both_refuse("boundary.v1.json", good, &changes, &program);
}
