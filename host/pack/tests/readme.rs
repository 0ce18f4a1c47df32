//! The example of the SDK's README is a plugin: its three files, as they stand there, are built and
//! packed.

use runbook_pack::cargo::{Profile, TargetDir, build};
use std::path::{Path, PathBuf};

/// How many lines a complete probe has at most, by the README. Empty lines do not count.
const MAX_LINES: usize = 20;

fn sdk() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk/rust")
}

/// The fenced blocks of a language, in order.
fn blocks(readme: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let texts = readme.split(fence.as_str()).skip(1);
    texts
        .map(|rest| rest.split("```").next().expect("a split has a first part").to_owned())
        .collect()
}

#[test]
fn the_example_of_the_readme_is_a_plugin_of_20_lines() {
    let readme = std::fs::read_to_string(sdk().join("README.md")).expect("the SDK has a README");
    let code = blocks(&readme, "rust").remove(0);
    let lines = code.lines().filter(|line| !line.trim().is_empty()).count();
    assert!(lines <= MAX_LINES, "the probe has {lines} lines, at most {MAX_LINES}");
    let [manifest, cargo]: [String; 2] =
        blocks(&readme, "toml").try_into().expect("two files in TOML");
    let sdk_dependency = format!("path = {:?}", sdk().display().to_string());
    assert!(cargo.contains("path = \"../sdk/rust\""), "the test replaces this path");
    let cargo = cargo.replace("path = \"../sdk/rust\"", &sdk_dependency);

    // A workspace of plugins, with the `Cargo.lock` of this repository.
    let workspace = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme");
    let folder = workspace.join("queue");
    std::fs::create_dir_all(folder.join("src")).expect("the test's folder can be made");
    let write = |name: &str, text: &str| {
        std::fs::write(folder.join(name), text).expect("the test's folder can be written");
    };
    write("src/lib.rs", &code);
    write("plugin.toml", &manifest);
    write("Cargo.toml", &cargo);
    write("../Cargo.toml", "[workspace]\nmembers = [\"queue\"]\nresolver = \"3\"\n");
    let _ = std::fs::remove_file(folder.join("Cargo.lock"));
    std::fs::copy(sdk().join("../../Cargo.lock"), workspace.join("Cargo.lock"))
        .expect("the repository has a lockfile");

    let packed = build(std::slice::from_ref(&folder), &TargetDir::Workspace, Profile::Release)
        .expect("the example builds and packs");
    // Cargo builds into `CARGO_TARGET_DIR` instead of the workspace if that is set.
    let has_other_target_dir = std::env::var_os("CARGO_TARGET_DIR").is_some();
    assert!(
        !folder.join("target").exists()
            && (has_other_target_dir || workspace.join("target").is_dir()),
        "what plugins have in common is compiled once"
    );
    let manifest = manifest_section(&packed[0].component);
    assert_eq!(manifest["operations"]["depth"]["input"]["required"], serde_json::json!(["limit"]));
}

/// Both documents show the same three files; only the comments in them may differ.
#[test]
fn the_guide_for_authors_has_the_plugin_of_the_readme() {
    let read =
        |path: &str| std::fs::read_to_string(sdk().join(path)).expect("the document is there");
    let (readme, guide) = (read("README.md"), read("../../docs/writing-a-plugin.md"));
    assert_eq!(blocks(&guide, "rust")[0], blocks(&readme, "rust")[0]);
    assert_eq!(
        blocks(&read("../../README.md"), "rust"),
        [blocks(&readme, "rust").remove(0)],
        "the README of the repository"
    );
    let without_comments = |text: &String| {
        let lines = text
            .lines()
            .map(|line| line.split('#').next().unwrap_or_default().trim_end().to_owned());
        lines.collect::<Vec<_>>().join("\n")
    };
    let files = |document: &str| {
        blocks(document, "toml").iter().take(2).map(without_comments).collect::<Vec<_>>()
    };
    assert_eq!(files(&guide), files(&readme));
}

/// The manifest in a component, as JSON.
fn manifest_section(component: &[u8]) -> serde_json::Value {
    let section =
        wasmparser::Parser::new(0).parse_all(component).find_map(|payload| match payload {
            Ok(wasmparser::Payload::CustomSection(section))
                if section.name() == runbook_authority::manifest::SECTION =>
            {
                Some(section.data().to_vec())
            }
            _ => None,
        });
    serde_json::from_slice(&section.expect("the component carries its manifest"))
        .expect("the manifest is JSON")
}
