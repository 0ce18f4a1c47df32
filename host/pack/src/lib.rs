//! Turns a core wasm module and its `plugin.toml` into a plugin: one component file that carries its manifest.
//!
//! `runbook plugin build` and the program's own build script use the same functions, so a bundled plugin and a team's own are
//! made the same way. The same module and manifest always give the same bytes.
//!
//! Packing runs code of the plugin, once, in an interpreter with nothing linked and with limits on instructions and memory: its
//! `describe` answers the JSON Schemas of the operations. After that, reviewing or listing the plugin never runs it.

pub mod cargo;
mod describe;
mod slots;

pub use describe::DescribeError;
pub use slots::UnknownSlot;

use describe::{Described, Description};
use runbook_authority::manifest::{Kind, Manifest, SECTION};
use runbook_document::{Diagnostics, Source};
use std::sync::Arc;

/// Why a plugin cannot be packed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// The manifest has mistakes; each is shown at its line.
    #[error("`plugin.toml` has mistakes")]
    Manifest(Diagnostics),
    /// It is a component already; its module is needed.
    #[error("this is a component already; give the core module that the compiler made")]
    AlreadyComponent,
    /// It is no wasm module that can become a component.
    #[error("the module cannot become a component: {0}")]
    Encode(String),
    /// `describe` did not answer.
    #[error(transparent)]
    Describe(#[from] DescribeError),
    /// The manifest names an operation that the code does not have.
    #[error(
        "operation `{operation}` is in `plugin.toml` but not in the code; register it with `runbook_sdk::plugin!` or remove it"
    )]
    NotInCode {
        /// The operation.
        operation: String,
    },
    /// The code has an operation that the manifest does not name.
    #[error("operation `{operation}` is in the code but not in `plugin.toml`; add an `[[operation]]` with its slots")]
    NotInManifest {
        /// The operation.
        operation: String,
    },
    /// The code names slots that the manifest does not have.
    #[error("{}", .slots.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    UnknownSlots {
        /// Each of them.
        slots: Vec<UnknownSlot>,
    },
    /// Manifest and code disagree about what an operation is.
    #[error("operation `{operation}` is a {} in `plugin.toml` and a {} in the code", manifest.name(), code.name())]
    KindDiffers {
        /// The operation.
        operation: String,
        /// Its kind in the manifest.
        manifest: Kind,
        /// Its kind in the code.
        code: Kind,
    },
}

/// A plugin in one file.
#[derive(Debug)]
pub struct Packed {
    /// The component, with its manifest inside.
    pub component: Vec<u8>,
    /// Slots of the manifest that the code names nowhere, sorted. Empty if the code does not say which it names, as in other
    /// languages than Rust.
    pub unnamed_slots: Vec<String>,
    /// What is odd in the manifest and not wrong, each at its line.
    pub warnings: Diagnostics,
}

/// Packs a core module with its manifest.
///
/// # Errors
/// [`PackError`] says what is wrong with the manifest or the module, or that they do not fit each other.
pub fn pack(module: &[u8], manifest: &Arc<Source>) -> Result<Packed, PackError> {
    let (mut manifest, warnings) = read_manifest(manifest)?;
    if wasmparser::Parser::is_component(module) {
        return Err(PackError::AlreadyComponent);
    }
    let (module, noted) = slots::take_notes(module)?;
    let unnamed_slots = slots::compare(&noted, &manifest)?;
    let component = encode(&module)?;
    merge(&mut manifest, describe::describe(&module)?)?;
    Ok(Packed { component: with_section(component, SECTION, &manifest.to_section()), unnamed_slots, warnings })
}

/// Reads a manifest with its warnings, and refuses it with all that is wrong with it.
pub(crate) fn read_manifest(source: &Arc<Source>) -> Result<(Manifest, Diagnostics), PackError> {
    let mut diagnostics = Diagnostics::default();
    match Manifest::parse(source, &mut diagnostics).filter(|_| !diagnostics.has_errors()) {
        Some(manifest) => Ok((manifest, diagnostics)),
        None => Err(PackError::Manifest(diagnostics)),
    }
}

fn encode(module: &[u8]) -> Result<Vec<u8>, PackError> {
    let encoder = wit_component::ComponentEncoder::default().validate(true).module(module);
    encoder.and_then(|mut encoder| encoder.encode()).map_err(|error| PackError::Encode(format!("{error:#}")))
}

/// Puts the schemas into the manifest. Both must name the same operations.
fn merge(manifest: &mut Manifest, description: Description) -> Result<(), PackError> {
    for Described { name, kind, input, output } in description.operations {
        let Some(operation) = manifest.operations.get_mut(&name) else {
            return Err(PackError::NotInManifest { operation: name });
        };
        if operation.kind != kind {
            return Err(PackError::KindDiffers { operation: name, manifest: operation.kind, code: kind });
        }
        operation.input = input;
        operation.output = output;
    }
    match manifest.operations.iter().find(|(_, operation)| operation.input.is_null()) {
        Some((name, _)) => Err(PackError::NotInCode { operation: name.clone() }),
        None => Ok(()),
    }
}

/// Appends a custom section at the top level of a component.
fn with_section(mut component: Vec<u8>, name: &str, data: &[u8]) -> Vec<u8> {
    use wasm_encoder::{Encode as _, Section as _};
    let section = wasm_encoder::CustomSection { name: name.into(), data: data.into() };
    component.push(section.id());
    section.encode(&mut component);
    component
}
