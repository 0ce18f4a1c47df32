//! The example of the SDK's README is a plugin: its three files, as they stand there, are built and
//! packed.

use runbook_pack::cargo::{Profile, TargetDir, build};
use std::path::{Path, PathBuf};

/// What the README promises of a complete probe: lines that are not empty.
const PROMISED: usize = 20;

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
    assert!(lines <= PROMISED, "the probe has {lines} lines, at most {PROMISED}");
    let [manifest, cargo]: [String; 2] =
        blocks(&readme, "toml").try_into().expect("two files in TOML");
    let placed = format!("path = {:?}", sdk().display().to_string());
    assert!(cargo.contains("path = \"../sdk/rust\""), "the test puts the SDK's place there");
    // A workspace of a team's plugins, with the versions that this repository has locked.
    let cargo = cargo.replace("path = \"../sdk/rust\"", &placed);

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

    let packed = build(std::slice::from_ref(&folder), &TargetDir::OfWorkspace, Profile::Release)
        .expect("the example builds and packs");
    // Whoever runs the tests may have named another place for all that is compiled.
    let is_elsewhere = std::env::var_os("CARGO_TARGET_DIR").is_some();
    assert!(
        !folder.join("target").exists() && (is_elsewhere || workspace.join("target").is_dir()),
        "what plugins have in common is compiled once"
    );
    let manifest = manifest_section(&packed[0].component);
    assert_eq!(manifest["operations"]["depth"]["input"]["required"], serde_json::json!(["limit"]));
}

/// The same three files, but for the comments in them.
#[test]
fn the_guide_for_authors_shows_the_plugin_of_the_readme() {
    let read =
        |path: &str| std::fs::read_to_string(sdk().join(path)).expect("the document is there");
    let (readme, guide) = (read("README.md"), read("../../docs/writing-a-plugin.md"));
    assert_eq!(blocks(&guide, "rust")[0], blocks(&readme, "rust")[0]);
    assert_eq!(
        blocks(&read("../../README.md"), "rust"),
        [blocks(&readme, "rust").remove(0)],
        "the README of the repository"
    );
    let plain = |text: &String| {
        let lines = text
            .lines()
            .map(|line| line.split('#').next().unwrap_or_default().trim_end().to_owned());
        lines.collect::<Vec<_>>().join("\n")
    };
    let files =
        |document: &str| blocks(document, "toml").iter().take(2).map(plain).collect::<Vec<_>>();
    assert_eq!(files(&guide), files(&readme));
}

/// The JSON of the manifest's section, which is the last thing in the file.
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
