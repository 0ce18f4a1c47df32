//! What is known about an operation before it is called.

use serde::{Deserialize, Serialize};

/// The kind of an operation; each kind is an interface that its component exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Only reads, and may be repeated.
    Probe,
    /// Exercises a service in several cases, and removes what it made.
    SmokeTest,
    /// Changes something; says beforehand what it will do, and may be able to undo it.
    Step,
}

impl Kind {
    /// All kinds, each once.
    pub const ALL: &[Self] = &[Self::Probe, Self::SmokeTest, Self::Step];

    /// The name in manifests and reports, in kebab case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::SmokeTest => "smoke-test",
            Self::Step => "step",
        }
    }

    /// The kind with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }
}

/// What the manifest and the verified component say about the operation of one call site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationFacts {
    /// Whether it is a probe, a smoke test or a step.
    pub kind: Kind,
    /// Whether it can run again after an unknown outcome without a further effect.
    pub idempotent: bool,
    /// Whether the plugin can undo it, so that `undo = "auto"` is possible.
    pub undo: bool,
    /// Whether it uses a verb that changes something.
    pub writes: bool,
    /// The component's digest, `sha256:…`; a resumed run must find the same.
    pub digest: String,
    /// The target of each of its slots, for people: `` `prod` (database orders on
    /// db.internal:5432) ``.
    #[serde(default)]
    pub places: Vec<String>,
}
