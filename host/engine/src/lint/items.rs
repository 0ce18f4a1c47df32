//! Compares what templates read of items with the items, where a list or map is written in the
//! runbook.

use super::text_span::{TextSpan, narrow_to};
use crate::model::{ForEach, Items};
use crate::template::{Form, has_markers, references};
use runbook_document::{Diagnostic, Node, Value, suggestion};

/// A key that is missing, and the keys that are there.
struct Missing<'a> {
    key: &'a str,
    known: Vec<&'a str>,
}

/// A path into an item that some item does not have: the run would end when that item's turn comes.
/// `path` begins with the name of the item.
pub(super) fn wrong_read(
    for_each: &ForEach,
    path: &[String],
    place: &TextSpan<'_>,
) -> Option<Diagnostic> {
    let (Items::Literal(items), [name, rest @ ..]) = (&for_each.items, path) else { return None };
    if *name != for_each.name {
        return None;
    }
    let (which, missing) = match &items.value.value {
        Value::Array(items) => {
            let found =
                items.iter().enumerate().find_map(|(at, item)| Some((at, missing(item, rest)?)));
            found.map(|(at, missing)| (format!("item {} of", at + 1), missing))?
        }
        Value::Table(map) => match rest {
            [] => return None,
            [key, ..] if key == "key" => return None,
            [value, rest @ ..] if value == "value" => {
                let found =
                    map.entries.iter().find_map(|(key, item)| Some((key, missing(item, rest)?)));
                found.map(|(key, missing)| (format!("`{}` of", key.name), missing))?
            }
            [key, ..] => {
                ("an item of the map".to_owned(), Missing { key, known: vec!["key", "value"] })
            }
        },
        Value::String(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_) => return None,
    };
    let message = format!("{which} `for_each` has no `{}`", missing.key);
    let help = if missing.known.is_empty() {
        "it is a plain value".to_owned()
    } else {
        suggestion(missing.key, &missing.known)
    };
    let span = narrow_to(place, path);
    Some(Diagnostic::error("E0212", place.source, span, message).label("not there").help(help))
}

/// The first key of a path that a value never has. A template may have any value.
fn missing<'a>(value: &'a Node, path: &'a [String]) -> Option<Missing<'a>> {
    let (key, rest) = path.split_first()?;
    match &value.value {
        Value::Table(table) => match table.get(key) {
            Some(inner) => missing(inner, rest),
            None => Some(Missing {
                key,
                known: table.entries.iter().map(|(key, _)| key.name.as_str()).collect(),
            }),
        },
        Value::String(text) if has_markers(text) => None,
        // A list is indexed, and asked for its length in ways of its own.
        Value::Array(_) => None,
        Value::String(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_) => Some(Missing { key, known: Vec::new() }),
    }
}

/// A `key` in which the item is not named: it is the same for every item, and only one item can
/// have it.
pub(super) fn constant_key(for_each: &ForEach, place: &TextSpan<'_>) -> Option<Diagnostic> {
    let key = for_each.key.as_ref()?;
    let named = references(&key.value, Form::Template).ok()?;
    if named.iter().any(|path| path.split('.').next() == Some(for_each.name.as_str())) {
        return None;
    }
    let message = "`key` does not name the item, so that every item has the same one".to_owned();
    let diagnostic = Diagnostic::warning("E0226", place.source, key.span.clone(), message)
        .label("the same for every item");
    let bare = key.value.split('.').next() == Some(for_each.name.as_str());
    Some(diagnostic.help(if bare {
        format!("it is a template: write `{{{{ {} }}}}`", key.value)
    } else {
        format!(
            "name it, as in `key = \"{{{{ {}.id }}}}\"`; without `key` it is the item itself",
            for_each.name
        )
    }))
}
