//! Files that cannot be packed, and the messages about them.

use runbook_document::Source;
use runbook_pack::cargo::{BuildError, Profile, TARGET, TargetDir, build};
use runbook_pack::{DescribeError, PackError, pack};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

/// The core module of the bundled plugin `slack`: one step called `post`.
static MODULE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let target_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugins");
    build(&[folder()], &TargetDir::Given(target_dir.clone()), Profile::Plugin)
        .expect("the bundled plugin builds");
    std::fs::read(target_dir.join(TARGET).join("plugin/plugin_slack.wasm"))
        .expect("cargo has made it")
});

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/slack")
}

fn manifest() -> String {
    std::fs::read_to_string(folder().join("plugin.toml"))
        .expect("the bundled plugin has a manifest")
}

fn source(text: &str) -> Arc<Source> {
    Source::new("plugin.toml", text)
}

/// A module whose `describe` has this body.
fn module_with_describe(body: &str) -> Vec<u8> {
    let text = format!(
        "(module (memory (export \"memory\") 1) (func \
                 (export \"runbook:plugin/info@1.0.0#describe\") (result i32) {body}))"
    );
    wat::parse_str(text).expect("the test's module is well formed")
}

#[test]
fn the_module_packs_with_its_own_manifest() {
    assert!(pack(&MODULE, &source(&manifest())).is_ok());
}

#[test]
fn a_component_is_not_packed_again() {
    let component = pack(&MODULE, &source(&manifest())).expect("the module packs").component;
    assert!(matches!(pack(&component, &source(&manifest())), Err(PackError::AlreadyComponent)));
}

#[test]
fn what_is_no_module_is_refused() {
    assert!(matches!(pack(b"not wasm", &source(&manifest())), Err(PackError::Encode(_))));
}

#[test]
fn a_slot_that_no_operation_uses_is_a_warning_and_packs() {
    let other =
        "\n[slots.other]\ncapability = \"sql\"\nverbs = [\"query\"]\nreason = \"the database\"\n";
    let packed = pack(&MODULE, &source(&(manifest() + other))).expect("a warning is no error");
    let warnings: Vec<_> =
        packed.warnings.iter().map(|warning| (warning.code, warning.message.as_str())).collect();
    assert_eq!(warnings, [("E0302", "slot `other` is used by no operation")]);
    let clean = pack(&MODULE, &source(&manifest())).expect("the module packs");
    assert!(clean.warnings.is_empty(), "{:?}", clean.warnings);
}

#[test]
fn mistakes_of_the_manifest_are_all_shown() {
    let text = manifest()
        .replace("capability = \"http\"", "capability = \"htp\"")
        .replace("kind = \"step\"", "kind = \"stp\"");
    let Err(PackError::Manifest(diagnostics)) = pack(&MODULE, &source(&text)) else {
        panic!("the manifest has mistakes")
    };
    let codes: Vec<_> = diagnostics.iter().map(|diagnostic| diagnostic.code).collect();
    assert!(codes.contains(&"E0304") && codes.contains(&"E0307"), "{codes:?}");
}

#[test]
fn manifest_and_code_must_name_the_same_operations_of_the_same_kind() {
    let with_other = format!(
        "{}\n[[operation]]\nname = \"other\"\nkind = \"step\"\nsummary = \"x\"\n",
        manifest()
    );
    assert!(
        matches!(pack(&MODULE, &source(&with_other)), Err(PackError::NotInCode { operation }) if operation == "other")
    );
    let renamed = manifest().replace("name = \"post\"", "name = \"send\"");
    assert!(
        matches!(pack(&MODULE, &source(&renamed)), Err(PackError::NotInManifest { operation, .. }) if operation == "post")
    );
    let error = pack(&MODULE, &source(&renamed)).expect_err("the names differ").to_string();
    assert!(
        error.contains("`send` of `plugin.toml` is not in the code: rename `send` there"),
        "{error}"
    );
    let other_kind = manifest().replace("kind = \"step\"", "kind = \"smoke-test\"");
    let error = pack(&MODULE, &source(&other_kind)).expect_err("the kinds differ");
    assert_eq!(
        error.to_string(),
        "operation `post` is a smoke-test in `plugin.toml` and a step in the code"
    );
}

#[test]
fn a_slot_that_the_code_names_and_the_manifest_does_not_is_found_with_its_line() {
    let renamed = manifest()
        .replace("slots.webhook", "slots.webhooks")
        .replace("{ webhook =", "{ webhooks =");
    let error =
        pack(&MODULE, &source(&renamed)).expect_err("the code names another slot").to_string();
    assert!(
        error.contains("slot `webhook` is named at ") && error.contains("src/lib.rs:"),
        "{error}"
    );
    assert!(error.contains("did you mean `webhooks`?"), "{error}");
    let packed = pack(&MODULE, &source(&manifest())).expect("the names are those of the manifest");
    assert!(packed.unnamed_slots.is_empty());
}

#[test]
fn a_slot_that_the_code_names_and_no_operation_lists_is_refused_with_what_to_add() {
    let slots = manifest()
        .lines()
        .find(|line| line.starts_with("slots = "))
        .expect("the operation has a slot")
        .to_owned();
    let error = pack(&MODULE, &source(&manifest().replace(&slots, "slots = {}")))
        .expect_err("its calls would be denied");
    assert!(
        error.to_string().contains("the code names `webhook`, which no operation lists"),
        "{error}"
    );
    assert!(error.to_string().contains("add each to `slots`"), "{error}");
}

#[test]
fn a_slot_that_the_code_does_not_name_is_reported() {
    let with_other = manifest().replace(
        "[[operation]]",
        "[slots.other]\ncapability = \"http\"\nverbs = [\"get\"]\nreason = \"x\"\n\n[[operation]]",
    );
    assert_eq!(
        pack(&MODULE, &source(&with_other)).expect("it is no error").unnamed_slots,
        ["other"]
    );
}

#[test]
fn the_section_with_slot_uses_is_not_part_of_the_plugin() {
    let component = pack(&MODULE, &source(&manifest())).expect("the module packs").component;
    let section_name = b"runbook:slots";
    assert!(
        MODULE.windows(section_name.len()).any(|part| part == section_name),
        "the SDK notes them"
    );
    assert!(!component.windows(section_name.len()).any(|part| part == section_name));
}

/// A folder of a plugin with these files, in a workspace of its own.
fn plugin_folder(name: &str, manifest: Option<&str>, cargo: Option<&str>) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("refused").join(name);
    std::fs::create_dir_all(folder.join("src")).expect("the test's folder can be made");
    for (file, text) in
        [("plugin.toml", manifest), ("Cargo.toml", cargo), ("src/lib.rs", Some("this is no Rust"))]
    {
        let _ = std::fs::remove_file(folder.join(file));
        if let Some(text) = text {
            std::fs::write(folder.join(file), text).expect("the test's folder can be written");
        }
    }
    folder
}

fn build_error(name: &str, manifest: Option<&str>, cargo: Option<&str>) -> BuildError {
    build(&[plugin_folder(name, manifest, cargo)], &TargetDir::Workspace, Profile::Release)
        .expect_err("it cannot be built")
}

#[test]
fn mistakes_outside_of_the_code_are_reported_before_cargo_builds() {
    let good = manifest();
    let cargo = "[package]\nname = \"p\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n";
    let wrong = good.replace("kind = \"step\"", "kind = \"stp\"");
    // Its Rust is broken too, so cargo would have said that.
    let error = build_error("manifest", Some(&wrong), Some(cargo));
    assert!(matches!(error, BuildError::Pack { source: PackError::Manifest(_), .. }), "{error:?}");
    let error = build_error("no-manifest", None, Some(cargo));
    assert!(
        matches!(&error, BuildError::Read { path, .. } if path.ends_with("plugin.toml")),
        "{error:?}"
    );
    let error = build_error("no-cargo", Some(&good), None);
    assert!(
        matches!(&error, BuildError::Read { path, .. } if path.ends_with("Cargo.toml")),
        "{error:?}"
    );
    let error = build_error("no-cdylib", Some(&good), Some(cargo));
    assert!(error.to_string().contains("crate-type = [\"cdylib\", \"rlib\"]"), "{error}");
    let error = build_error(
        "broken",
        Some(&good),
        Some(&format!("{cargo}[lib]\ncrate-type = [\"cdylib\"]\n")),
    );
    assert!(matches!(error, BuildError::Cargo { .. }), "only now cargo: {error:?}");
}

#[test]
fn a_module_that_does_not_describe_itself_is_refused() {
    let module = wat::parse_str("(module)").expect("the test's module is well formed");
    assert!(matches!(
        pack(&module, &source(&manifest())),
        Err(PackError::Describe(DescribeError::Missing))
    ));
}

#[test]
fn a_plugin_whose_describe_loops_is_stopped() {
    let module = module_with_describe("(loop (br 0)) (i32.const 0)");
    let error = pack(&module, &source(&manifest())).expect_err("it never answers").to_string();
    assert!(error.contains("instructions; it may only describe"), "{error}");
}

#[test]
fn an_answer_of_describe_outside_of_its_memory_is_refused() {
    for address in ["-1", "65535", "2147483647"] {
        let module = module_with_describe(&format!("(i32.const {address})"));
        let answer = pack(&module, &source(&manifest()));
        assert!(
            matches!(answer, Err(PackError::Describe(DescribeError::Answer(_)))),
            "{address}: {answer:?}"
        );
    }
}
