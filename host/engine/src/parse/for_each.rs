//! `for_each = […]`: a step that runs once for each item.

use super::names;
use crate::event::Section;
use crate::model::{ForEach, Items};
use runbook_document::{Node, Reader, Spanned, Value};

pub(super) fn read_for_each(section: Section, reader: &mut Reader<'_>) -> Option<ForEach> {
    let items = reader.optional::<Node>("for_each");
    let name = reader.optional::<String>("as");
    let key = reader.optional::<String>("key");
    let max_parallel = reader.optional::<u32>("max_parallel");
    let Some(items) = items else {
        let others = [
            name.map(|name| name.span),
            key.map(|key| key.span),
            max_parallel.map(|number| number.span),
        ];
        for span in others.into_iter().flatten() {
            let message = format!("{} has no `for_each`, so this has no effect", reader.subject());
            reader.error("E0226", span, message, "has no effect");
        }
        return None;
    };
    if section != Section::Step {
        let message = format!("`for_each` of {} has no meaning", reader.subject());
        reader.error("E0220", items.span, message, "only in `[[step]]`");
        return None;
    }
    if let Some(name) = &name {
        names::check_identifier(reader, &name.value, &name.span, "the name of an item");
        if RESERVED_NAMES.contains(&name.value.as_str()) {
            let message = format!(
                "an item cannot be called `{}`: templates use this name for something else",
                name.value
            );
            reader.error("E0206", name.span.clone(), message, "taken");
        }
    }
    Some(ForEach {
        items: read_items(reader, items)?,
        name: name.map_or_else(|| "item".to_owned(), |name| name.value),
        key,
        max_parallel: max_parallel.map_or(1, |number| number.value.max(1)),
    })
}

/// Names that have another meaning in templates.
const RESERVED_NAMES: &[&str] = &["params", "steps", "run", "outcome", "output"];

fn read_items(reader: &mut Reader<'_>, items: Spanned<Node>) -> Option<Items> {
    match &items.value.value {
        Value::String(text) => {
            Some(Items::Expression(Spanned { value: text.clone(), span: items.span }))
        }
        Value::Array(_) | Value::Table(_) => Some(Items::Literal(items)),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {
            let message = format!(
                "`for_each` of {} must be a list, a map, or an expression that has one",
                reader.subject()
            );
            let help =
                "write `for_each = [\"a\", \"b\"]`, or `for_each = \"steps.look.output.tables\"`";
            reader.error_with_help("E0203", items.span, message, "no items", help);
            None
        }
    }
}
