//! A dry run decides what each step does as the run does: it only puts the proposal in place of the
//! call.

use crate::support::{Run, World, block_on};
use runbook_engine::*;
use serde_json::json;
use std::collections::BTreeMap;

/// Each form of a step, by what stands in it.
const FORMS: &[&str] = &[
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
/// Conditions that speak of the item.
const WHENS_OF_ITEMS: &[&str] = &["when = \"item != 'a'\"", "when = \"item == 'c'\""];

const PARAMS: &str = "[params.go]\ntype = \"bool\"\ndefault = true\n[params.word]\n\
                      type = \"string\"\ndefault = \"w\"\n[params.many]\ntype = \"list\"\n\
                      default = [\"x\", \"y\"]\n";
const INNER: &str = "[params.word]\ntype = \"string\"\nrequired = true\n[[step]]\nid = \"i\"\n\
                     uses = \"test:do\"\nundo = \"auto\"\n\
                     with = { text = \"{{ params.word }}\" }\n";

/// What a step does, told of both kinds of run in the same words.
fn of_the_run(run: &Run) -> BTreeMap<String, String> {
    let told = |record: Record| {
        let RunEvent::Step { step, event } = record.event else { return None };
        let what = match event {
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
        Some((step.to_string(), what))
    };
    run.records().into_iter().filter_map(told).collect()
}

fn of_the_dry_run(run: &Run) -> BTreeMap<String, String> {
    let Run { plan, world, options, .. } = run;
    let (audience, environment) = (AskedPlugins::Everybody, None);
    let dry = DryRun {
        plan,
        operate: world,
        run: options.run,
        operator: "tester",
        environment,
        audience,
    };
    let told = |step: DryStep| {
        let what = match step.finding {
            DryFinding::Skipped => "skipped".to_owned(),
            DryFinding::Opens { .. } => "opens".to_owned(),
            DryFinding::Found { .. } | DryFinding::Would(_) => step.input.to_string(),
            DryFinding::Failed(_) => "cannot begin".to_owned(),
            DryFinding::AtRunTime { reason } if reason.starts_with("a person") => {
                "a person".to_owned()
            }
            DryFinding::AtRunTime { reason } if reason.starts_with("the list is empty") => {
                "no items".to_owned()
            }
            // Of a step of a file that cannot be opened.
            found @ (DryFinding::AtRunTime { .. } | DryFinding::NotAsked) => format!("{found:?}"),
        };
        (step.id.to_string(), what)
    };
    block_on(dry.ask_all()).into_iter().map(told).collect()
}

#[test]
fn a_dry_run_decides_what_each_form_of_a_step_does_as_the_run_does() {
    let mut seen = BTreeMap::new();
    for form in FORMS {
        let of_items: &[&str] =
            if form.contains("for_each = [\"a\"") { WHENS_OF_ITEMS } else { &[] };
        for when in WHENS.iter().chain(of_items) {
            let text = format!("{PARAMS}[[step]]\nid = \"s\"\n{form}\n{when}\n");
            let run = Run::nesting(&text, &[("inner.toml", INNER)], World::default());
            let dry = of_the_dry_run(&run);
            assert!(run.world.done().is_empty(), "a dry run does nothing: {text}");
            // What it comes to is not asked here: a wrong input ends it, and a manual step makes it
            // wait.
            drop(run.execute());
            let real = of_the_run(&run);
            // What a step that cannot begin keeps from beginning was never begun, and a dry run
            // cannot know it.
            let dry: BTreeMap<_, _> =
                dry.into_iter().filter(|(step, _)| real.contains_key(step)).collect();
            assert_eq!(dry, real, "{text}");
            real.into_values().for_each(|what| *seen.entry(what).or_insert(0) += 1);
        }
    }
    for what in ["skipped", "opens", "a person", "cannot begin", "no items"] {
        assert!(seen.contains_key(what), "no form of a step is {what}: {seen:?}");
    }
    assert!(
        seen.contains_key(&json!({ "text": "w!" }).to_string()),
        "a step of a nested file: {seen:?}"
    );
}
