//! What of an input does not fit the schema of its operation, in the words of
//! `runbook plugin inspect`.

use crate::schema_words::{self, DEEPEST};
use runbook_document::{nearest, suggestion};
use runbook_engine::{Misfit, MisfitKind};
use runbook_runtime::{Mismatch, Verified};
use serde_json::Value as Json;

/// What of an input does not fit an operation. A key that its schema does not list is a mistake,
/// unless the schema says that others may stand there.
pub fn misfits(plugin: &Verified, operation: &str, input: &Json) -> Vec<Misfit> {
    let Some(declared) = plugin.manifest().operations.get(operation) else { return Vec::new() };
    all(&declared.input, input, &plugin.mismatches(operation, input))
}

fn all(schema: &Json, input: &Json, mismatches: &[Mismatch]) -> Vec<Misfit> {
    let mut unknown = Vec::new();
    collect_unknown(schema, schema, input, "", &mut unknown);
    let mut found: Vec<Misfit> = unknown.iter().map(UnknownKey::misfit).collect();
    for mismatch in mismatches {
        let place = mismatch.place();
        let there = || unknown.iter().filter(|key| key.pointer == place);
        if is_about_keys(mismatch.keyword()) && there().next().is_some() {
            continue;
        }
        match mismatch.missing() {
            // Its name is mistyped, as is said already.
            Some(missing) if there().any(|key| nearest(&key.key, [missing]).is_some()) => {}
            Some(missing) => add_missing(schema, place, missing, &mut found),
            None => found.push(worded(schema, mismatch)),
        }
    }
    found
}

fn is_about_keys(keyword: &str) -> bool {
    matches!(keyword, "additionalProperties" | "unevaluatedProperties")
}

fn kind_of(keyword: &str) -> MisfitKind {
    match keyword {
        "type" | "required" | "additionalProperties" | "unevaluatedProperties" | "falseSchema" => {
            MisfitKind::Structure
        }
        "anyOf" | "oneOf" | "not" | "if" | "contains" => MisfitKind::Choice,
        _ => MisfitKind::Value,
    }
}

/// What the type there is in words, if it is what the value breaks; otherwise what the validator
/// says of the value.
fn worded(schema: &Json, mismatch: &Mismatch) -> Misfit {
    let type_there =
        schema_words::kind(schema_words::at(schema, mismatch.place()), schema, DEEPEST);
    let is_of_type = matches!(mismatch.keyword(), "type" | "anyOf" | "oneOf" | "enum" | "const")
        || (mismatch.keyword() == "pattern" && type_there == schema_words::DURATION);
    let reason = if is_of_type && type_there != schema_words::ANYTHING {
        let example =
            if type_there.contains(schema_words::DURATION) { ", such as \"5m\"" } else { "" };
        format!("it must be: {type_there}{example}")
    } else {
        mismatch.reason().to_owned()
    };
    let pointer = mismatch.place().to_owned();
    Misfit { pointer, key: None, reason, help: None, kind: kind_of(mismatch.keyword()) }
}

/// Keys that are missing at one place are one misfit.
fn add_missing(schema: &Json, place: &str, missing: &str, found: &mut Vec<Misfit>) {
    let type_there =
        schema_words::kind(schema_words::at(schema, &below(place, missing)), schema, DEEPEST);
    let needed = format!("`{missing}` ({type_there})");
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

/// A key that nobody reads.
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
    let own = schema_words::present(schema, root);
    match value {
        Json::Object(entries) => {
            let properties = own["properties"].as_object();
            for (key, value) in entries {
                if let Some(property) = properties.and_then(|properties| properties.get(key)) {
                    collect_unknown(property, root, value, &below(pointer, key), found);
                } else if own["additionalProperties"].is_object() {
                    collect_unknown(
                        &own["additionalProperties"],
                        root,
                        value,
                        &below(pointer, key),
                        found,
                    );
                } else if let Some(properties) = properties.filter(|_| lists_all(own)) {
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
                collect_unknown(&own["items"], root, item, &format!("{pointer}/{number}"), found);
            }
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

/// Whether a table has the properties that its schema lists and no others.
fn lists_all(schema: &Json) -> bool {
    let open = ["additionalProperties", "unevaluatedProperties", "patternProperties"];
    let elsewhere = ["anyOf", "oneOf", "allOf", "if", "$ref"];
    open.iter().all(|word| matches!(schema[*word], Json::Null | Json::Bool(false)))
        && elsewhere.iter().all(|word| schema[*word].is_null())
}

fn below(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
}
