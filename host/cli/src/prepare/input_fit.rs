//! Whether the input of a call fits the schema of its operation, before anything runs.

use crate::plugins::{file_of, is_file};
use crate::schema_words;
use crate::written_input::node_at;
use runbook_document::{Diagnostic, FromNode as _, Span, Table, Value};
use runbook_engine::model::{Param, ParamType};
use runbook_engine::{Known, Misfit, UseSite};
use runbook_runtime::Verified;
use std::path::Path;

/// The input of a call, as far as it is known before parameters have values and steps have run.
pub fn known_input(site: &UseSite<'_>, params: &[Param]) -> Known {
    let input = site.with.map_or_else(|| serde_json::json!({}), Table::to_json);
    Known::of_types(&input, params)
}

/// What is known of an input now is compared with the operation's schema now: all that has no
/// template, the types of parameters, and that a template with text around it is a text. The rest
/// is compared when it is rendered.
pub fn wrong_input(
    site: &UseSite<'_>,
    (reference, operation): (&str, &str),
    folder: &Path,
    plugin: &Verified,
    params: &[Param],
) -> Vec<Diagnostic> {
    // What is missing may stand where nobody could read it.
    if site.with.is_some_and(|with| with.is_partial) {
        return Vec::new();
    }
    let known = known_input(site, params);
    let misfits = crate::misfits::misfits(plugin, operation, &known.value);
    let schema = plugin.manifest().operations.get(operation).map(|declared| &declared.input);
    let as_diagnostic = |misfit: &Misfit| {
        let node = site.with.and_then(|with| node_at(with, &misfit.pointer));
        let of_key = misfit
            .key
            .as_ref()
            .map(|key| format!("{}/{}", misfit.pointer, key.replace('~', "~0").replace('/', "~1")));
        let there = of_key.and_then(|pointer| node_at(site.with?, &pointer)).or(node);
        let source = there.map_or(site.source, |node| node.source(site.source));
        let key = misfit.key.as_ref().and_then(|key| key_at(site.with?, &misfit.pointer, key));
        let whole = || site.with.map_or_else(|| site.span.clone(), |with| with.span.clone());
        let span = key.or_else(|| node.map(|node| node.span.clone())).unwrap_or_else(whole);
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
        let written =
            node.and_then(String::from_node).filter(|_| known.sampled.contains(&misfit.pointer));
        let param = written.as_deref().and_then(runbook_engine::param_of);
        match (
            &misfit.help,
            param.and_then(|name| params.iter().find(|param| param.name.name == name)),
        ) {
            (Some(help), _) => diagnostic.help(help.clone()),
            (None, Some(param)) => {
                let there = schema.map_or(&serde_json::Value::Null, |schema| {
                    schema_words::at(schema, &misfit.pointer)
                });
                let wanted =
                    schema_words::kind(there, schema.unwrap_or(there), schema_words::DEEPEST);
                diagnostic.help(advice_for_param(param, &wanted))
            }
            (None, None) if written.is_some() => diagnostic.help(
                "a template with text around it is a text; alone in its quotes it keeps its type",
            ),
            (None, None) => {
                // What can be run from here: a file is named relative to the runbook in it, and
                // relative to this folder on the command line.
                let place = if is_file(reference) {
                    file_of(reference, folder).display().to_string()
                } else {
                    reference.to_owned()
                };
                let place = runbook_text::file(&format!("{place}:{operation}")).into_owned();
                diagnostic.help(format!("see `runbook plugin inspect {place}`"))
            }
        }
    };
    known.certain(&misfits).map(as_diagnostic).collect()
}

/// What to do about a parameter that stands where another type is expected.
fn advice_for_param(param: &Param, wanted: &str) -> String {
    let name = &param.name.name;
    let types = [
        ("text", ParamType::String),
        (schema_words::DURATION, ParamType::Duration),
        ("whole number", ParamType::Int),
        ("number", ParamType::Float),
        ("true or false", ParamType::Bool),
        ("list of text", ParamType::List),
    ];
    let fitting = types
        .iter()
        .find(|(word, _)| wanted.split(" | ").any(|one| one == *word))
        .map(|(_, kind)| kind);
    match fitting {
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

/// Where a key stands in the table at a JSON pointer.
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
