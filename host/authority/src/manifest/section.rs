//! Reads the manifest from the custom section of a component, and writes it. Anybody can write
//! anything into a component, so every part of the section is checked.

use super::{FORMAT, Manifest, is_kebab_case};
use crate::capability::Verb;

impl Manifest {
    /// Reads the JSON of a component's [`SECTION`](super::SECTION).
    ///
    /// # Errors
    /// [`ManifestError`] if the section is not the JSON of a manifest, has another format, holds a
    /// text that cannot be shown as it is, or contradicts itself.
    pub fn from_section(json: &[u8]) -> Result<Self, ManifestError> {
        let value: serde_json::Value = serde_json::from_slice(json).map_err(ManifestError::Json)?;
        check_texts(&value, &mut Vec::new())?;
        let manifest: Self = serde_json::from_value(value).map_err(ManifestError::Json)?;
        if manifest.format != FORMAT {
            return Err(ManifestError::Format { found: manifest.format });
        }
        manifest.check_consistency()?;
        Ok(manifest)
    }

    /// The JSON of the component's [`SECTION`](super::SECTION); the same manifest always gives the
    /// same bytes.
    pub fn to_section(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a manifest has string keys only, so it is always JSON")
    }

    /// Repeats the checks of `parse`, because anybody can write a component file.
    fn check_consistency(&self) -> Result<(), ManifestError> {
        let names = self
            .slots
            .keys()
            .map(|name| ("slot", name))
            .chain(self.operations.keys().map(|name| ("operation", name)));
        for (what, name) in std::iter::once(("plugin", &self.name)).chain(names) {
            if !is_kebab_case(name) {
                return Err(ManifestError::Name { what, name: name.clone() });
            }
        }
        for (slot_name, slot) in &self.slots {
            if let Some(verb) =
                slot.verbs.iter().find(|verb| verb.row().capability != slot.capability)
            {
                return Err(ManifestError::ForeignVerb { slot: slot_name.clone(), verb: *verb });
            }
        }
        for (operation_name, operation) in &self.operations {
            for (slot_name, verbs) in &operation.slots {
                let declared = self.slots.get(slot_name);
                let undeclared = verbs
                    .iter()
                    .find(|verb| !declared.is_some_and(|slot| slot.verbs.contains(verb)));
                if declared.is_none() || undeclared.is_some() {
                    return Err(ManifestError::UndeclaredUse {
                        operation: operation_name.clone(),
                        slot: slot_name.clone(),
                    });
                }
            }
            if let Some(problem) = operation.problem() {
                return Err(ManifestError::Operation {
                    operation: operation_name.clone(),
                    problem,
                });
            }
            operation.check_conditions().map_err(|problem| ManifestError::Condition {
                operation: operation_name.clone(),
                problem,
            })?;
        }
        Ok(())
    }
}

/// Why a component's manifest section cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The section is not the JSON of a manifest.
    #[error("the manifest section is not a manifest: {0}")]
    Json(#[source] serde_json::Error),
    /// The format is not known to this host.
    #[error("manifest format {found} is not known; this host reads format {FORMAT}")]
    Format {
        /// The format that the manifest names.
        found: u32,
    },
    /// A text has a character that a terminal or a report cannot show as it is.
    #[error("the manifest has {} in {place}, which is not seen or begins a line of its own", runbook_text::describe(*character))]
    Text {
        /// The path of keys to the text.
        place: String,
        /// The first character that is not shown.
        character: char,
    },
    /// A name is not in kebab case.
    #[error("{what} `{name}` of the manifest is not kebab case: letters, digits and single dashes")]
    Name {
        /// The kind of thing that has the name: `plugin`, `slot` or `operation`.
        what: &'static str,
        /// The name as it is written.
        name: String,
    },
    /// A slot lists a verb of another capability.
    #[error("slot `{slot}` declares `{}`, which is not a verb of its capability", verb.full_name())]
    ForeignVerb {
        /// The name of the slot.
        slot: String,
        /// The verb that belongs to another capability.
        verb: Verb,
    },
    /// An operation contradicts itself. `runbook plugin build` would not write it.
    #[error("operation `{operation}` of the manifest {problem}")]
    Operation {
        /// The name of the operation.
        operation: String,
        /// The problem of the operation.
        problem: &'static str,
    },
    /// A condition of an operation does not fit its slots or its input.
    #[error("operation `{operation}` of the manifest: {problem}")]
    Condition {
        /// The operation.
        operation: String,
        /// The condition and its problem.
        problem: String,
    },
    /// An operation uses more than its plugin declares.
    #[error("operation `{operation}` uses more of slot `{slot}` than the manifest declares")]
    UndeclaredUse {
        /// The name of the operation.
        operation: String,
        /// The name of the slot.
        slot: String,
    },
}

/// Refuses texts that cannot be shown as they are. Only texts of schemas may have several lines.
fn check_texts(value: &serde_json::Value, path: &mut Vec<String>) -> Result<(), ManifestError> {
    use serde_json::Value as Json;
    let check = |text: &str, path: &[String]| {
        let in_schema = path.len() > 3
            && path[0] == "operations"
            && matches!(path[2].as_str(), "input" | "output");
        let hidden = if in_schema {
            runbook_text::first_hidden(text)
        } else {
            runbook_text::first_not_in_line(text)
        };
        hidden.map_or(Ok(()), |hidden| {
            let keys = path
                .iter()
                .map(|key| runbook_text::shortened(&runbook_text::line(key), 100).into_owned());
            let place = format!("`{}`", keys.collect::<Vec<_>>().join("."));
            Err(ManifestError::Text { place, character: hidden.character })
        })
    };
    match value {
        Json::String(text) => check(text, path),
        Json::Array(items) => items.iter().try_for_each(|item| check_texts(item, path)),
        Json::Object(entries) => entries.iter().try_for_each(|(key, value)| {
            path.push(key.clone());
            check(key, path)?;
            check_texts(value, path)?;
            path.pop();
            Ok(())
        }),
        Json::Null | Json::Bool(_) | Json::Number(_) => Ok(()),
    }
}
