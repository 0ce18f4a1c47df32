//! A review shows every key of every file of a runbook, and `--diff` shows every changed key.

use crate::{home, repository};
use runbook_tests::env::TestEnv;
use std::collections::BTreeSet;

/// A runbook with every key of the format, and the files that it uses.
const FILES: &[(&str, &str)] = &[
    ("r.toml", include_str!("review_keys/runbook.toml")),
    ("shared.toml", include_str!("review_keys/shared.toml")),
    ("s.toml", include_str!("review_keys/suite.toml")),
    ("waivers.toml", include_str!("review_keys/waivers.toml")),
];

fn env() -> TestEnv {
    let env = home();
    for folder in ["", "old/"] {
        env.file(&format!("{folder}filed.sql"), "update t set a = 1;\n");
        env.file(&format!("{folder}other.sql"), "update t set a = 2;\n");
    }
    FILES.iter().for_each(|(name, text)| drop(env.file(name, text)));
    env
}

/// Collects the dotted path of every leaf of a value. Items of a list have the path of the list.
fn collect_leaves(value: &toml::Value, path: &str, found: &mut Vec<String>) {
    match value {
        toml::Value::Table(table) => {
            table
                .iter()
                .for_each(|(key, value)| collect_leaves(value, &format!("{path}.{key}"), found));
        }
        toml::Value::Array(items) if items.iter().any(toml::Value::is_table) => {
            items.iter().for_each(|item| collect_leaves(item, path, found));
        }
        _ => found.push(path.trim_start_matches('.').to_owned()),
    }
}

fn leaves_of(text: &str) -> BTreeSet<String> {
    let mut found = Vec::new();
    collect_leaves(&toml::Value::Table(text.parse().expect("good TOML")), "", &mut found);
    found.into_iter().collect()
}

/// Collects the dotted path of every key in a schema, such as `step.retry.attempts`. A name that
/// users choose is `*`.
fn keys_of(
    schema: &serde_json::Value,
    at: &serde_json::Value,
    path: &str,
    depth: u32,
    found: &mut BTreeSet<String>,
) {
    if depth > 12 {
        return;
    }
    let at = match at["$ref"].as_str() {
        Some(reference) => schema
            .pointer(reference.trim_start_matches('#'))
            .expect("a reference within the schema"),
        None => at,
    };
    let mut is_leaf = true;
    for (key, inner) in at["properties"].as_object().into_iter().flatten() {
        is_leaf = false;
        keys_of(schema, inner, &format!("{path}.{key}"), depth + 1, found);
    }
    if at["additionalProperties"].is_object() {
        is_leaf = false;
        keys_of(schema, &at["additionalProperties"], &format!("{path}.*"), depth + 1, found);
    }
    if at["items"].is_object() {
        is_leaf = false;
        keys_of(schema, &at["items"], path, depth + 1, found);
    }
    for alternatives in ["anyOf", "oneOf", "allOf"] {
        for inner in at[alternatives].as_array().into_iter().flatten() {
            is_leaf = false;
            keys_of(schema, inner, path, depth + 1, found);
        }
    }
    if is_leaf {
        found.insert(path.trim_start_matches('.').to_owned());
    }
}

#[test]
fn every_key_of_every_file_of_a_runbook_stands_in_its_review() {
    let env = env();
    for (file, beside) in [("r.toml", "shared.toml"), ("s.toml", "waivers.toml")] {
        let review = env.run(&["review", file]).status(0).stdout;
        let keys: Vec<&str> = review
            .lines()
            .skip_while(|line| *line != "  Every key of its files")
            .map(key_path)
            .collect();
        for (name, text) in FILES.iter().filter(|(name, _)| [file, beside].contains(name)) {
            for leaf in leaves_of(text) {
                let last = leaf.rsplit('.').next().expect("a leaf has a name");
                assert!(
                    keys.iter().any(|key| key.rsplit('.').next() == Some(last)),
                    "{name}: `{leaf}` is not in\n{review}"
                );
            }
        }
    }
}

/// The text with the value of every line that ends in `#> VALUE` replaced by that value, and the
/// keys of those lines.
fn change_marked_values(text: &str) -> (String, Vec<String>) {
    let mut keys = Vec::new();
    let mut lines = Vec::new();
    for line in text.lines() {
        match line.split_once("#> ") {
            Some((kept, value)) => {
                let (key, _) = kept.split_once('=').expect("a key and its value");
                keys.push(key.trim().to_owned());
                lines.push(format!("{key}= {value}"));
            }
            None => lines.push(line.to_owned()),
        }
    }
    (lines.join("\n") + "\n", keys)
}

#[test]
fn every_changed_key_changes_the_review_and_is_shown_as_a_difference() {
    let env = env();
    FILES.iter().for_each(|(name, text)| drop(env.file(&format!("old/{name}"), text)));
    let mut tried = 0;
    for (file, (name, text)) in
        [("r.toml", FILES[0]), ("r.toml", FILES[1]), ("s.toml", FILES[2]), ("s.toml", FILES[3])]
    {
        let lines = |review: String| -> Vec<String> {
            review
                .lines()
                .skip_while(|line| *line != "  Every key of its files")
                .map(str::to_owned)
                .collect()
        };
        let before = lines(env.run(&["review", file]).status(0).stdout);
        let old = format!("old/{file}");
        env.run(&["review", "--diff", &old, &old]).status(0).out("no difference");
        let (now, keys) = change_marked_values(text);
        env.file(name, &now);
        let after = lines(env.run(&["review", file]).status(0).stdout);
        let gone = before.iter().filter(|line| !after.contains(line));
        let other: Vec<&String> =
            after.iter().filter(|line| !before.contains(line)).chain(gone).collect();
        let told = env.run(&["review", "--diff", &old, file]).stdout;
        let told: Vec<&str> = told
            .lines()
            .filter(|line| line.contains("changed") || line.ends_with("(a safeguard)"))
            .collect();
        for key in &keys {
            // The changed key may be any part of the dotted path.
            let is_key = |way: &str| way.split('.').any(|part| part == key);
            assert!(
                other.iter().any(|line| is_key(key_path(line))),
                "{name}: `{key}` changes nothing in the review: {other:#?}"
            );
            let is_told = |line: &&str| {
                [":", " in"].iter().any(|end| line.contains(&format!("` of {name}{end}")))
                    && is_key(line.split('`').nth(1).unwrap_or_default())
            };
            assert!(told.iter().any(is_told), "{name}: `{key}` is not told: {told:#?}");
        }
        // Each changed key has its own line.
        assert!(
            told.len() >= keys.len(),
            "{name}: {} of {} are told: {told:#?}",
            told.len(),
            keys.len()
        );
        tried += keys.len();
        env.file(name, text);
    }
    assert!(tried > 130, "only {tried} keys were changed");
}

/// The dotted path of the key in a line of a review: `step.one.timeout` of
/// `    shared.toml: step.one.timeout: "5m"`.
fn key_path(line: &str) -> &str {
    let mut parts = line.trim().split(": ");
    let first = parts.next().unwrap_or_default();
    if FILES.iter().any(|(name, _)| *name == first) {
        parts.next().unwrap_or_default()
    } else {
        first
    }
}

#[test]
fn every_key_of_the_schemas_is_in_the_files_of_this_test() {
    let repository = repository();
    let schema = |name: &str| -> serde_json::Value {
        let text = std::fs::read_to_string(repository.join("schema").join(name))
            .expect("the schema is published");
        serde_json::from_str(&text).expect("a schema is JSON")
    };
    // Only the last part of each path is compared: the other tests check whole paths.
    let written: BTreeSet<String> = FILES
        .iter()
        .flat_map(|(_, text)| leaves_of(text))
        .flat_map(|leaf| leaf.split('.').map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let mut missing = BTreeSet::new();
    for name in ["runbook.v1.json", "suite.v1.json", "waivers.v1.json"] {
        let schema = schema(name);
        let mut keys = BTreeSet::new();
        keys_of(&schema, &schema, "", 0, &mut keys);
        assert!(keys.len() > 4, "{name} has {} keys", keys.len());
        for key in keys {
            let last = key.split('.').rfind(|part| *part != "*").unwrap_or_default();
            if !last.is_empty() && !written.contains(last) {
                missing.insert(format!("{name}: {key}"));
            }
        }
    }
    assert_eq!(missing, BTreeSet::new(), "write each key into a file of `tests/e2e/review_keys`");
}
