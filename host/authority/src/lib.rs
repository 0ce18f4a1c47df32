//! What a plugin may do: manifests (declared), targets and grants (granted), and the one gate that
//! decides every call.
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
pub mod host_places;
pub mod lockfile;
pub mod manifest;
pub mod pattern;
pub mod schema;
pub mod scope;
pub mod snapshot;
pub mod targets;
pub mod trust;
pub mod written;

pub use boundary::Boundary;
pub use capability::{Capability, FUNCTIONS, Risk, VERBS, Verb, VerbEffect};
pub use digest::Digest;
pub use gate::{Denial, GateDecision, Mode, Operation};
pub use grant::{Binding, Effective, Grant, Refusal};
pub use manifest::{Kind, Manifest};
pub use scope::{AccessScope, Dimension};
pub use snapshot::Snapshot;
pub use targets::{Target, TargetKind, Targets, Texts, template_diagnostic, template_in};

/// Glob match of a whole name, `*` being any run of characters.
pub fn pattern_matches(pattern: &str, text: &str) -> bool {
    pattern::glob(pattern, text)
}
