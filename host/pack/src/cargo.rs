//! Builds plugins written in Rust with cargo.

use crate::{PackError, PackedPlugin};
use runbook_document::Source;
use serde_json::Value as Json;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

/// The target that plugins are compiled to.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// The compiler and the sources of the standard library of Debian's packages `rustc-web` and
/// `rust-web-src`.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_SOURCES: &str = "/usr/lib/rustlib/src/rust/library/Cargo.lock";

/// Why a plugin could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The wasm target is not installed.
    #[error(
        "the Rust target `{TARGET}` is not installed; run `rustup target add {TARGET}` (or, on \
             Debian, `apt-get install rustc-web rust-web-src`: it is then built from source)"
    )]
    NoTarget,
    /// cargo could not be started.
    #[error("`cargo` cannot be started")]
    NoCargo(#[source] std::io::Error),
    /// cargo failed and has printed why.
    #[error("cargo could not build `{}`", folder.display())]
    Cargo {
        /// The folder of the plugin that cargo could not build; the first, if cargo was given
        /// several.
        folder: PathBuf,
        /// What cargo printed, errors included.
        output: String,
    },
    /// A file is missing or cannot be read.
    #[error("`{}` cannot be read", path.display())]
    Read {
        /// The file that cannot be read.
        path: PathBuf,
        /// The error that the system gave.
        source: std::io::Error,
    },
    /// `cargo metadata` does not list the package of the `Cargo.toml`.
    #[error("`{}` is no package that cargo knows", path.display())]
    NoPackage {
        /// The `Cargo.toml` that cargo does not understand.
        path: PathBuf,
    },
    /// The package makes no wasm module.
    #[error("`{}` makes no `cdylib`, which is what becomes a plugin; add `[lib]` with \
             `crate-type = [\"cdylib\", \"rlib\"]`", path.display())]
    NoCdylib {
        /// The `Cargo.toml` of the package.
        path: PathBuf,
    },
    /// The built module cannot be packed, or the manifest has mistakes.
    #[error("plugin `{}` cannot be packed", folder.display())]
    Pack {
        /// The folder of the plugin.
        folder: PathBuf,
        /// What is wrong with its manifest or its module.
        #[source]
        source: PackError,
    },
}

/// The profile that plugins are built with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// The profile `[profile.plugin]` of this repository.
    Plugin,
    /// `[profile.release]`, which every workspace has.
    Release,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Self::Plugin => "plugin",
            Self::Release => "release",
        }
    }
}

/// The target folder of cargo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetDir {
    /// The folder that the caller gives.
    Given(PathBuf),
    /// The folder of the plugin's workspace, so that dependencies that plugins share are compiled
    /// once.
    Workspace,
}

impl TargetDir {
    /// The value of `CARGO_TARGET_DIR` for cargo. A relative value of the user's own is made
    /// absolute, because cargo runs in the folder of the plugin.
    fn for_cargo(&self) -> Option<PathBuf> {
        match self {
            Self::Given(folder) => Some(folder.clone()),
            Self::Workspace => std::env::var_os("CARGO_TARGET_DIR")
                .and_then(|folder| std::path::absolute(folder).ok()),
        }
    }
}

/// A plugin as cargo knows it.
struct Package {
    /// The name of the package, as `cargo build --package` takes it.
    name: String,
    /// The file that cargo makes of it.
    module: PathBuf,
}

/// Builds and packs plugins with one call of `cargo build`. Each folder has a `Cargo.toml` and a
/// `plugin.toml`; the packed plugins are in the same order. Mistakes in manifests are reported
/// before cargo builds.
///
/// # Errors
/// [`BuildError`] says which folder cannot be built, and why.
pub fn build(
    folders: &[PathBuf],
    target_dir: &TargetDir,
    profile: Profile,
) -> Result<Vec<PackedPlugin>, BuildError> {
    let Some(first) = folders.first() else { return Ok(Vec::new()) };
    let manifests = folders.iter().map(|folder| manifest(folder)).collect::<Result<Vec<_>, _>>()?;
    let packages = folders
        .iter()
        .map(|folder| package(folder, target_dir, profile))
        .collect::<Result<Vec<_>, _>>()?;
    compile(first, &packages, target_dir, profile)?;
    let pack_module = |((folder, manifest), package): ((&PathBuf, &Arc<Source>), &Package)| {
        let module = std::fs::read(&package.module)
            .map_err(|source| BuildError::Read { path: package.module.clone(), source })?;
        crate::pack(&module, manifest)
            .map_err(|source| BuildError::Pack { folder: folder.clone(), source })
    };
    folders.iter().zip(&manifests).zip(&packages).map(pack_module).collect()
}

fn read(path: PathBuf) -> Result<String, BuildError> {
    std::fs::read_to_string(&path).map_err(|source| BuildError::Read { path, source })
}

/// The manifest of a folder, checked for mistakes.
fn manifest(folder: &Path) -> Result<Arc<Source>, BuildError> {
    let path = folder.join("plugin.toml");
    let source = Source::new(path.display().to_string(), read(path)?);
    match crate::read_manifest(&source) {
        Ok(_) => Ok(source),
        Err(error) => Err(BuildError::Pack { folder: folder.to_owned(), source: error }),
    }
}

/// Asks cargo about the package of a folder.
fn package(folder: &Path, target_dir: &TargetDir, profile: Profile) -> Result<Package, BuildError> {
    let path = folder.join("Cargo.toml");
    read(path.clone())?;
    let mut command = cargo(folder, target_dir);
    let output = command
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .output()
        .map_err(BuildError::NoCargo)?;
    if !output.status.success() {
        return Err(cargo_error(folder, &output));
    }
    let no_package = || BuildError::NoPackage { path: path.clone() };
    let metadata: Json = serde_json::from_slice(&output.stdout).map_err(|_| no_package())?;
    let is_same = |known: &Json| {
        known.as_str().is_some_and(|known| canonical_path(known.as_ref()) == canonical_path(&path))
    };
    let package = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|package| is_same(&package["manifest_path"]));
    let package = package.ok_or_else(no_package)?;
    let is_cdylib = |target: &&Json| {
        target["crate_types"].as_array().is_some_and(|types| types.contains(&"cdylib".into()))
    };
    let library = package["targets"].as_array().into_iter().flatten().find(is_cdylib);
    let library = library
        .and_then(|library| library["name"].as_str())
        .ok_or_else(|| BuildError::NoCdylib { path: path.clone() })?;
    let target = metadata["target_directory"].as_str().ok_or_else(no_package)?;
    let file = format!("{}.wasm", library.replace('-', "_"));
    let module = Path::new(target).join(TARGET).join(profile.name()).join(file);
    Ok(Package { name: package["name"].as_str().ok_or_else(no_package)?.to_owned(), module })
}

/// A path without links, so that two spellings of one file are one.
fn canonical_path(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// The error for a failed call of cargo.
fn cargo_error(folder: &Path, output: &std::process::Output) -> BuildError {
    BuildError::Cargo {
        folder: folder.to_owned(),
        output: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn compile(
    folder: &Path,
    packages: &[Package],
    target_dir: &TargetDir,
    profile: Profile,
) -> Result<(), BuildError> {
    let mut command = cargo(folder, target_dir);
    command.args(["build", "--lib", "--target", TARGET, "--profile", profile.name()]);
    command.args(packages.iter().flat_map(|package| ["--package", package.name.as_str()]));
    match toolchain()? {
        Toolchain::Installed => {}
        Toolchain::FromSource { linker } => {
            command
                .args(["-Zbuild-std=std,panic_abort"])
                .env("RUSTC", DEBIAN_RUSTC)
                .env("RUSTC_BOOTSTRAP", "1");
            command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
        }
    }
    let output = command.output().map_err(BuildError::NoCargo)?;
    if output.status.success() {
        return Ok(());
    }
    Err(cargo_error(folder, &output))
}

/// A cargo command without the environment variables that an outer cargo, clippy or a coverage tool
/// has set for the host.
fn cargo(folder: &Path, target_dir: &TargetDir) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(folder).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let Some(text) = name.to_str() else { continue };
        let is_kept = matches!(
            text,
            "CARGO_HOME" | "CARGO_NET_OFFLINE" | "CARGO_HTTP_CAINFO" | "CARGO_TARGET_DIR"
        );
        let is_for_host = text.starts_with("CARGO_")
            || text.starts_with("RUSTC")
            || text.starts_with("RUSTFLAGS")
            || text.starts_with("CLIPPY");
        if is_for_host && !is_kept {
            command.env_remove(&name);
        }
    }
    if let Some(target_dir) = target_dir.for_cargo() {
        command.env("CARGO_TARGET_DIR", target_dir);
    }
    command
}

enum Toolchain {
    /// The standard library of the target is installed.
    Installed,
    /// The standard library is built from its sources, with this linker for wasm.
    FromSource { linker: PathBuf },
}

fn toolchain() -> Result<Toolchain, BuildError> {
    let output =
        Command::new("rustc").args(["--print", "sysroot"]).output().map_err(BuildError::NoCargo)?;
    let sysroot = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if sysroot.join("lib/rustlib").join(TARGET).join("lib").is_dir() {
        return Ok(Toolchain::Installed);
    }
    let linkers = [
        sysroot.join("lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld"),
        sysroot.join("lib/rustlib/aarch64-unknown-linux-gnu/bin/rust-lld"),
    ];
    let linker = linkers.into_iter().find(|linker| linker.exists());
    match linker {
        Some(linker)
            if Path::new(DEBIAN_SOURCES).exists()
                || Path::new("/usr/lib/rustlib/src/rust/library").exists() =>
        {
            Ok(Toolchain::FromSource { linker })
        }
        _ => Err(BuildError::NoTarget),
    }
}
