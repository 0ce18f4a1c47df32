//! Where plugins come from: inside the program, or a component file that the runbook names.

use crate::component_file::{self, unusable};
use crate::failure::Failure;
use crate::signatures::TrustFiles;
use crate::writable;
use runbook_runtime::{Verified, inspect, inspect_built_in, verify};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A plugin inside the program.
#[derive(Debug)]
pub struct Bundled {
    /// The name by which `uses` calls it.
    pub name: &'static str,
    /// The bytes of its component.
    pub component: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/bundled.rs"));

/// The plugins of one command, each read and verified once.
#[derive(Debug, Default)]
pub struct Plugins {
    verified: BTreeMap<String, Arc<Verified>>,
    /// The trust files in force. Bundled plugins are a part of the program and need no signature.
    trust: TrustFiles,
}

impl Plugins {
    /// Plugins that must be signed if they are files and a trust file is in force.
    pub fn trusted(trust: TrustFiles) -> Self {
        Self { verified: BTreeMap::new(), trust }
    }

    /// The plugin that `reference` names: a bundled one by its name, or a file by a path below
    /// `folder` (it has a `/` or ends in `.wasm`).
    pub fn get(&mut self, reference: &str, folder: &Path) -> Result<Arc<Verified>, Failure> {
        if let Some(known) = self.verified.get(reference) {
            return Ok(Arc::clone(known));
        }
        let bytes = load(reference, folder)?;
        let inspect = if is_file(reference) { inspect } else { inspect_built_in };
        let inspected = inspect(Arc::clone(&bytes)).map_err(|error| unusable(reference, &error))?;
        let verified = Arc::new(verify(inspected).map_err(Failure::refused)?);
        if !is_file(reference) && verified.manifest().name != reference {
            return Err(Failure::engine(format!(
                "the bundled plugin `{reference}` calls itself `{}`",
                verified.manifest().name
            )));
        }
        if is_file(reference) {
            if let Provenance::Impostor(bundled) =
                Provenance::of(reference, &verified.manifest().name, &bytes)
            {
                return Err(impostor(reference, bundled));
            }
            writable::warn("the plugin", &file_of(reference, folder));
            self.trust.judge(&file_of(reference, folder), &verified)?;
        }
        self.verified.insert(reference.to_owned(), Arc::clone(&verified));
        Ok(verified)
    }
}

/// Where a plugin's code comes from. Boundaries and trust files name plugins by their names, so a
/// name of a bundled plugin says that it is the bundled one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provenance {
    /// It is inside the program.
    Bundled,
    /// It is a file with the same bytes as this bundled plugin.
    Copy(&'static str),
    /// It comes from a component file.
    File,
    /// It is a file with the name of this bundled plugin, and other code. It is never run.
    Impostor(&'static str),
}

impl Provenance {
    /// The origin of the plugin that `reference` names, whose manifest calls it `name`.
    pub fn of(reference: &str, name: &str, component: &[u8]) -> Self {
        if !is_file(reference) {
            return Self::Bundled;
        }
        match BUNDLED.iter().find(|bundled| bundled.name == name) {
            None => Self::File,
            Some(bundled) if bundled.component == component => Self::Copy(bundled.name),
            Some(bundled) => Self::Impostor(bundled.name),
        }
    }
}

/// The refusal of a file with the name of a bundled plugin and other code.
pub fn impostor(reference: &str, bundled: &str) -> Failure {
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

/// The file that a reference names, as people would write it in the working directory.
pub fn file_of(reference: &str, folder: &Path) -> PathBuf {
    let path = folder.join(reference.strip_prefix("./").unwrap_or(reference));
    let here = std::env::current_dir().map(|here| runbook_runtime::follow_links(&here));
    here.ok().and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned)).unwrap_or(path)
}

/// The bytes of a component.
pub fn load(reference: &str, folder: &Path) -> Result<Arc<[u8]>, Failure> {
    if is_file(reference) {
        return component_file::read(&file_of(reference, folder));
    }
    match BUNDLED.iter().find(|bundled| bundled.name == reference) {
        Some(bundled) => Ok(Arc::from(bundled.component)),
        None => {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// So that no command has to validate the bodies of their functions again.
    #[test]
    fn every_bundled_plugin_is_valid_to_the_last_instruction() {
        for bundled in BUNDLED {
            let whole = inspect(bundled.component)
                .unwrap_or_else(|error| panic!("{}: {error}", bundled.name));
            let quick = inspect_built_in(bundled.component).expect("it was read just now");
            assert_eq!(format!("{whole:?}"), format!("{quick:?}"), "{}", bundled.name);
        }
    }
}
