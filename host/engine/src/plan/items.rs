//! A step that runs once for each item of a list or map: which items there are, and a step of the
//! plan for each.

use super::{Index, Plan, PlannedStep};
use crate::event::Item;
use crate::template::{self, Form, Scope, TemplateError};
use runbook_contract::{ErrorClass, Fault, Json, StepId};
use std::collections::BTreeSet;
use std::sync::Arc;

/// No step has more items: each is a few records in the journal and a line in every report.
pub(crate) const MAX_ITEMS: usize = 10_000;
/// No key is longer: it is part of an id that people type.
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
    pub of: StepId,
    /// The name of the item in templates.
    pub name: String,
    /// The item: a value of the list, or `{ key, value }` of the map.
    pub value: Json,
}

impl PlannedForEach {
    /// The items with their keys.
    ///
    /// # Errors
    /// There is no list or map, or a key is missing, empty or there twice. `AtRunTime` of a dry run
    /// stays as it is.
    pub(crate) fn list(&self, scope: &Scope<'_>) -> Result<Vec<Item>, ListError> {
        if let Some(cut) = self.cut(scope) {
            return Err(ListError::Cut(cut));
        }
        let found = match &self.items {
            PlannedItems::Expression(text) => template::evaluate(text, scope)?,
            PlannedItems::Literal(value) => template::render(value, scope)?,
        };
        let values: Vec<(Option<String>, Json)> = match found {
            Json::Array(values) => values.into_iter().map(|value| (plain(&value), value)).collect(),
            Json::Object(entries) => {
                let pair = |(key, value): (String, Json)| {
                    (Some(key.clone()), serde_json::json!({ "key": key, "value": value }))
                };
                entries.into_iter().map(pair).collect()
            }
            other => {
                return Err(ListError::Invalid(format!(
                    "`for_each` needs a list or a map, and this is {}",
                    kind(&other)
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
        for (number, (own, value)) in values.into_iter().enumerate() {
            let key = self.key_of(number, own, &value, scope)?;
            if !seen.insert(key.clone()) {
                return Err(ListError::Invalid(format!(
                    "two items have the key `{key}`; let `key` tell them apart"
                )));
            }
            items.push(Item { key, value });
        }
        Ok(items)
    }

    /// The output that it reads and that is not whole.
    fn cut(&self, scope: &Scope<'_>) -> Option<String> {
        match &self.items {
            PlannedItems::Expression(text) => template::cut_in_text(text, Form::Expression, scope),
            PlannedItems::Literal(value) => template::cut_in(value, scope),
        }
    }

    fn key_of(
        &self,
        number: usize,
        own: Option<String>,
        value: &Json,
        scope: &Scope<'_>,
    ) -> Result<String, ListError> {
        let key = match &self.key {
            Some(key) => {
                let mut scope = scope.clone();
                scope.locals.insert(self.name.clone(), value.clone());
                plain(&template::render(&Json::from(key.as_str()), &scope)?)
            }
            None => own,
        };
        let at = number + 1;
        let key = key.ok_or_else(|| {
            let help = format!("give `key`, as in `key = \"{{{{ {}.name }}}}\"`", self.name);
            ListError::Invalid(format!(
                "item {at} is neither text nor a number, so it cannot be a key; {help}"
            ))
        })?;
        if key.trim().is_empty() {
            return Err(ListError::Invalid(format!("the key of item {at} is empty")));
        }
        if key.contains('`') {
            return Err(ListError::Invalid(format!(
                "the key of item {at} has a backtick, which ends the commands that name a step"
            )));
        }
        if key.chars().count() > MAX_KEY || runbook_text::first_not_in_line(&key).is_some() {
            let message =
                format!("the key of item {at} is not one line of at most {MAX_KEY} characters");
            return Err(ListError::Invalid(message));
        }
        Ok(key)
    }

    /// Whether a text speaks of the item, so that it has a value for each item only.
    pub(crate) fn is_named_in(&self, expression: &str) -> bool {
        let of_item = |path: &String| path.split('.').next() == Some(self.name.as_str());
        template::references(expression, Form::Expression)
            .is_ok_and(|found| found.iter().any(of_item))
    }
}

/// Why there are no items.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ListError {
    /// A template has no value.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// It has a value that is no list of items.
    #[error("{0}")]
    Invalid(String),
    /// It reads an output that is not whole, so it would leave items out in silence.
    #[error(
        "`for_each` would leave items out: `{0}` is cut (`truncated`); raise the limits of its \
             target or of its input, or ask for less"
    )]
    Cut(String),
}

impl ListError {
    pub(crate) fn into_fault(self) -> Fault {
        match self {
            Self::Template(error) => {
                Fault::new(ErrorClass::Invalid, "engine.template", format!("`for_each`: {error}"))
            }
            Self::Invalid(message) => Fault::new(ErrorClass::Invalid, "engine.items", message),
            Self::Cut(_) => Fault::new(ErrorClass::Limit, "engine.items-cut", self.to_string()),
        }
    }
}

/// A value as people write it, if it is one word.
fn plain(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        Json::Number(_) | Json::Bool(_) => Some(value.to_string()),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

fn kind(value: &Json) -> &'static str {
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
    pub(crate) fn with_items(&self, of: &StepId, items: &[Item]) -> Option<Self> {
        let position = self.index.position(of)?;
        let step = &self.steps[position];
        let for_each = step.for_each.as_ref()?;
        // Without the list, of which each item would otherwise have a copy.
        let common = PlannedStep { for_each: None, ..PlannedStep::clone(step) };
        let new = items.iter().map(|item| Arc::new(item_step(&common, for_each, item)));
        let mut plan = self.clone();
        plan.steps.splice(position + 1..=position, new);
        plan.index = Index::new(&plan.steps);
        Some(plan)
    }

    /// The items of a step, once they are part of the plan.
    pub(crate) fn items_of(&self, of: &StepId) -> Vec<Arc<PlannedStep>> {
        let is_of =
            |step: &&Arc<PlannedStep>| step.item.as_ref().is_some_and(|item| item.of == *of);
        self.steps.iter().filter(is_of).cloned().collect()
    }
}

fn item_step(step: &PlannedStep, for_each: &PlannedForEach, item: &Item) -> PlannedStep {
    PlannedStep {
        id: step.id.item(&item.key),
        title: format!("{}: {}", step.title, item.key),
        // A condition that does not speak of the item was judged once, for all.
        when: step.when.clone().filter(|when| for_each.is_named_in(when)),
        item: Some(PlannedItem {
            of: step.id.clone(),
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
    fn what_is_no_list_is_refused() {
        assert!(keys(json!("abc"), None).expect_err("refused").contains("this is a text"));
        assert!(keys(Json::Null, None).expect_err("refused").contains("this is nothing"));
        assert!(
            keys(json!(vec![0; MAX_ITEMS + 1]), None).expect_err("refused").contains("is the most")
        );
    }
}
