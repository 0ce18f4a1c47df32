//! Loads plugins: those bundled in the program, and component files that a runbook names.

use crate::component_file::{self, invalid_component};
use crate::failure::Failure;
use crate::signatures::TrustFiles;
use crate::writable;
use runbook_runtime::{VerifiedComponent, inspect, inspect_bundled, verify};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A plugin that is built into the program.
#[derive(Debug)]
pub struct BundledPlugin {
    /// The name in `uses`.
    pub name: &'static str,
    /// The bytes of its component.
    pub component: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/bundled.rs"));
include!(concat!(env!("OUT_DIR"), "/left_out.rs"));

/// The plugins of one command, each read and verified once.
#[derive(Debug, Default)]
pub struct Plugins {
    verified: BTreeMap<String, Arc<VerifiedComponent>>,
    /// The trust files in force. Bundled plugins are a part of the program and need no signature.
    trust: TrustFiles,
}

impl Plugins {
    /// No plugin is loaded yet. Those that are files must be signed if a trust file is in force.
    pub fn trusted(trust: TrustFiles) -> Self {
        Self { verified: BTreeMap::new(), trust }
    }

    /// The plugin that `reference` names: a bundled one by its name, or a file by a path below
    /// `folder` (it has a `/` or ends in `.wasm`).
    pub fn get(
        &mut self,
        reference: &str,
        folder: &Path,
    ) -> Result<Arc<VerifiedComponent>, Failure> {
        if let Some(known) = self.verified.get(reference) {
            return Ok(Arc::clone(known));
        }
        let bytes = load(reference, folder)?;
        let inspect = if is_file(reference) { inspect } else { inspect_bundled };
        let inspected =
            inspect(Arc::clone(&bytes)).map_err(|error| invalid_component(reference, &error))?;
        let verified = Arc::new(verify(inspected).map_err(Failure::refused)?);
        if !is_file(reference) && verified.manifest().name != reference {
            return Err(Failure::engine(format!(
                "the bundled plugin `{reference}` calls itself `{}`",
                verified.manifest().name
            )));
        }
        if is_file(reference) {
            if let Provenance::NameConflict(bundled) =
                Provenance::of(reference, &verified.manifest().name, &bytes)
            {
                return Err(name_conflict(reference, bundled));
            }
            writable::warn_if_world_writable("the plugin", &path_of(reference, folder));
            self.trust.require_signature(&path_of(reference, folder), &verified)?;
        }
        self.verified.insert(reference.to_owned(), Arc::clone(&verified));
        Ok(verified)
    }
}

/// Where a plugin's code comes from. Boundaries and trust files identify plugins by name, so only
/// the bundled plugins may have their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provenance {
    /// It is built into the program.
    Bundled,
    /// It is a file with the same name and bytes as this bundled plugin.
    Copy(&'static str),
    /// It is another component file.
    File,
    /// It is a file with the name of this bundled plugin, but other code. It is never run.
    NameConflict(&'static str),
}

impl Provenance {
    /// The provenance of the plugin that `reference` names and whose manifest has this name.
    pub fn of(reference: &str, name: &str, component: &[u8]) -> Self {
        if !is_file(reference) {
            return Self::Bundled;
        }
        match BUNDLED.iter().find(|bundled| bundled.name == name) {
            None => Self::File,
            Some(bundled) if bundled.component == component => Self::Copy(bundled.name),
            Some(bundled) => Self::NameConflict(bundled.name),
        }
    }
}

/// The refusal of a file with the name of a bundled plugin and other code.
pub fn name_conflict(reference: &str, bundled: &str) -> Failure {
    Failure::refused(format!(
        "plugin `{reference}` calls itself `{bundled}`, which is the name of a bundled plugin, and \
         is other code than that"
    ))
    .hint(format!(
        "for the bundled one write `uses = \"{bundled}:…\"`; a plugin of your own needs \
                   a name of its own in `plugin.toml`: what a boundary allows `{bundled}`, it does \
                   not allow to others"
    ))
}

/// Whether a reference names a file.
pub fn is_file(reference: &str) -> bool {
    reference.contains('/')
        || Path::new(reference).extension().is_some_and(|extension| extension == "wasm")
}

/// The file that a reference names, relative to the working directory if it is below it.
pub fn path_of(reference: &str, folder: &Path) -> PathBuf {
    let path = folder.join(reference.strip_prefix("./").unwrap_or(reference));
    let here = std::env::current_dir().map(|here| runbook_runtime::resolve_symlinks(&here));
    here.ok().and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned)).unwrap_or(path)
}

/// The bytes of a component.
pub fn load(reference: &str, folder: &Path) -> Result<Arc<[u8]>, Failure> {
    if is_file(reference) {
        return component_file::read(&path_of(reference, folder));
    }
    match BUNDLED.iter().find(|bundled| bundled.name == reference) {
        Some(bundled) => Ok(Arc::from(bundled.component)),
        None => {
            if let Some((_, feature)) = LEFT_OUT.iter().find(|(name, _)| *name == reference) {
                return Err(not_built_in(reference, feature));
            }
            let failure = Failure::usage(format!("there is no plugin `{reference}`"));
            Err(match runbook_document::nearest(reference, BUNDLED.iter().map(|bundled| bundled.name)) {
                Some(near) => failure.hint(format!("did you mean `{near}`?")),
                None => failure.hint(
                    "see `runbook plugin list`; a plugin of your own is named by its path, as in \
                     `./checks/mine.wasm:operation`",
                ),
            })
        }
    }
}

/// The refusal of a bundled plugin without which this program was built.
fn not_built_in(plugin: &str, feature: &str) -> Failure {
    Failure::refused(format!(
        "plugin `{plugin}` is not part of this program: it was built without the feature `{feature}`"
    ))
    .hint(format!(
        "build it with `cargo build --features {feature}`, or with all features by `cargo build`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commands rely on it: for bundled plugins they skip the validation of function bodies.
    #[test]
    fn every_bundled_plugin_is_valid_to_the_last_instruction() {
        for bundled in BUNDLED {
            let validated = inspect(bundled.component)
                .unwrap_or_else(|error| panic!("{}: {error}", bundled.name));
            let unvalidated = inspect_bundled(bundled.component).expect("it was read just now");
            assert_eq!(format!("{validated:?}"), format!("{unvalidated:?}"), "{}", bundled.name);
        }
    }
}
