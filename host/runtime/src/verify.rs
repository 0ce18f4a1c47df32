//! [`InspectedComponent`] → [`VerifiedComponent`]: checks that the manifest declares every imported
//! function (I ⊆ D), and that this host has it.

use crate::inert_wasi;
use crate::inspect::{Import, InspectedComponent};
use crate::linker::missing_feature;
use runbook_authority::capability::{Availability, FUNCTIONS, function_row};
use runbook_authority::{Digest, Manifest, Verb};
use runbook_contract::Kind;
use std::collections::BTreeSet;
use std::fmt;

/// A component that imports only what its manifest declares. Only [`verify`] creates it.
#[derive(Debug, Clone)]
pub struct VerifiedComponent {
    inspected: InspectedComponent,
}

impl VerifiedComponent {
    /// The digest of the component.
    pub fn digest(&self) -> &Digest {
        &self.inspected.digest
    }

    /// The manifest of the plugin.
    pub fn manifest(&self) -> &Manifest {
        &self.inspected.manifest
    }

    /// What it imports, function by function, sorted.
    pub fn imports(&self) -> &[Import] {
        &self.inspected.imports
    }

    /// The interfaces that it exports, sorted.
    pub fn exports(&self) -> &[String] {
        &self.inspected.exports
    }

    /// The size of the component, in bytes.
    pub fn size(&self) -> usize {
        self.inspected.size
    }

    /// Whether an input fits the schema of an operation, as it is checked before each call.
    ///
    /// # Errors
    /// The first [`Mismatch`](crate::Mismatch). A schema that cannot be used is found when the
    /// plugin is linked.
    pub fn check_input(
        &self,
        operation: &str,
        input: &serde_json::Value,
    ) -> Result<(), crate::Mismatch> {
        let schema = self
            .manifest()
            .operations
            .get(operation)
            .map(|operation| crate::value::Schema::parse(&operation.input));
        schema.and_then(Result::ok).map_or(Ok(()), |schema| schema.check(input))
    }

    /// Everything in an input that does not fit the operation's schema.
    pub fn mismatches(&self, operation: &str, input: &serde_json::Value) -> Vec<crate::Mismatch> {
        let schema = self
            .manifest()
            .operations
            .get(operation)
            .map(|operation| crate::value::Schema::parse(&operation.input));
        schema.and_then(Result::ok).map_or_else(Vec::new, |schema| schema.mismatches(input))
    }

    /// Verbs that are declared, but that no imported function needs, sorted. `secrets.use` is never
    /// among them, because it has no function.
    pub fn unused_verbs(&self) -> Vec<Verb> {
        let used_verbs: BTreeSet<_> = self.inspected.imports.iter().filter_map(verb_of).collect();
        // A rotation uses two databases without a function of theirs.
        let is_used = |verb: &Verb| {
            let is_of_rotation = matches!(verb, Verb::SqlQuery | Verb::SqlExecute)
                && used_verbs.contains(&Verb::SecretsRotate);
            used_verbs.contains(verb) || is_of_rotation || *verb == Verb::SecretsUse
        };
        let declared_verbs: BTreeSet<_> = self.manifest().declared_verbs().collect();
        declared_verbs.into_iter().filter(|verb| !is_used(verb)).collect()
    }

    /// Whether it imports WASI. It then gets the inert WASI, and a review says so.
    pub fn needs_inert_wasi(&self) -> bool {
        self.inspected.needs_inert_wasi()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.inspected.bytes
    }
}

impl InspectedComponent {
    /// Whether it imports WASI. It then gets the inert WASI.
    pub fn needs_inert_wasi(&self) -> bool {
        self.imports.iter().any(|import| inert_wasi::has(&import.interface))
    }
}

/// One reason why a component is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VerifyProblem {
    /// A function is imported whose verb no slot declares.
    Undeclared {
        /// The function that is imported.
        import: Import,
        /// The verb that allows it.
        verb: Verb,
    },
    /// The function is in the contract, but this host does not link it yet.
    Planned {
        /// The function that is imported.
        import: Import,
    },
    /// The function belongs to a kind of target without which this program was built.
    NotBuiltIn {
        /// The function that is imported.
        import: Import,
        /// The cargo feature that has the function.
        feature: &'static str,
    },
    /// The interface is known in another version.
    OtherVersion {
        /// The function that is imported.
        import: Import,
        /// The version that this host has.
        known: &'static str,
    },
    /// The interface is known, the function is not.
    UnknownFunction {
        /// The function that is imported.
        import: Import,
    },
    /// A part of WASI that this host does not have, not even inert.
    Wasi {
        /// The function that is imported.
        import: Import,
    },
    /// The import is not part of the contract.
    Unknown {
        /// The function that is imported.
        import: Import,
    },
    /// The manifest has operations of a kind that the component does not export.
    NotExported {
        /// The kind of these operations.
        kind: Kind,
        /// The interface that is missing.
        interface: &'static str,
    },
}

impl fmt::Display for VerifyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undeclared { import, verb } => write!(
                f,
                "it imports {import}, but no slot declares `{verb}`; add `\"{verb}\"` to the verbs \
                 of a `{}` slot in plugin.toml, or do not call it",
                verb.row().capability
            ),
            Self::Planned { import } => {
                write!(
                    f,
                    "it imports {import}, which this version of the host does not have yet; do not \
                     call it"
                )
            }
            Self::NotBuiltIn { import, feature } => write!(
                f,
                "it imports {import}, and this program was built without the feature `{feature}`; \
                 build it with `cargo build --features {feature}`, or with all features by \
                 `cargo build`"
            ),
            Self::OtherVersion { import, known } => {
                write!(
                    f,
                    "it imports {import}, but this host has `{known}`; build it against that, or \
                     use a newer host"
                )
            }
            Self::UnknownFunction { import } => {
                write!(
                    f,
                    "it imports {import}, and the interface has no such function here; use a newer \
                     host"
                )
            }
            Self::Wasi { import } => write!(
                f,
                "it imports {import}, a part of WASI that this host does not have; build it \
                 without that (in Rust for the target `wasm32-unknown-unknown`)"
            ),
            Self::Unknown { import } => {
                write!(
                    f,
                    "it imports {import}, which is not part of the plugin contract; remove it"
                )
            }
            Self::NotExported { kind, interface } => {
                write!(
                    f,
                    "its manifest has operations of kind `{}`, but it does not export \
                     `{interface}`",
                    kind.name()
                )
            }
        }
    }
}

impl fmt::Display for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.function.as_deref() {
            Some(function) if !function.is_empty() => {
                write!(f, "`{function}` of `{}`", self.interface)
            }
            Some(_) | None => write!(f, "`{}`", self.interface),
        }
    }
}

/// How many problems the message shows. A component of another toolchain has hundreds of similar
/// ones.
const MAX_SHOWN: usize = 5;

/// Why a component is refused, with every problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyError {
    /// The name of the plugin.
    pub plugin: String,
    /// Every problem; never empty.
    pub problems: Vec<VerifyProblem>,
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plugin `{}` is refused: ", self.plugin)?;
        for (index, problem) in self.problems.iter().take(MAX_SHOWN).enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{problem}")?;
        }
        match self.problems.len().saturating_sub(MAX_SHOWN) {
            0 => Ok(()),
            more => write!(
                f,
                "; and {more} more such reasons: `runbook plugin inspect` lists all that it imports"
            ),
        }
    }
}

impl std::error::Error for VerifyError {}

/// Checks the imports and exports of a component.
///
/// # Errors
/// [`VerifyError`] lists everything that is imported and not declared or not known.
pub fn verify(inspected: InspectedComponent) -> Result<VerifiedComponent, VerifyError> {
    let declared_verbs: BTreeSet<_> = inspected.manifest.declared_verbs().collect();
    let mut problems: Vec<_> =
        inspected.imports.iter().filter_map(|import| problem_of(import, &declared_verbs)).collect();
    problems.extend(missing_exports(&inspected));
    if problems.is_empty() {
        Ok(VerifiedComponent { inspected })
    } else {
        Err(VerifyError { plugin: inspected.manifest.name, problems })
    }
}

fn verb_of(import: &Import) -> Option<Verb> {
    function_row(&import.interface, import.function.as_deref()?)?.verb
}

fn problem_of(import: &Import, declared: &BTreeSet<Verb>) -> Option<VerifyProblem> {
    if inert_wasi::has(&import.interface) {
        return None;
    }
    let import = import.clone();
    let Some(function) = import.function.as_deref() else {
        // Types have no effect; those of another version fit no function of this host.
        return (!is_types_of_contract(&import.interface)).then(|| unknown_import(import));
    };
    match function_row(&import.interface, function) {
        Some(row) if row.availability == Availability::Planned => {
            Some(VerifyProblem::Planned { import })
        }
        Some(row) => match row.verb {
            Some(verb) if !declared.contains(&verb) => {
                Some(VerifyProblem::Undeclared { import, verb })
            }
            Some(_) | None => {
                let feature = missing_feature(&import.interface)?;
                Some(VerifyProblem::NotBuiltIn { import, feature })
            }
        },
        None => Some(unknown_import(import)),
    }
}

/// Whether an interface without functions belongs to a package of the contract, in its version.
fn is_types_of_contract(interface: &str) -> bool {
    let package = |interface: &str| {
        let (name, version) = interface.split_once('@')?;
        Some((name.split_once('/')?.0.to_owned(), version.to_owned()))
    };
    let package_of_interface = package(interface);
    package_of_interface.is_some()
        && (FUNCTIONS.iter().any(|row| package(row.interface) == package_of_interface)
            || package_of_interface == Some(("runbook:plugin".to_owned(), "1.0.0".to_owned())))
}

fn unknown_import(import: Import) -> VerifyProblem {
    if import.interface.starts_with("wasi:") {
        return VerifyProblem::Wasi { import };
    }
    let same_name = |known: &&str| known.split('@').next() == import.interface.split('@').next();
    match FUNCTIONS.iter().map(|row| row.interface).find(same_name) {
        Some(known) if known == import.interface => VerifyProblem::UnknownFunction { import },
        Some(known) => VerifyProblem::OtherVersion { import, known },
        None => VerifyProblem::Unknown { import },
    }
}

/// The interface through which operations of a kind are called.
pub(crate) fn interface_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Probe => "runbook:plugin/probe@1.0.0",
        Kind::SmokeTest => "runbook:plugin/smoke-test@1.0.0",
        Kind::Step => "runbook:plugin/step@1.0.0",
    }
}

fn missing_exports(inspected: &InspectedComponent) -> impl Iterator<Item = VerifyProblem> {
    let kinds = [Kind::Probe, Kind::SmokeTest, Kind::Step];
    kinds.into_iter().filter_map(|kind| {
        let interface = interface_of(kind);
        let is_needed =
            inspected.manifest.operations.values().any(|operation| operation.kind == kind);
        (is_needed && !inspected.exports.iter().any(|export| export == interface))
            .then_some(VerifyProblem::NotExported { kind, interface })
    })
}
