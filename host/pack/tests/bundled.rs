//! Builds and packs every plugin of this repository, and checks the result.

use runbook_authority::capability::{FunctionRow, Verb, function_row};
use runbook_authority::manifest::{Manifest, SECTION};
use runbook_pack::PackedPlugin;
use runbook_pack::cargo::{Profile, TargetDir, build};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use wasmparser::{Parser, Payload};
use wit_component::DecodedWasm;
use wit_parser::WorldItem;

/// Bytes. Every plugin is inside the program and is compiled on its first use, so all of them are
/// kept small.
const MAX_PLUGIN_BYTES: usize = 400 << 10;

struct BuiltPlugin {
    folder: PathBuf,
    component: Vec<u8>,
}

/// All plugins, built once for all tests.
static BUILT: LazyLock<Vec<BuiltPlugin>> = LazyLock::new(|| {
    let folders = folders();
    let components =
        build(&folders, &target_dir(), Profile::Plugin).expect("the bundled plugins build");
    let built = |(folder, packed): (PathBuf, PackedPlugin)| {
        assert!(
            packed.unnamed_slots.is_empty(),
            "{}: {:?} are named nowhere",
            folder.display(),
            packed.unnamed_slots
        );
        BuiltPlugin { folder, component: packed.component }
    };
    folders.into_iter().zip(components).map(built).collect()
});

fn folders() -> Vec<PathBuf> {
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins");
    let entries = std::fs::read_dir(plugins).expect("the repository has a folder `plugins`");
    let mut folders: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("plugin.toml").exists())
        .collect();
    folders.sort();
    folders
}

/// Another target folder than that of the outer cargo, which holds the lock on its own.
fn target_dir() -> TargetDir {
    TargetDir::Given(Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugins"))
}

fn name(built: &BuiltPlugin) -> String {
    built
        .folder
        .file_name()
        .and_then(|name| name.to_str())
        .expect("folders of plugins have plain names")
        .to_owned()
}

fn manifest(component: &[u8]) -> Manifest {
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(component) {
        match payload.expect("a packed component is well formed") {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section) if depth == 0 && section.name() == SECTION => {
                return Manifest::from_section(section.data()).expect("the section is a manifest");
            }
            _ => {}
        }
    }
    panic!("the component has no section `{SECTION}` at its top level")
}

/// Interface and function of each import, or of each export.
fn functions(
    component: &[u8],
    side: fn(&wit_parser::World) -> Vec<&WorldItem>,
) -> BTreeSet<(String, String)> {
    let DecodedWasm::Component(resolve, world) =
        wit_component::decode(component).expect("it is a component")
    else {
        panic!("it is a WIT package");
    };
    let mut found = BTreeSet::new();
    for item in side(&resolve.worlds[world]) {
        let WorldItem::Interface { id, .. } = item else {
            panic!("a plugin imports and exports interfaces only")
        };
        let interface = resolve.id_of(*id).expect("interfaces of the contract have names");
        found.extend(
            resolve.interfaces[*id]
                .functions
                .keys()
                .map(|function| (interface.clone(), function.clone())),
        );
    }
    found
}

fn imports(component: &[u8]) -> BTreeSet<(String, String)> {
    functions(component, |world| world.imports.values().collect())
}

#[test]
fn every_plugin_imports_only_functions_whose_verbs_its_manifest_declares() {
    assert!(!BUILT.is_empty(), "there is at least one plugin");
    for built in BUILT.iter() {
        let manifest = manifest(&built.component);
        let declared: BTreeSet<_> =
            manifest.slots.values().flat_map(|slot| slot.verbs.iter().copied()).collect();
        for (interface, function) in imports(&built.component) {
            let row = function_row(&interface, &function).unwrap_or_else(|| {
                panic!(
                    "`{}` imports `{function}` of `{interface}`, which no row knows",
                    name(built)
                )
            });
            let allowed = row.verb.is_none_or(|verb| declared.contains(&verb));
            assert!(
                allowed,
                "`{}` imports `{function}` of `{interface}` and does not declare its verb",
                name(built)
            );
        }
    }
}

/// The verbs that a function needs on another slot, which it names: no function of that slot is
/// imported for them.
fn verbs_on_other_slots(function: &FunctionRow) -> &'static [Verb] {
    match (function.interface, function.function) {
        ("runbook:process/runner@1.0.0", "run") => &[Verb::FilesRead, Verb::FilesWrite],
        ("runbook:files/writer@1.0.0", "rename") | ("runbook:sql/snapshot@1.0.0", "backup") => {
            &[Verb::FilesWrite]
        }
        ("runbook:objects/reader@1.0.0", "download") => &[Verb::FilesWrite],
        ("runbook:sql/snapshot@1.0.0", "restore") | ("runbook:objects/writer@1.0.0", "upload") => {
            &[Verb::FilesRead]
        }
        // A header may name a secret, and the host puts it in place.
        ("runbook:http/reader@1.0.0" | "runbook:http/writer@1.0.0", _) => &[Verb::SecretsUse],
        // The host sets the password on one slot, and logs in on the other.
        ("runbook:secrets/rotation@1.0.0", _) => &[Verb::SqlExecute, Verb::SqlQuery],
        _ => &[],
    }
}

#[test]
fn every_verb_that_a_manifest_declares_can_be_used_by_its_code() {
    for built in BUILT.iter() {
        let mut usable = BTreeSet::new();
        for (interface, function) in imports(&built.component) {
            let row = function_row(&interface, &function)
                .expect("another test looks for imports without a row");
            usable.extend(row.verb.iter().chain(verbs_on_other_slots(row)).copied());
        }
        for verb in manifest(&built.component).slots.values().flat_map(|slot| &slot.verbs) {
            assert!(
                usable.contains(verb),
                "`{}` declares `{}` and cannot use it",
                name(built),
                verb.full_name()
            );
        }
    }
}

#[test]
fn every_plugin_carries_its_manifest_with_the_schemas_of_its_operations() {
    for built in BUILT.iter() {
        let manifest = manifest(&built.component);
        assert_eq!(manifest.name, name(built), "a plugin is called like its folder");
        assert!(!manifest.operations.is_empty(), "`{}` offers nothing", manifest.name);
        for (operation, facts) in &manifest.operations {
            assert!(
                facts.input.is_object(),
                "`{}:{operation}` has no schema of its input",
                manifest.name
            );
            assert!(
                !facts.output.is_null(),
                "`{}:{operation}` has no schema of its output",
                manifest.name
            );
        }
    }
}

#[test]
fn every_plugin_is_small() {
    for built in BUILT.iter() {
        let size = built.component.len();
        println!(
            "{:>9}  {:>7} bytes  {} functions",
            name(built),
            size,
            imports(&built.component).len()
        );
        for (interface, function) in imports(&built.component) {
            println!("           {interface} {function}");
        }
        assert!(
            size < MAX_PLUGIN_BYTES,
            "`{}` has {size} bytes, at most {MAX_PLUGIN_BYTES}",
            name(built)
        );
    }
}

#[test]
fn every_plugin_has_a_readme_that_names_its_operations() {
    for built in BUILT.iter() {
        let readme = std::fs::read_to_string(built.folder.join("README.md"))
            .expect("every plugin has a README.md");
        for operation in manifest(&built.component).operations.keys() {
            assert!(
                readme.contains(&format!("`{operation}`")),
                "README.md of `{}` leaves out `{operation}`",
                name(built)
            );
        }
    }
}

#[test]
fn packing_again_gives_the_same_bytes() {
    let folders: Vec<_> = BUILT.iter().map(|built| built.folder.clone()).collect();
    let rebuilt =
        build(&folders, &target_dir(), Profile::Plugin).expect("what was built builds again");
    for (built, rebuilt) in BUILT.iter().zip(&rebuilt) {
        assert!(
            built.component == rebuilt.component,
            "`{}` was packed to other bytes",
            name(built)
        );
    }
}
