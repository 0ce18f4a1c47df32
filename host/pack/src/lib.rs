//! Turns a core wasm module and its `plugin.toml` into a plugin: one component file that carries
//! its manifest.
//!
//! `runbook plugin build` and the program's own build script use the same functions, so a bundled
//! plugin and a team's own are made the same way. The same module and manifest always give the same
//! bytes.
//!
//! Packing runs code of the plugin, once, in an interpreter with nothing linked and with limits on
//! instructions and memory: its `describe` answers the JSON Schemas of the operations. After that,
//! reviewing or listing the plugin never runs it.

#![warn(clippy::missing_errors_doc)]

pub mod cargo;
mod describe;
mod slots;

pub use describe::DescribeError;
pub use slots::UnknownSlot;

use describe::{Description, OperationDescription};
use runbook_authority::manifest::{Kind, Manifest, SECTION};
use runbook_document::{Diagnostics, Source};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Why a plugin cannot be packed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// The manifest has mistakes; each is shown at its line.
    #[error("`plugin.toml` has mistakes")]
    Manifest(Diagnostics),
    /// The file is a component already; its core module is needed.
    #[error("this is a component already; give the core module that the compiler made")]
    AlreadyComponent,
    /// The module cannot become a component.
    #[error("the module cannot become a component: {0}")]
    Encode(String),
    /// `describe` did not answer.
    #[error(transparent)]
    Describe(#[from] DescribeError),
    /// The manifest names an operation that the code does not have.
    #[error(
        "operation `{operation}` is in `plugin.toml` but not in the code; register it with \
             `runbook_sdk::plugin!` or remove it"
    )]
    NotInCode {
        /// The name of the operation in `plugin.toml`.
        operation: String,
    },
    /// The code has an operation that the manifest does not name.
    #[error(
        "operation `{operation}` is in the code but not in `plugin.toml`; {}",
        not_in_manifest_help(operation, without_code)
    )]
    NotInManifest {
        /// The name of the operation in the code.
        operation: String,
        /// The operations of the manifest that the code does not have: perhaps one was renamed.
        without_code: Vec<String>,
    },
    /// The code names slots that no operation may use: each call would be denied.
    #[error(
        "the code names {}, which no operation lists: every call would be denied; add each to \
         `slots` of the operations that use it",
        quote_names(slots)
    )]
    SlotsOfNoOperation {
        /// The name of each such slot.
        slots: Vec<String>,
    },
    /// The code names slots that the manifest does not have.
    #[error("{}", .slots.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    UnknownSlots {
        /// Each such slot with the place where the code names it.
        slots: Vec<UnknownSlot>,
    },
    /// A condition of the manifest does not fit the input that the code describes.
    #[error("operation `{operation}` of `plugin.toml`: {problem}")]
    Condition {
        /// The operation.
        operation: String,
        /// Which condition, and what is wrong with it.
        problem: String,
    },
    /// Manifest and code disagree about what an operation is.
    #[error("operation `{operation}` is a {} in `plugin.toml` and a {} in the code", manifest.name(), code.name())]
    KindDiffers {
        /// The name of the operation, the same in both.
        operation: String,
        /// Its kind in the manifest.
        manifest: Kind,
        /// Its kind in the code.
        code: Kind,
    },
}

/// A plugin in one file.
#[derive(Debug)]
pub struct PackedPlugin {
    /// The component, with its manifest inside.
    pub component: Vec<u8>,
    /// The slots of the manifest that the code does not name, sorted. Empty if the module has no
    /// list of slots that it names, as with other languages than Rust.
    pub unnamed_slots: Vec<String>,
    /// The warnings about the manifest, each at its line.
    pub warnings: Diagnostics,
}

/// Packs a core module with its manifest.
///
/// # Errors
/// [`PackError`] says what is wrong with the manifest or the module, or that they do not fit each
/// other.
pub fn pack(module: &[u8], manifest: &Arc<Source>) -> Result<PackedPlugin, PackError> {
    let (mut manifest, warnings) = read_manifest(manifest)?;
    if wasmparser::Parser::is_component(module) {
        return Err(PackError::AlreadyComponent);
    }
    let (module, slot_uses) = slots::take_slot_uses(module)?;
    let unnamed_slots = slots::compare(&slot_uses, &manifest)?;
    let component = encode(&module)?;
    merge(&mut manifest, describe::describe(&module)?)?;
    Ok(PackedPlugin {
        component: with_section(component, SECTION, &manifest.to_section()),
        unnamed_slots,
        warnings,
    })
}

/// Parses a manifest. Returns it with its warnings, or an error with all mistakes.
pub(crate) fn read_manifest(source: &Arc<Source>) -> Result<(Manifest, Diagnostics), PackError> {
    let mut diagnostics = Diagnostics::default();
    match Manifest::parse(source, &mut diagnostics).filter(|_| !diagnostics.has_errors()) {
        Some(manifest) => Ok((manifest, diagnostics)),
        None => Err(PackError::Manifest(diagnostics)),
    }
}

fn encode(module: &[u8]) -> Result<Vec<u8>, PackError> {
    let encoder = wit_component::ComponentEncoder::default().validate(true).module(module);
    encoder
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| PackError::Encode(format!("{error:#}")))
}

/// The help about an operation that the manifest does not name.
fn not_in_manifest_help(operation: &str, without_code: &[String]) -> String {
    let add = "add an `[[operation]]` with its slots";
    if without_code.is_empty() {
        return add.to_owned();
    }
    let near = runbook_document::nearest(operation, without_code.iter().map(String::as_str));
    let meant = near
        .or_else(|| without_code.first().map(String::as_str).filter(|_| without_code.len() == 1));
    let missing = format!("{} of `plugin.toml` is not in the code", quote_names(without_code));
    match meant {
        Some(meant) => format!("{missing}: rename `{meant}` there if it is this one, or {add}"),
        None => format!("{missing}; {add}"),
    }
}

fn quote_names(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Puts the schemas of the description into the manifest. Both must name the same operations.
fn merge(manifest: &mut Manifest, description: Description) -> Result<(), PackError> {
    let in_code: BTreeSet<String> =
        description.operations.iter().map(|described| described.name.clone()).collect();
    for OperationDescription { name, kind, input, output } in description.operations {
        let without_code = || {
            manifest.operations.keys().filter(|name| !in_code.contains(*name)).cloned().collect()
        };
        if !manifest.operations.contains_key(&name) {
            return Err(PackError::NotInManifest { without_code: without_code(), operation: name });
        }
        let Some(operation) = manifest.operations.get_mut(&name) else { continue };
        if operation.kind != kind {
            return Err(PackError::KindDiffers {
                operation: name,
                manifest: operation.kind,
                code: kind,
            });
        }
        operation.input = input;
        operation.output = output;
        operation
            .check_conditions()
            .map_err(|problem| PackError::Condition { operation: name, problem })?;
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
