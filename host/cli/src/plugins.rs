//! Where plugins come from: inside the program, or a component file that the runbook names.

use crate::failure::Failure;
use crate::signatures::TrustFiles;
use runbook_runtime::{Verified, inspect, verify};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A plugin inside the program.
#[derive(Debug)]
pub struct Bundled {
    /// Its name.
    pub name: &'static str,
    /// Its component.
    pub component: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/bundled.rs"));

/// A component is never larger than this: what a toolchain for a scripting language makes is half of it.
const MAX_COMPONENT: u64 = 64 << 20;

/// The plugins of one command, each read and verified once.
#[derive(Debug, Default)]
pub struct Plugins {
    verified: BTreeMap<String, Arc<Verified>>,
    /// The trust files in force. Bundled plugins are a part of the program and need no signature.
    trust: TrustFiles,
}

impl Plugins {
    /// Plugins of which those that are files must be signed, if a trust file is in force.
    pub fn trusted(trust: TrustFiles) -> Self {
        Self { verified: BTreeMap::new(), trust }
    }

    /// The plugin that `reference` names: a bundled one by its name, or a file by a path below `folder` (it has a `/` or ends in
    /// `.wasm`).
    pub fn get(&mut self, reference: &str, folder: &Path) -> Result<Arc<Verified>, Failure> {
        if let Some(known) = self.verified.get(reference) {
            return Ok(Arc::clone(known));
        }
        let bytes = load(reference, folder)?;
        let inspected =
            inspect(bytes).map_err(|error| Failure::refused(error).hint(format!("plugin `{reference}` was not run")))?;
        let verified = Arc::new(verify(inspected).map_err(Failure::refused)?);
        if !is_file(reference) && verified.manifest().name != reference {
            return Err(Failure::engine(format!("the bundled plugin `{reference}` calls itself `{}`", verified.manifest().name)));
        }
        if is_file(reference) {
            self.trust.judge(&file_of(reference, folder), &verified)?;
        }
        self.verified.insert(reference.to_owned(), Arc::clone(&verified));
        Ok(verified)
    }
}

/// Whether a reference names a file.
pub fn is_file(reference: &str) -> bool {
    reference.contains('/') || Path::new(reference).extension().is_some_and(|extension| extension == "wasm")
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
        return read(&file_of(reference, folder));
    }
    match BUNDLED.iter().find(|bundled| bundled.name == reference) {
        Some(bundled) => Ok(Arc::from(bundled.component)),
        None => {
            let failure = Failure::usage(format!("there is no plugin `{reference}`"));
            Err(match runbook_document::nearest(reference, BUNDLED.iter().map(|bundled| bundled.name)) {
                Some(near) => failure.hint(format!("did you mean `{near}`?")),
                None => failure.hint(
                    "see `runbook plugin list`; a plugin of your own is named by its path, as in `./checks/mine.wasm:operation`",
                ),
            })
        }
    }
}

fn read(path: &Path) -> Result<Arc<[u8]>, Failure> {
    let unreadable = |error: std::io::Error| Failure::usage(format!("plugin `{}` cannot be read: {error}", path.display()));
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > MAX_COMPONENT {
        return Err(Failure::refused(format!(
            "plugin `{}` has {size} bytes; at most {MAX_COMPONENT} are loaded",
            path.display()
        )));
    }
    Ok(std::fs::read(path).map_err(unreadable)?.into())
}
