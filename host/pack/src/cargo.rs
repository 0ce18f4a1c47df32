//! Builds plugins written in Rust with cargo.

use crate::PackError;
use runbook_document::Source;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The target that plugins are compiled to.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// Where Debian's `rustc-web` puts the compiler that `rust-web-src` belongs to.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_SOURCES: &str = "/usr/lib/rustlib/src/rust/library/Cargo.lock";

/// Why a plugin could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The wasm target is not installed.
    #[error(
        "the Rust target `{TARGET}` is not installed; run `rustup target add {TARGET}` (or, on Debian, `apt-get install rustc-web rust-web-src`: it is then built from source)"
    )]
    NoTarget,
    /// cargo could not be started.
    #[error("`cargo` cannot be started: {0}")]
    NoCargo(#[source] std::io::Error),
    /// cargo said no; it has printed why.
    #[error("cargo could not build `{}`", folder.display())]
    Cargo {
        /// The folder.
        folder: PathBuf,
        /// What cargo printed.
        output: String,
    },
    /// A file is missing or cannot be read.
    #[error("`{}` cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// `Cargo.toml` has no package name.
    #[error("`{}` names no package", path.display())]
    NoName {
        /// The file.
        path: PathBuf,
    },
    /// It was built and cannot be packed.
    #[error("plugin `{}` cannot be packed", folder.display())]
    Pack {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: PackError,
    },
}

/// The profile that plugins are built with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// `[profile.plugin]` of this repository.
    Plugin,
    /// `[profile.release]`: what a plugin's own workspace has.
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

/// Builds and packs plugins, all with one call of cargo. Each folder has a `Cargo.toml` and a `plugin.toml`; the components come
/// in the same order.
pub fn build(folders: &[PathBuf], target_dir: &Path, profile: Profile) -> Result<Vec<Vec<u8>>, BuildError> {
    let Some(first) = folders.first() else { return Ok(Vec::new()) };
    let names = folders.iter().map(|folder| package_name(folder)).collect::<Result<Vec<_>, _>>()?;
    compile(first, &names, target_dir, profile)?;
    folders.iter().zip(&names).map(|(folder, name)| pack_built(folder, name, target_dir, profile)).collect()
}

fn read(path: PathBuf) -> Result<String, BuildError> {
    std::fs::read_to_string(&path).map_err(|source| BuildError::Read { path, source })
}

/// `name` of `[package]`.
fn package_name(folder: &Path) -> Result<String, BuildError> {
    let path = folder.join("Cargo.toml");
    let source = Source::new(path.display().to_string(), read(path.clone())?);
    let table = runbook_document::parse(&source, &mut runbook_document::Diagnostics::default());
    let package = table.as_ref().and_then(|table| table.get("package")).map(|node| &node.value);
    let name = match package {
        Some(runbook_document::Value::Table(package)) => {
            package.get("name").and_then(<String as runbook_document::FromNode>::from_node)
        }
        _ => None,
    };
    name.ok_or(BuildError::NoName { path })
}

fn pack_built(folder: &Path, name: &str, target_dir: &Path, profile: Profile) -> Result<Vec<u8>, BuildError> {
    let file = format!("{}.wasm", name.replace('-', "_"));
    let path = target_dir.join(TARGET).join(profile.name()).join(file);
    let module = std::fs::read(&path).map_err(|source| BuildError::Read { path, source })?;
    let manifest_path = folder.join("plugin.toml");
    let manifest = Source::new(manifest_path.display().to_string(), read(manifest_path)?);
    crate::pack(&module, &manifest).map_err(|source| BuildError::Pack { folder: folder.to_owned(), source })
}

fn compile(folder: &Path, names: &[String], target_dir: &Path, profile: Profile) -> Result<(), BuildError> {
    let mut command = cargo(folder, target_dir);
    command.args(["build", "--lib", "--target", TARGET, "--profile", profile.name()]);
    command.args(names.iter().flat_map(|name| ["--package", name]));
    match toolchain()? {
        Toolchain::Installed => {}
        Toolchain::FromSource { linker } => {
            command.args(["-Zbuild-std=std,panic_abort"]).env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
            command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
        }
    }
    let output = command.output().map_err(BuildError::NoCargo)?;
    if output.status.success() {
        return Ok(());
    }
    Err(BuildError::Cargo { folder: folder.to_owned(), output: String::from_utf8_lossy(&output.stderr).into_owned() })
}

/// cargo, without what an outer cargo, clippy or a coverage tool has set for the host.
fn cargo(folder: &Path, target_dir: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(folder).stdin(Stdio::null()).env("CARGO_TARGET_DIR", target_dir);
    for (name, _) in std::env::vars_os() {
        let Some(text) = name.to_str() else { continue };
        let kept = matches!(text, "CARGO_HOME" | "CARGO_NET_OFFLINE" | "CARGO_HTTP_CAINFO" | "CARGO_TARGET_DIR");
        let of_the_host = text.starts_with("CARGO_")
            || text.starts_with("RUSTC")
            || text.starts_with("RUSTFLAGS")
            || text.starts_with("CLIPPY");
        if of_the_host && !kept {
            command.env_remove(&name);
        }
    }
    command
}

enum Toolchain {
    /// The target is there.
    Installed,
    /// Debian's sources are, and a linker that knows wasm.
    FromSource { linker: PathBuf },
}

fn toolchain() -> Result<Toolchain, BuildError> {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output().map_err(BuildError::NoCargo)?;
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
        Some(linker) if Path::new(DEBIAN_SOURCES).exists() || Path::new("/usr/lib/rustlib/src/rust/library").exists() => {
            Ok(Toolchain::FromSource { linker })
        }
        _ => Err(BuildError::NoTarget),
    }
}
