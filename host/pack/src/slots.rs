//! The slots that the code names: `slot!` of the SDK notes each in a custom section, with its line.
//! A name that `plugin.toml` does not have would otherwise be found only when the operation runs.

use crate::PackError;
use runbook_authority::manifest::Manifest;
use std::collections::BTreeSet;
use std::fmt;
use wasmparser::{Parser, Payload};

/// The section of the SDK's `slot!`.
const SECTION: &str = "runbook:slots";

/// A slot that the code names and the manifest does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownSlot {
    /// The name of the slot, as the code writes it.
    pub name: String,
    /// Where it is written: `src/lib.rs:14`.
    pub place: String,
    /// The slots of the manifest, or the one that is meant.
    pub help: String,
}

impl fmt::Display for UnknownSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "slot `{}` is named at {} and is not in `plugin.toml`; {}",
            self.name, self.place, self.help
        )
    }
}

/// One note: a slot, and where it is named.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Note {
    name: String,
    place: String,
}

/// Takes the notes out of a module.
pub(crate) fn take_notes(module: &[u8]) -> Result<(Vec<u8>, BTreeSet<Note>), PackError> {
    let mut without = wasm_encoder::Module::new();
    let mut notes = BTreeSet::new();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.map_err(|error| PackError::Encode(error.to_string()))?;
        match &payload {
            Payload::CustomSection(section) if section.name() == SECTION => {
                let text = String::from_utf8_lossy(section.data());
                notes.extend(text.lines().filter_map(note));
            }
            other => {
                if let Some((id, range)) = other.as_section() {
                    without.section(&wasm_encoder::RawSection { id, data: &module[range] });
                }
            }
        }
    }
    Ok((without.finish(), notes))
}

fn note(line: &str) -> Option<Note> {
    let (name, place) = line.split_once('\u{1f}')?;
    Some(Note { name: name.to_owned(), place: place.to_owned() })
}

/// Every slot that is named must be in the manifest; those of the manifest that are named nowhere
/// come back.
pub(crate) fn compare(
    notes: &BTreeSet<Note>,
    manifest: &Manifest,
) -> Result<Vec<String>, PackError> {
    let unknown: Vec<_> = notes
        .iter()
        .filter(|note| !manifest.slots.contains_key(&note.name))
        .map(|note| unknown(note, manifest))
        .collect();
    if !unknown.is_empty() {
        return Err(PackError::UnknownSlots { slots: unknown });
    }
    if notes.is_empty() {
        return Ok(Vec::new());
    }
    let is_named = |slot: &String| notes.iter().any(|note| note.name == *slot);
    let is_listed = |slot: &String| {
        manifest.operations.values().any(|operation| operation.slots.contains_key(slot))
    };
    let of_none: Vec<String> =
        manifest.slots.keys().filter(|slot| is_named(slot) && !is_listed(slot)).cloned().collect();
    if !of_none.is_empty() {
        return Err(PackError::SlotsOfNoOperation { slots: of_none });
    }
    Ok(manifest.slots.keys().filter(|slot| !is_named(slot)).cloned().collect())
}

fn unknown(note: &Note, manifest: &Manifest) -> UnknownSlot {
    let known: Vec<&str> = manifest.slots.keys().map(String::as_str).collect();
    let help =
        match (runbook_document::nearest(&note.name, known.iter().copied()), known.is_empty()) {
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, true) => {
                "it has no slot: add `[slots.NAME]` with what is needed and why".to_owned()
            }
            (None, false) => format!("its slots are {}", known.join(", ")),
        };
    UnknownSlot { name: note.name.clone(), place: note.place.clone(), help }
}
