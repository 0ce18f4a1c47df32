//! `manual`: a step that a person does, in its place among the others.
#![allow(clippy::unwrap_used, reason = "a test")]

use crate::support::{Run, World, broken_at_each_record, end, pause, refused};
use runbook_engine::*;
use serde_json::json;
use std::time::Duration;

fn text(manual: &str) -> String {
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

fn asks(outcome: Result<RunOutcome, RunError>) {
    assert_eq!(pause(outcome), PauseReason::Manual { steps: vec!["look".into()] });
}

#[test]
fn a_run_waits_for_a_person_and_goes_on_with_what_they_found() {
    let run = Run::new(&text(FORM), World::default());
    asks(run.execute());
    assert_eq!(run.world.applied(), ["first"]);
    let asked = run.records().into_iter().find_map(|record| {
        let RunEvent::Step { event: StepEvent::Manual(event), .. } = record.event else {
            return None;
        };
        match event {
            ManualEvent::Asked { instructions, .. } => Some(instructions),
            ManualEvent::Answered { .. } => None,
        }
    });
    assert_eq!(asked.as_deref(), Some("Is test caught up?"));
    asks(run.resume());
    answer(&run, json!({ "lag_ok": true, "note": "fine" }));
    assert_eq!(end(run.resume()).0, RunEnd::Succeeded);
    assert_eq!(run.world.applied(), ["first", "last"]);
    assert_eq!(run.world.input("last"), json!({ "note": "fine" }));
    assert_eq!(run.state().step(&"look".into()).summary, "done by ada@bastion");
}

#[test]
fn what_they_found_decides_what_follows() {
    let run = Run::new(&text(FORM), World::default());
    asks(run.execute());
    answer(&run, json!({ "lag_ok": false, "note": "" }));
    assert_eq!(end(run.resume()).0, RunEnd::Succeeded);
    assert_eq!(run.world.applied(), ["first"]);
}

#[test]
fn nobody_is_waited_for_longer_than_the_runbook_says() {
    let run = Run::new(&text(FORM), World::default());
    asks(run.execute());
    run.clock.pass(Duration::from_mins(11));
    assert_eq!(end(run.resume()), (RunEnd::Undone, Some(Cause::Step { step: "look".into() })));
    assert_eq!(run.world.undone(), ["first"]);
}

#[test]
fn broken_at_each_record_the_answer_is_asked_for_once() {
    let anew = || Run::new(&text(FORM), World::default());
    let whole = anew();
    asks(whole.execute());
    broken_at_each_record(&whole, anew, |run, breaks_at| {
        let mut outcome = if run.records().is_empty() { run.execute() } else { run.resume() };
        if matches!(
            &outcome,
            Ok(RunOutcome {
                stopped: Stopped::Paused { reason: PauseReason::UnknownOutcome { .. } },
                ..
            })
        ) {
            outcome = run.decide(&[("first".into(), Decision::Retry)].into());
        }
        asks(outcome);
        answer(run, json!({ "lag_ok": true, "note": "n" }));
        // And once more between the two records of what a person did.
        let at = run.records().len() as u64 + 2;
        *run.journal.breaks_at.lock().unwrap() = Some(at);
        assert!(run.resume().is_err(), "record {breaks_at}");
        *run.journal.breaks_at.lock().unwrap() = None;
        assert_eq!(end(run.resume()).0, RunEnd::Succeeded, "record {breaks_at}");
        assert_eq!(
            run.world.applied().iter().filter(|step| *step == "last").count(),
            1,
            "record {breaks_at}"
        );
    });
}

#[test]
fn mistakes_in_manual_are_shown() {
    assert!(refused(&text("{ form = { a = \"bool\" } }")).contains("no `instructions`"));
    assert!(
        refused(&text("{ instructions = \"x\", form = { a = \"boolean\" } }"))
            .contains("must be the name of a type")
    );
    assert!(refused(&text("{ instruction = \"x\" }")).contains("unknown key `instruction`"));
    let both = "[[step]]\nid = \"a\"\nuses = \"test:do\"\nundo = \"auto\"\n\
                manual = { instructions = \"x\" }\n";
    assert!(refused(both).contains("`uses` of step `a` has no meaning"));
    let verify = "[[step]]\nid = \"s\"\nuses = \"test:do\"\nundo = \"auto\"\n[[verify]]\n\
                  id = \"v\"\nmanual = { instructions = \"x\" }\n";
    assert!(refused(verify).contains("`manual` of verify `v` has no meaning"));
}
