//! Which steps are given what other steps put out: read from templates, without running anything.

use crate::model::{Items, Runbook};
use crate::plan::around;
use crate::template::{Form, has_markers, inner_key, references, template_key};
use runbook_contract::StepId;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

/// Stands for every step: `{{ steps }}` as a whole.
const ALL: &str = "*";

/// For every place that calls a plugin, the steps whose output its input refers to.
pub fn inputs_from(runbook: &Runbook) -> BTreeMap<StepId, BTreeSet<StepId>> {
    let steps: Vec<&StepId> = runbook.steps.iter().map(|step| &step.id.value).collect();
    let mut inputs = BTreeMap::new();
    for site in runbook.use_sites() {
        let step = runbook.step(&StepId::new(site.step.as_str().trim_end_matches("/undo")));
        let group = step.and_then(|step| step.group.clone());
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
        let mut found = named(&keys, group.as_ref(), &steps);
        // What a nested file is given reaches each of its steps, by its parameters.
        for outer in around(group.as_ref()) {
            let Some(group) = runbook.groups.iter().find(|group| group.id == outer) else { continue };
            let mut keys = BTreeSet::new();
            if let Some(with) = &group.with {
                collect(&with.to_json(), &mut keys);
            }
            let of = runbook.step(&outer).and_then(|step| step.group.clone());
            found.append(&mut named(&keys, of.as_ref(), &steps));
        }
        found.remove(&site.step);
        inputs.insert(site.step, found);
    }
    inputs
}

/// The steps that are called by these keys in a file; a step that stands for a nested file is all its steps.
fn named(keys: &BTreeSet<String>, group: Option<&StepId>, steps: &[&StepId]) -> BTreeSet<StepId> {
    let in_file = |id: &StepId| group.is_none_or(|group| id.is_inside(group));
    let is_named = |id: &StepId| {
        let key = template_key(id);
        keys.iter().any(|named| {
            let whole = group.map_or_else(|| named.clone(), |group| inner_key(group, named));
            key == whole || key.strip_prefix(whole.as_str()).is_some_and(|rest| rest.starts_with('.'))
        })
    };
    steps.iter().filter(|id| in_file(id) && (keys.contains(ALL) || is_named(id))).map(|id| (*id).clone()).collect()
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
