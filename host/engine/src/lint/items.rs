//! Checks references to items against the items that are written in the runbook.

use super::text_span::{TextSpan, span_of_path};
use crate::model::{ForEach, Items};
use crate::template::{Form, has_markers, references};
use runbook_document::{Diagnostic, Node, Value, suggestion};

/// A key that is missing, and the keys that are there.
struct MissingKey<'a> {
    key: &'a str,
    known: Vec<&'a str>,
}

/// The error if some item does not have a path that a template reads: the step would fail at that
/// item. `path` begins with the name of the item.
pub(super) fn missing_item_key(
    for_each: &ForEach,
    path: &[String],
    place: &TextSpan<'_>,
) -> Option<Diagnostic> {
    let (Items::Literal(items), [name, rest @ ..]) = (&for_each.items, path) else { return None };
    if *name != for_each.name {
        return None;
    }
    let (which, missing_key) = match &items.value.value {
        Value::Array(items) => {
            let found = items
                .iter()
                .enumerate()
                .find_map(|(index, item)| Some((index, missing_key(item, rest)?)));
            found.map(|(index, missing_key)| (format!("item {} of", index + 1), missing_key))?
        }
        Value::Table(map) => match rest {
            [] => return None,
            [key, ..] if key == "key" => return None,
            [value, rest @ ..] if value == "value" => {
                let found = map
                    .entries
                    .iter()
                    .find_map(|(key, item)| Some((key, missing_key(item, rest)?)));
                found.map(|(key, missing_key)| (format!("`{}` of", key.name), missing_key))?
            }
            [key, ..] => {
                ("an item of the map".to_owned(), MissingKey { key, known: vec!["key", "value"] })
            }
        },
        Value::String(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_) => return None,
    };
    let message = format!("{which} `for_each` has no `{}`", missing_key.key);
    let help = if missing_key.known.is_empty() {
        "it is a plain value".to_owned()
    } else {
        suggestion(missing_key.key, &missing_key.known)
    };
    let span = span_of_path(place, path);
    Some(Diagnostic::error("E0212", place.source, span, message).label("not there").help(help))
}

/// The first key of a path that a value does not have; `None` if the value is a template.
fn missing_key<'a>(value: &'a Node, path: &'a [String]) -> Option<MissingKey<'a>> {
    let (key, rest) = path.split_first()?;
    match &value.value {
        Value::Table(table) => match table.get(key) {
            Some(inner) => missing_key(inner, rest),
            None => Some(MissingKey {
                key,
                known: table.entries.iter().map(|(key, _)| key.name.as_str()).collect(),
            }),
        },
        Value::String(text) if has_markers(text) => None,
        // The keys of a list are indexes and methods, which are not checked.
        Value::Array(_) => None,
        Value::String(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_) => Some(MissingKey { key, known: Vec::new() }),
    }
}

/// A warning if `key` does not refer to the item: then it is the same for every item, but keys must
/// be unique.
pub(super) fn constant_key(for_each: &ForEach, place: &TextSpan<'_>) -> Option<Diagnostic> {
    let key = for_each.key.as_ref()?;
    let paths = references(&key.value, Form::Template).ok()?;
    if paths.iter().any(|path| path.split('.').next() == Some(for_each.name.as_str())) {
        return None;
    }
    let message = "`key` does not name the item, so that every item has the same one".to_owned();
    let diagnostic = Diagnostic::warning("E0226", place.source, key.span.clone(), message)
        .label("the same for every item");
    let is_without_braces = key.value.split('.').next() == Some(for_each.name.as_str());
    Some(diagnostic.help(if is_without_braces {
        format!("it is a template: write `{{{{ {} }}}}`", key.value)
    } else {
        format!(
            "name it, as in `key = \"{{{{ {}.id }}}}\"`; without `key` it is the item itself",
            for_each.name
        )
    }))
}
