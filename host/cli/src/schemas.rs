//! The JSON Schemas of the files that people write, and of what is written for programs.

use serde_json::Value as Json;

/// Kinds of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum FileKind {
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
pub fn schema(file: FileKind) -> Json {
    match file {
        FileKind::Runbook => published(include_str!("../../../schema/runbook.v1.json")),
        FileKind::Suite => published(include_str!("../../../schema/suite.v1.json")),
        FileKind::Targets => targets(),
        FileKind::Waivers => published(include_str!("../../../schema/waivers.v1.json")),
        FileKind::Settings => published(include_str!("../../../schema/settings.v1.json")),
        FileKind::Configuration => published(include_str!("../../../schema/configuration.v1.json")),
        FileKind::Project => published(include_str!("../../../schema/project.v1.json")),
        FileKind::Review => published(include_str!("../../../schema/review.v1.json")),
        FileKind::Validation => crate::validation::schema(),
        FileKind::Plan => crate::plan_form::schema(),
        FileKind::Plugin => runbook_authority::schema::plugin(),
        FileKind::Boundary => runbook_authority::schema::boundary(),
        FileKind::Trust => runbook_authority::schema::trust(),
        FileKind::Report => runbook_report::report_schema(),
        FileKind::Events => runbook_report::event_schema(),
    }
}

fn published(text: &str) -> Json {
    serde_json::from_str(text).expect("a published schema is JSON, which a test checks")
}

/// The part of a runbook that may stand in a file of targets.
fn targets() -> Json {
    let mut schema = schema(FileKind::Runbook);
    let own = ["format", "targets", "secrets"]
        .map(|key| (key.to_owned(), schema["properties"][key].take()));
    schema["properties"] = Json::Object(own.into_iter().collect());
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

/// What a schema says of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// What the key means, as the schema describes it.
    pub meaning: String,
    /// The type of its value, in words.
    pub kind: String,
    /// The keys below it, and what they mean.
    pub keys: Vec<(String, String)>,
}

/// The keys on the way to a place in a schema, or the part of them that is not known with those
/// that are known there.
pub fn find(schema: &Json, path: &str) -> Result<Explained, (String, Vec<String>)> {
    let mut places = vec![schema];
    let mut words = path.split('.').filter(|key| !key.is_empty()).peekable();
    while let Some(key) = words.next() {
        let mut below: Vec<&Json> =
            places.iter().flat_map(|place| member(schema, place, key)).collect();
        if below.is_empty() && words.peek().is_some() {
            // `targets.db.sql`, as it stands in the file: `db` is a name that its author chose.
            below = places.iter().flat_map(|place| named_freely(schema, place)).collect();
        }
        if below.is_empty() {
            let known = keys(schema, &places).into_iter().map(|(key, _)| key).collect();
            return Err((key.to_owned(), known));
        }
        places = below;
    }
    let text = |place: &&Json| place["description"].as_str().map(str::to_owned);
    let meaning = places.iter().find_map(text).unwrap_or_default();
    Ok(Explained { meaning, kind: kind(schema, &places), keys: keys(schema, &places) })
}

/// A place and all that it refers to or is one of: what may stand there.
fn forms<'a>(schema: &'a Json, place: &'a Json) -> Vec<&'a Json> {
    let mut forms = vec![place];
    if let Some(target) =
        place["$ref"].as_str().and_then(|path| schema.pointer(path.trim_start_matches('#')))
    {
        forms.extend(self::forms(schema, target));
    }
    for word in ["oneOf", "anyOf", "allOf"] {
        for form in place[word].as_array().into_iter().flatten() {
            forms.extend(self::forms(schema, form));
        }
    }
    if place["items"].is_object() {
        forms.extend(self::forms(schema, &place["items"]));
    }
    forms
}

/// What stands below a key: a member with this name, or, where names are free, any member.
fn member<'a>(schema: &'a Json, place: &'a Json, key: &str) -> Vec<&'a Json> {
    let forms = forms(schema, place);
    let named: Vec<&Json> = forms.iter().filter_map(|form| form["properties"].get(key)).collect();
    if !named.is_empty() {
        return named;
    }
    // `targets.http`: between them stands a name that the author chose.
    let free =
        forms.iter().map(|form| &form["additionalProperties"]).filter(|free| free.is_object());
    let below = |free: &'a Json| {
        let below = self::forms(schema, free);
        let known: Vec<&Json> =
            below.iter().filter_map(|form| form["properties"].get(key)).collect();
        if known.is_empty() && !below.iter().any(|form| form["properties"].is_object()) {
            vec![free]
        } else {
            known
        }
    };
    free.flat_map(below).collect()
}

/// What stands under a name that the author of the file chose, where names are free.
fn named_freely<'a>(schema: &'a Json, place: &'a Json) -> Vec<&'a Json> {
    let free = forms(schema, place).into_iter().map(|form| &form["additionalProperties"]);
    free.filter(|free| free.is_object())
        .filter(|free| forms(schema, free).iter().any(|form| form["properties"].is_object()))
        .collect()
}

fn keys(schema: &Json, places: &[&Json]) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let forms = places.iter().flat_map(|place| forms(schema, place));
    let with_free = forms.flat_map(|form| {
        let free = &form["additionalProperties"];
        let below = if free.is_object() { self::forms(schema, free) } else { Vec::new() };
        std::iter::once(form).chain(below)
    });
    for (name, value) in with_free.filter_map(|form| form["properties"].as_object()).flatten() {
        if !found.iter().any(|(known, _)| known == name) {
            let text = self::forms(schema, value)
                .iter()
                .find_map(|form| form["description"].as_str().map(str::to_owned));
            found.push((name.clone(), text.unwrap_or_default()));
        }
    }
    found
}

/// What may stand there, in a few words.
fn kind(schema: &Json, places: &[&Json]) -> String {
    let mut kinds: Vec<String> = Vec::new();
    let mut push = |kind: String| {
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    };
    for place in places {
        let words = |value: &Json| {
            value.as_str().map_or_else(|| value.to_string(), |text| format!("`{text}`"))
        };
        for form in forms(schema, place) {
            if let Some(constant) = form.get("const") {
                push(words(constant));
            }
            form["enum"].as_array().into_iter().flatten().for_each(|value| push(words(value)));
            match &form["type"] {
                Json::String(one) => push(noun(one)),
                Json::Array(several) => {
                    several.iter().filter_map(Json::as_str).for_each(|one| push(noun(one)));
                }
                Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_) => {}
            }
        }
    }
    kinds.join(", ")
}

fn noun(name: &str) -> String {
    match name {
        "object" => "table",
        "array" => "list of",
        "string" => "text",
        "integer" => "whole number",
        other => other,
    }
    .to_owned()
}
