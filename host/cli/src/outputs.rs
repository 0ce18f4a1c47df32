//! What templates read of outputs, compared with the schemas that the plugins declare for them.

use crate::prepare::Site;
use runbook_document::{Diagnostic, suggestion};
use runbook_engine::{OutputRead, StepId};
use serde_json::Value;
use std::collections::BTreeMap;

/// What of an output is read that its plugin declares nowhere: it would be missing when it is needed, perhaps for an undo.
pub fn wrong_reads(reads: &[OutputRead], sites: &BTreeMap<StepId, Site>) -> Vec<Diagnostic> {
    reads.iter().filter_map(|read| wrong_read(read, sites.get(&read.step)?)).collect()
}

fn wrong_read(read: &OutputRead, site: &Site) -> Option<Diagnostic> {
    let schema = &site.plugin.manifest().operations.get(&site.operation)?.output;
    let Reached::Nowhere { at, known } = reach(schema, schema, &read.path, 0) else { return None };
    let key = &read.path[at];
    let place = if at == 0 { "output".to_owned() } else { format!("output.{}", read.path[..at].join(".")) };
    let uses = format!("{}:{}", site.plugin.manifest().name, site.operation);
    let message = format!("the output of `{}` (`{uses}`) has no `{key}` in `{place}`, as its plugin declares it", read.step);
    let diagnostic = Diagnostic::error("E0234", &read.source, read.span.clone(), message).label("never there");
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let help = if known.is_empty() { "it is a plain value there".to_owned() } else { suggestion(key, &known) };
    Some(diagnostic.help(help))
}

/// How far a path leads into a schema.
#[derive(Debug, PartialEq, Eq)]
enum Reached {
    /// It may be there.
    Perhaps,
    /// The key at this place of the path is never there; what is.
    Nowhere { at: usize, known: Vec<String> },
}

/// Follows a path. What a schema leaves open may be there; an object that lists its properties has no others, unless it says so.
fn reach(root: &Value, schema: &Value, path: &[String], at: usize) -> Reached {
    let (Some(key), Some(object)) = (path.get(at), schema.as_object()) else { return Reached::Perhaps };
    if let Some(reference) = object.get("$ref").and_then(Value::as_str) {
        let target = reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        return target.filter(|target| *target != schema).map_or(Reached::Perhaps, |target| reach(root, target, path, at));
    }
    let choices = ["anyOf", "oneOf"].iter().filter_map(|word| object.get(*word)?.as_array()).flatten();
    let mut reached: Vec<Reached> = choices.map(|choice| reach(root, choice, path, at)).collect();
    if let Some(first) = reached.iter().position(|reached| *reached == Reached::Perhaps) {
        return reached.swap_remove(first);
    }
    if object.contains_key("allOf") || object.contains_key("if") {
        return Reached::Perhaps;
    }
    match (object.get("properties").and_then(Value::as_object), key.parse::<usize>()) {
        (Some(properties), _) => match properties.get(key) {
            Some(found) => reach(root, found, path, at + 1),
            None if is_open(object) => Reached::Perhaps,
            None => Reached::Nowhere { at, known: properties.keys().cloned().collect() },
        },
        (None, Ok(_)) if object.contains_key("items") => reach(root, &object["items"], path, at + 1),
        (None, _) if is_plain(object) => Reached::Nowhere { at, known: Vec::new() },
        (None, _) => reached.pop().unwrap_or(Reached::Perhaps),
    }
}

fn is_open(object: &serde_json::Map<String, Value>) -> bool {
    let more = ["additionalProperties", "unevaluatedProperties", "patternProperties"];
    more.iter().any(|word| object.get(*word).is_some_and(|value| *value != Value::Bool(false)))
}

/// Whether it is a value without keys.
fn is_plain(object: &serde_json::Map<String, Value>) -> bool {
    let plain = |name: &Value| matches!(name.as_str(), Some("string" | "number" | "integer" | "boolean" | "null"));
    match object.get("type") {
        Some(Value::Array(names)) => names.iter().all(plain),
        Some(name) => plain(name),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_schema_leaves_open_may_be_there_and_what_it_does_not_list_is_not() {
        let schema = json!({
            "type": "object",
            "properties": {
                "rows": { "type": "array", "items": { "$ref": "#/$defs/row" } },
                "any": true,
                "open": { "type": "object", "properties": { "a": {} }, "additionalProperties": { "type": "string" } },
                "map": { "type": "object" },
                "maybe": { "anyOf": [{ "$ref": "#/$defs/row" }, { "type": "null" }] },
                "text": { "type": ["string", "null"] }
            },
            "$defs": { "row": { "type": "object", "properties": { "id": { "type": "integer" } } } }
        });
        let at = |path: &str| {
            let path: Vec<String> = path.split('.').map(str::to_owned).collect();
            match reach(&schema, &schema, &path, 0) {
                Reached::Perhaps => None,
                Reached::Nowhere { at, .. } => Some(at),
            }
        };
        for path in ["rows", "rows.0", "rows.7.id", "any.x.y", "open.b", "map.x.y", "maybe.id", "text", "rows.first"] {
            assert_eq!(at(path), None, "{path}");
        }
        for (path, place) in [("row", 0), ("rows.0.ids", 2), ("maybe.ids", 1), ("text.length", 1), ("rows.0.id.x", 3)] {
            assert_eq!(at(path), Some(place), "{path}");
        }
    }
}
