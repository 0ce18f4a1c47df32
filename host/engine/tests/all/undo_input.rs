//! The input of an undo is rendered and compared with its schema before the effect that it would
//! undo.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::support::{Run, *};
use runbook_engine::*;
use serde_json::json;

/// The beginning of the runbook, before its steps.
const PARAMS_AND_PREFLIGHT: &str = "[params.n]\ntype = \"int\"\ndefault = 2\n[params.word]\n\
                      type = \"string\"\ndefault = \"v2\"\n\
                      [[preflight]]\nid = \"now\"\nuses = \"test:look\"\n";

/// Inputs of an undo, each with the error that keeps its step from beginning; `None` if the step
/// begins.
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

fn dry_run(run: &Run, dry_run_scope: DryRunScope) -> DryRun<'_, FakePlugins> {
    let Run { plan, plugins, options, .. } = run;
    DryRun {
        plan,
        operate: plugins,
        run: options.run,
        operator: "tester",
        environment: None,
        dry_run_scope,
    }
}

fn run(undo: &str, for_each: &str, plugins: FakePlugins) -> Run {
    let step = format!(
        "[[step]]\nid = \"up\"\nuses = \"test:do\"\n{for_each}with.name = \"x\"\n\
                 undo = {{ uses = \"test:back\", with = {undo} }}\n"
    );
    let found = Reply::Found(Outcome::Pass, json!({ "tag": "7", "count": 7 }));
    Run::new(&format!("{PARAMS_AND_PREFLIGHT}{step}"), plugins.with("now", [found]))
}

#[test]
fn a_step_whose_undo_has_a_wrong_input_does_not_begin() {
    for (undo, error) in INPUTS {
        for for_each in ["", "for_each = [\"a\"]\n"] {
            let id = if for_each.is_empty() { "up" } else { "up[a]" };
            let run = run(undo, for_each, FakePlugins::default());
            let ended = end(run.execute()).0;
            let Some(error) = error else {
                assert_eq!(ended, RunEnd::Succeeded, "{undo}");
                continue;
            };
            assert_eq!(ended, RunEnd::FailedClean, "{undo}");
            assert!(run.plugins.applied().is_empty(), "{undo}");
            let fault = run.state().step(&id.into()).fault.clone().unwrap();
            assert!(
                fault.code == "engine.undo-input" && fault.message.contains(error),
                "{undo}: {}",
                fault.message
            );
            let has_begun = run
                .records()
                .iter()
                .any(|record| matches!(&record.event, RunEvent::Step { step, event: StepEvent::Attempt(AttemptEvent::Started { .. }) } if step.as_str() == id));
            assert!(!has_begun, "{undo}: the step began");
        }
    }
}

#[test]
fn a_dry_run_shows_the_input_of_each_undo_or_why_it_is_wrong() {
    for (undo, error) in INPUTS {
        let run = run(undo, "", FakePlugins::default());
        let found = block_on(dry_run(&run, DryRunScope::ProbesAndSteps).ask_all());
        let undo_input =
            found.iter().find(|step| step.id.as_str() == "up").unwrap().undo.clone().unwrap();
        match (undo_input, error) {
            (Ok(input), None) => assert!(input["text"].is_string(), "{undo}: {input}"),
            (Err(reason), Some(error)) => assert!(reason.contains(error), "{undo}: {reason}"),
            (undo_input, _) => panic!("{undo}: {undo_input:?}"),
        }
    }
}

#[test]
fn a_dry_run_accepts_an_undo_with_items_that_are_known_only_at_run_time() {
    let for_each = |name: &str| {
        format!(
            "for_each = \"steps.now.output.tags\"\nas = \"{name}\"\nkey = \"{{{{ {name} }}}}\"\n"
        )
    };
    for (undo, name, is_accepted) in [
        ("{ text = \"{{ row.name }}\" }", "row", true),
        ("{ text = \"was {{ row.name }} of {{ params.word }}\" }", "row", true),
        ("{ text = \"{{ item }}\" }", "item", true),
        ("{ text = \"{{ row.name | default('x') }}\" }", "row", true),
        // Wrong for every item.
        ("{ text = 1, was = \"{{ row.name }}\" }", "row", false),
        ("{ text = \"{{ params.n }}\", was = \"{{ row.name }}\" }", "row", false),
    ] {
        let run = run(undo, &for_each(name), FakePlugins::default());
        for dry_run_scope in [DryRunScope::NoPlugins, DryRunScope::Steps] {
            let found = block_on(dry_run(&run, dry_run_scope).ask_all());
            let undo_input =
                found.iter().find(|step| step.id.as_str() == "up").unwrap().undo.clone().unwrap();
            assert_eq!(undo_input.is_ok(), is_accepted, "{undo}: {undo_input:?}");
        }
    }
}

/// A run that fails after the step.
fn failing_run(undo: &str) -> Run {
    let text = format!(
        "{PARAMS_AND_PREFLIGHT}[[step]]\nid = \"up\"\nuses = \"test:do\"\nwith.name = \"x\"\n\
                 undo = {{ uses = \"test:back\", with = {undo} }}\n[[step]]\nid = \"bad\"\n\
                 uses = \"test:do\"\nundo = \"auto\"\n"
    );
    Run::new(&text, FakePlugins::default().with("bad", [Reply::Fails(ErrorClass::Assertion)]))
}

/// A run that ends dirty, because the input of an undo depends on a missing output of its step.
fn run_with_wrong_undo() -> Run {
    failing_run("{ text = \"{{ steps.up.output.count }}\" }")
}

#[test]
fn a_run_whose_undo_was_wrong_is_undone_by_a_corrected_one() {
    let run = run_with_wrong_undo();
    assert_eq!(end(run.execute()).0, RunEnd::Dirty);
    assert_eq!(run.plugins.done(), ["up"]);
    assert_eq!(end(run.undo()).0, RunEnd::Dirty, "the same text is wrong again");
    let corrected = failing_run("{ text = \"{{ params.word }}\" }").plan;
    assert_eq!(end(run.undo_with_text(&corrected)), (RunEnd::Undone, Some(Cause::Requested)));
    assert_eq!(run.plugins.input("up/undo"), json!({ "text": "v2" }));
    let records = run.records();
    let recorded = records.iter().rev().find_map(|record| {
        let RunEvent::Run(LifecycleEvent::UndoRequested { corrected, .. }) = &record.event else {
            return None;
        };
        corrected.clone()
    });
    assert_eq!(
        recorded.unwrap(),
        CorrectedText { sources: corrected.sources.clone(), digest: corrected.digest.clone() }
    );
    assert_eq!(fold(&records).unwrap().unwrap(), run.state());
}

#[test]
fn a_corrected_text_with_other_steps_is_refused() {
    let run = run_with_wrong_undo();
    end(run.execute());
    let other = plan("[[step]]\nid = \"other\"\nuses = \"test:do\"\nundo = \"auto\"\n");
    let Err(RunError::Changed { differences }) = run.undo_with_text(&other) else {
        panic!("it is not refused")
    };
    assert!(
        differences.contains(&"step `up` is gone".to_owned())
            && differences.contains(&"step `other` is new".to_owned()),
        "{differences:?}"
    );
    assert_eq!(run.plugins.done(), ["up"]);
}
