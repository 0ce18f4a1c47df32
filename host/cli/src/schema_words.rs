//! Describes a JSON Schema for people: one row for each field with its type, whether it is
//! required, and its description.

use serde_json::Value as Json;

/// The word for a value that may be of any type.
pub const ANYTHING: &str = "anything";

/// The word for a duration.
pub const DURATION: &str = "duration";

/// How deep nested fields are shown.
pub const MAX_DEPTH: usize = 3;

/// One field of an input or an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The path of the field, such as `cases[].expect.status`.
    pub name: String,
    /// The type, such as `text`, `duration` or `list of whole number`.
    pub kind: String,
    /// `required`, `default "x"`, or nothing.
    pub requirement: String,
    /// The description in the schema.
    pub description: String,
}

impl Field {
    /// The field as a row of a table. Each cell is one line, with control characters escaped.
    pub fn row(&self) -> Vec<String> {
        [&self.name, &self.kind, &self.requirement, &self.description]
            .map(|cell| runbook_text::line(cell).into_owned())
            .to_vec()
    }
}

/// The fields of the schema of an object; empty if it lists none.
pub fn fields(schema: &Json) -> Vec<Field> {
    let mut found = Vec::new();
    collect(schema, schema, "", 1, &mut found);
    found
}

/// Adds the fields of an object's schema and of the objects in it, with their paths.
fn collect(schema: &Json, root: &Json, prefix: &str, depth: usize, found: &mut Vec<Field>) {
    let required: Vec<_> =
        schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        let name = format!("{prefix}{key}");
        let resolved = non_null(property, root);
        let requirement = match &property["default"] {
            Json::Null if required.contains(&key.as_str()) => "required".to_owned(),
            Json::Null => String::new(),
            default => format!("default {default}"),
        };
        let text = [property, resolved]
            .into_iter()
            .find_map(|schema| schema["description"].as_str())
            .unwrap_or_default();
        let description = text.split_whitespace().collect::<Vec<_>>().join(" ");
        found.push(Field {
            name: name.clone(),
            kind: kind(property, root, MAX_DEPTH),
            requirement,
            description,
        });
        if depth < MAX_DEPTH {
            let items = non_null(&resolved["items"], root);
            collect(resolved, root, &format!("{name}."), depth + 1, found);
            collect(items, root, &format!("{name}[]."), depth + 1, found);
        }
    }
}

/// The definition that `$ref` refers to, or the schema itself.
fn resolve<'s>(schema: &'s Json, root: &'s Json) -> &'s Json {
    let name = schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next());
    name.map_or(schema, |name| &root["$defs"][name])
}

/// The schema of the value if it is not null: `X` for `X or null`. A `$ref` is resolved.
pub fn non_null<'s>(schema: &'s Json, root: &'s Json) -> &'s Json {
    let choices = schema["anyOf"].as_array().map(Vec::as_slice).unwrap_or_default();
    match choices {
        [one, null] if null["type"] == "null" => resolve(one, root),
        _ => resolve(schema, root),
    }
}

/// The schema of the value at a JSON pointer; `null` if the schema says nothing about it.
pub fn schema_at<'s>(root: &'s Json, pointer: &str) -> &'s Json {
    pointer.split('/').skip(1).map(|key| key.replace("~1", "/").replace("~0", "~")).fold(
        root,
        |schema, key| {
            let resolved = non_null(schema, root);
            match resolved["properties"].get(&key) {
                Some(property) => property,
                None if key.parse::<usize>().is_ok() && !resolved["items"].is_null() => {
                    &resolved["items"]
                }
                None => &resolved["additionalProperties"],
            }
        },
    )
}

/// The type, in words.
pub fn kind(schema: &Json, root: &Json, depth: usize) -> String {
    let resolved = non_null(schema, root);
    if depth == 0 {
        return ANYTHING.to_owned();
    }
    if is_duration(resolved) {
        return DURATION.to_owned();
    }
    if let Some(values) = resolved["enum"].as_array() {
        return values.iter().map(Json::to_string).collect::<Vec<_>>().join(" | ");
    }
    if !resolved["const"].is_null() {
        return resolved["const"].to_string();
    }
    for choice in ["oneOf", "anyOf"] {
        if let Some(choices) = resolved[choice].as_array() {
            return choices
                .iter()
                .map(|one| kind(one, root, depth - 1))
                .collect::<Vec<_>>()
                .join(" | ");
        }
    }
    let type_name = resolved["type"].as_str().or_else(|| {
        resolved["type"].as_array()?.iter().filter_map(Json::as_str).find(|name| *name != "null")
    });
    match type_name {
        Some("string") => "text".to_owned(),
        Some("integer") => "whole number".to_owned(),
        Some("number") => "number".to_owned(),
        Some("boolean") => "true or false".to_owned(),
        Some("array") => format!("list of {}", kind(&resolved["items"], root, depth - 1)),
        Some("object") if resolved["additionalProperties"].is_object() => {
            format!("table of {}", kind(&resolved["additionalProperties"], root, depth - 1))
        }
        Some("object") => "table".to_owned(),
        Some(other) => other.to_owned(),
        None => ANYTHING.to_owned(),
    }
}

/// Whether a schema is that of a duration, the SDK's `Span`.
fn is_duration(schema: &Json) -> bool {
    schema["type"] == "string"
        && schema["pattern"].as_str().is_some_and(|pattern| pattern.contains("(ms|s|m|h|d|w)"))
}

/// A value of this type, in TOML.
pub fn sample(schema: &Json, root: &Json, depth: usize) -> String {
    let resolved = non_null(schema, root);
    if is_duration(resolved) {
        return "\"5m\"".to_owned();
    }
    if let Some(first) = resolved["enum"].as_array().and_then(|values| values.first()) {
        return first.to_string();
    }
    if !resolved["const"].is_null() {
        return resolved["const"].to_string();
    }
    if let Some(first) =
        ["oneOf", "anyOf"].iter().find_map(|choice| resolved[*choice].as_array()?.first())
    {
        return if depth == 0 { "\"\"".to_owned() } else { sample(first, root, depth - 1) };
    }
    match resolved["type"].as_str() {
        Some("integer") => resolved["minimum"].as_u64().unwrap_or(0).max(1).to_string(),
        Some("number") => "1.0".to_owned(),
        Some("boolean") => "true".to_owned(),
        Some("array") if depth > 0 => format!("[{}]", sample(&resolved["items"], root, depth - 1)),
        Some("array") => "[]".to_owned(),
        Some("object") => inline_table(resolved, root, depth.saturating_sub(1)),
        Some(_) | None => "\"…\"".to_owned(),
    }
}

/// The required fields, as an inline table; `{}` if there are none.
pub fn inline_table(schema: &Json, root: &Json, depth: usize) -> String {
    let names = schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str);
    let fields: Vec<_> = names
        .map(|name| format!("{name} = {}", sample(&schema["properties"][name], root, depth)))
        .collect();
    if fields.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", fields.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_field_is_shown_with_its_type_and_its_description() {
        let schema = json!({
            "type": "object",
            "properties": {
                "limit": { "type": "integer", "description": "More is\na failure." },
                "age": { "anyOf": [{ "$ref": "#/$defs/Duration" }, { "type": "null" }] },
                "by": { "$ref": "#/$defs/By", "default": "query" },
                "names": { "type": ["array", "null"], "items": { "type": "string" } },
                "cases": { "type": "array", "items": { "$ref": "#/$defs/Case" } },
                "body": true,
            },
            "required": ["limit", "cases"],
            "$defs": {
                "Duration": { "type": "string", "pattern": "^([0-9]+(ms|s|m|h|d|w))+$" },
                "By": { "oneOf": [{ "const": "query" }, { "const": "transaction" }] },
                "Case": { "type": "object", "properties": { "next": { "$ref": "#/$defs/Case" } } },
            },
        });
        let shown: Vec<_> = fields(&schema).iter().map(|field| field.row().join("; ")).collect();
        assert_eq!(shown[0], "limit; whole number; required; More is a failure.");
        assert_eq!(shown[1], "age; duration; ; ");
        assert_eq!(shown[2], "by; \"query\" | \"transaction\"; default \"query\"; ");
        assert_eq!(shown[3], "names; list of text; ; ");
        assert_eq!(shown[4], "cases; list of table; required; ");
        assert!(
            shown.contains(&"cases[].next; table; ; ".to_owned()),
            "a recursive schema is cut at its maximum depth: {shown:?}"
        );
        assert!(shown.contains(&"body; anything; ; ".to_owned()));
        assert_eq!(inline_table(&schema, &schema, 3), "{ limit = 1, cases = [{}] }");
    }

    #[test]
    fn a_description_by_an_author_is_shown_as_one_line() {
        let schema = json!({ "properties": { "a": { "description": "x\u{1b}[2K\r\u{202e}y" } } });
        let row = fields(&schema).remove(0).row().join(" ");
        assert!(!row.chars().any(|c| c.is_control() || c == '\u{202e}'), "{row:?}");
    }
}
