//! The manifest of a plugin: what the plugin is, what it offers, and which slots and verbs it
//! declares.
//!
//! An author writes `plugin.toml`; `runbook plugin build` embeds it, with the schemas of the
//! operations, as the custom section [`SECTION`] of the component, so that one digest covers code
//! and declaration.

mod condition;
mod condition_schema;
mod parse;
mod section;

use crate::capability::{Capability, Verb};
pub use condition::{
    InputPath, InputPathError, KnownInput, Need, Scalar, ValueTest, VerbCondition,
};
pub use runbook_contract::Kind;
pub use section::ManifestError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The component's custom section that holds the manifest as JSON.
pub const SECTION: &str = "runbook:manifest";

/// The version of the manifest format that this host reads.
pub const FORMAT: u32 = 1;

/// What a plugin is, what it offers, and what it may ask for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of the manifest's format, always [`FORMAT`].
    pub format: u32,
    /// Kebab case; the part before the colon in `uses`.
    pub name: String,
    /// The version of the plugin, as semver.org defines it.
    pub version: String,
    /// One line: what the plugin is for.
    pub description: String,
    /// The slots that a runbook binds.
    pub slots: BTreeMap<String, Slot>,
    /// What the plugin offers, by name.
    pub operations: BTreeMap<String, Operation>,
}

/// A slot: a name that a runbook binds to one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slot {
    /// The kind of thing that can be bound to it.
    pub capability: Capability,
    /// Every verb that some operation of the plugin uses on it.
    pub verbs: Vec<Verb>,
    /// Why the plugin needs it, in the author's words.
    pub reason: String,
}

/// An operation: a probe, a smoke test or a step that a plugin offers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// Whether it is a probe, a smoke test or a step.
    pub kind: Kind,
    /// One line: what it does, in the third person.
    pub summary: String,
    /// The slots that it uses, and what it does with each.
    pub slots: BTreeMap<String, Vec<Verb>>,
    /// Slots that need not be bound.
    pub optional: Vec<String>,
    /// Verbs that only some inputs need. Every other verb of `slots` is needed by every input.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needed_if: Vec<VerbCondition>,
    /// Whether it can run again after an unknown outcome without harm. A probe always can.
    pub idempotent: bool,
    /// Whether the plugin can undo it.
    pub undo: bool,
    /// JSON Schema of the input; `null` until the plugin is built.
    pub input: serde_json::Value,
    /// JSON Schema of the output; `null` until the plugin is built.
    pub output: serde_json::Value,
}

impl Operation {
    /// Why an operation of its kind cannot be as it is; `None` if it is consistent. The text
    /// continues a sentence that begins with the name of the operation.
    fn problem(&self) -> Option<&'static str> {
        let has = |slot: &String| self.slots.contains_key(slot);
        match self.kind {
            Kind::Probe if self.writes() => {
                Some("is a probe, and uses verbs that change something")
            }
            Kind::Probe if !self.idempotent => Some("is a probe that is not idempotent; each is"),
            Kind::Probe | Kind::SmokeTest if self.undo => {
                Some("has an undo, which only a step has")
            }
            Kind::Probe | Kind::SmokeTest | Kind::Step => (!self.optional.iter().all(has))
                .then_some("has an optional slot that is not among its slots"),
        }
    }

    /// The conditions under which it needs a verb on a slot. There is none if it always needs it.
    pub fn conditions(&self, slot: &str, verb: Verb) -> impl Iterator<Item = &VerbCondition> {
        self.needed_if
            .iter()
            .filter(move |condition| condition.slot == slot && condition.verb == verb)
    }

    /// Checks `needed_if`: each condition must name a slot and a verb that the operation uses, and
    /// keys and values that the schema of its input allows.
    ///
    /// # Errors
    /// The number of the first wrong condition, from 1, and what is wrong with it.
    pub fn check_conditions(&self) -> Result<(), String> {
        for (index, condition) in self.needed_if.iter().enumerate() {
            let VerbCondition { slot, verb, any_of, .. } = condition;
            let is_used = self.slots.get(slot).is_some_and(|verbs| verbs.contains(verb));
            let problem = if !is_used {
                Some(format!("the operation does not use `{verb}` on slot `{slot}`"))
            } else if any_of.is_empty() {
                Some("`any_of` names no place of the input".to_owned())
            } else {
                condition_schema::problem(condition, &self.input)
            };
            if let Some(problem) = problem {
                return Err(format!("entry {} of `needed_if`: {problem}", index + 1));
            }
        }
        Ok(())
    }

    /// Whether any verb that it may use changes something.
    pub fn writes(&self) -> bool {
        self.slots
            .values()
            .flatten()
            .any(|verb| verb.effect() == crate::capability::VerbEffect::Change)
    }
}

impl Manifest {
    /// Every verb that the plugin declares, on any slot.
    pub fn declared_verbs(&self) -> impl Iterator<Item = Verb> {
        self.slots.values().flat_map(|slot| slot.verbs.iter().copied())
    }
}

/// Verbs as a list for messages: `` `query`, `execute` ``.
pub(crate) fn verb_list(verbs: &[Verb]) -> String {
    verbs.iter().map(|verb| format!("`{verb}`")).collect::<Vec<_>>().join(", ")
}

/// Lower-case letters, digits and single dashes, starting with a letter.
pub fn is_kebab_case(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && !name.contains("--")
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

#[cfg(test)]
mod tests;
