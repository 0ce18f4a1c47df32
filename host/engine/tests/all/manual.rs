//! `manual`: a step that a person does, in order with the other steps.
#![allow(clippy::unwrap_used, reason = "a test")]

use crate::support::{
    FakePlugins, Run, break_journal_at_each_record, end, pause, refusal_messages,
};
use runbook_engine::*;
use serde_json::json;
use std::time::Duration;

fn runbook_with_manual_step(manual: &str) -> String {
    format!(
        "[[step]]\nid = \"first\"\nuses = \"test:do\"\nundo = \"auto\"\n[[step]]\n\
             id = \"look\"\nmanual = {manual}\n[[step]]\nid = \"last\"\nuses = \"test:do\"\n\
             undo = \"auto\"\nwhen = \"steps.look.output.lag_ok\"\n\
             with = {{ note = \"{{{{ steps.look.output.note }}}}\" }}\n"
    )
}

const FORM: &str = "{ instructions = \"Is {{ run.name }} caught up?\", form = { lag_ok = \"bool\", note = \"string\" }, timeout = \"10m\" }";

fn answer(run: &Run, values: Json) {
    let state = run.state();
    let event = ManualEvent::Answered { by: "ada@bastion".to_owned(), values }.of("look".into());
    run.journal.records.lock().unwrap().push(Record {
        seq: state.next_seq,
        at: run.clock.now(),
        event,
    });
}

fn assert_waits_for_person(outcome: Result<RunOutcome, RunError>) {
    assert_eq!(pause(outcome), PauseReason::Manual { steps: vec!["look".into()] });
}

#[test]
fn a_run_waits_for_a_person_and_goes_on_with_what_they_found() {
    let run = Run::new(&runbook_with_manual_step(FORM), FakePlugins::default());
    assert_waits_for_person(run.execute());
    assert_eq!(run.plugins.applied(), ["first"]);
    let shown_instructions = run.records().into_iter().find_map(|record| {
        let RunEvent::Step { event: StepEvent::Manual(event), .. } = record.event else {
            return None;
        };
        match event {
            ManualEvent::Asked { instructions, .. } => Some(instructions),
            ManualEvent::Answered { .. } => None,
        }
    });
    assert_eq!(shown_instructions.as_deref(), Some("Is test caught up?"));
    assert_waits_for_person(run.resume());
    answer(&run, json!({ "lag_ok": true, "note": "fine" }));
    assert_eq!(end(run.resume()).0, RunEnd::Succeeded);
    assert_eq!(run.plugins.applied(), ["first", "last"]);
    assert_eq!(run.plugins.input("last"), json!({ "note": "fine" }));
    assert_eq!(run.state().step(&"look".into()).summary, "done by ada@bastion");
}

#[test]
fn the_answer_of_a_manual_step_decides_a_later_condition() {
    let run = Run::new(&runbook_with_manual_step(FORM), FakePlugins::default());
    assert_waits_for_person(run.execute());
    answer(&run, json!({ "lag_ok": false, "note": "" }));
    assert_eq!(end(run.resume()).0, RunEnd::Succeeded);
    assert_eq!(run.plugins.applied(), ["first"]);
}

#[test]
fn a_manual_step_fails_after_its_timeout() {
    let run = Run::new(&runbook_with_manual_step(FORM), FakePlugins::default());
    assert_waits_for_person(run.execute());
    run.clock.advance(Duration::from_mins(11));
    assert_eq!(end(run.resume()), (RunEnd::Undone, Some(Cause::Step { step: "look".into() })));
    assert_eq!(run.plugins.undone(), ["first"]);
}

#[test]
fn broken_at_each_record_the_answer_is_asked_for_once() {
    let new_run = || Run::new(&runbook_with_manual_step(FORM), FakePlugins::default());
    let complete_run = new_run();
    assert_waits_for_person(complete_run.execute());
    break_journal_at_each_record(&complete_run, new_run, |run, breaks_at| {
        let mut outcome = if run.records().is_empty() { run.execute() } else { run.resume() };
        if matches!(
            &outcome,
            Ok(RunOutcome {
                stopped: StopReason::Paused { reason: PauseReason::UnknownOutcome { .. } },
                ..
            })
        ) {
            outcome = run.resume_with(&[("first".into(), Decision::Retry)].into());
        }
        assert_waits_for_person(outcome);
        answer(run, json!({ "lag_ok": true, "note": "n" }));
        // The journal also fails between the two records about the manual step.
        let at = run.records().len() as u64 + 2;
        *run.journal.breaks_at.lock().unwrap() = Some(at);
        assert!(run.resume().is_err(), "record {breaks_at}");
        *run.journal.breaks_at.lock().unwrap() = None;
        assert_eq!(end(run.resume()).0, RunEnd::Succeeded, "record {breaks_at}");
        assert_eq!(
            run.plugins.applied().iter().filter(|step| *step == "last").count(),
            1,
            "record {breaks_at}"
        );
    });
}

#[test]
fn mistakes_in_manual_are_shown() {
    assert!(
        refusal_messages(&runbook_with_manual_step("{ form = { a = \"bool\" } }"))
            .contains("no `instructions`")
    );
    assert!(
        refusal_messages(&runbook_with_manual_step(
            "{ instructions = \"x\", form = { a = \"boolean\" } }"
        ))
        .contains("must be the name of a type")
    );
    assert!(
        refusal_messages(&runbook_with_manual_step("{ instruction = \"x\" }"))
            .contains("unknown key `instruction`")
    );
    let both = "[[step]]\nid = \"a\"\nuses = \"test:do\"\nundo = \"auto\"\n\
                manual = { instructions = \"x\" }\n";
    assert!(refusal_messages(both).contains("`uses` of step `a` has no meaning"));
    let verify = "[[step]]\nid = \"s\"\nuses = \"test:do\"\nundo = \"auto\"\n[[verify]]\n\
                  id = \"v\"\nmanual = { instructions = \"x\" }\n";
    assert!(refusal_messages(verify).contains("`manual` of verify `v` has no meaning"));
}
