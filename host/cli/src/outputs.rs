//! What templates read of outputs and what `expect` names in them, compared with the schemas that
//! the plugins declare for them, and with what a person is asked for.

use crate::prepared::Site;
use crate::schema_words;
use runbook_authority::manifest::Operation;
use runbook_contract::Kind;
use runbook_document::{Diagnostic, suggestion};
use runbook_engine::model::{Manual, Step};
use runbook_engine::{ExpectedType, OutputRead, StepId};
use serde_json::Value;
use std::cell::Cell;
use std::collections::BTreeMap;

/// What of an output is read that is declared nowhere: it would be missing when it is needed,
/// perhaps for an undo.
pub fn wrong_reads(
    reads: &[OutputRead],
    steps: &[Step],
    sites: &BTreeMap<StepId, Site>,
) -> Vec<Diagnostic> {
    let manuals: BTreeMap<&StepId, &Manual> =
        steps.iter().filter_map(|step| Some((&step.id.value, step.manual()?))).collect();
    let declared = |step| match (sites.get(step), manuals.get(step)) {
        (Some(site), _) => Declared::by_plugin(site),
        (None, Some(manual)) => Some(Declared::by_question(manual)),
        (None, None) => None,
    };
    reads.iter().filter_map(|read| wrong_read(read, &declared(&read.step)?)).collect()
}

/// What is known of the output of a step before it has one.
struct Declared {
    schema: Value,
    /// What gives the output: `plugin:operation`, or `manual`.
    maker: String,
    /// Who declares that the output is so, as a clause for the message.
    authority: &'static str,
    measurements: Measurements,
    /// What is said of an output that has no field at all.
    without_fields: &'static str,
}

/// Whether a step reports numbers beside its output. Their names are declared nowhere.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Measurements {
    Possible,
    None,
}

impl Declared {
    fn by_plugin(site: &Site) -> Option<Self> {
        let operation = site.plugin.manifest().operations.get(&site.operation)?;
        Some(Self {
            schema: schema_of(operation),
            maker: format!("{}:{}", site.plugin.manifest().name, site.operation),
            authority: "as its plugin declares it",
            measurements: Measurements::Possible,
            without_fields: "it is a plain value",
        })
    }

    fn by_question(manual: &Manual) -> Self {
        Self {
            schema: manual.output_schema(),
            maker: "manual".to_owned(),
            authority: "as its `form` and `choices` ask for it",
            measurements: Measurements::None,
            without_fields: "nothing is asked for there; a person gives values by \
                             `form = { NAME = \"TYPE\" }`, and one of `choices`",
        }
    }
}

fn wrong_read(read: &OutputRead, declared: &Declared) -> Option<Diagnostic> {
    let Declared { schema, maker, authority, measurements, without_fields } = declared;
    let of = format!("the output of `{}` (`{maker}`)", read.step);
    let error =
        |message: String| Diagnostic::error("E0234", &read.source, read.span.clone(), message);
    match Schema::new(schema).reach(schema, &read.path, 0) {
        SchemaLookup::Perhaps => None,
        SchemaLookup::At(found) => {
            let kind = schema_words::kind(found, schema, schema_words::DEEPEST);
            let path = read.path.join(".");
            match &read.wanted {
                ExpectedType::Value(value) if Schema::new(schema).is_never(found, value) => {
                    let message = format!("`{path}` in {of} is never {value}, {authority}");
                    Some(error(message).label("never so").help(format!("it is: {kind}")))
                }
                // A measurement may have this name; only what is further inside can be nothing
                // else.
                ExpectedType::Number
                    if (read.path.len() > 1 || *measurements == Measurements::None)
                        && Schema::new(schema).is_never_number(found) =>
                {
                    let message = format!("`{path}` in {of} is never a number, {authority}");
                    Some(error(message).label("has no range").help(format!("it is: {kind}")))
                }
                ExpectedType::Anything | ExpectedType::Value(_) | ExpectedType::Number => None,
            }
        }
        SchemaLookup::Nowhere { at, known } => {
            let key = &read.path[at];
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            let near = runbook_document::nearest(key, known.iter().copied());
            let place = if at == 0 {
                "output".to_owned()
            } else {
                format!("output.{}", read.path[..at].join("."))
            };
            let message = format!("{of} has no `{key}` in `{place}`, {authority}");
            let diagnostic = match (&read.wanted, read.path.as_slice(), near) {
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
                [] if is_top => (*without_fields).to_owned(),
                [] => "it is a plain value".to_owned(),
                known => suggestion(key, known),
            };
            Some(diagnostic.label("never there").help(help))
        }
    }
}

/// What an output is. That of a smoke test is made of its cases by the host.
fn schema_of(operation: &Operation) -> Value {
    match operation.kind {
        Kind::Probe | Kind::Step => operation.output.clone(),
        Kind::SmokeTest => serde_json::json!({
            "type": "object",
            "properties": { "passed": { "type": "integer" }, "total": { "type": "integer" } },
        }),
    }
}

/// How far a path leads into a schema.
#[derive(Debug, PartialEq, Eq)]
enum SchemaLookup<'s> {
    /// It may be there, and may be anything.
    Perhaps,
    /// It may be there, and is this.
    At(&'s Value),
    /// The key at this place of the path is never there; what is.
    Nowhere { at: usize, known: Vec<String> },
}

/// How many parts of a schema are followed at most, because parts that refer to each other would
/// not end.
const MAX_SCHEMA_VISITS: u32 = 256;

/// A schema, followed until it has been looked at often enough. What is then not known may be
/// there, and may be anything.
struct Schema<'s> {
    root: &'s Value,
    visits: Cell<u32>,
}

impl<'s> Schema<'s> {
    fn new(root: &'s Value) -> Self {
        Self { root, visits: Cell::new(0) }
    }

    /// The keys of a part of the schema, behind its reference.
    fn part(&self, mut schema: &'s Value) -> Option<&'s serde_json::Map<String, Value>> {
        loop {
            self.visits.set(self.visits.get() + 1);
            let object = schema.as_object().filter(|_| self.visits.get() < MAX_SCHEMA_VISITS)?;
            let Some(reference) = object.get("$ref").and_then(Value::as_str) else {
                return Some(object);
            };
            schema = self.root.pointer(reference.strip_prefix('#')?)?;
        }
    }

    /// Follows a path. What a schema leaves open may be there; an object that lists its properties
    /// has no others, unless it says so.
    fn reach(&self, schema: &'s Value, path: &[String], at: usize) -> SchemaLookup<'s> {
        let Some(key) = path.get(at) else { return SchemaLookup::At(schema) };
        let Some(object) = self.part(schema) else { return SchemaLookup::Perhaps };
        let mut nowhere = None;
        let mut found = Vec::new();
        for choice in choices(object) {
            match self.reach(choice, path, at) {
                SchemaLookup::Perhaps => return SchemaLookup::Perhaps,
                SchemaLookup::At(schema) => found.push(schema),
                missing @ SchemaLookup::Nowhere { .. } => nowhere = Some(missing),
            }
        }
        match found.as_slice() {
            [] => {}
            [one] => return SchemaLookup::At(one),
            _ => return SchemaLookup::Perhaps,
        }
        if object.contains_key("allOf") || object.contains_key("if") {
            return SchemaLookup::Perhaps;
        }
        match (object.get("properties").and_then(Value::as_object), key.parse::<usize>()) {
            (Some(properties), _) => match properties.get(key) {
                Some(found) => self.reach(found, path, at + 1),
                None if is_open(object) => SchemaLookup::Perhaps,
                None => SchemaLookup::Nowhere { at, known: properties.keys().cloned().collect() },
            },
            (None, Ok(_)) if object.contains_key("items") => {
                self.reach(&object["items"], path, at + 1)
            }
            (None, _) if is_plain(object) => SchemaLookup::Nowhere { at, known: Vec::new() },
            (None, _) => nowhere.unwrap_or(SchemaLookup::Perhaps),
        }
    }

    /// Whether no value of this schema equals this one. Whether something is nothing may always be
    /// asked.
    fn is_never(&self, schema: &'s Value, value: &Value) -> bool {
        let Some(object) = self.part(schema) else { return false };
        let differs = |other: &Value| match (other.as_f64(), value.as_f64()) {
            (Some(other), Some(value)) => (other - value).abs() > 0.0,
            (Some(_), None) | (None, Some(_) | None) => other != value,
        };
        let mut choices = choices(object).peekable();
        if value.is_object() || value.is_null() {
            return false;
        }
        (choices.peek().is_some() && choices.all(|choice| self.is_never(choice, value)))
            || object
                .get("enum")
                .and_then(Value::as_array)
                .is_some_and(|values| values.iter().all(differs))
            || object.get("const").is_some_and(differs)
            || !may_be(object, value)
    }

    /// Whether no value of this schema is a number.
    fn is_never_number(&self, schema: &'s Value) -> bool {
        let Some(object) = self.part(schema) else { return false };
        let mut choices = choices(object).peekable();
        (choices.peek().is_some() && choices.all(|choice| self.is_never_number(choice)))
            || !may_be(object, &Value::from(1))
    }
}

fn choices(object: &serde_json::Map<String, Value>) -> impl Iterator<Item = &Value> {
    ["anyOf", "oneOf"].into_iter().filter_map(|word| object.get(word)?.as_array()).flatten()
}

/// Whether the types that a schema names are those of a value. A number is one, whole or not.
fn may_be(object: &serde_json::Map<String, Value>, value: &Value) -> bool {
    let is = |name: &Value| match value {
        Value::Null => name == "null",
        Value::Bool(_) => name == "boolean",
        Value::Number(_) => name == "number" || name == "integer",
        Value::String(_) => name == "string",
        Value::Array(_) => name == "array",
        Value::Object(_) => name == "object",
    };
    match object.get("type") {
        Some(Value::Array(names)) => names.iter().any(is),
        Some(name) => is(name),
        None => true,
    }
}

fn is_open(object: &serde_json::Map<String, Value>) -> bool {
    let more = ["additionalProperties", "unevaluatedProperties", "patternProperties"];
    more.iter().any(|word| object.get(*word).is_some_and(|value| *value != Value::Bool(false)))
}

/// Whether it is a value without keys.
fn is_plain(object: &serde_json::Map<String, Value>) -> bool {
    let plain = |name: &Value| {
        matches!(name.as_str(), Some("string" | "number" | "integer" | "boolean" | "null"))
    };
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
            match Schema::new(&schema).reach(&schema, &path, 0) {
                SchemaLookup::Perhaps | SchemaLookup::At(_) => None,
                SchemaLookup::Nowhere { at, .. } => Some(at),
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
    fn a_value_that_no_schema_has_is_never_there_and_what_is_open_may_be_anything() {
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
            let SchemaLookup::At(found) = Schema::new(&schema).reach(&schema, &path, 0) else {
                panic!("{key} is there")
            };
            Schema::new(&schema).is_never(found, &value)
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
    fn a_schema_whose_parts_refer_to_each_other_ends() {
        let both = json!([{ "$ref": "#/$defs/a" }, { "$ref": "#/$defs/b" }]);
        let schema = json!({
            "$ref": "#/$defs/a",
            "$defs": { "a": { "anyOf": both.clone() }, "b": { "oneOf": both }, "c": { "$ref": "#/$defs/c" } }
        });
        assert_eq!(
            Schema::new(&schema).reach(&schema, &["x".to_owned()], 0),
            SchemaLookup::Perhaps
        );
        assert!(!Schema::new(&schema).is_never(&schema["$defs"]["c"], &json!(1)));
    }
}
