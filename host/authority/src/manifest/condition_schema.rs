//! Checks `needed_if` of an operation against the JSON Schema of its input. A mistyped key or value
//! is found when the plugin is built, not when a call is denied.
//!
//! A schema may say more than is understood here. What is not understood is taken to allow the
//! condition: a wrong condition then leads to a denied call, never to a call that is let through.

use super::condition::{PathPart, Scalar, ValueTest, VerbCondition};
use serde_json::Value as Json;

/// How many references are followed from one schema to another.
const DEEPEST: usize = 32;

/// What is wrong with a condition; `None` if nothing is, or the schema is not known yet.
pub(super) fn problem(condition: &VerbCondition, schema: &Json) -> Option<String> {
    if schema.is_null() {
        return None;
    }
    condition.any_of.iter().find_map(|path| {
        let mut here = vec![SchemaNode { schema, is_required: true }];
        for part in path.parts() {
            here = match part {
                PathPart::Key(key) => match keys(&here, schema, key) {
                    Step::To(next) => next,
                    Step::Anywhere => return None,
                    Step::Nowhere(known) => return Some(unknown_key(path, key, &known)),
                },
                PathPart::EachItem => match items(&here, schema) {
                    Step::To(next) => next,
                    Step::Anywhere => return None,
                    Step::Nowhere(_) => {
                        return Some(format!("`{path}`: what stands before `[]` is no list"));
                    }
                },
            };
        }
        wrong_value(&condition.test, &here, schema).map(|wrong| format!("`{path}`: {wrong}"))
    })
}

/// What a schema says of one place.
#[derive(Clone, Copy)]
struct SchemaNode<'s> {
    schema: &'s Json,
    is_required: bool,
}

/// Where one part of a path leads.
enum Step<'s> {
    To(Vec<SchemaNode<'s>>),
    /// The schema allows it without saying what it is.
    Anywhere,
    /// There is no such thing. These keys there are.
    Nowhere(Vec<&'s str>),
}

/// A schema with all that it refers to and chooses from; `None` if that is not understood.
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
    let each = choices.iter().map(|choice| branches(choice, root, depth - 1));
    Some(each.collect::<Option<Vec<_>>>()?.concat())
}

/// Whether a schema is about values of a type, as far as it says so.
fn is_about(schema: &Json, kind: &str) -> bool {
    match &schema["type"] {
        Json::String(own) => own == kind,
        Json::Array(own) => own.iter().any(|own| own == kind),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_) => true,
    }
}

fn keys<'s>(here: &[SchemaNode<'s>], root: &'s Json, key: &str) -> Step<'s> {
    let (mut next, mut known) = (Vec::new(), Vec::new());
    for place in here {
        let Some(branches) = branches(place.schema, root, DEEPEST) else { return Step::Anywhere };
        for branch in branches.into_iter().filter(|branch| is_about(branch, "object")) {
            let is_required =
                branch["required"].as_array().is_some_and(|names| names.iter().any(|n| n == key));
            match branch["properties"].get(key) {
                Some(schema) => next.push(SchemaNode { schema, is_required }),
                None if branch["additionalProperties"] == false => known.extend(
                    branch["properties"].as_object().into_iter().flatten().map(|(key, _)| &**key),
                ),
                None => return Step::Anywhere,
            }
        }
    }
    if next.is_empty() { Step::Nowhere(known) } else { Step::To(next) }
}

fn items<'s>(here: &[SchemaNode<'s>], root: &'s Json) -> Step<'s> {
    let mut next = Vec::new();
    for place in here {
        let Some(branches) = branches(place.schema, root, DEEPEST) else { return Step::Anywhere };
        for branch in branches.into_iter().filter(|branch| is_about(branch, "array")) {
            match branch.get("items") {
                Some(schema) => next.push(SchemaNode { schema, is_required: true }),
                None => return Step::Anywhere,
            }
        }
    }
    if next.is_empty() { Step::Nowhere(Vec::new()) } else { Step::To(next) }
}

fn unknown_key(path: &super::InputPath, key: &str, known: &[&str]) -> String {
    let near = runbook_document::nearest(key, known.iter().copied());
    let help = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    format!("`{path}`: the input has no key `{key}` there{help}")
}

/// Why a value is never at a place, or is there without being written.
fn wrong_value(test: &ValueTest, here: &[SchemaNode<'_>], root: &Json) -> Option<String> {
    let (value, counts_absent) = match test {
        ValueTest::Present => return None,
        ValueTest::Is(value) => (value, false),
        ValueTest::IsOrAbsent(value) => (value, true),
    };
    let mut allowed = Vec::new();
    for place in here {
        for branch in branches(place.schema, root, DEEPEST)? {
            match &branch["enum"] {
                Json::Array(values) => allowed.extend(values),
                _ if branch.get("const").is_some() => allowed.push(&branch["const"]),
                _ if fits_type(value, branch) => return wrong_default(value, counts_absent, here),
                _ => {}
            }
        }
    }
    if allowed.iter().any(|allowed| value.equals(allowed)) {
        return wrong_default(value, counts_absent, here);
    }
    let shown: Vec<_> = allowed.iter().map(|value| format!("`{value}`")).collect();
    Some(if shown.is_empty() {
        format!("{value} is of another type than the value there")
    } else {
        format!("{value} is never there; it is one of {}", shown.join(", "))
    })
}

fn fits_type(value: &Scalar, schema: &Json) -> bool {
    match value {
        Scalar::Boolean(_) => is_about(schema, "boolean"),
        Scalar::Integer(_) => is_about(schema, "integer") || is_about(schema, "number"),
        Scalar::Text(_) => is_about(schema, "string"),
    }
}

/// A value that stands for what is left out must count what is left out, and no other may.
fn wrong_default(value: &Scalar, counts_absent: bool, here: &[SchemaNode<'_>]) -> Option<String> {
    let default = here
        .iter()
        .filter(|place| !place.is_required)
        .find_map(|place| place.schema.get("default").filter(|default| !default.is_null()))?;
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

    fn found(path: &str, test: ValueTest) -> Option<String> {
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
            assert_eq!(found(path, test.clone()), None, "{path} {test:?}");
        }
    }

    #[test]
    fn a_condition_that_no_input_meets_is_told_with_what_there_is() {
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
            assert_eq!(found(path, test), Some(format!("`{path}`: {expected}")));
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
