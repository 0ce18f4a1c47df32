//! The example of the SDK's README is a plugin: its three files, as they stand there, are built and packed.

use runbook_pack::cargo::{Profile, build};
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
    texts.map(|rest| rest.split("```").next().expect("a split has a first part").to_owned()).collect()
}

#[test]
fn the_example_of_the_readme_is_a_plugin_of_20_lines() {
    let readme = std::fs::read_to_string(sdk().join("README.md")).expect("the SDK has a README");
    let code = blocks(&readme, "rust").remove(0);
    let lines = code.lines().filter(|line| !line.trim().is_empty()).count();
    assert!(lines <= PROMISED, "the probe has {lines} lines, at most {PROMISED}");
    let [manifest, cargo]: [String; 2] = blocks(&readme, "toml").try_into().expect("two files in TOML");
    let placed = format!("path = {:?}", sdk().display().to_string());
    assert!(cargo.contains("path = \"../sdk/rust\""), "the test puts the SDK's place there");
    // Its own workspace, as a team's plugin is, with the versions that this repository has locked.
    let cargo = format!("{}\n[workspace]\n", cargo.replace("path = \"../sdk/rust\"", &placed));

    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme/queue");
    std::fs::create_dir_all(folder.join("src")).expect("the test's folder can be made");
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("the test's folder can be written");
    write("src/lib.rs", &code);
    write("plugin.toml", &manifest);
    write("Cargo.toml", &cargo);
    std::fs::copy(sdk().join("../../Cargo.lock"), folder.join("Cargo.lock")).expect("the repository has a lockfile");

    let target_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme/target");
    let packed = build(&[folder], &target_dir, Profile::Release).expect("the example builds and packs");
    let manifest = manifest_section(&packed[0]);
    assert_eq!(manifest["operations"]["depth"]["input"]["required"], serde_json::json!(["limit"]));
}

/// The JSON of the manifest's section, which is the last thing in the file.
fn manifest_section(component: &[u8]) -> serde_json::Value {
    let section = wasmparser::Parser::new(0).parse_all(component).find_map(|payload| match payload {
        Ok(wasmparser::Payload::CustomSection(section)) if section.name() == runbook_authority::manifest::SECTION => {
            Some(section.data().to_vec())
        }
        _ => None,
    });
    serde_json::from_slice(&section.expect("the component carries its manifest")).expect("the manifest is JSON")
}
