//! JSON Schemas (draft 07) of the files of authority, made from the tables that their readers use,
//! so that an editor knows every word that the program knows.

use crate::capability::Capability;
use crate::manifest::Kind;
use crate::pattern::AddressClass;
use crate::scope::{Dimension, DimensionRow, Shape};
use serde_json::{Map, Value as Json, json};

const DRAFT: &str = "http://json-schema.org/draft-07/schema#";

const KEBAB_CASE: &str = "^[a-z][a-z0-9]*(-[a-z0-9]+)*$";

/// The JSON Schema of `plugin.toml`.
pub fn plugin() -> Json {
    let slots: Vec<Json> = Capability::all().map(slot).collect();
    let kinds: Vec<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    let mut all_verbs: Vec<_> =
        Capability::all().flat_map(Capability::verbs).map(|verb| verb.row().name).collect();
    all_verbs.sort_unstable();
    all_verbs.dedup();
    let used = json!({
        "description": "What it does with which slot",
        "type": "object",
        "additionalProperties": { "type": "array", "minItems": 1, "items": { "enum": all_verbs } },
    });
    let operation = json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["name", "kind", "summary"],
        "properties": {
            "name": { "description": "After the colon in `uses`", "type": "string" },
            "kind": { "description": "A probe changes nothing, a smoke test cleans up after \
                                      itself, a step acts", "enum": kinds },
            "summary": { "description": "One line: what it does, in the third person",
            "type": "string" },
            "slots": used,
            "optional": { "description": "Slots that need not be bound", "type": "array",
            "items": { "type": "string" } },
            "needed_if": {
                "description": "Verbs that only some inputs need: they are granted to those alone, \
                                and every other verb to every input",
                "type": "array",
                "items": condition(&all_verbs),
            },
            "idempotent": { "description": "Running it again after an unknown outcome does no harm",
            "type": "boolean" },
            "undo": { "description": "The plugin can undo it: it has `observe` and `undo`",
            "type": "boolean" },
        },
    });
    json!({
        "$schema": DRAFT,
        "title": "plugin.toml, format 1",
        "description": "What a plugin is and needs. Put `#:schema schema/plugin.v1.json` on its \
                        first line. `runbook plugin build` checks more.",
        "type": "object",
        "additionalProperties": false,
        "required": ["format", "plugin"],
        "properties": {
            "format": { "description": "The format of this file", "const": 1 },
            "plugin": {
                "description": "What it is",
                "type": "object",
                "additionalProperties": false,
                "required": ["name", "version", "description"],
                "properties": {
                    "name": { "description": "Before the colon in `uses`", "type": "string",
                    "pattern": KEBAB_CASE },
                    "version": { "description": "Semantic version", "type": "string" },
                    "description": { "description": "One line", "type": "string" },
                },
            },
            "slots": {
                "description": "The named holes that a runbook binds to one concrete thing each",
                "type": "object",
                "propertyNames": { "pattern": KEBAB_CASE },
                "additionalProperties": { "oneOf": slots },
            },
            "operation": { "description": "What it offers", "type": "array", "items": operation },
        },
    })
}

fn condition(verbs: &[&str]) -> Json {
    let path = "^[A-Za-z0-9_-]+(\\[\\])*(\\.[A-Za-z0-9_-]+(\\[\\])*)*$";
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["slot", "verb", "any_of"],
        "properties": {
            "slot": { "description": "A slot of `slots`", "type": "string" },
            "verb": { "description": "A verb that `slots` has for it", "enum": verbs },
            "any_of": {
                "description": "Places of the input, such as `cases[].method`; one that passes is \
                                enough",
                "type": "array",
                "minItems": 1,
                "items": { "type": "string", "pattern": path },
            },
            "is": {
                "description": "What the value there must be; without it, a value must be there",
                "type": ["string", "integer", "boolean"],
            },
            "or_absent": { "description": "It passes also where nothing is written",
            "type": "boolean" },
        },
        "dependencies": { "or_absent": ["is"] },
    })
}

fn slot(capability: Capability) -> Json {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["capability", "verbs", "reason"],
        "properties": {
            "capability": { "description": "Which kind of thing", "const": capability.name() },
            "verbs": { "description": "The most that any operation does with it", "type": "array",
            "minItems": 1, "items": { "enum": verbs(capability) } },
            "reason": { "description": "Why the plugin needs it, for who reviews it",
            "type": "string" },
        },
    })
}

/// The JSON Schema of `boundary.toml`.
pub fn boundary() -> Json {
    let rules: Vec<Json> = Capability::all().map(rule).collect();
    let protections: Vec<_> = crate::boundary::PROTECTIONS.iter().map(|(name, _)| *name).collect();
    json!({
        "$schema": DRAFT,
        "title": "boundary.toml, format 1",
        "description": "The outermost limit of what any runbook on this host may be granted. Put \
                        `#:schema schema/boundary.v1.json` on its first line.",
        "type": "object",
        "additionalProperties": false,
        "required": ["format"],
        "properties": {
            "format": { "description": "The format of this file", "const": 1 },
            "require": {
                "description": "What the kernel of a host must be able to keep programs from, or \
                                no program is run there",
                "type": "array",
                "items": { "enum": protections },
            },
            "allow": {
                "description": "A grant is inside if every call that it lets through is covered by \
                                some rule; what a rule does not mention it does not limit",
                "type": "array",
                "items": { "oneOf": rules },
            },
        },
    })
}

fn rule(capability: Capability) -> Json {
    let mut properties = Map::new();
    properties.insert(
        "capability".to_owned(),
        json!({ "description": "What it is about", "const": capability.name() }),
    );
    properties.insert(
        "reason".to_owned(),
        json!({ "description": "Why, in security's words", "type": "string" }),
    );
    for row in Dimension::of(capability) {
        let mut value = values(capability, row);
        value["description"] = Json::from(row.meaning);
        properties.insert(row.key.to_owned(), value);
    }
    json!({ "type": "object", "additionalProperties": false, "required": ["capability", "verbs"],
        "properties": properties })
}

fn values(capability: Capability, row: &DimensionRow) -> Json {
    if let Some(known) = row.dimension.words(capability) {
        let known: Vec<_> = known.into_iter().chain(["*"]).collect();
        return json!({ "type": "array", "items": { "enum": known } });
    }
    match row.shape {
        Shape::Glob if row.dimension == Dimension::Ports => {
            json!({ "type": "array", "items": { "type": ["string", "integer"] } })
        }
        Shape::Glob => json!({ "type": "array", "items": { "type": "string" } }),
        Shape::Path | Shape::Directory => {
            json!({ "type": "array", "items": { "type": "string", "pattern": "^(/|\\*$)" } })
        }
        Shape::Address => {
            json!({ "type": "array", "items": { "anyOf": [{ "enum": AddressClass::names() },
                { "type": "string", "pattern": "^[0-9a-fA-F:.]+(/[0-9]{1,3})?$" }] } })
        }
        Shape::Arguments => {
            json!({ "type": "array", "items": { "type": "array",
                "items": { "type": ["string", "object"] } } })
        }
        Shape::Flag => json!({ "type": "boolean" }),
        Shape::Count => json!({ "type": "integer", "minimum": 0 }),
        Shape::Size => json!({ "type": "string", "pattern": "^[0-9.]+ *(B|[kKMGT]i?B)$" }),
        Shape::Duration => json!({ "type": "string", "pattern": "^([0-9.]+ *(ms|s|m|h|d|w) *)+$" }),
    }
}

/// The JSON Schema of a trust file.
pub fn trust() -> Json {
    let key = json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["name", "public", "plugins"],
        "properties": {
            "name": { "description": "Whose it is", "type": "string" },
            "public": { "description": "The key, as `runbook plugin keygen` prints it",
            "type": "string", "pattern": "^ed25519:[0-9a-f]{64}$" },
            "plugins": { "description": "The plugins that it may sign; `*` is any run of \
                                         characters", "type": "array", "items": { "type": "string" } },
            "expires": { "description": "The last day on which it is accepted, as 2027-01-31" },
        },
    });
    json!({
        "$schema": DRAFT,
        "title": "trust.toml, format 1",
        "description": "Whose signatures are accepted for which plugins. Put \
                        `#:schema schema/trust.v1.json` on its first line.",
        "type": "object",
        "additionalProperties": false,
        "required": ["format"],
        "properties": {
            "format": { "description": "The format of this file", "const": 1 },
            "key": { "description": "An accepted key", "type": "array", "items": key },
        },
    })
}

fn verbs(capability: Capability) -> Vec<&'static str> {
    capability.verbs().map(|verb| verb.row().name).collect()
}
