//! Bytes → [`Inspected`]: what a component is, read from its bytes. Nothing is compiled and nothing
//! is run.

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

/// The largest component that is read. A scripting language's runtime is half of it.
pub const MAX_SIZE: usize = 64 << 20;

/// Modules and components inside one component. A toolchain makes fewer than ten; a bomb makes
/// thousands.
const MAX_PARTS: usize = 200;

/// One thing that a component imports.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Import {
    /// The interface, such as `runbook:http/reader@1.0.0`.
    pub interface: String,
    /// The function; `None` for an interface of which only types are used.
    pub function: Option<String>,
}

/// A component whose bytes were read and found in order. It was neither compiled nor run.
#[derive(Debug, Clone)]
pub struct Inspected {
    /// The bytes of the component, as they were given.
    pub(crate) bytes: Arc<[u8]>,
    /// The SHA-256 digest of the bytes.
    pub digest: Digest,
    /// What it says of itself.
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
    #[error("it has {size} bytes; at most {MAX_SIZE} are read")]
    TooLarge {
        /// The size of the component, in bytes.
        size: usize,
    },
    /// It is not WebAssembly at all.
    #[error("it is not WebAssembly: it does not begin with `\\0asm`")]
    NotWasm,
    /// It is a core module, which is not a component yet.
    #[error("it is a core module, not a component; make one with `runbook plugin build`")]
    CoreModule,
    /// Broken, or it uses a feature that is off.
    #[error("it is not a component that this host runs: {source}")]
    NotAccepted {
        /// What the validator says, with the offset.
        #[source]
        source: wasmparser::BinaryReaderError,
    },
    /// Code that the compiler would not be done with.
    #[error("{source}")]
    TooMuchCode {
        /// The limit that the code exceeds, and by how much.
        #[from]
        source: TooMuchCode,
    },
    /// It has more modules and components inside than are read.
    #[error("it has more than {MAX_PARTS} modules and components inside")]
    TooManyParts,
    /// There is code in a component inside this one. Such a composition is refused, because nobody
    /// reviewed its parts by themselves.
    #[error(
        "it has code in a component inside of it; plugins are not composed: review and build \
             each by itself"
    )]
    NestedCode,
    /// A start function: code that runs before anything is called.
    #[error("it has a start function; a plugin does nothing before it is called")]
    StartFunction,
    /// Strings in another encoding. The code for those had three faults this year, and no plugin
    /// needs it.
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
    /// A manifest that cannot be used.
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
pub fn inspect(bytes: impl Into<Arc<[u8]>>) -> Result<Inspected, InspectError> {
    read(bytes.into(), Bodies::Validate)
}

/// Reads a component that was built with this program and is a part of it. The bodies of its
/// functions are left to the compiler, as a test of the program has validated them: that is most of
/// the work, and done for each plugin of each command.
///
/// # Errors
/// As [`inspect`].
pub fn inspect_built_in(bytes: impl Into<Arc<[u8]>>) -> Result<Inspected, InspectError> {
    read(bytes.into(), Bodies::Trust)
}

/// What is done with the bodies of functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bodies {
    Validate,
    Trust,
}

fn read(bytes: Arc<[u8]>, bodies: Bodies) -> Result<Inspected, InspectError> {
    let size = bytes.len();
    if size > MAX_SIZE {
        return Err(InspectError::TooLarge { size });
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(InspectError::NotWasm);
    }
    let found = walk(&bytes, bodies)?;
    let manifest = match found.manifests.as_slice() {
        [] => return Err(InspectError::NoManifest),
        [section] => Manifest::from_section(section)?,
        [_, _, ..] => return Err(InspectError::TwoManifests),
    };
    let imports = found.imports.into_iter().collect();
    let exports = found.exports.into_iter().collect();
    Ok(Inspected { digest: Digest::of(&bytes), manifest, imports, exports, size, bytes })
}

#[derive(Default)]
struct Sections<'b> {
    manifests: Vec<&'b [u8]>,
    imports: BTreeSet<Import>,
    exports: BTreeSet<String>,
}

/// One pass: validates everything, counts what the compiler would have to do, and collects what
/// stands at the top level.
fn walk(bytes: &[u8], bodies: Bodies) -> Result<Sections<'_>, InspectError> {
    let mut validator = Validator::new_with_features(crate::config::features());
    let mut found = Sections::default();
    let mut nesting = Nesting::default();
    let (mut counted, mut allocations) = (CodeSize::default(), FuncValidatorAllocations::default());
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload?;
        nesting.follow(&payload)?;
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
            Payload::CodeSectionEntry(body) if bodies == Bodies::Validate => {
                counted.add(body)??;
            }
            Payload::CustomSection(section) if nesting.depth == 0 && section.name() == SECTION => {
                found.manifests.push(section.data());
            }
            other => check_part(other)?,
        }
        match validator.payload(&payload)? {
            // A feature that is off may be used in a body only, so bodies are read here and not
            // left to the compiler.
            ValidPayload::Func(..) if bodies == Bodies::Trust => {}
            ValidPayload::Func(function, body) => {
                let mut function = function.into_validator(allocations);
                function.validate(&body)?;
                allocations = function.into_allocations();
            }
            ValidPayload::End(types) => {
                found.imports = imports.iter().flat_map(|name| functions(&types, name)).collect();
                found.exports = exports.iter().map(|name| (*name).to_owned()).collect();
            }
            ValidPayload::Ok | ValidPayload::Parser(_) => {}
        }
    }
    Ok(found)
}

/// Refuses a part that no plugin of ours has: a start function, and types and functions that the
/// host would have to take apart at a cost that nobody has counted.
fn check_part(payload: &Payload<'_>) -> Result<(), InspectError> {
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

/// How deep the part stands that is read, in modules and components.
#[derive(Default)]
struct Nesting {
    /// 0 is the component itself.
    depth: usize,
    /// How many modules and components there were.
    parts: usize,
    /// The depths of the components around this part, but for the outermost: their types and shims
    /// are a toolchain's, code in them is not.
    inner: Vec<usize>,
}

impl Nesting {
    /// Enters or leaves a module or component.
    ///
    /// # Errors
    ///
    /// The outermost is a module, there are too many of them, or one with code stands in a
    /// component within.
    fn follow(&mut self, payload: &Payload<'_>) -> Result<(), InspectError> {
        match payload {
            Payload::Version { encoding: Encoding::Module, .. } if self.depth == 0 => {
                return Err(InspectError::CoreModule);
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                self.depth += 1;
                self.parts += 1;
                if self.parts > MAX_PARTS {
                    return Err(InspectError::TooManyParts);
                }
                if matches!(payload, Payload::ComponentSection { .. }) {
                    self.inner.push(self.depth);
                } else if !self.inner.is_empty() {
                    return Err(InspectError::NestedCode);
                }
            }
            Payload::End(_) if self.depth > 0 => {
                if self.inner.last() == Some(&self.depth) {
                    self.inner.pop();
                }
                self.depth -= 1;
            }
            _ => {}
        }
        Ok(())
    }
}

/// What a component imports under one name.
fn functions(types: &Types, name: &str) -> Vec<Import> {
    let import = |function: Option<&str>| Import {
        interface: name.to_owned(),
        function: function.map(str::to_owned),
    };
    let Some(ComponentEntityType::Instance(id)) =
        types.component_item_for_import(name).map(|item| item.ty)
    else {
        // A function, a module or a component of its own: nothing of the contract has this form.
        return vec![import(Some(""))];
    };
    let is_type = |ty: &ComponentEntityType| matches!(ty, ComponentEntityType::Type { .. });
    let exports = &types[id].exports;
    let used: Vec<_> = exports
        .iter()
        .filter(|(_, item)| !is_type(&item.ty))
        .map(|(function, _)| import(Some(function)))
        .collect();
    if used.is_empty() { vec![import(None)] } else { used }
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
