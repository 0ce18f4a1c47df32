//! `schema/runbook.v1.json`, which editors use, says what the program says.

use crate::repository;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Mistakes that a schema can see: a key or a word that is not known, one that is missing, a value of another type.
const OF_SHAPE: &[&str] = &["E0202", "E0203", "E0204", "E0205", "E0208"];

fn schema() -> jsonschema::Validator {
    published("runbook.v1.json")
}

fn published(name: &str) -> jsonschema::Validator {
    let text = fs::read_to_string(repository().join("schema").join(name)).expect("the schema is published");
    jsonschema::validator_for(&serde_json::from_str(&text).expect("a schema is JSON")).expect("a good schema")
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
        let errors: Vec<_> = schema.iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect();
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
fn an_editor_sees_every_mistake_of_shape() {
    let schema = schema();
    let mut seen = 0;
    for path in runbooks("tests/wrong") {
        let answer = fs::read_to_string(path.with_extension("txt")).expect("the answer stands beside it");
        let (Some(code), Some(value)) = (answer.lines().nth(1), toml(&path)) else { continue };
        if OF_SHAPE.contains(&code) && !answer.contains("the runbook has no step") {
            assert!(!schema.is_valid(&value), "{}: the schema allows it, and the program says {code}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 30, "only {seen} mistakes of shape");
}
