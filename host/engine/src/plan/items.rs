//! Steps that run once for each item of a list or map: lists the items, and adds a step to the plan
//! for each.

use super::{Index, Plan, PlannedStep};
use crate::event::Item;
use crate::template::{self, Form, Scope, TemplateError};
use runbook_contract::{ErrorClass, Fault, Json, StepId};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The most items of a step. Each item is several records in the journal and a line in every
/// report.
pub(crate) const MAX_ITEMS: usize = 10_000;
/// The longest key of an item, in characters: it is part of an id that people type.
const MAX_KEY: usize = 200;

/// `for_each`, `as`, `key`, `max_parallel`
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedForEach {
    /// The list or map that it repeats over.
    pub items: PlannedItems,
    /// The name of an item in templates.
    pub name: String,
    /// A template; by default the item itself, or its key in a map.
    pub key: Option<String>,
    /// How many items run at once, at least 1.
    pub max_parallel: u32,
}

/// The list or map of a `for_each`.
#[derive(Debug, Clone, PartialEq)]
pub enum PlannedItems {
    /// An expression whose value is a list or a map.
    Expression(String),
    /// A list or map as written, whose texts are templates.
    Literal(Json),
}

/// What makes a step one of several items.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedItem {
    /// The id of the step as written.
    pub parent: StepId,
    /// The name of the item in templates.
    pub name: String,
    /// The item: a value of the list, or `{ key, value }` of the map.
    pub value: Json,
}

impl PlannedForEach {
    /// The items with their keys.
    ///
    /// # Errors
    /// The value is not a list or a map, or a key is missing, empty, or used twice. In a dry run,
    /// also that the value is known only at run time.
    pub(crate) fn list(&self, scope: &Scope<'_>) -> Result<Vec<Item>, ListError> {
        if let Some(truncated_output) = self.truncated_output(scope) {
            return Err(ListError::Truncated(truncated_output));
        }
        let list = match &self.items {
            PlannedItems::Expression(text) => template::evaluate(text, scope)?,
            PlannedItems::Literal(value) => template::render(value, scope)?,
        };
        let values: Vec<(Option<String>, Json)> = match list {
            Json::Array(values) => {
                values.into_iter().map(|value| (key_text(&value), value)).collect()
            }
            Json::Object(entries) => {
                let pair = |(key, value): (String, Json)| {
                    (Some(key.clone()), serde_json::json!({ "key": key, "value": value }))
                };
                entries.into_iter().map(pair).collect()
            }
            other => {
                return Err(ListError::Invalid(format!(
                    "`for_each` needs a list or a map, and this is {}",
                    json_kind(&other)
                )));
            }
        };
        if values.len() > MAX_ITEMS {
            return Err(ListError::Invalid(format!(
                "`for_each` has {} items; {MAX_ITEMS} is the most",
                values.len()
            )));
        }
        let mut seen = BTreeSet::new();
        let mut items = Vec::new();
        for (number, (own_key, value)) in values.into_iter().enumerate() {
            let key = self.item_key(number, own_key, &value, scope)?;
            if !seen.insert(key.clone()) {
                return Err(ListError::Invalid(format!(
                    "two items have the key `{key}`; let `key` tell them apart"
                )));
            }
            items.push(Item { key, value });
        }
        Ok(items)
    }

    /// The name of the truncated output from which the items come; `None` if it is complete.
    fn truncated_output(&self, scope: &Scope<'_>) -> Option<String> {
        match &self.items {
            PlannedItems::Expression(text) => {
                template::truncated_output_in_text(text, Form::Expression, scope)
            }
            PlannedItems::Literal(value) => template::truncated_output_in(value, scope),
        }
    }

    fn item_key(
        &self,
        number: usize,
        own_key: Option<String>,
        value: &Json,
        scope: &Scope<'_>,
    ) -> Result<String, ListError> {
        let key = match &self.key {
            Some(key) => {
                let mut scope = scope.clone();
                scope.locals.insert(self.name.clone(), value.clone());
                key_text(&template::render(&Json::from(key.as_str()), &scope)?)
            }
            None => own_key,
        };
        let item_number = number + 1;
        let key = key.ok_or_else(|| {
            let help = format!("give `key`, as in `key = \"{{{{ {}.name }}}}\"`", self.name);
            ListError::Invalid(format!(
                "item {item_number} is neither text nor a number, so it cannot be a key; {help}"
            ))
        })?;
        if key.trim().is_empty() {
            return Err(ListError::Invalid(format!("the key of item {item_number} is empty")));
        }
        if key.contains('`') {
            return Err(ListError::Invalid(format!(
                "the key of item {item_number} has a backtick, which ends the commands that name a step"
            )));
        }
        if key.chars().count() > MAX_KEY || runbook_text::first_not_in_line(&key).is_some() {
            let message = format!(
                "the key of item {item_number} is not one line of at most {MAX_KEY} characters"
            );
            return Err(ListError::Invalid(message));
        }
        Ok(key)
    }

    /// Whether an expression refers to the item, so that it must be evaluated for each item.
    pub(crate) fn is_named_in(&self, expression: &str) -> bool {
        let begins_with_name = |path: &String| path.split('.').next() == Some(self.name.as_str());
        template::references(expression, Form::Expression)
            .is_ok_and(|found| found.iter().any(begins_with_name))
    }
}

/// Why the items of a step cannot be listed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ListError {
    /// A template has no value.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The value is not a list or map of items, or a key is wrong.
    #[error("{0}")]
    Invalid(String),
    /// The items come from a truncated output, so some items would be missing.
    #[error(
        "`for_each` would leave items out: `{0}` is cut (`truncated`); raise the limits of its \
             target or of its input, or ask for less"
    )]
    Truncated(String),
}

impl ListError {
    pub(crate) fn into_fault(self) -> Fault {
        match self {
            Self::Template(error) => {
                Fault::new(ErrorClass::Invalid, "engine.template", format!("`for_each`: {error}"))
            }
            Self::Invalid(message) => Fault::new(ErrorClass::Invalid, "engine.items", message),
            Self::Truncated(_) => {
                Fault::new(ErrorClass::Limit, "engine.items-cut", self.to_string())
            }
        }
    }
}

/// A text, number or boolean as people write it.
fn key_text(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        Json::Number(_) | Json::Bool(_) => Some(value.to_string()),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

fn json_kind(value: &Json) -> &'static str {
    match value {
        Json::Null => "nothing",
        Json::Bool(_) => "true or false",
        Json::Number(_) => "a number",
        Json::String(_) => "a text",
        Json::Array(_) => "a list",
        Json::Object(_) => "a map",
    }
}

impl Plan {
    /// The plan with a step for each item of a step, right after it. `None` if the step has no
    /// `for_each`.
    #[must_use]
    pub(crate) fn with_items(&self, parent: &StepId, items: &[Item]) -> Option<Self> {
        let position = self.index.position(parent)?;
        let step = &self.steps[position];
        let for_each = step.for_each.as_ref()?;
        // Without the list, so that not each item has a copy of it.
        let common = PlannedStep { for_each: None, ..PlannedStep::clone(step) };
        let new = items.iter().map(|item| Arc::new(item_step(&common, for_each, item)));
        let mut plan = self.clone();
        plan.steps.splice(position + 1..=position, new);
        plan.index = Index::new(&plan.steps);
        Some(plan)
    }

    /// The items of a step, once they are part of the plan.
    pub(crate) fn items_of(&self, parent: &StepId) -> Vec<Arc<PlannedStep>> {
        let is_item = |step: &&Arc<PlannedStep>| {
            step.item.as_ref().is_some_and(|item| item.parent == *parent)
        };
        self.steps.iter().filter(is_item).cloned().collect()
    }
}

fn item_step(step: &PlannedStep, for_each: &PlannedForEach, item: &Item) -> PlannedStep {
    PlannedStep {
        id: step.id.item(&item.key),
        title: format!("{}: {}", step.title, item.key),
        // A condition that does not refer to the item was evaluated once, for the whole step.
        when: step.when.clone().filter(|when| for_each.is_named_in(when)),
        item: Some(PlannedItem {
            parent: step.id.clone(),
            name: for_each.name.clone(),
            value: item.value.clone(),
        }),
        ..step.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn for_each(items: Json, key: Option<&str>) -> PlannedForEach {
        let items = PlannedItems::Literal(items);
        PlannedForEach {
            items,
            name: "item".to_owned(),
            key: key.map(str::to_owned),
            max_parallel: 1,
        }
    }

    fn keys(items: Json, key: Option<&str>) -> Result<Vec<String>, String> {
        let listed = for_each(items, key).list(&Scope::default());
        listed
            .map(|items| items.into_iter().map(|item| item.key).collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn texts_numbers_and_entries_of_maps_are_their_own_keys() {
        assert_eq!(
            keys(json!(["a", 2, true]), None),
            Ok(vec!["a".to_owned(), "2".to_owned(), "true".to_owned()])
        );
        assert_eq!(
            keys(json!({"b": [1], "a": {}}), None),
            Ok(vec!["b".to_owned(), "a".to_owned()])
        );
        assert_eq!(keys(json!([{"name": "x"}]), Some("{{ item.name }}")), Ok(vec!["x".to_owned()]));
    }

    #[test]
    fn keys_that_cannot_be_ids_are_refused() {
        assert!(
            keys(json!(["a", "a"]), None)
                .expect_err("refused")
                .contains("two items have the key `a`")
        );
        assert!(
            keys(json!(["a", " "]), None)
                .expect_err("refused")
                .contains("the key of item 2 is empty")
        );
        for hidden in ["a\nb", "a\u{202e}b", "a\u{200b}", "a\u{1b}[2J"] {
            assert!(
                keys(json!([hidden]), None).expect_err("refused").contains("not one line"),
                "{hidden:?}"
            );
        }
        assert!(keys(json!(["a`b"]), None).expect_err("refused").contains("a backtick"));
        assert!(keys(json!([{"name": "x"}]), None).expect_err("refused").contains("give `key`"));
        assert!(
            keys(json!([{"name": "x"}]), Some("{{ item.nam }}"))
                .expect_err("refused")
                .contains("item.nam")
        );
    }

    #[test]
    fn for_each_over_a_value_that_is_no_list_is_refused() {
        assert!(keys(json!("abc"), None).expect_err("refused").contains("this is a text"));
        assert!(keys(Json::Null, None).expect_err("refused").contains("this is nothing"));
        assert!(
            keys(json!(vec![0; MAX_ITEMS + 1]), None).expect_err("refused").contains("is the most")
        );
    }
}
