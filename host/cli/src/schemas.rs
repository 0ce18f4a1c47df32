//! The JSON Schemas of the files that people write and of the output for programs, and explanations
//! of their keys.

use serde_json::Value as Json;

/// The kind of file or output that a schema describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SchemaKind {
    /// A runbook: the steps of a procedure
    Runbook,
    /// A suite of checks
    Suite,
    /// plugin.toml: what a plugin is and needs
    Plugin,
    /// boundary.toml: the outermost limit of what runbooks may be granted
    Boundary,
    /// trust.toml: whose signatures are accepted
    Trust,
    /// A file of targets and secrets, which runbooks include or take by --env
    Targets,
    /// waivers.toml: checks that do not run until a date
    Waivers,
    /// settings.toml: the settings of a host
    Settings,
    /// config.toml: what one person sets for every command
    Configuration,
    /// .runbook.toml: where the runbooks of a project are, and what holds for them
    Project,
    /// One line of what `runbook validate --format json` prints
    Validation,
    /// What `runbook plan --format json` prints
    Plan,
    /// What `runbook review --format json` prints
    Review,
    /// What `runbook report --format json` prints
    Report,
    /// One line of what `--events` and `runbook show --format jsonl` write
    Events,
}

/// The schema of a kind of file, as published in `schema/`.
pub fn schema(file: SchemaKind) -> Json {
    match file {
        SchemaKind::Runbook => published(include_str!("../../../schema/runbook.v1.json")),
        SchemaKind::Suite => published(include_str!("../../../schema/suite.v1.json")),
        SchemaKind::Targets => targets(),
        SchemaKind::Waivers => published(include_str!("../../../schema/waivers.v1.json")),
        SchemaKind::Settings => published(include_str!("../../../schema/settings.v1.json")),
        SchemaKind::Configuration => {
            published(include_str!("../../../schema/configuration.v1.json"))
        }
        SchemaKind::Project => published(include_str!("../../../schema/project.v1.json")),
        SchemaKind::Review => published(include_str!("../../../schema/review.v1.json")),
        SchemaKind::Validation => crate::validation::schema(),
        SchemaKind::Plan => crate::plan_form::schema(),
        SchemaKind::Plugin => runbook_authority::schema::plugin(),
        SchemaKind::Boundary => runbook_authority::schema::boundary(),
        SchemaKind::Trust => runbook_authority::schema::trust(),
        SchemaKind::Report => runbook_report::report_schema(),
        SchemaKind::Events => runbook_report::event_schema(),
    }
}

/// Parses a schema of the folder `schema/`.
fn published(text: &str) -> Json {
    serde_json::from_str(text).expect("a published schema is JSON, which a test checks")
}

/// The schema of a file of targets: a part of that of a runbook.
fn targets() -> Json {
    let mut schema = schema(SchemaKind::Runbook);
    let properties = ["format", "targets", "secrets"]
        .map(|key| (key.to_owned(), schema["properties"][key].take()));
    schema["properties"] = Json::Object(properties.into_iter().collect());
    schema["title"] = "targets, format 1".into();
    schema["description"] =
        "Targets and secrets that runbooks include, or take by `--env NAME` from \
         `targets.NAME.toml`. Put `#:schema schema/targets.v1.json` on its first line."
            .into();
    schema["required"] = vec!["format"].into();
    if let Some(entries) = schema.as_object_mut() {
        entries.remove("anyOf");
    }
    schema
}

/// The explanation of a key from its schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyExplanation {
    /// The description of the key.
    pub meaning: String,
    /// The type of its value, in words.
    pub kind: String,
    /// The keys below it, with their descriptions.
    pub keys: Vec<(String, String)>,
}

/// Explains the key at a dotted path, such as `step.retry`.
///
/// # Errors
/// The first word of the path that is unknown, and the keys that are known there.
pub fn find_key(schema: &Json, path: &str) -> Result<KeyExplanation, (String, Vec<String>)> {
    let mut subschemas = vec![schema];
    let mut words = path.split('.').filter(|key| !key.is_empty()).peekable();
    while let Some(key) = words.next() {
        let mut inner_schemas: Vec<&Json> =
            subschemas.iter().flat_map(|subschema| members_named(schema, subschema, key)).collect();
        if inner_schemas.is_empty() && words.peek().is_some() {
            // In `targets.db.sql`, `db` is a name that the author of the file chose.
            inner_schemas = subschemas
                .iter()
                .flat_map(|subschema| members_with_chosen_names(schema, subschema))
                .collect();
        }
        if inner_schemas.is_empty() {
            let known = keys(schema, &subschemas).into_iter().map(|(key, _)| key).collect();
            return Err((key.to_owned(), known));
        }
        subschemas = inner_schemas;
    }
    let text = |subschema: &&Json| subschema["description"].as_str().map(str::to_owned);
    let meaning = subschemas.iter().find_map(text).unwrap_or_default();
    Ok(KeyExplanation { meaning, kind: kind(schema, &subschemas), keys: keys(schema, &subschemas) })
}

/// A subschema and all schemas that it refers to or combines: any of them may describe the value.
fn alternatives<'a>(schema: &'a Json, subschema: &'a Json) -> Vec<&'a Json> {
    let mut alternatives = vec![subschema];
    if let Some(target) =
        subschema["$ref"].as_str().and_then(|path| schema.pointer(path.trim_start_matches('#')))
    {
        alternatives.extend(self::alternatives(schema, target));
    }
    for word in ["oneOf", "anyOf", "allOf"] {
        for alternative in subschema[word].as_array().into_iter().flatten() {
            alternatives.extend(self::alternatives(schema, alternative));
        }
    }
    if subschema["items"].is_object() {
        alternatives.extend(self::alternatives(schema, &subschema["items"]));
    }
    alternatives
}

/// The schemas of a key: of the property with this name, or, where names are chosen by the author,
/// of this property of any of them.
fn members_named<'a>(schema: &'a Json, subschema: &'a Json, key: &str) -> Vec<&'a Json> {
    let alternatives = alternatives(schema, subschema);
    let named_members: Vec<&Json> =
        alternatives.iter().filter_map(|alternative| alternative["properties"].get(key)).collect();
    if !named_members.is_empty() {
        return named_members;
    }
    // In `targets.http`, the name that the author chose between the two words is left out.
    let additional = alternatives
        .iter()
        .map(|alternative| &alternative["additionalProperties"])
        .filter(|additional| additional.is_object());
    let inner_schemas = |additional: &'a Json| {
        let inner_schemas = self::alternatives(schema, additional);
        let known: Vec<&Json> = inner_schemas
            .iter()
            .filter_map(|alternative| alternative["properties"].get(key))
            .collect();
        if known.is_empty()
            && !inner_schemas.iter().any(|alternative| alternative["properties"].is_object())
        {
            vec![additional]
        } else {
            known
        }
    };
    additional.flat_map(inner_schemas).collect()
}

/// The schemas of the tables whose names the author of the file chooses.
fn members_with_chosen_names<'a>(schema: &'a Json, subschema: &'a Json) -> Vec<&'a Json> {
    let additional = alternatives(schema, subschema)
        .into_iter()
        .map(|alternative| &alternative["additionalProperties"]);
    additional
        .filter(|additional| additional.is_object())
        .filter(|additional| {
            alternatives(schema, additional)
                .iter()
                .any(|alternative| alternative["properties"].is_object())
        })
        .collect()
}

fn keys(schema: &Json, subschemas: &[&Json]) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let alternatives = subschemas.iter().flat_map(|subschema| alternatives(schema, subschema));
    let with_additional = alternatives.flat_map(|alternative| {
        let additional = &alternative["additionalProperties"];
        let inner_schemas = if additional.is_object() {
            self::alternatives(schema, additional)
        } else {
            Vec::new()
        };
        std::iter::once(alternative).chain(inner_schemas)
    });
    for (name, value) in
        with_additional.filter_map(|alternative| alternative["properties"].as_object()).flatten()
    {
        if !found.iter().any(|(known, _)| known == name) {
            let text = self::alternatives(schema, value)
                .iter()
                .find_map(|alternative| alternative["description"].as_str().map(str::to_owned));
            found.push((name.clone(), text.unwrap_or_default()));
        }
    }
    found
}

/// The types and constants that are possible, in a few words.
fn kind(schema: &Json, subschemas: &[&Json]) -> String {
    let mut kinds: Vec<String> = Vec::new();
    let mut push = |kind: String| {
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    };
    for subschema in subschemas {
        let words = |value: &Json| {
            value.as_str().map_or_else(|| value.to_string(), |text| format!("`{text}`"))
        };
        for alternative in alternatives(schema, subschema) {
            if let Some(constant) = alternative.get("const") {
                push(words(constant));
            }
            alternative["enum"]
                .as_array()
                .into_iter()
                .flatten()
                .for_each(|value| push(words(value)));
            match &alternative["type"] {
                Json::String(one) => push(type_noun(one)),
                Json::Array(several) => {
                    several.iter().filter_map(Json::as_str).for_each(|one| push(type_noun(one)));
                }
                Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_) => {}
            }
        }
    }
    kinds.join(", ")
}

fn type_noun(name: &str) -> String {
    match name {
        "object" => "table",
        "array" => "list of",
        "string" => "text",
        "integer" => "whole number",
        other => other,
    }
    .to_owned()
}
