//! Dependencies point one way.

use crate::repository;
use std::process::Command;

/// Which crates of the host each crate of the host may depend on.
const ALLOWED: &[(&str, &[&str])] = &[
    ("runbook-text", &[]),
    ("runbook-document", &["runbook-text"]),
    ("runbook-authority", &["runbook-document", "runbook-text"]),
    ("runbook-engine", &["runbook-document"]),
    ("runbook-journal", &["runbook-engine"]),
    ("runbook-secrets", &[]),
    ("runbook-pack", &["runbook-document", "runbook-authority"]),
    ("runbook-runtime", &["runbook-document", "runbook-authority", "runbook-secrets", "runbook-text"]),
    ("runbook-report", &["runbook-document", "runbook-authority", "runbook-engine", "runbook-text"]),
    ("runbook-sdk", &[]),
];

#[test]
fn dependencies_between_crates_point_one_way() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(repository())
        .output()
        .expect("cargo runs");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let packages = metadata["packages"].as_array().expect("there are packages");
    for (name, allowed) in ALLOWED {
        let package = packages.iter().find(|package| package["name"] == *name).unwrap_or_else(|| panic!("no crate {name}"));
        let dependencies = package["dependencies"].as_array().expect("a list");
        let own = dependencies
            .iter()
            .filter(|dependency| dependency["kind"].is_null())
            .filter_map(|dependency| dependency["name"].as_str());
        for dependency in own.filter(|dependency| dependency.starts_with("runbook-")) {
            assert!(allowed.contains(&dependency), "{name} depends on {dependency}");
        }
    }
}

#[test]
fn only_the_one_door_asks_the_gate() {
    let capabilities = repository().join("host/runtime/src/capabilities");
    for file in rust_files(&capabilities) {
        let text = std::fs::read_to_string(&file).expect("a source file is text");
        assert!(!text.contains("gate::decide"), "{} asks the gate itself", file.display());
    }
}

#[test]
fn every_plugin_has_a_manifest_and_a_readme() {
    for entry in std::fs::read_dir(repository().join("plugins")).expect("the folder is there") {
        let folder = entry.expect("a folder can be listed").path();
        for file in ["Cargo.toml", "plugin.toml", "README.md", "src/lib.rs"] {
            assert!(folder.join(file).exists(), "{} has no {file}", folder.display());
        }
    }
}

fn rust_files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("a folder can be listed").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
