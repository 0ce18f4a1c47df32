//! Compares an input with the schema of its operation. The messages name types as
//! `runbook plugin inspect` does.

use crate::schema_words::{self, MAX_DEPTH};
use runbook_document::{nearest, suggestion};
use runbook_engine::{Misfit, MisfitKind};
use runbook_runtime::{Mismatch, VerifiedComponent};
use serde_json::Value as Json;

/// Where an input does not fit the schema of an operation. A key that the schema does not list is a
/// misfit, unless the schema allows other keys there.
pub fn misfits(plugin: &VerifiedComponent, operation: &str, input: &Json) -> Vec<Misfit> {
    let Some(declared) = plugin.manifest().operations.get(operation) else { return Vec::new() };
    misfits_by_schema(&declared.input, input, &plugin.mismatches(operation, input))
}

/// The unknown keys of an input, and the mismatches of the validator that are not about them.
fn misfits_by_schema(schema: &Json, input: &Json, mismatches: &[Mismatch]) -> Vec<Misfit> {
    let mut unknown = Vec::new();
    collect_unknown(schema, schema, input, "", &mut unknown);
    let mut found: Vec<Misfit> = unknown.iter().map(UnknownKey::misfit).collect();
    for mismatch in mismatches {
        let place = mismatch.pointer();
        let unknown_there = || unknown.iter().filter(|key| key.pointer == place);
        if is_about_keys(mismatch.keyword()) && unknown_there().next().is_some() {
            continue;
        }
        match mismatch.missing() {
            // The key is mistyped, which is reported already.
            Some(missing) if unknown_there().any(|key| nearest(&key.key, [missing]).is_some()) => {}
            Some(missing) => add_missing(schema, place, missing, &mut found),
            None => found.push(misfit_of(schema, mismatch)),
        }
    }
    found
}

/// Whether a keyword of JSON Schema forbids keys that the schema does not list.
fn is_about_keys(keyword: &str) -> bool {
    matches!(keyword, "additionalProperties" | "unevaluatedProperties")
}

/// The kind of misfit that a mismatch of this JSON Schema keyword is.
fn kind_of(keyword: &str) -> MisfitKind {
    match keyword {
        "type" | "required" | "additionalProperties" | "unevaluatedProperties" | "falseSchema" => {
            MisfitKind::Structure
        }
        "anyOf" | "oneOf" | "not" | "if" | "contains" => MisfitKind::Choice,
        _ => MisfitKind::Value,
    }
}

/// The misfit for a mismatch of the validator. If the type is wrong, the reason names the expected
/// type; otherwise it is the message of the validator.
fn misfit_of(schema: &Json, mismatch: &Mismatch) -> Misfit {
    let expected_type =
        schema_words::kind(schema_words::schema_at(schema, mismatch.pointer()), schema, MAX_DEPTH);
    let is_of_type = matches!(mismatch.keyword(), "type" | "anyOf" | "oneOf" | "enum" | "const")
        || (mismatch.keyword() == "pattern" && expected_type == schema_words::DURATION);
    let reason = if is_of_type && expected_type != schema_words::ANYTHING {
        let example =
            if expected_type.contains(schema_words::DURATION) { ", such as \"5m\"" } else { "" };
        format!("it must be: {expected_type}{example}")
    } else {
        mismatch.reason().to_owned()
    };
    let pointer = mismatch.pointer().to_owned();
    Misfit { pointer, key: None, reason, help: None, kind: kind_of(mismatch.keyword()) }
}

/// Adds a missing key. All keys that are missing in one table are one misfit.
fn add_missing(schema: &Json, place: &str, missing: &str, found: &mut Vec<Misfit>) {
    let expected_type = schema_words::kind(
        schema_words::schema_at(schema, &child_pointer(place, missing)),
        schema,
        MAX_DEPTH,
    );
    let needed = format!("`{missing}` ({expected_type})");
    match found
        .iter_mut()
        .find(|misfit| misfit.pointer == place && misfit.reason.starts_with(MISSING))
    {
        Some(misfit) => misfit.reason = format!("{}, {needed}", misfit.reason),
        None => found.push(Misfit {
            pointer: place.to_owned(),
            key: None,
            reason: format!("{MISSING}{needed}"),
            help: None,
            kind: MisfitKind::Structure,
        }),
    }
}

const MISSING: &str = "it needs ";

/// A key that the schema does not list.
struct UnknownKey {
    /// The JSON pointer of the table in which it stands.
    pointer: String,
    key: String,
    help: String,
}

impl UnknownKey {
    fn misfit(&self) -> Misfit {
        let reason = format!("there is no key `{}`", self.key);
        let (pointer, key, help) =
            (self.pointer.clone(), Some(self.key.clone()), Some(self.help.clone()));
        Misfit { pointer, key, reason, help, kind: MisfitKind::Structure }
    }
}

fn collect_unknown(
    schema: &Json,
    root: &Json,
    value: &Json,
    pointer: &str,
    found: &mut Vec<UnknownKey>,
) {
    let resolved = schema_words::non_null(schema, root);
    match value {
        Json::Object(entries) => {
            let properties = resolved["properties"].as_object();
            for (key, value) in entries {
                if let Some(property) = properties.and_then(|properties| properties.get(key)) {
                    collect_unknown(property, root, value, &child_pointer(pointer, key), found);
                } else if resolved["additionalProperties"].is_object() {
                    collect_unknown(
                        &resolved["additionalProperties"],
                        root,
                        value,
                        &child_pointer(pointer, key),
                        found,
                    );
                } else if let Some(properties) = properties.filter(|_| lists_all(resolved)) {
                    let known: Vec<&str> = properties.keys().map(String::as_str).collect();
                    let help = if known.is_empty() {
                        "it takes no key".to_owned()
                    } else {
                        suggestion(key, &known)
                    };
                    found.push(UnknownKey { pointer: pointer.to_owned(), key: key.clone(), help });
                }
            }
        }
        Json::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                collect_unknown(
                    &resolved["items"],
                    root,
                    item,
                    &format!("{pointer}/{number}"),
                    found,
                );
            }
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

/// Whether a schema allows only the properties that it lists.
fn lists_all(schema: &Json) -> bool {
    let extending = ["additionalProperties", "unevaluatedProperties", "patternProperties"];
    let combining = ["anyOf", "oneOf", "allOf", "if", "$ref"];
    extending.iter().all(|word| matches!(schema[*word], Json::Null | Json::Bool(false)))
        && combining.iter().all(|word| schema[*word].is_null())
}

/// The JSON pointer of a key in the table at a pointer.
fn child_pointer(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
}
