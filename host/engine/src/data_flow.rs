//! Data flow between steps: finds in templates which step uses the outputs of which other steps.

use crate::model::{Items, Runbook, Step};
use crate::plan::group::enclosing_groups;
use crate::template::{Form, has_markers, inner_key, references, template_key};
use runbook_contract::StepId;
use serde_json::Value as Json;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

/// The key that stands for all steps: `{{ steps }}` as a whole.
const ALL_STEPS: &str = "*";

/// For each call site, the steps whose outputs its input uses.
pub fn input_steps(runbook: &Runbook) -> BTreeMap<StepId, BTreeSet<StepId>> {
    input_steps_of(runbook, &Steps::new(runbook))
}

fn input_steps_of(runbook: &Runbook, steps: &Steps<'_>) -> BTreeMap<StepId, BTreeSet<StepId>> {
    let groups: BTreeMap<_, _> = runbook.groups.iter().map(|group| (&group.id, group)).collect();
    let mut inputs = BTreeMap::new();
    for site in runbook.call_sites() {
        let group = steps.group(&StepId::new(site.step.as_str().trim_end_matches("/undo")));
        let mut keys = BTreeSet::new();
        if let Some(with) = site.with {
            collect_step_keys(&with.to_json(), &mut keys);
        }
        if let Some(for_each) = site.calling_step.and_then(|step| step.for_each.as_ref()) {
            match &for_each.items {
                Items::Expression(text) => add_step_keys(&text.value, Form::Expression, &mut keys),
                Items::Literal(items) => collect_step_keys(&items.value.to_json(), &mut keys),
            }
        }
        let mut found = steps.steps_with_keys(&keys, group);
        // The input of a nested file flows to each of its steps, through its parameters.
        for outer in enclosing_groups(group) {
            let Some(group) = groups.get(&outer) else { continue };
            let mut keys = BTreeSet::new();
            if let Some(with) = &group.with {
                collect_step_keys(&with.to_json(), &mut keys);
            }
            found.append(&mut steps.steps_with_keys(&keys, steps.group(&outer)));
        }
        found.remove(&site.step);
        inputs.insert(site.step, found);
    }
    inputs
}

/// The steps of a runbook, by their ids and by their keys in templates.
struct Steps<'a> {
    by_id: BTreeMap<&'a StepId, &'a Step>,
    /// Keys and ids, sorted by key.
    by_key: Vec<(String, &'a StepId)>,
    /// How often a step was looked up, for a test.
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

    /// The step that stands for the nested file of a step.
    fn group(&self, id: &StepId) -> Option<&'a StepId> {
        self.by_id.get(id)?.group.as_ref()
    }

    /// The steps with these keys in the nested file `group`, with all steps of their nested files.
    fn steps_with_keys(&self, keys: &BTreeSet<String>, group: Option<&StepId>) -> BTreeSet<StepId> {
        let in_file = |id: &StepId| group.is_none_or(|group| id.is_inside(group));
        if keys.contains(ALL_STEPS) {
            return self.by_id.keys().filter(|id| in_file(id)).map(|id| (*id).clone()).collect();
        }
        let full_key =
            |key: &String| group.map_or_else(|| key.clone(), |group| inner_key(group, key));
        let found = keys.iter().map(full_key).flat_map(|key| {
            let inside = format!("{key}.");
            let exact: Vec<_> =
                self.entries_from(&key).take_while(|(known, _)| *known == key).collect();
            let nested: Vec<_> = self
                .entries_from(&inside)
                .take_while(|(known, _)| known.starts_with(&inside))
                .collect();
            exact.into_iter().chain(nested)
        });
        found.map(|(_, id)| *id).filter(|id| in_file(id)).cloned().collect()
    }

    /// The entries of `by_key` from this key on.
    fn entries_from(&self, key: &str) -> impl Iterator<Item = &(String, &'a StepId)> {
        let begin = self.by_key.partition_point(|(known, _)| known.as_str() < key);
        self.by_key[begin..].iter().inspect(|_| self.lookups.set(self.lookups.get() + 1))
    }
}

fn collect_step_keys(value: &Json, keys: &mut BTreeSet<String>) {
    match value {
        Json::String(text) if has_markers(text) => add_step_keys(text, Form::Template, keys),
        Json::Array(items) => items.iter().for_each(|item| collect_step_keys(item, keys)),
        Json::Object(entries) => entries.values().for_each(|value| collect_step_keys(value, keys)),
        Json::String(_) | Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

/// Adds the keys of the steps to which a text refers. A text that cannot be parsed is reported by
/// `lint`.
fn add_step_keys(text: &str, form: Form, keys: &mut BTreeSet<String>) {
    let found = references(text, form).unwrap_or_default();
    keys.extend(
        found
            .iter()
            .filter_map(|path| path.strip_prefix("steps."))
            .filter_map(|path| path.split('.').next())
            .map(str::to_owned),
    );
    // `steps` as a whole contains the output of every step.
    if found.contains("steps") {
        keys.insert(ALL_STEPS.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    /// A runbook with this number of steps. The input of each uses the outcome of the one before.
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
    fn the_number_of_lookups_grows_linearly_with_the_number_of_steps() {
        let lookups = |number: usize| {
            let runbook = chain(number);
            let steps = Steps::new(&runbook);
            let found = input_steps_of(&runbook, &steps);
            let first_step = BTreeSet::from([StepId::from("s1-x")]);
            assert_eq!((found.len(), &found[&StepId::from("s2-x")]), (number, &first_step));
            steps.lookups.get()
        };
        let (few, many) = (lookups(100), lookups(1_000));
        assert!(few > 0 && many <= 12 * few, "{few} lookups for 100, {many} for 1,000");
    }
}
