//! Which steps are given what other steps put out: read from templates, without running anything.

use crate::ids::StepId;
use crate::model::{Items, Runbook};
use crate::template::{Form, has_markers, references, template_key};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

/// Stands for every step: `{{ steps }}` as a whole.
const ALL: &str = "*";

/// For every place that calls a plugin, the steps whose output its input refers to.
pub fn inputs_from(runbook: &Runbook) -> BTreeMap<StepId, BTreeSet<StepId>> {
    let by_key: BTreeMap<String, &StepId> =
        runbook.steps.iter().map(|step| (template_key(&step.id.value), &step.id.value)).collect();
    let mut inputs = BTreeMap::new();
    for site in runbook.use_sites() {
        let mut keys = BTreeSet::new();
        if let Some(with) = site.with {
            collect(&with.to_json(), &mut keys);
        }
        if let Some(for_each) = runbook.step(&site.step).and_then(|step| step.for_each.as_ref()) {
            match &for_each.items {
                Items::Expression(text) => add(&text.value, Form::Expression, &mut keys),
                Items::Literal(items) => collect(&items.value.to_json(), &mut keys),
            }
        }
        let is_named = |key: &String| keys.contains(key) || keys.contains(ALL);
        let steps = by_key.iter().filter(|(key, id)| is_named(key) && **id != &site.step).map(|(_, id)| (*id).clone()).collect();
        inputs.insert(site.step, steps);
    }
    inputs
}

fn collect(value: &Json, keys: &mut BTreeSet<String>) {
    match value {
        Json::String(text) if has_markers(text) => add(text, Form::Template, keys),
        Json::Array(items) => items.iter().for_each(|item| collect(item, keys)),
        Json::Object(entries) => entries.values().for_each(|value| collect(value, keys)),
        Json::String(_) | Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

/// The steps that a text names. What cannot be read is refused elsewhere, before anything runs.
fn add(text: &str, form: Form, keys: &mut BTreeSet<String>) {
    let found = references(text, form).unwrap_or_default();
    keys.extend(
        found.iter().filter_map(|path| path.strip_prefix("steps.")).filter_map(|path| path.split('.').next()).map(str::to_owned),
    );
    // A whole `steps` handed on holds the output of every step.
    if found.contains("steps") {
        keys.insert(ALL.to_owned());
    }
}
