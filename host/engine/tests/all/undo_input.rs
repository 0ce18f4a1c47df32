//! What an undo is given is rendered and compared with its schema before the effect that it would
//! undo.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::support::{Run, *};
use runbook_engine::*;
use serde_json::json;

const BEFORE: &str = "[params.n]\ntype = \"int\"\ndefault = 2\n[params.word]\ntype = \"string\"\n\
                      default = \"v2\"\n[[preflight]]\nid = \"now\"\nuses = \"test:look\"\n";

/// What the undo is given, and what is said of it; `None` if nothing can be said against it before
/// the effect.
const INPUTS: &[(&str, Option<&str>)] = &[
    ("{ text = \"v1\" }", None),
    ("{ text = \"{{ params.word }}\" }", None),
    ("{ text = \"{{ params.n | string }}\" }", None),
    ("{ text = \"{{ steps.now.output.tag }}\" }", None),
    // Known only when the step has run.
    ("{ text = \"{{ steps.up.output.input.name }}\" }", None),
    ("{ text = \"{{ steps.up.output.input.name | default('v1') }}\" }", None),
    ("{ text = 1 }", Some("at `/text`: the value is not of type \"string\"")),
    ("{ text = \"{{ params.n }}\" }", Some("at `/text`: the value is not of type \"string\"")),
    (
        "{ text = \"{{ params.n }}\", was = \"{{ steps.up.output.input.name }}\" }",
        Some("at `/text`: the value is not of type"),
    ),
    (
        "{ text = \"{{ steps.now.output.count }}\" }",
        Some("at `/text`: the value is not of type \"string\""),
    ),
    ("{ text = \"{{ steps.now.output.tag | int }}\" }", Some("at `/text`")),
    ("{ text = \"{{ steps.now.output.tagg }}\" }", Some("the output of `now` has no `tagg`")),
];

fn dry_run(run: &Run, audience: AskedPlugins) -> DryRun<'_, World> {
    let Run { plan, world, options, .. } = run;
    DryRun {
        plan,
        operate: world,
        run: options.run,
        operator: "tester",
        environment: None,
        audience,
    }
}

fn run(undo: &str, each: &str, world: World) -> Run {
    let step = format!(
        "[[step]]\nid = \"up\"\nuses = \"test:do\"\n{each}with.name = \"x\"\n\
                 undo = {{ uses = \"test:back\", with = {undo} }}\n"
    );
    let found = Reply::Found(Outcome::Pass, json!({ "tag": "7", "count": 7 }));
    Run::new(&format!("{BEFORE}{step}"), world.with("now", [found]))
}

#[test]
fn a_step_whose_undo_could_not_be_done_is_not_begun() {
    for (undo, wrong) in INPUTS {
        for each in ["", "for_each = [\"a\"]\n"] {
            let id = if each.is_empty() { "up" } else { "up[a]" };
            let run = run(undo, each, World::default());
            let ended = end(run.execute()).0;
            let Some(wrong) = wrong else {
                assert_eq!(ended, RunEnd::Succeeded, "{undo}");
                continue;
            };
            assert_eq!(ended, RunEnd::FailedClean, "{undo}");
            assert!(run.world.applied().is_empty(), "{undo}");
            let fault = run.state().step(&id.into()).fault.clone().unwrap();
            assert!(
                fault.code == "engine.undo-input" && fault.message.contains(wrong),
                "{undo}: {}",
                fault.message
            );
            let begun = run
                .records()
                .iter()
                .any(|record| matches!(&record.event, RunEvent::Step { step, event: StepEvent::Attempt(AttemptEvent::Started { .. }) } if step.as_str() == id));
            assert!(!begun, "{undo}: its intent is in the journal");
        }
    }
}

#[test]
fn a_plan_shows_what_each_undo_would_be_given_or_that_it_could_not_be_done() {
    for (undo, wrong) in INPUTS {
        let run = run(undo, "", World::default());
        let found = block_on(dry_run(&run, AskedPlugins::Everybody).ask_all());
        let shown =
            found.iter().find(|step| step.id.as_str() == "up").unwrap().undo.clone().unwrap();
        match (shown, wrong) {
            (Ok(input), None) => assert!(input["text"].is_string(), "{undo}: {input}"),
            (Err(reason), Some(wrong)) => assert!(reason.contains(wrong), "{undo}: {reason}"),
            (shown, _) => panic!("{undo}: {shown:?}"),
        }
    }
}

#[test]
fn a_plan_knows_that_an_item_of_a_list_is_known_at_run_time_only() {
    let each = |name: &str| {
        format!(
            "for_each = \"steps.now.output.tags\"\nas = \"{name}\"\nkey = \"{{{{ {name} }}}}\"\n"
        )
    };
    for (undo, name, begun) in [
        ("{ text = \"{{ row.name }}\" }", "row", true),
        ("{ text = \"was {{ row.name }} of {{ params.word }}\" }", "row", true),
        ("{ text = \"{{ item }}\" }", "item", true),
        ("{ text = \"{{ row.name | default('x') }}\" }", "row", true),
        // What is wrong whatever the item is.
        ("{ text = 1, was = \"{{ row.name }}\" }", "row", false),
        ("{ text = \"{{ params.n }}\", was = \"{{ row.name }}\" }", "row", false),
    ] {
        let run = run(undo, &each(name), World::default());
        for audience in [AskedPlugins::Nobody, AskedPlugins::Steps] {
            let found = block_on(dry_run(&run, audience).ask_all());
            let shown =
                found.iter().find(|step| step.id.as_str() == "up").unwrap().undo.clone().unwrap();
            assert_eq!(shown.is_ok(), begun, "{undo}: {shown:?}");
        }
    }
}

/// A run that fails after the step.
fn failing(undo: &str) -> Run {
    let text = format!(
        "{BEFORE}[[step]]\nid = \"up\"\nuses = \"test:do\"\nwith.name = \"x\"\n\
                 undo = {{ uses = \"test:back\", with = {undo} }}\n[[step]]\nid = \"bad\"\n\
                 uses = \"test:do\"\nundo = \"auto\"\n"
    );
    Run::new(&text, World::default().with("bad", [Reply::Fails(ErrorClass::Assertion)]))
}

/// It is dirty, because an undo that depends on what its step put out has no value.
fn dirty() -> Run {
    failing("{ text = \"{{ steps.up.output.count }}\" }")
}

#[test]
fn a_run_whose_undo_was_wrong_is_undone_by_a_corrected_one() {
    let run = dirty();
    assert_eq!(end(run.execute()).0, RunEnd::Dirty);
    assert_eq!(run.world.done(), ["up"]);
    assert_eq!(end(run.undo()).0, RunEnd::Dirty, "the same text is wrong again");
    let corrected = failing("{ text = \"{{ params.word }}\" }").plan;
    assert_eq!(end(run.undo_by(&corrected)), (RunEnd::Undone, Some(Cause::Requested)));
    assert_eq!(run.world.input("up/undo"), json!({ "text": "v2" }));
    let records = run.records();
    let asked = records.iter().rev().find_map(|record| {
        let RunEvent::Run(LifecycleEvent::UndoRequested { corrected, .. }) = &record.event else {
            return None;
        };
        corrected.clone()
    });
    assert_eq!(
        asked.unwrap(),
        CorrectedText { sources: corrected.sources.clone(), digest: corrected.digest.clone() }
    );
    assert_eq!(fold(&records).unwrap().unwrap(), run.state());
}

#[test]
fn a_corrected_text_with_other_steps_is_refused() {
    let run = dirty();
    end(run.execute());
    let other = plan("[[step]]\nid = \"other\"\nuses = \"test:do\"\nundo = \"auto\"\n");
    let Err(RunError::Changed { what }) = run.undo_by(&other) else { panic!("it is not refused") };
    assert!(
        what.contains(&"step `up` is gone".to_owned())
            && what.contains(&"step `other` is new".to_owned()),
        "{what:?}"
    );
    assert_eq!(run.world.done(), ["up"]);
}
