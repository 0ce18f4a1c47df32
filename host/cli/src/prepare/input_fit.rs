//! Checks, before anything runs, that the input of a call fits the schema of its operation.

use crate::plugins::{is_file, path_of};
use crate::schema_words;
use crate::written_input::node_at;
use runbook_document::{Diagnostic, FromNode as _, Span, Table, Value};
use runbook_engine::model::{Param, ParamType};
use runbook_engine::{CallSite, Misfit, PartialInput};
use runbook_runtime::VerifiedComponent;
use std::path::Path;

/// The input of a call as far as it is known before parameters have values and steps have run.
pub fn known_input(site: &CallSite<'_>, params: &[Param]) -> PartialInput {
    let input = site.with.map_or_else(|| serde_json::json!({}), Table::to_json);
    PartialInput::from_types(&input, params)
}

/// Compares the known part of an input with the operation's schema: values without templates, the
/// types of parameters, and that a template with text around it is a string. The rest is compared
/// when the templates are rendered.
pub fn wrong_input(
    site: &CallSite<'_>,
    (reference, operation): (&str, &str),
    folder: &Path,
    plugin: &VerifiedComponent,
    params: &[Param],
) -> Vec<Diagnostic> {
    // A part of the input could not be parsed, so nothing is known to be missing.
    if site.with.is_some_and(|with| with.is_partial) {
        return Vec::new();
    }
    let known = known_input(site, params);
    let misfits = crate::misfits::misfits(plugin, operation, &known.value);
    let schema = plugin.manifest().operations.get(operation).map(|declared| &declared.input);
    let as_diagnostic = |misfit: &Misfit| {
        let node = site.with.and_then(|with| node_at(with, &misfit.pointer));
        let key_pointer = misfit
            .key
            .as_ref()
            .map(|key| format!("{}/{}", misfit.pointer, key.replace('~', "~0").replace('/', "~1")));
        let key_node = key_pointer.and_then(|pointer| node_at(site.with?, &pointer)).or(node);
        let source = key_node.map_or(site.source, |node| node.source(site.source));
        let key = misfit.key.as_ref().and_then(|key| key_at(site.with?, &misfit.pointer, key));
        let input_span = || site.with.map_or_else(|| site.span.clone(), |with| with.span.clone());
        let span = key.or_else(|| node.map(|node| node.span.clone())).unwrap_or_else(input_span);
        let place = if misfit.pointer.is_empty() {
            "the top".to_owned()
        } else {
            format!("`{}`", misfit.pointer)
        };
        let message = format!(
            "the input of `{}` does not fit: at {place}: {}",
            site.uses.value, misfit.reason
        );
        let diagnostic = Diagnostic::error("E0230", source, span, message).label("does not fit");
        let template = node
            .and_then(String::from_node)
            .filter(|_| known.sample_places.contains(&misfit.pointer));
        let param = template.as_deref().and_then(runbook_engine::sole_param);
        match (
            &misfit.help,
            param.and_then(|name| params.iter().find(|param| param.name.name == name)),
        ) {
            (Some(help), _) => diagnostic.help(help.clone()),
            (None, Some(param)) => {
                let subschema = schema.map_or(&serde_json::Value::Null, |schema| {
                    schema_words::schema_at(schema, &misfit.pointer)
                });
                let wanted_type = schema_words::kind(
                    subschema,
                    schema.unwrap_or(subschema),
                    schema_words::MAX_DEPTH,
                );
                diagnostic.help(advice_for_param(param, &wanted_type))
            }
            (None, None) if template.is_some() => diagnostic.help(
                "a template with text around it is a text; alone in its quotes it keeps its type",
            ),
            (None, None) => {
                // `uses` names a file relative to the runbook; the command needs it relative to the
                // working directory.
                let place = if is_file(reference) {
                    path_of(reference, folder).display().to_string()
                } else {
                    reference.to_owned()
                };
                let place =
                    runbook_text::file_argument(&format!("{place}:{operation}")).into_owned();
                diagnostic.help(format!("see `runbook plugin inspect {place}`"))
            }
        }
    };
    known.certain_misfits(&misfits).map(as_diagnostic).collect()
}

/// What to do about a parameter that is used where another type is expected.
fn advice_for_param(param: &Param, wanted_type: &str) -> String {
    let name = &param.name.name;
    let types = [
        ("text", ParamType::String),
        (schema_words::DURATION, ParamType::Duration),
        ("whole number", ParamType::Int),
        ("number", ParamType::Float),
        ("true or false", ParamType::Bool),
        ("list of text", ParamType::List),
    ];
    let fitting_type = types
        .iter()
        .find(|(word, _)| wanted_type.split(" | ").any(|one| one == *word))
        .map(|(_, kind)| kind);
    match fitting_type {
        Some(ParamType::String) => format!(
            "a parameter keeps its type; a text of it is `{{{{ params.{name} | string }}}}`"
        ),
        Some(kind) => format!(
            "`params.{name}` is of type {}; give it `type = \"{}\"`",
            param.kind.name(),
            kind.name()
        ),
        None => {
            format!("`params.{name}` is of type {}, which does not fit there", param.kind.name())
        }
    }
}

/// The span of a key in the table at a JSON pointer.
fn key_at(table: &Table, pointer: &str, key: &str) -> Option<Span> {
    let inner = if pointer.is_empty() {
        table
    } else {
        match &node_at(table, pointer)?.value {
            Value::Table(inner) => inner,
            Value::Array(_)
            | Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_) => {
                return None;
            }
        }
    };
    inner.entries.iter().find(|(found, _)| found.name == key).map(|(found, _)| found.span.clone())
}
