//! JSON Schemas (draft 07) of `plugin.toml`, `boundary.toml` and trust files. They are made from
//! the same tables that the parsers use, so that an editor knows every key and value.

use crate::capability::Capability;
use crate::manifest::Kind;
use crate::pattern::AddressClass;
use crate::scope::{Dimension, DimensionRow, Shape};
use serde_json::{Map, Value as Json, json};

const DRAFT: &str = "http://json-schema.org/draft-07/schema#";

const KEBAB_CASE: &str = "^[a-z][a-z0-9]*(-[a-z0-9]+)*$";

/// The JSON Schema of `plugin.toml`.
pub fn plugin() -> Json {
    let slots: Vec<Json> = Capability::all().map(slot_schema).collect();
    let kinds: Vec<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    let mut all_verbs: Vec<_> =
        Capability::all().flat_map(Capability::verbs).map(|verb| verb.row().name).collect();
    all_verbs.sort_unstable();
    all_verbs.dedup();
    let slots_schema = json!({
        "description": "The slots that it uses, each with the verbs that it uses on it",
        "type": "object",
        "additionalProperties": { "type": "array", "minItems": 1, "items": { "enum": all_verbs } },
    });
    let operation = json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["name", "kind", "summary"],
        "properties": {
            "name": { "description": "Its name, which follows the colon in `uses`",
            "type": "string" },
            "kind": { "description": "A probe changes nothing, a smoke test cleans up after \
                                      itself, a step acts", "enum": kinds },
            "summary": { "description": "One line: what it does, in the third person",
            "type": "string" },
            "slots": slots_schema,
            "optional": { "description": "Slots that need not be bound", "type": "array",
            "items": { "type": "string" } },
            "needed_if": {
                "description": "Verbs that only some inputs need: they are granted to those alone, \
                                and every other verb to every input",
                "type": "array",
                "items": condition_schema(&all_verbs),
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
        "description": "What a plugin is, offers and needs. Put \
                        `#:schema schema/plugin.v1.json` on its first line. `runbook plugin build` checks more.",
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
                    "name": { "description": "Its name, which precedes the colon in `uses`", "type": "string",
                    "pattern": KEBAB_CASE },
                    "version": { "description": "Semantic version", "type": "string" },
                    "description": { "description": "One line", "type": "string" },
                },
            },
            "slots": {
                "description": "The slots: a runbook binds each of them to one target",
                "type": "object",
                "propertyNames": { "pattern": KEBAB_CASE },
                "additionalProperties": { "oneOf": slots },
            },
            "operation": { "description": "What it offers", "type": "array", "items": operation },
        },
    })
}

fn condition_schema(verb_names: &[&str]) -> Json {
    let path = "^[A-Za-z0-9_-]+(\\[\\])*(\\.[A-Za-z0-9_-]+(\\[\\])*)*$";
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["slot", "verb", "any_of"],
        "properties": {
            "slot": { "description": "A slot of `slots`", "type": "string" },
            "verb": { "description": "A verb that `slots` has for it", "enum": verb_names },
            "any_of": {
                "description": "Paths to values of the input, such as `cases[].method`; the \
                                condition holds if one value passes",
                "type": "array",
                "minItems": 1,
                "items": { "type": "string", "pattern": path },
            },
            "is": {
                "description": "The value that passes; without it, any present value passes",
                "type": ["string", "integer", "boolean"],
            },
            "or_absent": { "description": "An absent value passes, too",
            "type": "boolean" },
        },
        "dependencies": { "or_absent": ["is"] },
    })
}

fn slot_schema(capability: Capability) -> Json {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["capability", "verbs", "reason"],
        "properties": {
            "capability": { "description": "The capability, which decides the kind of target",
            "const": capability.name() },
            "verbs": { "description": "Every verb that some operation uses on it", "type": "array",
            "minItems": 1, "items": { "enum": verb_names(capability) } },
            "reason": { "description": "Why the plugin needs it, for reviewers",
            "type": "string" },
        },
    })
}

/// The JSON Schema of `boundary.toml`.
pub fn boundary() -> Json {
    let rules: Vec<Json> = Capability::all().map(rule_schema).collect();
    let protections: Vec<_> = crate::boundary::PROTECTIONS.iter().map(|(name, _)| *name).collect();
    json!({
        "$schema": DRAFT,
        "title": "boundary.toml, format 1",
        "description": "The outer limit of every grant to a runbook on this host. Put \
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
                "description": "A grant is within the boundary if some rule covers each call that \
                                it allows; a rule does not limit what it does not mention",
                "type": "array",
                "items": { "oneOf": rules },
            },
        },
    })
}

fn rule_schema(capability: Capability) -> Json {
    let mut properties = Map::new();
    properties.insert(
        "capability".to_owned(),
        json!({ "description": "The capability that the rule covers", "const": capability.name() }),
    );
    properties.insert(
        "reason".to_owned(),
        json!({ "description": "Why it is allowed, in the words of the security team",
            "type": "string" }),
    );
    for row in Dimension::of(capability) {
        let mut value = values_schema(capability, row);
        value["description"] = Json::from(row.meaning);
        properties.insert(row.key.to_owned(), value);
    }
    json!({ "type": "object", "additionalProperties": false, "required": ["capability", "verbs"],
        "properties": properties })
}

fn values_schema(capability: Capability, row: &DimensionRow) -> Json {
    if let Some(known) = row.dimension.fixed_values(capability) {
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
        Shape::Duration | Shape::Age => {
            json!({ "type": "string", "pattern": "^([0-9.]+ *(ms|s|m|h|d|w) *)+$" })
        }
    }
}

/// The JSON Schema of a trust file.
pub fn trust() -> Json {
    let key = json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["name", "public", "plugins"],
        "properties": {
            "name": { "description": "The name of the key's owner", "type": "string" },
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

fn verb_names(capability: Capability) -> Vec<&'static str> {
    capability.verbs().map(|verb| verb.row().name).collect()
}
