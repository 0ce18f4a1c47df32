//! Bytes → [`InspectedComponent`]: reads the manifest, imports and exports of a component from its
//! bytes. Nothing is compiled or run.

use crate::code::{CodeSize, TooMuchCode, check_arity};
use runbook_authority::manifest::{ManifestError, SECTION};
use runbook_authority::{Digest, Manifest};
use std::collections::BTreeSet;
use std::sync::Arc;
use wasmparser::component_types::ComponentEntityType;
use wasmparser::types::Types;
use wasmparser::{
    CanonicalFunction, CanonicalOption, CompositeInnerType, Encoding, FuncValidatorAllocations,
    Parser, Payload, ValidPayload, Validator,
};

/// The largest component that is read, in bytes. The runtime of a scripting language has about half
/// of this size.
pub const MAX_COMPONENT_SIZE: usize = 64 << 20;

/// How many modules and components one component may contain. Toolchains create fewer than ten.
const MAX_NESTED_MODULES: usize = 200;

/// One import of a component.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Import {
    /// The interface, such as `runbook:http/reader@1.0.0`.
    pub interface: String,
    /// The function; `None` for an interface of which only types are used.
    pub function: Option<String>,
}

/// A component whose bytes were read and validated. It was neither compiled nor run.
#[derive(Debug, Clone)]
pub struct InspectedComponent {
    /// The bytes of the component, as they were given.
    pub(crate) bytes: Arc<[u8]>,
    /// The SHA-256 digest of the bytes.
    pub digest: Digest,
    /// The manifest in its custom section.
    pub manifest: Manifest,
    /// What it imports, function by function, sorted.
    pub imports: Vec<Import>,
    /// The interfaces that it exports, sorted.
    pub exports: Vec<String>,
    /// The size of the component, in bytes.
    pub size: usize,
}

/// Why some bytes are not a plugin.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// Too big to be read.
    #[error("it has {size} bytes; at most {MAX_COMPONENT_SIZE} are read")]
    TooLarge {
        /// The size of the component, in bytes.
        size: usize,
    },
    /// The file is not WebAssembly at all.
    #[error("it is not WebAssembly: it does not begin with `\\0asm`")]
    NotWasm,
    /// The file is a core module, which is not a component yet.
    #[error("it is a core module, not a component; make one with `runbook plugin build`")]
    CoreModule,
    /// The component is invalid, or uses a feature that is disabled.
    #[error("it is not a component that this host runs: {source}")]
    NotAccepted {
        /// The error of the validator, with the offset.
        #[source]
        source: wasmparser::BinaryReaderError,
    },
    /// Compiling its code could take too long.
    #[error("{source}")]
    TooMuchCode {
        /// The limit that the code exceeds, and by how much.
        #[from]
        source: TooMuchCode,
    },
    /// The component contains too many modules and components.
    #[error("it has more than {MAX_NESTED_MODULES} modules and components inside")]
    TooManyModules,
    /// A nested component contains code. Such a composition is refused, because its components were
    /// not reviewed separately.
    #[error(
        "it has code in a component inside of it; plugins are not composed: review and build \
             each by itself"
    )]
    NestedCode,
    /// The component has a start function, which would run before any operation is called.
    #[error("it has a start function; a plugin does nothing before it is called")]
    StartFunction,
    /// The component passes strings in another encoding than UTF-8. wasmtime's code for those had
    /// three bugs this year, and no plugin needs it.
    #[error("it passes strings as UTF-16; only UTF-8 is accepted")]
    StringEncoding,
    /// There is no custom section with a manifest.
    #[error(
        "it has no manifest: the custom section `{SECTION}` is missing; make the plugin with \
             `runbook plugin build`"
    )]
    NoManifest,
    /// There are two or more custom sections with a manifest.
    #[error("it has more than one manifest; it is unknown which one a reviewer saw")]
    TwoManifests,
    /// Its manifest cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

impl From<wasmparser::BinaryReaderError> for InspectError {
    fn from(source: wasmparser::BinaryReaderError) -> Self {
        Self::NotAccepted { source }
    }
}

/// Reads a component.
///
/// # Errors
/// [`InspectError`] says why these bytes are not a plugin.
pub fn inspect(bytes: impl Into<Arc<[u8]>>) -> Result<InspectedComponent, InspectError> {
    read(bytes.into(), BodyCheck::Validate)
}

/// Reads a component that is bundled with this program. The function bodies are not validated here,
/// because a test of the program has validated them, and validation would be most of the work at
/// the start of each command.
///
/// # Errors
/// As [`inspect`].
pub fn inspect_bundled(bytes: impl Into<Arc<[u8]>>) -> Result<InspectedComponent, InspectError> {
    read(bytes.into(), BodyCheck::Trust)
}

/// Whether function bodies are validated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyCheck {
    Validate,
    Trust,
}

fn read(bytes: Arc<[u8]>, bodies: BodyCheck) -> Result<InspectedComponent, InspectError> {
    let size = bytes.len();
    if size > MAX_COMPONENT_SIZE {
        return Err(InspectError::TooLarge { size });
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(InspectError::NotWasm);
    }
    let sections = read_sections(&bytes, bodies)?;
    let manifest = match sections.manifests.as_slice() {
        [] => return Err(InspectError::NoManifest),
        [section] => Manifest::from_section(section)?,
        [_, _, ..] => return Err(InspectError::TwoManifests),
    };
    let imports = sections.imports.into_iter().collect();
    let exports = sections.exports.into_iter().collect();
    Ok(InspectedComponent { digest: Digest::of(&bytes), manifest, imports, exports, size, bytes })
}

#[derive(Default)]
struct Sections<'b> {
    manifests: Vec<&'b [u8]>,
    imports: BTreeSet<Import>,
    exports: BTreeSet<String>,
}

/// Reads all sections in one pass: validates them, checks the limits for the compiler, and collects
/// the manifest, imports and exports of the top level.
fn read_sections(bytes: &[u8], bodies: BodyCheck) -> Result<Sections<'_>, InspectError> {
    let mut validator = Validator::new_with_features(crate::config::features());
    let mut sections = Sections::default();
    let mut nesting = Nesting::default();
    let (mut code_size, mut allocations) =
        (CodeSize::default(), FuncValidatorAllocations::default());
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload?;
        nesting.update(&payload)?;
        match &payload {
            Payload::ComponentImportSection(section) if nesting.depth == 0 => {
                for import in section.clone() {
                    imports.push(import?.name.name);
                }
            }
            Payload::ComponentExportSection(section) if nesting.depth == 0 => {
                for export in section.clone() {
                    exports.push(export?.name.name);
                }
            }
            Payload::CodeSectionEntry(body) if bodies == BodyCheck::Validate => {
                code_size.add(body)??;
            }
            Payload::CustomSection(section) if nesting.depth == 0 && section.name() == SECTION => {
                sections.manifests.push(section.data());
            }
            other => check_section(other)?,
        }
        match validator.payload(&payload)? {
            // Bodies are validated too, because a disabled feature may be used only in a body.
            ValidPayload::Func(..) if bodies == BodyCheck::Trust => {}
            ValidPayload::Func(function, body) => {
                let mut function = function.into_validator(allocations);
                function.validate(&body)?;
                allocations = function.into_allocations();
            }
            ValidPayload::End(types) => {
                sections.imports =
                    imports.iter().flat_map(|name| imported_functions(&types, name)).collect();
                sections.exports = exports.iter().map(|name| (*name).to_owned()).collect();
            }
            ValidPayload::Ok | ValidPayload::Parser(_) => {}
        }
    }
    Ok(sections)
}

/// Refuses sections that no plugin needs: a start function, strings that are not UTF-8, and
/// functions with too many parameters or results.
fn check_section(payload: &Payload<'_>) -> Result<(), InspectError> {
    match payload {
        Payload::ComponentStartSection { .. } => return Err(InspectError::StartFunction),
        Payload::ComponentCanonicalSection(section) => {
            for function in section.clone() {
                check_strings(&function?)?;
            }
        }
        Payload::TypeSection(section) => {
            for group in section.clone() {
                for ty in group?.into_types() {
                    if let CompositeInnerType::Func(function) = &ty.composite_type.inner {
                        check_arity(function.params().len().max(function.results().len()))?;
                    }
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// The position of the reader in the nested modules and components.
#[derive(Default)]
struct Nesting {
    /// 0 in the component itself.
    depth: usize,
    /// How many modules and components were entered.
    module_count: usize,
    /// The depths of the nested components around the reader. Toolchains create nested components
    /// for types and shims, but put no code into them.
    component_depths: Vec<usize>,
}

impl Nesting {
    /// Enters or leaves a module or component.
    ///
    /// # Errors
    ///
    /// The outermost is a module, there are too many modules and components, or a nested component
    /// contains a module.
    fn update(&mut self, payload: &Payload<'_>) -> Result<(), InspectError> {
        match payload {
            Payload::Version { encoding: Encoding::Module, .. } if self.depth == 0 => {
                return Err(InspectError::CoreModule);
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                self.depth += 1;
                self.module_count += 1;
                if self.module_count > MAX_NESTED_MODULES {
                    return Err(InspectError::TooManyModules);
                }
                if matches!(payload, Payload::ComponentSection { .. }) {
                    self.component_depths.push(self.depth);
                } else if !self.component_depths.is_empty() {
                    return Err(InspectError::NestedCode);
                }
            }
            Payload::End(_) if self.depth > 0 => {
                if self.component_depths.last() == Some(&self.depth) {
                    self.component_depths.pop();
                }
                self.depth -= 1;
            }
            _ => {}
        }
        Ok(())
    }
}

/// The functions that a component imports of one interface.
fn imported_functions(types: &Types, name: &str) -> Vec<Import> {
    let import = |function: Option<&str>| Import {
        interface: name.to_owned(),
        function: function.map(str::to_owned),
    };
    let Some(ComponentEntityType::Instance(id)) =
        types.component_item_for_import(name).map(|item| item.ty)
    else {
        // A bare function, module or component; the contract has interfaces only.
        return vec![import(Some(""))];
    };
    let is_type = |ty: &ComponentEntityType| matches!(ty, ComponentEntityType::Type { .. });
    let exports = &types[id].exports;
    let functions: Vec<_> = exports
        .iter()
        .filter(|(_, item)| !is_type(&item.ty))
        .map(|(function, _)| import(Some(function)))
        .collect();
    if functions.is_empty() { vec![import(None)] } else { functions }
}

fn check_strings(function: &CanonicalFunction) -> Result<(), InspectError> {
    let options: &[CanonicalOption] = match function {
        CanonicalFunction::Lift { options, .. } | CanonicalFunction::Lower { options, .. } => {
            options
        }
        _ => return Ok(()),
    };
    if options
        .iter()
        .any(|option| matches!(option, CanonicalOption::UTF16 | CanonicalOption::CompactUTF16))
    {
        return Err(InspectError::StringEncoding);
    }
    Ok(())
}
