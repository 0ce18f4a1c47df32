//! Builds the bundled plugins for wasm and packs them, so that the program carries them. It carries
//! the pages of `docs/errors`, too. Plugins whose cargo feature is off are left out.

use runbook_pack::PackError;
use runbook_pack::cargo::{BuildError, Profile, TargetDir, build};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The cargo feature that bundles a plugin; `None` for the plugins of `runbooks/quickstart.toml`,
/// which every program has. A plugin whose targets are a feature belongs to that feature.
fn feature_of(plugin: &str) -> Option<&'static str> {
    match plugin {
        "sql" | "sqlite" => None,
        "docker" => Some("docker"),
        "objects" => Some("objects"),
        "mail" => Some("mail"),
        "redis" => Some("redis"),
        "systemd" => Some("system"),
        _ => Some("plugins"),
    }
}

/// Whether this build has a cargo feature.
fn has_feature(feature: &str) -> bool {
    // Cargo sets `CARGO_FEATURE_NAME` for each feature, in capitals and with `_` for `-`.
    let variable = format!("CARGO_FEATURE_{}", feature.to_uppercase().replace('-', "_"));
    std::env::var_os(variable).is_some()
}

fn main() {
    // Asked when it runs, not when it was compiled: a target folder may have been copied to another
    // checkout.
    let root = PathBuf::from(
        std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"),
    )
    .join("../..");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    for watched in ["plugins", "sdk/rust", "wit", "Cargo.lock", "docs/errors"] {
        println!("cargo::rerun-if-changed={}", root.join(watched).display());
    }
    // A target folder of its own: the outer cargo holds the lock on the other one.
    let target_dir = out
        .ancestors()
        .find(|folder| folder.ends_with("build"))
        .and_then(Path::parent)
        .and_then(Path::parent)
        .map_or(out.join("plugins"), |target| target.join("plugins"));
    let (folders, left_out): (Vec<_>, Vec<_>) = plugin_folders(&root.join("plugins"))
        .into_iter()
        .partition(|folder| feature_of(name_of(folder)).is_none_or(has_feature));
    let components = build(&folders, &TargetDir::Given(target_dir), Profile::Plugin)
        .unwrap_or_else(|error| fail(&error));
    let mut table = String::from(
        "/// Every plugin inside the program, sorted by name.\n\
         pub const BUNDLED: &[BundledPlugin] = &[\n",
    );
    for (folder, packed) in folders.iter().zip(components) {
        let name = name_of(folder);
        let path = out.join(format!("{name}.wasm"));
        std::fs::write(&path, packed.component).expect("OUT_DIR can be written");
        writeln!(
            table,
            "    BundledPlugin {{ name: {name:?}, component: include_bytes!({:?}) }},",
            path.display().to_string()
        )
        .expect("strings can be written");
    }
    table.push_str("];\n");
    std::fs::write(out.join("bundled.rs"), table).expect("OUT_DIR can be written");
    std::fs::write(out.join("left_out.rs"), left_out_table(&left_out))
        .expect("OUT_DIR can be written");
    std::fs::write(out.join("pages.rs"), pages(&root.join("docs/errors")))
        .expect("OUT_DIR can be written");
}

/// The table of the plugins that are left out, each with the cargo feature that has it.
fn left_out_table(folders: &[PathBuf]) -> String {
    let mut table = String::from(
        "/// The plugins without which this program was built, each with its cargo feature.\n\
         const LEFT_OUT: &[(&str, &str)] = &[\n",
    );
    for name in folders.iter().map(|folder| name_of(folder)) {
        if let Some(feature) = feature_of(name) {
            writeln!(table, "    ({name:?}, {feature:?}),").expect("strings can be written");
        }
    }
    table.push_str("];\n");
    table
}

/// The table of the pages that explain a code, one for each file but the index.
fn pages(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).expect("the repository has a folder `docs/errors`");
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.expect("a folder can be listed").path()).collect();
    files.retain(|path| {
        path.extension().is_some_and(|extension| extension == "md") && !path.ends_with("README.md")
    });
    files.sort();
    let mut table =
        String::from("/// Every page, sorted by code.\npub const PAGES: &[Page] = &[\n");
    for file in files {
        let code =
            file.file_stem().and_then(|name| name.to_str()).expect("a page is named by its code");
        writeln!(
            table,
            "    Page {{ code: {code:?}, text: include_str!({:?}) }},",
            file.display().to_string()
        )
        .expect("strings can be written");
    }
    table.push_str("];\n");
    table
}

fn plugin_folders(plugins: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(plugins).expect("the repository has a folder `plugins`");
    let mut folders: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("plugin.toml").exists())
        .collect();
    folders.sort();
    folders
}

/// The name of the plugin in a folder.
fn name_of(folder: &Path) -> &str {
    folder.file_name().and_then(|name| name.to_str()).expect("folders of plugins have plain names")
}

/// Stops the build with all that is known.
fn fail(error: &BuildError) -> ! {
    eprintln!("error: {error}");
    match error {
        BuildError::Cargo { output, .. } => eprintln!("{output}"),
        BuildError::Pack { source: PackError::Manifest(diagnostics), .. } => {
            for diagnostic in diagnostics.iter() {
                eprintln!("{}: {}", diagnostic.source.place(&diagnostic.span), diagnostic.message);
            }
        }
        _ => {
            let mut cause = std::error::Error::source(error);
            while let Some(error) = cause {
                eprintln!("because {error}");
                cause = error.source();
            }
        }
    }
    std::process::exit(1)
}
