//! What a plugin may do: manifests (declared), targets and grants (granted), and the one gate that decides every call.
//!
//! This crate is pure: no I/O, no async, no wasm. The same [`gate::decide`] answers the runtime, the audit and the tests, so
//! what a report says is what the runtime does. The decisions behind it are in `docs/adr`, the threats and tests in `docs/security.md`.
#![deny(missing_docs)]

pub mod boundary;
pub mod capability;
pub mod diff;
pub mod digest;
pub mod extent;
pub mod gate;
pub mod grant;
pub mod ledger;
pub mod lockfile;
pub mod manifest;
pub mod pattern;
pub mod schema;
pub mod snapshot;
pub mod target;
pub mod trust;

pub use boundary::Boundary;
pub use capability::{Capability, Effect, FUNCTIONS, Risk, VERBS, Verb};
pub use digest::Digest;
pub use extent::{Dimension, Extent};
pub use gate::{Decision, Denial, Mode, Operation};
pub use grant::{Binding, Effective, Grant, Refusal};
pub use manifest::{Kind, Manifest};
pub use snapshot::Snapshot;
pub use target::{Target, TargetKind, Targets};

/// Glob match of a whole name, `*` being any run of characters.
pub fn pattern_matches(pattern: &str, text: &str) -> bool {
    pattern::glob(pattern, text)
}
