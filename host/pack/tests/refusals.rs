//! What cannot be packed, and what is said about it.

use runbook_document::Source;
use runbook_pack::cargo::{Profile, TARGET, build};
use runbook_pack::{DescribeError, PackError, pack};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

/// The core module of the bundled plugin `slack`: one step called `post`.
static MODULE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let target_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugins");
    build(&[folder()], &target_dir, Profile::Plugin).expect("the bundled plugin builds");
    std::fs::read(target_dir.join(TARGET).join("plugin/plugin_slack.wasm")).expect("cargo has made it")
});

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/slack")
}

fn manifest() -> String {
    std::fs::read_to_string(folder().join("plugin.toml")).expect("the bundled plugin has a manifest")
}

fn source(text: &str) -> Arc<Source> {
    Source::new("plugin.toml", text)
}

/// A module whose `describe` has this body.
fn describing(body: &str) -> Vec<u8> {
    let text = format!(
        "(module (memory (export \"memory\") 1) (func (export \"runbook:plugin/info@1.0.0#describe\") (result i32) {body}))"
    );
    wat::parse_str(text).expect("the test's module is well formed")
}

#[test]
fn the_module_packs_with_its_own_manifest() {
    assert!(pack(&MODULE, &source(&manifest())).is_ok());
}

#[test]
fn a_component_is_not_packed_again() {
    let component = pack(&MODULE, &source(&manifest())).expect("the module packs");
    assert!(matches!(pack(&component, &source(&manifest())), Err(PackError::AlreadyComponent)));
}

#[test]
fn what_is_no_module_is_refused() {
    assert!(matches!(pack(b"not wasm", &source(&manifest())), Err(PackError::Encode(_))));
}

#[test]
fn mistakes_of_the_manifest_are_all_shown() {
    let text = manifest().replace("capability = \"http\"", "capability = \"htp\"").replace("kind = \"step\"", "kind = \"stp\"");
    let Err(PackError::Manifest(diagnostics)) = pack(&MODULE, &source(&text)) else { panic!("the manifest has mistakes") };
    let codes: Vec<_> = diagnostics.iter().map(|diagnostic| diagnostic.code).collect();
    assert!(codes.contains(&"E0304") && codes.contains(&"E0307"), "{codes:?}");
}

#[test]
fn manifest_and_code_must_name_the_same_operations_of_the_same_kind() {
    let more = format!("{}\n[[operation]]\nname = \"other\"\nkind = \"step\"\nsummary = \"x\"\n", manifest());
    assert!(matches!(pack(&MODULE, &source(&more)), Err(PackError::NotInCode { operation }) if operation == "other"));
    let renamed = manifest().replace("name = \"post\"", "name = \"send\"");
    assert!(matches!(pack(&MODULE, &source(&renamed)), Err(PackError::NotInManifest { operation }) if operation == "post"));
    let other_kind = manifest().replace("kind = \"step\"", "kind = \"smoke-test\"");
    let error = pack(&MODULE, &source(&other_kind)).expect_err("the kinds differ");
    assert_eq!(error.to_string(), "operation `post` is a smoke-test in `plugin.toml` and a step in the code");
}

#[test]
fn a_module_that_does_not_describe_itself_is_refused() {
    let module = wat::parse_str("(module)").expect("the test's module is well formed");
    assert!(matches!(pack(&module, &source(&manifest())), Err(PackError::Describe(DescribeError::Missing))));
}

#[test]
fn a_describe_that_loops_is_stopped() {
    let module = describing("(loop (br 0)) (i32.const 0)");
    assert!(matches!(pack(&module, &source(&manifest())), Err(PackError::Describe(DescribeError::Trapped(_)))));
}

#[test]
fn a_describe_that_points_outside_of_its_memory_is_refused() {
    for address in ["-1", "65535", "2147483647"] {
        let module = describing(&format!("(i32.const {address})"));
        let answer = pack(&module, &source(&manifest()));
        assert!(matches!(answer, Err(PackError::Describe(DescribeError::Answer(_)))), "{address}: {answer:?}");
    }
}
