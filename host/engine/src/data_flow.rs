//! Data flow between steps: which steps refer to the output of which, read from templates without
//! running anything.

use crate::model::{Items, Runbook, Step};
use crate::plan::group::around;
use crate::template::{Form, has_markers, inner_key, references, template_key};
use runbook_contract::StepId;
use serde_json::Value as Json;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

/// Stands for every step: `{{ steps }}` as a whole.
const ALL: &str = "*";

/// For every place that calls a plugin, the steps whose output its input refers to.
pub fn inputs_from(runbook: &Runbook) -> BTreeMap<StepId, BTreeSet<StepId>> {
    inputs(runbook, &Steps::new(runbook))
}

fn inputs(runbook: &Runbook, steps: &Steps<'_>) -> BTreeMap<StepId, BTreeSet<StepId>> {
    let groups: BTreeMap<_, _> = runbook.groups.iter().map(|group| (&group.id, group)).collect();
    let mut inputs = BTreeMap::new();
    for site in runbook.use_sites() {
        let group = steps.group(&StepId::new(site.step.as_str().trim_end_matches("/undo")));
        let mut keys = BTreeSet::new();
        if let Some(with) = site.with {
            collect(&with.to_json(), &mut keys);
        }
        if let Some(for_each) = site.of.and_then(|step| step.for_each.as_ref()) {
            match &for_each.items {
                Items::Expression(text) => add(&text.value, Form::Expression, &mut keys),
                Items::Literal(items) => collect(&items.value.to_json(), &mut keys),
            }
        }
        let mut found = steps.named(&keys, group);
        // The input of a nested file reaches each of its steps, through its parameters.
        for outer in around(group) {
            let Some(group) = groups.get(&outer) else { continue };
            let mut keys = BTreeSet::new();
            if let Some(with) = &group.with {
                collect(&with.to_json(), &mut keys);
            }
            found.append(&mut steps.named(&keys, steps.group(&outer)));
        }
        found.remove(&site.step);
        inputs.insert(site.step, found);
    }
    inputs
}

/// The steps of a runbook, by their ids and by their keys in templates.
struct Steps<'a> {
    by_id: BTreeMap<&'a StepId, &'a Step>,
    /// In the order of their keys.
    by_key: Vec<(String, &'a StepId)>,
    /// How often a step was looked up: a test counts it.
    lookups: Cell<usize>,
}

impl<'a> Steps<'a> {
    fn new(runbook: &'a Runbook) -> Self {
        let ids = runbook.steps.iter().map(|step| &step.id.value);
        let mut by_key: Vec<_> = ids.map(|id| (template_key(id), id)).collect();
        by_key.sort();
        let by_id = runbook.steps.iter().map(|step| (&step.id.value, step)).collect();
        Self { by_id, by_key, lookups: Cell::new(0) }
    }

    /// The nested file in which a step stands.
    fn group(&self, id: &StepId) -> Option<&'a StepId> {
        self.by_id.get(id)?.group.as_ref()
    }

    /// The steps with these keys in a file; a step with a nested file stands for all its steps.
    fn named(&self, keys: &BTreeSet<String>, group: Option<&StepId>) -> BTreeSet<StepId> {
        let in_file = |id: &StepId| group.is_none_or(|group| id.is_inside(group));
        if keys.contains(ALL) {
            return self.by_id.keys().filter(|id| in_file(id)).map(|id| (*id).clone()).collect();
        }
        let whole = |key: &String| group.map_or_else(|| key.clone(), |group| inner_key(group, key));
        let found = keys.iter().map(whole).flat_map(|key| {
            let inside = format!("{key}.");
            let own: Vec<_> = self.from(&key).take_while(|(known, _)| *known == key).collect();
            let inner: Vec<_> =
                self.from(&inside).take_while(|(known, _)| known.starts_with(&inside)).collect();
            own.into_iter().chain(inner)
        });
        found.map(|(_, id)| *id).filter(|id| in_file(id)).cloned().collect()
    }

    /// The steps from a key on.
    fn from(&self, key: &str) -> impl Iterator<Item = &(String, &'a StepId)> {
        let begin = self.by_key.partition_point(|(known, _)| known.as_str() < key);
        self.by_key[begin..].iter().inspect(|_| self.lookups.set(self.lookups.get() + 1))
    }
}

fn collect(value: &Json, keys: &mut BTreeSet<String>) {
    match value {
        Json::String(text) if has_markers(text) => add(text, Form::Template, keys),
        Json::Array(items) => items.iter().for_each(|item| collect(item, keys)),
        Json::Object(entries) => entries.values().for_each(|value| collect(value, keys)),
        Json::String(_) | Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

/// The steps that a text names. A text that cannot be parsed is refused elsewhere, before anything
/// runs.
fn add(text: &str, form: Form, keys: &mut BTreeSet<String>) {
    let found = references(text, form).unwrap_or_default();
    keys.extend(
        found
            .iter()
            .filter_map(|path| path.strip_prefix("steps."))
            .filter_map(|path| path.split('.').next())
            .map(str::to_owned),
    );
    // A whole `steps` handed on holds the output of every step.
    if found.contains("steps") {
        keys.insert(ALL.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    /// A runbook of so many steps, each with the output of the one before it.
    fn chain(steps: usize) -> Runbook {
        let mut text = "format = 1\n[runbook]\nname = \"test\"\n".to_owned();
        for number in 0..steps {
            write!(text, "[[step]]\nid = \"s{number}-x\"\nuses = \"p:op\"\n")
                .expect("a string can be written");
            if let Some(before) = number.checked_sub(1) {
                writeln!(text, "with.at = \"{{{{ steps.s{before}_x.outcome }}}}\"")
                    .expect("a string can be written");
            }
        }
        let source = runbook_document::Source::new("test.toml", text);
        crate::parse(&source, None, &mut |_| Err(std::io::ErrorKind::NotFound.into()))
            .expect("a good runbook")
    }

    #[test]
    fn the_steps_that_ten_times_as_many_refer_to_are_found_with_ten_times_as_many_lookups() {
        let lookups = |number: usize| {
            let runbook = chain(number);
            let steps = Steps::new(&runbook);
            let found = inputs(&runbook, &steps);
            let one = BTreeSet::from([StepId::from("s1-x")]);
            assert_eq!((found.len(), &found[&StepId::from("s2-x")]), (number, &one));
            steps.lookups.get()
        };
        let (few, many) = (lookups(100), lookups(1_000));
        assert!(few > 0 && many <= 12 * few, "{few} lookups for 100, {many} for 1,000");
    }
}
