//! Compares what templates and `expect` read of outputs with the schemas of the outputs: those that
//! plugins declare, and those of manual steps.

use crate::prepared::GrantedSite;
use crate::schema_words;
use runbook_authority::manifest::Operation;
use runbook_contract::Kind;
use runbook_document::{Diagnostic, suggestion};
use runbook_engine::model::{Manual, Step};
use runbook_engine::{ExpectedType, OutputRead, StepId};
use serde_json::Value;
use std::cell::Cell;
use std::collections::BTreeMap;

/// The reads of outputs that can never succeed according to the schemas.
pub fn wrong_reads(
    reads: &[OutputRead],
    steps: &[Step],
    sites: &BTreeMap<StepId, GrantedSite>,
) -> Vec<Diagnostic> {
    let manuals: BTreeMap<&StepId, &Manual> =
        steps.iter().filter_map(|step| Some((&step.id.value, step.manual()?))).collect();
    let declared = |step| match (sites.get(step), manuals.get(step)) {
        (Some(site), _) => DeclaredOutput::from_plugin(site),
        (None, Some(manual)) => Some(DeclaredOutput::from_manual(manual)),
        (None, None) => None,
    };
    reads.iter().filter_map(|read| output_mismatch(read, &declared(&read.step)?)).collect()
}

/// The output of a step, as far as it is known before the step runs.
struct DeclaredOutput {
    schema: Value,
    /// What produces the output: `plugin:operation`, or `manual`.
    producer: String,
    /// Who declares the schema, as a clause for messages.
    declared_by: &'static str,
    measurements: Measurements,
    /// The help for an output that has no field at all.
    no_fields_help: &'static str,
}

/// Whether a step can report measurements beside its output. Their names are not declared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Measurements {
    Possible,
    None,
}

impl DeclaredOutput {
    /// The output of the operation that a call site uses.
    fn from_plugin(site: &GrantedSite) -> Option<Self> {
        let operation = site.plugin.manifest().operations.get(&site.operation)?;
        Some(Self {
            schema: schema_of(operation),
            producer: format!("{}:{}", site.plugin.manifest().name, site.operation),
            declared_by: "as its plugin declares it",
            measurements: Measurements::Possible,
            no_fields_help: "it is a plain value",
        })
    }

    /// The output of a manual step: the answer of a person.
    fn from_manual(manual: &Manual) -> Self {
        Self {
            schema: manual.output_schema(),
            producer: "manual".to_owned(),
            declared_by: "as its `form` and `choices` ask for it",
            measurements: Measurements::None,
            no_fields_help: "nothing is asked for there; a person gives values by \
                             `form = { NAME = \"TYPE\" }`, and one of `choices`",
        }
    }
}

fn output_mismatch(read: &OutputRead, declared: &DeclaredOutput) -> Option<Diagnostic> {
    let DeclaredOutput { schema, producer, declared_by, measurements, no_fields_help } = declared;
    let output_name = format!("the output of `{}` (`{producer}`)", read.step);
    let error =
        |message: String| Diagnostic::error("E0234", &read.source, read.span.clone(), message);
    match Schema::new(schema).lookup(schema, &read.path, 0) {
        SchemaLookup::Unknown => None,
        SchemaLookup::Found(found) => {
            let kind = schema_words::kind(found, schema, schema_words::MAX_DEPTH);
            let path = read.path.join(".");
            match &read.expected {
                ExpectedType::Value(value) if Schema::new(schema).never_equals(found, value) => {
                    let message =
                        format!("`{path}` in {output_name} is never {value}, {declared_by}");
                    Some(error(message).label("never so").help(format!("it is: {kind}")))
                }
                // A path of one key may also be the name of a measurement.
                ExpectedType::Number
                    if (read.path.len() > 1 || *measurements == Measurements::None)
                        && Schema::new(schema).never_is_number(found) =>
                {
                    let message =
                        format!("`{path}` in {output_name} is never a number, {declared_by}");
                    Some(error(message).label("has no range").help(format!("it is: {kind}")))
                }
                ExpectedType::Anything | ExpectedType::Value(_) | ExpectedType::Number => None,
            }
        }
        SchemaLookup::Missing { at, known } => {
            let key = &read.path[at];
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            let near = runbook_document::nearest(key, known.iter().copied());
            let place = if at == 0 {
                "output".to_owned()
            } else {
                format!("output.{}", read.path[..at].join("."))
            };
            let message = format!("{output_name} has no `{key}` in `{place}`, {declared_by}");
            let diagnostic = match (&read.expected, read.path.as_slice(), near) {
                // A measurement may have this name, and measurements are not declared.
                (ExpectedType::Number, [_], None) if *measurements == Measurements::Possible => {
                    return None;
                }
                (ExpectedType::Number, [_], Some(_)) if *measurements == Measurements::Possible => {
                    Diagnostic::warning("E0234", &read.source, read.span.clone(), message)
                }
                (ExpectedType::Anything | ExpectedType::Value(_) | ExpectedType::Number, _, _) => {
                    error(message)
                }
            };
            let is_top = at == 0;
            let help = match known.as_slice() {
                [] if is_top => (*no_fields_help).to_owned(),
                [] => "it is a plain value".to_owned(),
                known => suggestion(key, known),
            };
            Some(diagnostic.label("never there").help(help))
        }
    }
}

/// The schema of the output of an operation. The host makes that of a smoke test from its cases.
fn schema_of(operation: &Operation) -> Value {
    match operation.kind {
        Kind::Probe | Kind::Step => operation.output.clone(),
        Kind::SmokeTest => serde_json::json!({
            "type": "object",
            "properties": { "passed": { "type": "integer" }, "total": { "type": "integer" } },
        }),
    }
}

/// The result of looking up a path in a schema.
#[derive(Debug, PartialEq, Eq)]
enum SchemaLookup<'s> {
    /// The path may exist, with any value.
    Unknown,
    /// The path may exist, and its value has this schema.
    Found(&'s Value),
    /// The key at this index of the path never exists; `known` are the keys that do.
    Missing { at: usize, known: Vec<String> },
}

/// The limit for visits of subschemas: subschemas that refer to each other would never end.
const MAX_SCHEMA_VISITS: u32 = 256;

/// A schema with a counter of visits. Beyond [`MAX_SCHEMA_VISITS`] every path is
/// [`SchemaLookup::Unknown`].
struct Schema<'s> {
    root: &'s Value,
    visits: Cell<u32>,
}

impl<'s> Schema<'s> {
    fn new(root: &'s Value) -> Self {
        Self { root, visits: Cell::new(0) }
    }

    /// The keywords of a subschema, after following its `$ref`.
    fn resolve_reference(
        &self,
        mut schema: &'s Value,
    ) -> Option<&'s serde_json::Map<String, Value>> {
        loop {
            self.visits.set(self.visits.get() + 1);
            let object = schema.as_object().filter(|_| self.visits.get() < MAX_SCHEMA_VISITS)?;
            let Some(reference) = object.get("$ref").and_then(Value::as_str) else {
                return Some(object);
            };
            schema = self.root.pointer(reference.strip_prefix('#')?)?;
        }
    }

    /// Follows a path from index `at`. What a schema does not restrict may exist. An object with
    /// `properties` has no others, unless it allows them.
    fn lookup(&self, schema: &'s Value, path: &[String], at: usize) -> SchemaLookup<'s> {
        let Some(key) = path.get(at) else { return SchemaLookup::Found(schema) };
        let Some(object) = self.resolve_reference(schema) else { return SchemaLookup::Unknown };
        let mut missing_in_choices = None;
        let mut found = Vec::new();
        for choice in choices(object) {
            match self.lookup(choice, path, at) {
                SchemaLookup::Unknown => return SchemaLookup::Unknown,
                SchemaLookup::Found(schema) => found.push(schema),
                missing @ SchemaLookup::Missing { .. } => missing_in_choices = Some(missing),
            }
        }
        match found.as_slice() {
            [] => {}
            [one] => return SchemaLookup::Found(one),
            _ => return SchemaLookup::Unknown,
        }
        if object.contains_key("allOf") || object.contains_key("if") {
            return SchemaLookup::Unknown;
        }
        match (object.get("properties").and_then(Value::as_object), key.parse::<usize>()) {
            (Some(properties), _) => match properties.get(key) {
                Some(found) => self.lookup(found, path, at + 1),
                None if allows_other_keys(object) => SchemaLookup::Unknown,
                None => SchemaLookup::Missing { at, known: properties.keys().cloned().collect() },
            },
            (None, Ok(_)) if object.contains_key("items") => {
                self.lookup(&object["items"], path, at + 1)
            }
            (None, _) if is_scalar(object) => SchemaLookup::Missing { at, known: Vec::new() },
            (None, _) => missing_in_choices.unwrap_or(SchemaLookup::Unknown),
        }
    }

    /// Whether no value of this schema equals this one. Always `false` for `null`, because it is
    /// legal to compare any value with `null`.
    fn never_equals(&self, schema: &'s Value, value: &Value) -> bool {
        let Some(object) = self.resolve_reference(schema) else { return false };
        let differs = |other: &Value| match (other.as_f64(), value.as_f64()) {
            (Some(other), Some(value)) => (other - value).abs() > 0.0,
            (Some(_), None) | (None, Some(_) | None) => other != value,
        };
        let mut choices = choices(object).peekable();
        if value.is_object() || value.is_null() {
            return false;
        }
        (choices.peek().is_some() && choices.all(|choice| self.never_equals(choice, value)))
            || object
                .get("enum")
                .and_then(Value::as_array)
                .is_some_and(|values| values.iter().all(differs))
            || object.get("const").is_some_and(differs)
            || !allows_type_of(object, value)
    }

    /// Whether no value of this schema is a number.
    fn never_is_number(&self, schema: &'s Value) -> bool {
        let Some(object) = self.resolve_reference(schema) else { return false };
        let mut choices = choices(object).peekable();
        (choices.peek().is_some() && choices.all(|choice| self.never_is_number(choice)))
            || !allows_type_of(object, &Value::from(1))
    }
}

fn choices(object: &serde_json::Map<String, Value>) -> impl Iterator<Item = &Value> {
    ["anyOf", "oneOf"].into_iter().filter_map(|word| object.get(word)?.as_array()).flatten()
}

/// Whether the `type` of a schema allows a value. A number also matches `integer`.
fn allows_type_of(object: &serde_json::Map<String, Value>, value: &Value) -> bool {
    let is_type_of_value = |name: &Value| match value {
        Value::Null => name == "null",
        Value::Bool(_) => name == "boolean",
        Value::Number(_) => name == "number" || name == "integer",
        Value::String(_) => name == "string",
        Value::Array(_) => name == "array",
        Value::Object(_) => name == "object",
    };
    match object.get("type") {
        Some(Value::Array(names)) => names.iter().any(is_type_of_value),
        Some(name) => is_type_of_value(name),
        None => true,
    }
}

fn allows_other_keys(object: &serde_json::Map<String, Value>) -> bool {
    let opening_keywords = ["additionalProperties", "unevaluatedProperties", "patternProperties"];
    opening_keywords
        .iter()
        .any(|word| object.get(*word).is_some_and(|value| *value != Value::Bool(false)))
}

/// Whether the `type` of a schema allows only values without keys or items.
fn is_scalar(object: &serde_json::Map<String, Value>) -> bool {
    let is_scalar_type = |name: &Value| {
        matches!(name.as_str(), Some("string" | "number" | "integer" | "boolean" | "null"))
    };
    match object.get("type") {
        Some(Value::Array(names)) => names.iter().all(is_scalar_type),
        Some(name) => is_scalar_type(name),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_key_that_a_schema_lists_or_leaves_open_may_exist_and_others_do_not() {
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
            match Schema::new(&schema).lookup(&schema, &path, 0) {
                SchemaLookup::Unknown | SchemaLookup::Found(_) => None,
                SchemaLookup::Missing { at, .. } => Some(at),
            }
        };
        for path in [
            "rows",
            "rows.0",
            "rows.7.id",
            "any.x.y",
            "open.b",
            "map.x.y",
            "maybe.id",
            "text",
            "rows.first",
        ] {
            assert_eq!(at(path), None, "{path}");
        }
        for (path, place) in [
            ("row", 0),
            ("rows.0.ids", 2),
            ("maybe.ids", 1),
            ("text.length", 1),
            ("rows.0.id.x", 3),
        ] {
            assert_eq!(at(path), Some(place), "{path}");
        }
    }
    #[test]
    fn a_value_that_the_schema_excludes_is_found_and_an_open_schema_excludes_nothing() {
        let schema = json!({
            "properties": {
                "state": { "$ref": "#/$defs/state" },
                "count": { "type": "integer" },
                "rate": { "type": ["number", "null"] },
                "maybe": { "anyOf": [{ "$ref": "#/$defs/state" }, { "type": "null" }] },
                "any": true,
            },
            "$defs": { "state": { "oneOf": [{ "const": "up" }, { "enum": ["down", "lost"] }] } }
        });
        let never = |key: &str, value: Value| {
            let path = [key.to_owned()];
            let SchemaLookup::Found(found) = Schema::new(&schema).lookup(&schema, &path, 0) else {
                panic!("{key} is there")
            };
            Schema::new(&schema).never_equals(found, &value)
        };
        for (key, value) in [
            ("state", json!("up")),
            ("state", json!("lost")),
            ("count", json!(1)),
            ("count", json!(1.0)),
            ("count", Value::Null),
            ("rate", json!(2)),
            ("maybe", json!("down")),
            ("any", json!([1])),
        ] {
            assert!(!never(key, value.clone()), "{key} {value}");
        }
        for (key, value) in [
            ("state", json!("upp")),
            ("state", json!(1)),
            ("count", json!("1")),
            ("count", json!(true)),
            ("rate", json!([])),
            ("maybe", json!("x")),
        ] {
            assert!(never(key, value.clone()), "{key} {value}");
        }
    }

    #[test]
    fn looking_up_a_path_in_a_recursive_schema_ends() {
        let either_definition = json!([{ "$ref": "#/$defs/a" }, { "$ref": "#/$defs/b" }]);
        let schema = json!({
            "$ref": "#/$defs/a",
            "$defs": { "a": { "anyOf": either_definition.clone() }, "b": { "oneOf": either_definition }, "c": { "$ref": "#/$defs/c" } }
        });
        assert_eq!(
            Schema::new(&schema).lookup(&schema, &["x".to_owned()], 0),
            SchemaLookup::Unknown
        );
        assert!(!Schema::new(&schema).never_equals(&schema["$defs"]["c"], &json!(1)));
    }
}
