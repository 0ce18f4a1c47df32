//! `expect = { … }`: what the output of a step is compared with.

use crate::model::Expectation;
use crate::range::Range;
use runbook_document::{Reader, Span, Spanned, Table, Value};

pub(super) fn read_expect(reader: &mut Reader<'_>) -> Vec<Expectation> {
    let Some(table) = reader.optional::<Table>("expect") else { return Vec::new() };
    let mut found = Vec::new();
    collect_expectations(reader, &table.value, (&mut Vec::new(), &table.span), &mut found);
    if table.value.entries.is_empty() {
        let message = format!("`expect` of {} is empty, so it would always hold", reader.subject());
        reader.error_with_help(
            "E0219",
            table.span,
            message,
            "expects nothing",
            "name a field, as in `expect = { status = 200 }`",
        );
    }
    found
}

/// Reads a table of expectations. A table whose only keys are `warn` and `crit` is a pair of
/// ranges; any other table is a level of keys.
fn collect_expectations(
    reader: &mut Reader<'_>,
    table: &Table,
    (path, at): (&mut Vec<String>, &Span),
    found: &mut Vec<Expectation>,
) {
    let has_only_ranges = |table: &Table| {
        table.entries.iter().all(|(key, _)| key.name == "warn" || key.name == "crit")
    };
    if !table.entries.is_empty() && has_only_ranges(table) {
        let warn = read_range(reader, table, "warn");
        let crit = read_range(reader, table, "crit");
        found.push(Expectation::Within { path: path.clone(), at: at.clone(), warn, crit });
        return;
    }
    for (key, node) in &table.entries {
        let depth = path.len();
        path.extend(key.name.split('.').map(str::to_owned));
        match &node.value {
            Value::Table(inner) if inner.entries.is_empty() => {
                let message = format!(
                    "`expect.{}` of {} is empty, so it would always hold",
                    path.join("."),
                    reader.subject()
                );
                reader.error("E0219", node.span.clone(), message, "expects nothing");
            }
            Value::Table(inner) => collect_expectations(reader, inner, (path, &key.span), found),
            Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_)
            | Value::Array(_) => found.push(Expectation::Equals {
                path: path.clone(),
                at: key.span.clone(),
                value: node.clone(),
            }),
        }
        path.truncate(depth);
    }
}

fn read_range(reader: &mut Reader<'_>, table: &Table, key: &str) -> Option<Spanned<String>> {
    let node = table.get(key)?;
    let text = match &node.value {
        Value::String(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        other => {
            let message = format!(
                "`{key}` of {} must be a range such as `\"10:20\"`, not {}",
                reader.subject(),
                other.kind()
            );
            reader.error("E0203", node.span.clone(), message, "wrong type");
            return None;
        }
    };
    if Range::parse(&text).is_none() {
        let message = format!("`{key}` of {} is not a range: `{text}`", reader.subject());
        let help = "write `10` (0 to 10), `10:` (10 or more), `~:10` (10 or less), `10:20`, or \
                    `@10:20` (outside)";
        reader.error_with_help("E0226", node.span.clone(), message, "not a range", help);
    }
    Some(Spanned { value: text, span: node.span.clone() })
}
