//! Checks `needed_if` of an operation against the JSON Schema of its input. A mistyped key or value
//! is found when the plugin is built, not when a call is denied.
//!
//! This module understands only a part of JSON Schema. Where it does not understand the schema, it
//! accepts the condition. A wrong condition can only cause a denied call, never an allowed one.

use super::condition::{PathPart, Scalar, ValueTest, VerbCondition};
use serde_json::Value as Json;

/// How many `$ref` references are followed from one schema to another at most.
const MAX_REFERENCES: usize = 32;

/// The problem of a condition; `None` if it fits the schema, or if the schema is not known yet.
pub(super) fn problem(condition: &VerbCondition, schema: &Json) -> Option<String> {
    if schema.is_null() {
        return None;
    }
    condition.any_of.iter().find_map(|path| {
        let mut nodes = vec![SchemaNode { schema, is_required: true }];
        for part in path.parts() {
            nodes = match part {
                PathPart::Key(key) => match follow_key(&nodes, schema, key) {
                    PathResolution::Found(next) => next,
                    PathResolution::Unspecified => return None,
                    PathResolution::Missing(known) => {
                        return Some(unknown_key_message(path, key, &known));
                    }
                },
                PathPart::EachItem => match follow_items(&nodes, schema) {
                    PathResolution::Found(next) => next,
                    PathResolution::Unspecified => return None,
                    PathResolution::Missing(_) => {
                        return Some(format!("`{path}`: what stands before `[]` is no list"));
                    }
                },
            };
        }
        value_problem(&condition.test, &nodes, schema).map(|problem| format!("`{path}`: {problem}"))
    })
}

/// The schema of one value, and whether the value is required.
#[derive(Clone, Copy)]
struct SchemaNode<'s> {
    schema: &'s Json,
    is_required: bool,
}

/// The result of following one part of a path through a schema.
enum PathResolution<'s> {
    /// The schemas of the values there.
    Found(Vec<SchemaNode<'s>>),
    /// The schema allows the value but does not describe it, or is not understood.
    Unspecified,
    /// The schema does not have the key or the items. It has these keys.
    Missing(Vec<&'s str>),
}

/// The alternatives of a schema, with references and `anyOf`/`oneOf` resolved; `None` if the schema
/// is not understood.
fn branches<'s>(schema: &'s Json, root: &'s Json, depth: usize) -> Option<Vec<&'s Json>> {
    if depth == 0 || !schema.is_object() {
        return None;
    }
    if let Some(reference) = schema["$ref"].as_str() {
        let target = root.pointer(reference.strip_prefix('#')?)?;
        return branches(target, root, depth - 1);
    }
    let choices = ["anyOf", "oneOf"].iter().find_map(|key| schema[*key].as_array());
    let Some(choices) = choices else { return Some(vec![schema]) };
    let branch_lists = choices.iter().map(|choice| branches(choice, root, depth - 1));
    Some(branch_lists.collect::<Option<Vec<_>>>()?.concat())
}

/// Whether a schema allows values of a type. A schema without `type` allows every type.
fn allows_type(schema: &Json, kind: &str) -> bool {
    match &schema["type"] {
        Json::String(type_name) => type_name == kind,
        Json::Array(type_name) => type_name.iter().any(|type_name| type_name == kind),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_) => true,
    }
}

fn follow_key<'s>(nodes: &[SchemaNode<'s>], root: &'s Json, key: &str) -> PathResolution<'s> {
    let (mut next, mut known) = (Vec::new(), Vec::new());
    for node in nodes {
        let Some(branches) = branches(node.schema, root, MAX_REFERENCES) else {
            return PathResolution::Unspecified;
        };
        for branch in branches.into_iter().filter(|branch| allows_type(branch, "object")) {
            let is_required = branch["required"]
                .as_array()
                .is_some_and(|names| names.iter().any(|name| name == key));
            match branch["properties"].get(key) {
                Some(schema) => next.push(SchemaNode { schema, is_required }),
                None if branch["additionalProperties"] == false => known.extend(
                    branch["properties"].as_object().into_iter().flatten().map(|(key, _)| &**key),
                ),
                None => return PathResolution::Unspecified,
            }
        }
    }
    if next.is_empty() { PathResolution::Missing(known) } else { PathResolution::Found(next) }
}

fn follow_items<'s>(nodes: &[SchemaNode<'s>], root: &'s Json) -> PathResolution<'s> {
    let mut next = Vec::new();
    for node in nodes {
        let Some(branches) = branches(node.schema, root, MAX_REFERENCES) else {
            return PathResolution::Unspecified;
        };
        for branch in branches.into_iter().filter(|branch| allows_type(branch, "array")) {
            match branch.get("items") {
                Some(schema) => next.push(SchemaNode { schema, is_required: true }),
                None => return PathResolution::Unspecified,
            }
        }
    }
    if next.is_empty() { PathResolution::Missing(Vec::new()) } else { PathResolution::Found(next) }
}

fn unknown_key_message(path: &super::InputPath, key: &str, known: &[&str]) -> String {
    let near = runbook_document::nearest(key, known.iter().copied());
    let help = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    format!("`{path}`: the input has no key `{key}` there{help}")
}

/// The problem of the value of a test: the schema never allows it, or it is the default of an
/// absent value and the test lacks `or_absent`.
fn value_problem(test: &ValueTest, nodes: &[SchemaNode<'_>], root: &Json) -> Option<String> {
    let (value, counts_absent) = match test {
        ValueTest::Present => return None,
        ValueTest::Is(value) => (value, false),
        ValueTest::IsOrAbsent(value) => (value, true),
    };
    let mut allowed_values = Vec::new();
    for node in nodes {
        for branch in branches(node.schema, root, MAX_REFERENCES)? {
            match &branch["enum"] {
                Json::Array(values) => allowed_values.extend(values),
                _ if branch.get("const").is_some() => allowed_values.push(&branch["const"]),
                _ if fits_type(value, branch) => {
                    return default_problem(value, counts_absent, nodes);
                }
                _ => {}
            }
        }
    }
    if allowed_values.iter().any(|allowed_values| value.equals(allowed_values)) {
        return default_problem(value, counts_absent, nodes);
    }
    let shown: Vec<_> = allowed_values.iter().map(|value| format!("`{value}`")).collect();
    Some(if shown.is_empty() {
        format!("{value} is of another type than the value there")
    } else {
        format!("{value} is never there; it is one of {}", shown.join(", "))
    })
}

fn fits_type(value: &Scalar, schema: &Json) -> bool {
    match value {
        Scalar::Boolean(_) => allows_type(schema, "boolean"),
        Scalar::Integer(_) => allows_type(schema, "integer") || allows_type(schema, "number"),
        Scalar::Text(_) => allows_type(schema, "string"),
    }
}

/// A test for the default value must have `or_absent`, and a test for another value must not.
fn default_problem(
    value: &Scalar,
    counts_absent: bool,
    nodes: &[SchemaNode<'_>],
) -> Option<String> {
    let default = nodes
        .iter()
        .filter(|node| !node.is_required)
        .find_map(|node| node.schema.get("default").filter(|default| !default.is_null()))?;
    match (value.equals(default), counts_absent) {
        (true, false) => {
            Some(format!("what is left out there is {value} by the schema; add `or_absent = true`"))
        }
        (false, true) => Some(format!(
            "what is left out there is `{default}` by the schema, and not {value}; remove \
             `or_absent`"
        )),
        (true, true) | (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::InputPath;
    use super::*;
    use serde_json::json;

    fn schema() -> Json {
        json!({
            "type": "object",
            "properties": {
                "cases": { "type": "array", "items": { "$ref": "#/$defs/Case" } },
                "limit": { "anyOf": [{ "type": "integer" }, { "type": "null" }] },
                "free": { "type": "object" },
            },
            "additionalProperties": false,
            "$defs": {
                "Case": {
                    "type": "object",
                    "required": ["kind"],
                    "properties": {
                        "method": { "$ref": "#/$defs/Method", "default": "GET" },
                        "kind": { "enum": ["a", "b"] },
                        "auth": { "type": "boolean", "default": false },
                    },
                    "additionalProperties": false,
                },
                "Method": { "oneOf": [{ "const": "GET" }, { "enum": ["PUT", "DELETE"] }] },
                "Loop": { "$ref": "#/$defs/Loop" },
            },
        })
    }

    fn problem_of(path: &str, test: ValueTest) -> Option<String> {
        let any_of = vec![InputPath::parse(path).expect("a path")];
        let verb = crate::Verb::HttpGet;
        problem(&VerbCondition { slot: "s".to_owned(), verb, any_of, test }, &schema())
    }

    fn text(value: &str) -> Scalar {
        Scalar::Text(value.to_owned())
    }

    #[test]
    fn a_condition_that_fits_the_schema_is_good() {
        for (path, test) in [
            ("cases[].method", ValueTest::Is(text("DELETE"))),
            ("cases[].method", ValueTest::IsOrAbsent(text("GET"))),
            ("cases[].kind", ValueTest::Is(text("a"))),
            ("cases[].auth", ValueTest::Is(Scalar::Boolean(true))),
            ("cases", ValueTest::Present),
            ("limit", ValueTest::Is(Scalar::Integer(3))),
            ("free.anything[].at.all", ValueTest::Is(text("x"))),
        ] {
            assert_eq!(problem_of(path, test.clone()), None, "{path} {test:?}");
        }
    }

    #[test]
    fn a_condition_that_no_input_meets_is_refused_with_the_keys_and_values_that_exist() {
        for (path, test, expected) in [
            (
                "case[].method",
                ValueTest::Present,
                "the input has no key `case` there; did you mean `cases`?",
            ),
            (
                "cases[].metod",
                ValueTest::Present,
                "the input has no key `metod` there; did you mean `method`?",
            ),
            ("cases.method", ValueTest::Present, "the input has no key `method` there"),
            ("limit[]", ValueTest::Present, "what stands before `[]` is no list"),
            (
                "cases[].method",
                ValueTest::Is(text("delete")),
                "`\"delete\"` is never there; it is one of `\"GET\"`, `\"PUT\"`, `\"DELETE\"`",
            ),
            (
                "cases[].auth",
                ValueTest::Is(text("true")),
                "`\"true\"` is of another type than the value there",
            ),
            ("limit", ValueTest::Is(text("3")), "`\"3\"` is of another type than the value there"),
            (
                "cases[].method",
                ValueTest::Is(text("GET")),
                "what is left out there is `\"GET\"` by the schema; add `or_absent = true`",
            ),
            (
                "cases[].method",
                ValueTest::IsOrAbsent(text("PUT")),
                "what is left out there is `\"GET\"` by the schema, and not `\"PUT\"`; remove \
                 `or_absent`",
            ),
        ] {
            assert_eq!(problem_of(path, test), Some(format!("`{path}`: {expected}")));
        }
    }

    #[test]
    fn a_schema_that_is_not_understood_allows_every_condition() {
        let any_of = vec![InputPath::parse("a[].b").expect("a path")];
        let verb = crate::Verb::HttpGet;
        let condition =
            VerbCondition { slot: "s".to_owned(), verb, any_of, test: ValueTest::Is(text("x")) };
        for schema in [
            Json::Null,
            json!({}),
            json!(true),
            json!({ "$ref": "#/$defs/Loop", "$defs": { "Loop": { "$ref": "#/$defs/Loop" } } }),
            json!({ "$ref": "https://elsewhere.example/schema" }),
            json!({ "properties": { "a": { "type": "array" } } }),
        ] {
            assert_eq!(problem(&condition, &schema), None, "{schema}");
        }
    }
}
