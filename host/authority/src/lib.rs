//! What a plugin may do: what its manifest declares, what the targets of a runbook grant, and the
//! gate, which decides every call of a host function.
//!
//! This crate is pure: no I/O, no async, no wasm. The same [`gate::decide`] answers the runtime,
//! the audit and the tests, so what a report says is what the runtime does. The decisions behind it
//! are in `docs/adr`, the threats and tests in `docs/security.md`.
#![deny(missing_docs)]
#![warn(clippy::missing_errors_doc)]

pub mod access_report;
pub mod boundary;
pub mod capability;
pub mod diff;
pub mod digest;
pub mod gate;
pub mod grant;
pub mod lockfile;
pub mod manifest;
pub mod pattern;
pub mod protected_paths;
pub mod schema;
pub mod scope;
pub mod snapshot;
pub mod targets;
pub mod toml_entries;
pub mod trust;

pub use boundary::Boundary;
pub use capability::{Capability, FUNCTIONS, Risk, VERBS, Verb, VerbEffect};
pub use digest::Digest;
pub use gate::{Denial, GateDecision, GateRequest, Mode};
pub use grant::{Binding, EffectiveGrants, Grant, Refusal};
pub use manifest::{Kind, Manifest};
pub use scope::{AccessScope, Dimension};
pub use snapshot::Snapshot;
pub use targets::{Target, TargetKind, Targets, TextLanguage, template_diagnostic, template_in};

/// Whether a glob pattern matches the whole text. `*` stands for any run of characters.
pub fn pattern_matches(pattern: &str, text: &str) -> bool {
    pattern::glob(pattern, text)
}
