//! A JSON Schema as people read it: one row for each field, with its type, whether it must be
//! there, and what it is.

use serde_json::Value as Json;

/// The word for a value that may be of any type.
pub const ANYTHING: &str = "anything";

/// The word for a duration.
pub const DURATION: &str = "duration";

/// How deep fields of fields are shown.
pub const DEEPEST: usize = 3;

/// One field of an input or an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The path of the field, such as `cases[].expect.status`.
    pub name: String,
    /// `text`, `duration`, `list of whole number`.
    pub kind: String,
    /// `required`, `default "x"`, or nothing.
    pub need: String,
    /// What its author says of it.
    pub description: String,
}

impl Field {
    /// As a row of a table. What a plugin's author wrote is text of one line.
    pub fn row(&self) -> Vec<String> {
        [&self.name, &self.kind, &self.need, &self.description]
            .map(|cell| runbook_text::line(cell).into_owned())
            .to_vec()
    }
}

/// The fields of a schema of an object; empty if it says nothing of any.
pub fn fields(schema: &Json) -> Vec<Field> {
    let mut found = Vec::new();
    collect(schema, schema, "", 1, &mut found);
    found
}

fn collect(schema: &Json, root: &Json, prefix: &str, depth: usize, found: &mut Vec<Field>) {
    let required: Vec<_> =
        schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        let name = format!("{prefix}{key}");
        let own = present(property, root);
        let need = match &property["default"] {
            Json::Null if required.contains(&key.as_str()) => "required".to_owned(),
            Json::Null => String::new(),
            default => format!("default {default}"),
        };
        let said = [property, own]
            .into_iter()
            .find_map(|schema| schema["description"].as_str())
            .unwrap_or_default();
        let description = said.split_whitespace().collect::<Vec<_>>().join(" ");
        found.push(Field {
            name: name.clone(),
            kind: kind(property, root, DEEPEST),
            need,
            description,
        });
        if depth < DEEPEST {
            let items = present(&own["items"], root);
            collect(own, root, &format!("{name}."), depth + 1, found);
            collect(items, root, &format!("{name}[]."), depth + 1, found);
        }
    }
}

/// What a `$ref` refers to.
fn resolve<'s>(schema: &'s Json, root: &'s Json) -> &'s Json {
    let name = schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next());
    name.map_or(schema, |name| &root["$defs"][name])
}

/// What it is if it is there: of `X or null`, `X`.
pub fn present<'s>(schema: &'s Json, root: &'s Json) -> &'s Json {
    let choices = schema["anyOf"].as_array().map(Vec::as_slice).unwrap_or_default();
    match choices {
        [one, null] if null["type"] == "null" => resolve(one, root),
        _ => resolve(schema, root),
    }
}

/// The schema of the value at a JSON pointer; `null` if the schema does not say.
pub fn at<'s>(root: &'s Json, pointer: &str) -> &'s Json {
    pointer.split('/').skip(1).map(|key| key.replace("~1", "/").replace("~0", "~")).fold(
        root,
        |schema, key| {
            let own = present(schema, root);
            match own["properties"].get(&key) {
                Some(property) => property,
                None if key.parse::<usize>().is_ok() && !own["items"].is_null() => &own["items"],
                None => &own["additionalProperties"],
            }
        },
    )
}

/// The type, in words.
pub fn kind(schema: &Json, root: &Json, depth: usize) -> String {
    let own = present(schema, root);
    if depth == 0 {
        return ANYTHING.to_owned();
    }
    if is_duration(own) {
        return DURATION.to_owned();
    }
    if let Some(values) = own["enum"].as_array() {
        return values.iter().map(Json::to_string).collect::<Vec<_>>().join(" | ");
    }
    if !own["const"].is_null() {
        return own["const"].to_string();
    }
    for choice in ["oneOf", "anyOf"] {
        if let Some(choices) = own[choice].as_array() {
            return choices
                .iter()
                .map(|one| kind(one, root, depth - 1))
                .collect::<Vec<_>>()
                .join(" | ");
        }
    }
    let named = own["type"].as_str().or_else(|| {
        own["type"].as_array()?.iter().filter_map(Json::as_str).find(|name| *name != "null")
    });
    match named {
        Some("string") => "text".to_owned(),
        Some("integer") => "whole number".to_owned(),
        Some("number") => "number".to_owned(),
        Some("boolean") => "true or false".to_owned(),
        Some("array") => format!("list of {}", kind(&own["items"], root, depth - 1)),
        Some("object") if own["additionalProperties"].is_object() => {
            format!("table of {}", kind(&own["additionalProperties"], root, depth - 1))
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
    let own = present(schema, root);
    if is_duration(own) {
        return "\"5m\"".to_owned();
    }
    if let Some(first) = own["enum"].as_array().and_then(|values| values.first()) {
        return first.to_string();
    }
    if !own["const"].is_null() {
        return own["const"].to_string();
    }
    if let Some(first) =
        ["oneOf", "anyOf"].iter().find_map(|choice| own[*choice].as_array()?.first())
    {
        return if depth == 0 { "\"\"".to_owned() } else { sample(first, root, depth - 1) };
    }
    match own["type"].as_str() {
        Some("integer") => own["minimum"].as_u64().unwrap_or(0).max(1).to_string(),
        Some("number") => "1.0".to_owned(),
        Some("boolean") => "true".to_owned(),
        Some("array") if depth > 0 => format!("[{}]", sample(&own["items"], root, depth - 1)),
        Some("array") => "[]".to_owned(),
        Some("object") => inline_table(own, root, depth.saturating_sub(1)),
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
            "what refers to itself ends: {shown:?}"
        );
        assert!(shown.contains(&"body; anything; ; ".to_owned()));
        assert_eq!(inline_table(&schema, &schema, 3), "{ limit = 1, cases = [{}] }");
    }

    #[test]
    fn what_an_author_wrote_is_text_of_one_line() {
        let schema = json!({ "properties": { "a": { "description": "x\u{1b}[2K\r\u{202e}y" } } });
        let row = fields(&schema).remove(0).row().join(" ");
        assert!(!row.chars().any(|c| c.is_control() || c == '\u{202e}'), "{row:?}");
    }
}
