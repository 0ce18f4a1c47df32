//! A dry run decides what each step does as the run does, and only proposes instead of acting.

use crate::support::{FakePlugins, Run, block_on};
use runbook_engine::*;
use serde_json::json;
use std::collections::BTreeMap;

/// The forms of a step.
const STEP_FORMS: &[&str] = &[
    "uses = \"test:look\"\nwith = { text = \"{{ params.word }}\" }",
    "uses = \"test:do\"\nundo = \"auto\"\nwith = { text = \"{{ params.word }}\" }",
    "uses = \"test:do\"\nundo = \"auto\"\nfor_each = [\"a\", \"b\"]\n\
     with = { text = \"{{ item }} {{ params.word }}\" }",
    "uses = \"test:do\"\nundo = \"auto\"\nfor_each = \"params.many\"\nas = \"one\"\n\
     with = { text = \"{{ one }}\" }",
    "uses = \"test:do\"\nundo = \"auto\"\nfor_each = []",
    "uses = \"test:do\"\nundo = \"auto\"\nfor_each = \"params.word\"",
    "uses = \"test:do\"\nundo = \"auto\"\n\
     with = { text = \"{{ params.many[0].name | upper | int }}\" }",
    "manual = { instructions = \"look at {{ params.word }}\" }",
    "runbook = \"inner.toml\"\nwith = { word = \"{{ params.word }}!\" }",
    "runbook = \"inner.toml\"\nwith = { word = \"{{ params.many }}\" }",
];

const WHENS: &[&str] =
    &["", "when = \"params.go\"", "when = \"not params.go\"", "when = \"params.word\""];
/// Conditions that refer to the item.
const WHENS_OF_ITEMS: &[&str] = &["when = \"item != 'a'\"", "when = \"item == 'c'\""];

const PARAMS: &str = "[params.go]\ntype = \"bool\"\ndefault = true\n[params.word]\n\
                      type = \"string\"\ndefault = \"w\"\n[params.many]\ntype = \"list\"\n\
                      default = [\"x\", \"y\"]\n";
const INNER: &str = "[params.word]\ntype = \"string\"\nrequired = true\n[[step]]\nid = \"i\"\n\
                     uses = \"test:do\"\nundo = \"auto\"\n\
                     with = { text = \"{{ params.word }}\" }\n";

/// What each step did in the run, in words that are the same for run and dry run.
fn run_results(run: &Run) -> BTreeMap<String, String> {
    let step_and_description = |record: Record| {
        let RunEvent::Step { step, event } = record.event else { return None };
        let description = match event {
            StepEvent::Skip(SkipEvent::Skipped { reason: SkipReason::Condition }) => {
                "skipped".to_owned()
            }
            StepEvent::Items(ItemsEvent::GroupBegan { .. }) => "opens".to_owned(),
            StepEvent::Manual(ManualEvent::Asked { .. }) => "a person".to_owned(),
            StepEvent::Attempt(AttemptEvent::Started { input, .. }) => input.to_string(),
            StepEvent::Attempt(AttemptEvent::Refused { .. }) => "cannot begin".to_owned(),
            StepEvent::Items(ItemsEvent::Listed { items }) if items.is_empty() => {
                "no items".to_owned()
            }
            StepEvent::Skip(_)
            | StepEvent::Items(_)
            | StepEvent::Approval(_)
            | StepEvent::Manual(_)
            | StepEvent::Attempt(_)
            | StepEvent::Wait(_)
            | StepEvent::Undo(_) => return None,
        };
        Some((step.to_string(), description))
    };
    run.records().into_iter().filter_map(step_and_description).collect()
}

fn dry_run_results(run: &Run) -> BTreeMap<String, String> {
    let Run { plan, plugins, options, .. } = run;
    let (dry_run_scope, environment) = (DryRunScope::ProbesAndSteps, None);
    let dry_run = DryRun {
        plan,
        operate: plugins,
        run: options.run,
        operator: "tester",
        environment,
        dry_run_scope,
    };
    let step_and_description = |step: DryStep| {
        let description = match step.result {
            DryRunResult::Skipped => "skipped".to_owned(),
            DryRunResult::NestedFile { .. } => "opens".to_owned(),
            DryRunResult::Probed { .. } | DryRunResult::Proposed(_) => step.input.to_string(),
            DryRunResult::Failed(_) | DryRunResult::Denied(_) => "cannot begin".to_owned(),
            DryRunResult::AtRunTime { reason } if reason.starts_with("a person") => {
                "a person".to_owned()
            }
            DryRunResult::AtRunTime { reason } if reason.starts_with("the list is empty") => {
                "no items".to_owned()
            }
            // A step of a nested file that cannot begin.
            found @ (DryRunResult::AtRunTime { .. } | DryRunResult::NotAsked) => {
                format!("{found:?}")
            }
        };
        (step.id.to_string(), description)
    };
    block_on(dry_run.ask_all()).into_iter().map(step_and_description).collect()
}

#[test]
fn a_dry_run_decides_what_each_form_of_a_step_does_as_the_run_does() {
    let mut seen = BTreeMap::new();
    for form in STEP_FORMS {
        let item_conditions: &[&str] =
            if form.contains("for_each = [\"a\"") { WHENS_OF_ITEMS } else { &[] };
        for when in WHENS.iter().chain(item_conditions) {
            let text = format!("{PARAMS}[[step]]\nid = \"s\"\n{form}\n{when}\n");
            let run =
                Run::with_nested_files(&text, &[("inner.toml", INNER)], FakePlugins::default());
            let dry = dry_run_results(&run);
            assert!(run.plugins.done().is_empty(), "a dry run does nothing: {text}");
            // The result does not matter: a wrong input ends the run, and a manual step pauses it.
            drop(run.execute());
            let real = run_results(&run);
            // Steps after one that cannot begin are only in the dry run.
            let dry: BTreeMap<_, _> =
                dry.into_iter().filter(|(step, _)| real.contains_key(step)).collect();
            assert_eq!(dry, real, "{text}");
            real.into_values().for_each(|description| *seen.entry(description).or_insert(0) += 1);
        }
    }
    for description in ["skipped", "opens", "a person", "cannot begin", "no items"] {
        assert!(seen.contains_key(description), "no form of a step is {description}: {seen:?}");
    }
    assert!(
        seen.contains_key(&json!({ "text": "w!" }).to_string()),
        "a step of a nested file: {seen:?}"
    );
}
