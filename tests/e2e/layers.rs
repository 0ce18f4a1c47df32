//! Dependencies between crates, callers of the gate, and `unsafe` code are limited to fixed lists.

use crate::repository;
use std::process::Command;

/// Which crates of the host each crate of the host may depend on.
const ALLOWED: &[(&str, &[&str])] = &[
    ("runbook-contract", &[]),
    ("runbook-text", &[]),
    ("runbook-document", &["runbook-text"]),
    ("runbook-authority", &["runbook-contract", "runbook-document", "runbook-text"]),
    ("runbook-engine", &["runbook-contract", "runbook-document", "runbook-text"]),
    ("runbook-journal", &["runbook-engine"]),
    ("runbook-regular-file", &[]),
    ("runbook-secrets", &["runbook-regular-file"]),
    ("runbook-launch", &[]),
    ("runbook-pack", &["runbook-document", "runbook-authority"]),
    (
        "runbook-runtime",
        &[
            "runbook-contract",
            "runbook-document",
            "runbook-authority",
            "runbook-launch",
            "runbook-regular-file",
            "runbook-secrets",
            "runbook-text",
        ],
    ),
    (
        "runbook-report",
        &["runbook-document", "runbook-authority", "runbook-engine", "runbook-text"],
    ),
    ("runbook-sdk", &[]),
];

#[test]
fn dependencies_between_crates_point_one_way() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("there are packages");
    for (name, allowed) in ALLOWED {
        let package = packages
            .iter()
            .find(|package| package["name"] == *name)
            .unwrap_or_else(|| panic!("no crate {name}"));
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
fn no_crate_depends_on_what_it_does_not_use() {
    let metadata = metadata();
    for package in metadata["packages"].as_array().expect("there are packages") {
        let name = package["name"].as_str().expect("a name");
        let manifest = std::path::Path::new(package["manifest_path"].as_str().expect("a path"));
        let folder = manifest.parent().expect("a manifest is in a folder");
        let mut text = std::fs::read_to_string(folder.join("build.rs")).unwrap_or_default();
        let mut folders: Vec<_> =
            ["src", "tests", "benches", "examples"].map(|below| folder.join(below)).to_vec();
        folders.extend((name == "runbook-cli").then(|| repository().join("tests/e2e")));
        for file in
            folders.iter().filter(|folder| folder.is_dir()).flat_map(|folder| rust_files(folder))
        {
            text.push_str(&std::fs::read_to_string(file).expect("a source file is text"));
        }
        for dependency in package["dependencies"].as_array().expect("a list") {
            let used =
                dependency["rename"].as_str().or(dependency["name"].as_str()).expect("a name");
            // `derive(JsonSchema)` uses `schemars` without naming it.
            let is_derived = used == "schemars" && text.contains("JsonSchema");
            let word = used.replace('-', "_");
            let is_named = text.match_indices(&word).any(|(at, _)| {
                let is_part = |c: char| c.is_alphanumeric() || c == '_';
                !text[..at].ends_with(is_part) && !text[at + word.len()..].starts_with(is_part)
            });
            assert!(is_named || is_derived, "{name} depends on {used} and does not use it");
        }
    }
}

fn metadata() -> serde_json::Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(repository())
        .output()
        .expect("cargo runs");
    serde_json::from_slice(&output.stdout).expect("cargo prints JSON")
}

/// Texts by which a source file calls the gate, or imports it so that it could be called.
const GATE_IMPORTS: [&str; 3] = ["gate::decide", "gate::*", "gate as "];

/// Whether code calls the gate by its path or imports it.
fn uses_the_gate(text: &str) -> bool {
    let imports = |(at, _): (usize, &str)| {
        text[at..]
            .split('}')
            .next()
            .is_some_and(|list| list.contains("decide") || list.contains("self as"))
    };
    GATE_IMPORTS.iter().any(|way| text.contains(way)) || text.match_indices("gate::{").any(imports)
}

/// The files of the modules that a file declares with `#[cfg(test)]`.
fn test_module_files(file: &std::path::Path) -> Vec<std::path::PathBuf> {
    let text = std::fs::read_to_string(file).expect("a source file is text");
    let stem = file.file_stem().expect("it has a name");
    let folder = if stem == "mod" || stem == "lib" || stem == "main" {
        file.with_file_name("")
    } else {
        file.with_extension("")
    };
    let marked = text.split("#[cfg(test)]\n").skip(1).filter_map(|after| after.lines().next());
    let names = marked.filter_map(|line| line.rsplit_once("mod ")?.1.strip_suffix(';'));
    names.map(|name| folder.join(format!("{name}.rs"))).collect()
}

#[test]
fn only_two_listed_files_use_the_gate() {
    for way in [
        "use crate::gate::{Mode, decide};",
        "runbook_authority::gate::decide(a, b, c)",
        "use crate::gate::*;",
    ] {
        assert!(uses_the_gate(way), "{way}");
    }
    assert!(!uses_the_gate("use crate::gate::{Mode, GateRequest}; fn decide() {}"));
    let host = repository().join("host");
    let files = rust_files(&host);
    let tests: Vec<_> = files.iter().flat_map(|file| test_module_files(file)).collect();
    let is_code = |file: &&std::path::PathBuf| {
        file.to_string_lossy().contains("/src/") && !tests.contains(file)
    };
    let sources = files.iter().filter(is_code);
    let mut callers = Vec::new();
    for file in sources {
        let text = std::fs::read_to_string(file).expect("a source file is text");
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let code: String = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .flat_map(|line| [line, "\n"])
            .collect();
        if uses_the_gate(&code) {
            callers.push(file.strip_prefix(&host).expect("it is below").display().to_string());
        }
    }
    callers.sort();
    // `cli/src/statements.rs` checks before a run whether a statement could be allowed. It allows
    // no call itself.
    assert_eq!(callers, ["cli/src/statements.rs", "runtime/src/host.rs"], "who asks the gate");
    let door =
        std::fs::read_to_string(host.join("runtime/src/host.rs")).expect("a source file is text");
    assert_eq!(door.matches("gate::decide").count(), 1, "the door asks once");
}

/// As ARCHITECTURE.md says: where native code is loaded, and in the memory of a guest. Generated
/// code does not count.
#[test]
fn unsafe_is_written_in_two_files_only() {
    let mut written = Vec::new();
    for folder in ["host", "sdk", "plugins", "tests"] {
        for file in rust_files(&repository().join(folder)) {
            let text = std::fs::read_to_string(&file).expect("a source file is text");
            let code = text.lines().map(str::trim_start).filter(|line| !line.starts_with("//"));
            let forms = ["{", "fn", "impl", "extern"].map(|next| format!("{} {next}", "unsafe"));
            if code.into_iter().any(|line| forms.iter().any(|form| line.contains(form.as_str()))) {
                written.push(
                    file.strip_prefix(repository()).expect("it is below").display().to_string(),
                );
            }
        }
    }
    written.sort();
    assert_eq!(written, ["host/runtime/src/compile.rs", "sdk/rust/src/arena.rs"]);
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
