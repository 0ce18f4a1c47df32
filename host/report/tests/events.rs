//! Every kind of event, with every form of its parts, fits the published schema: events are made
//! from the schema, read by the engine, written as lines, and compared with the schema again.

use runbook_engine::{Record, RunEvent, RunId};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// Values that a schema allows: each alternative is in one of them.
fn values(root: &Value, node: &Value) -> Vec<Value> {
    let Some(alternatives) = alternatives(root, node) else { return plain_values(root, node) };
    // Beside the alternatives stand the fields that all of them have.
    if !node["properties"].is_object() {
        return alternatives;
    }
    alternatives.iter().map(|form| merge(&objects(root, node)[0], form)).collect()
}

fn alternatives(root: &Value, node: &Value) -> Option<Vec<Value>> {
    if let Some(target) = node["$ref"].as_str() {
        return Some(values(
            root,
            root.pointer(target.trim_start_matches('#')).expect("the schema has its parts"),
        ));
    }
    let forms = ["oneOf", "anyOf"].iter().find_map(|word| node[*word].as_array())?;
    Some(forms.iter().flat_map(|form| values(root, form)).collect())
}

fn plain_values(root: &Value, node: &Value) -> Vec<Value> {
    if let Some(constant) = node.get("const") {
        return vec![constant.clone()];
    }
    if let Some(words) = node["enum"].as_array() {
        return words.clone();
    }
    match &node["type"] {
        Value::Array(types) => types
            .iter()
            .flat_map(|one| values_of_type(root, node, one.as_str().unwrap_or_default()))
            .collect(),
        Value::String(one) => values_of_type(root, node, one),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            vec![json!({ "any": [1, "value"] })]
        }
    }
}

fn values_of_type(root: &Value, node: &Value, name: &str) -> Vec<Value> {
    match (name, node["format"].as_str()) {
        ("string", Some("date-time")) => vec![json!("2026-11-21T16:00:00Z")],
        ("string", Some("uuid")) => vec![json!("01a1fec1-e55e-7000-8000-000000000000")],
        ("string", _) => vec![json!("a\ntext")],
        ("integer", _) => vec![json!(3)],
        ("number", _) => vec![json!(1.5)],
        ("boolean", _) => vec![json!(true), json!(false)],
        ("null", _) => vec![Value::Null],
        // A tuple: one value of each place.
        ("array", _) if node["prefixItems"].is_array() => {
            let places = node["prefixItems"].as_array().into_iter().flatten();
            vec![places.map(|place| values(root, place)[0].clone()).collect()]
        }
        ("array", _) => values(root, &node["items"])
            .into_iter()
            .map(|item| json!([item]))
            .chain([json!([])])
            .collect(),
        _ => objects(root, node),
    }
}

fn merge(one: &Value, other: &Value) -> Value {
    let fields = [one, other].into_iter().filter_map(Value::as_object).flatten();
    Value::Object(fields.map(|(name, value)| (name.clone(), value.clone())).collect())
}

/// One object with the first value of each property, and one more for each other value of a
/// property.
fn objects(root: &Value, node: &Value) -> Vec<Value> {
    let empty = Map::new();
    let properties = node["properties"].as_object().unwrap_or(&empty);
    let all: Vec<(&String, Vec<Value>)> =
        properties.iter().map(|(name, property)| (name, values(root, property))).collect();
    let first: Map<String, Value> =
        all.iter().map(|(name, values)| ((*name).clone(), values[0].clone())).collect();
    let mut objects = vec![Value::Object(first.clone())];
    for (name, values) in &all {
        objects.extend(values.iter().skip(1).map(|value| {
            let mut other = first.clone();
            other.insert((*name).clone(), value.clone());
            Value::Object(other)
        }));
    }
    objects
}

#[test]
fn every_kind_of_event_is_written_as_its_schema_says() {
    let schema = runbook_report::event_schema();
    let validator = jsonschema::validator_for(&schema).expect("a good schema");
    let run = RunId::parse("01a1fec1-e55e-7000-8000-000000000000").expect("an id");
    let mut kinds = BTreeSet::new();
    let events = values(&schema, &json!({ "$ref": "#/$defs/RunEvent" }));
    assert!(events.len() > 100, "only {}", events.len());
    for event in events {
        let read: RunEvent = serde_json::from_value(event.clone())
            .unwrap_or_else(|error| panic!("{error}: {event}"));
        let record =
            Record { seq: 7, at: "2026-11-21T16:00:00Z".parse().expect("a time"), event: read };
        for since in [None, Some(Duration::from_millis(12))] {
            let line = runbook_report::event_line(run, &record, since);
            assert!(!line.contains('\n'), "one line: {line}");
            let parsed_line: Value = serde_json::from_str(&line).expect("JSON");
            let errors: Vec<_> =
                validator.iter_errors(&parsed_line).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{errors:?} in {line}");
            assert_eq!(parsed_line["event"]["type"], event["type"]);
            kinds.insert(event["type"].as_str().expect("it has a type").to_owned());
        }
    }
    let text = schema.to_string();
    let all = [
        "run-started",
        "run-ended",
        "attempt-started",
        "undo-checked",
        "guard-observed",
        "notify-started",
        "notify-ended",
    ];
    assert!(all.iter().all(|kind| kinds.contains(*kind)), "{kinds:?}");
    assert_eq!(kinds.len(), 33, "{kinds:?} of {text}");
    // What is not an event is refused: the schema says something.
    let valid_line: Value = json!({ "format": 1, "run": run, "seq": 0, "at": "2026-11-21T16:00:00Z", "monotonic_ms": null, "event": { "of": "run", "type": "verify-began" } });
    assert!(validator.is_valid(&valid_line));
    for (field, invalid_value) in [
        ("event", json!({ "type": "verify-begun" })),
        ("event", json!({})),
        ("seq", json!(-1)),
        ("format", json!(2)),
    ] {
        let mut line = valid_line.clone();
        line[field] = invalid_value;
        assert!(!validator.is_valid(&line), "{line}");
    }
}
