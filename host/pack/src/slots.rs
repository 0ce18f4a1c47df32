//! Checks the slots that the code names. The macro `slot!` of the SDK writes each name with its
//! line into a custom section, so that a name that `plugin.toml` does not have is found before the
//! operation runs.

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
    /// A suggestion: the slot that is probably meant, or all slots of the manifest.
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

/// A slot that the code names, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SlotUse {
    name: String,
    location: String,
}

/// Removes the custom sections with slot uses from a module. Returns the module and the slot uses.
pub(crate) fn take_slot_uses(module: &[u8]) -> Result<(Vec<u8>, BTreeSet<SlotUse>), PackError> {
    let mut stripped = wasm_encoder::Module::new();
    let mut uses = BTreeSet::new();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.map_err(|error| PackError::Encode(error.to_string()))?;
        match &payload {
            Payload::CustomSection(section) if section.name() == SECTION => {
                let text = String::from_utf8_lossy(section.data());
                uses.extend(text.lines().filter_map(parse_use));
            }
            other => {
                if let Some((id, range)) = other.as_section() {
                    stripped.section(&wasm_encoder::RawSection { id, data: &module[range] });
                }
            }
        }
    }
    Ok((stripped.finish(), uses))
}

fn parse_use(line: &str) -> Option<SlotUse> {
    let (name, location) = line.split_once('\u{1f}')?;
    Some(SlotUse { name: name.to_owned(), location: location.to_owned() })
}

/// Checks that every slot in the code is in the manifest. Returns the slots of the manifest that
/// the code does not use.
pub(crate) fn compare(
    uses: &BTreeSet<SlotUse>,
    manifest: &Manifest,
) -> Result<Vec<String>, PackError> {
    let unknown: Vec<_> = uses
        .iter()
        .filter(|slot_use| !manifest.slots.contains_key(&slot_use.name))
        .map(|slot_use| unknown_slot(slot_use, manifest))
        .collect();
    if !unknown.is_empty() {
        return Err(PackError::UnknownSlots { slots: unknown });
    }
    if uses.is_empty() {
        return Ok(Vec::new());
    }
    let is_named = |slot: &String| uses.iter().any(|slot_use| slot_use.name == *slot);
    let is_listed = |slot: &String| {
        manifest.operations.values().any(|operation| operation.slots.contains_key(slot))
    };
    let unlisted: Vec<String> =
        manifest.slots.keys().filter(|slot| is_named(slot) && !is_listed(slot)).cloned().collect();
    if !unlisted.is_empty() {
        return Err(PackError::SlotsOfNoOperation { slots: unlisted });
    }
    Ok(manifest.slots.keys().filter(|slot| !is_named(slot)).cloned().collect())
}

fn unknown_slot(slot_use: &SlotUse, manifest: &Manifest) -> UnknownSlot {
    let known: Vec<&str> = manifest.slots.keys().map(String::as_str).collect();
    let help = match (
        runbook_document::nearest(&slot_use.name, known.iter().copied()),
        known.is_empty(),
    ) {
        (Some(near), _) => format!("did you mean `{near}`?"),
        (None, true) => "it has no slot: add `[slots.NAME]` with what is needed and why".to_owned(),
        (None, false) => format!("its slots are {}", known.join(", ")),
    };
    UnknownSlot { name: slot_use.name.clone(), place: slot_use.location.clone(), help }
}
