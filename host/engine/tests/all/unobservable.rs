//! Operations whose effect their plugin cannot see: seeing nothing afterwards does not show that
//! nothing happened.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::support::{Run, *};
use runbook_engine::*;
use serde_json::Value as Json;
use std::collections::BTreeMap;

const CALL: &str = "[[step]]\nid = \"call\"\nuses = \"test:move\"\nirreversible = \"it is said\"\n";

/// A plugin that sees nothing of what it changes, as `sql:transaction` and `webhook:post` are.
fn blind() -> World {
    let world = World::default();
    world.set_before("call", Json::Null);
    world
}

#[test]
fn what_cannot_be_observed_is_asked_about() {
    let anew = || Run::new(CALL, blind());
    let whole = anew();
    assert_eq!(end(whole.execute()).0, RunEnd::Succeeded);
    let asked = std::cell::Cell::new(0);
    broken_at_each_record(&whole, anew, |run, breaks_at| {
        let outcome = if run.records().is_empty() { run.execute() } else { run.resume() };
        if matches!(
            &outcome,
            Ok(RunOutcome {
                stopped: Stopped::Paused { reason: PauseReason::UnknownOutcome { .. } },
                ..
            })
        ) {
            asked.set(asked.get() + 1);
            let happened = !run.world.applied().is_empty();
            let decision = if happened { Decision::Done } else { Decision::Retry };
            end(run.decide(&BTreeMap::from([("call".into(), decision)])));
        } else {
            end(outcome);
        }
        assert_eq!(run.world.applied(), ["call"], "record {breaks_at}: it happens once");
    });
    assert!(asked.get() > 0, "nobody was ever asked");
}

#[test]
fn a_run_whose_irreversible_step_may_have_happened_is_dirty() {
    let run = Run::new(CALL, blind().with("call", [Reply::FailsLate(ErrorClass::Timeout)]));
    assert_eq!(end(run.execute()).0, RunEnd::Dirty);
    let finding = run.state().step(&"call".into()).undo.finding.clone();
    assert!(
        matches!(finding, Some(UndoFinding::Unknown { fault }) if fault.code == "engine.unobservable"),
        "it is not said why"
    );
}

/// A step whose undo is another operation, which nobody says may be repeated: a refund.
const REFUND: &str = "[[step]]\nid = \"pay\"\nuses = \"test:do\"\nundo = { uses = \"test:move\" }\n\
                      [[step]]\nid = \"fail\"\nuses = \"test:look\"\n";

fn failing() -> World {
    World::default().with("fail", [Reply::Fails(ErrorClass::Assertion)])
}

#[test]
fn an_undo_that_may_have_happened_is_not_repeated() {
    let refunds = |run: &Run| run.world.applied().iter().filter(|step| *step == "pay/undo").count();
    // Without an answer: not again.
    let run = Run::new(REFUND, failing().with("pay/undo", [Reply::FailsLate(ErrorClass::Timeout)]));
    assert_eq!(end(run.execute()).0, RunEnd::Dirty);
    assert_eq!(refunds(&run), 1);
    // With an answer that it did not happen: again.
    let run = Run::new(
        REFUND,
        failing().with(
            "pay/undo",
            [Reply::Refused(ErrorClass::Transient), Reply::Found(Outcome::Pass, Json::Null)],
        ),
    );
    assert_eq!(end(run.execute()).0, RunEnd::Undone);
    assert_eq!(refunds(&run), 1);
    // Cut off anywhere: at most once, and where nobody can say, the run is dirty.
    let anew = || Run::new(REFUND, failing());
    let whole = anew();
    assert_eq!(end(whole.execute()).0, RunEnd::Undone);
    let dirty = std::cell::Cell::new(0);
    broken_at_each_record(&whole, anew, |run, breaks_at| {
        let mut outcome = if run.records().is_empty() { run.execute() } else { run.resume() };
        if let Ok(RunOutcome {
            stopped: Stopped::Paused { reason: PauseReason::UnknownOutcome { steps } },
            ..
        }) = &outcome
        {
            let skip: BTreeMap<StepId, Decision> =
                steps.iter().map(|step| (step.clone(), Decision::Done)).collect();
            outcome = run.decide(&skip);
        }
        let (ended, _) = end(outcome);
        assert!(refunds(run) <= 1, "record {breaks_at}: {:?}", run.world.applied());
        if ended == RunEnd::Dirty {
            dirty.set(dirty.get() + 1);
            // A person has looked, and tries it again.
            if refunds(run) == 0 {
                end(run.undo());
                assert_eq!(refunds(run), 1, "record {breaks_at}");
            }
        } else {
            assert_eq!(refunds(run), 1, "record {breaks_at}: {ended:?}");
        }
    });
    assert!(dirty.get() > 0, "it was never cut off in its undo");
}

#[test]
fn an_undo_that_does_no_harm_is_tried_until_it_worked() {
    let text =
        REFUND.replace("{ uses = \"test:move\" }", "{ uses = \"test:move\", idempotent = true }");
    let anew = || Run::new(&text, failing());
    let whole = anew();
    end(whole.execute());
    broken_at_each_record(&whole, anew, |run, breaks_at| {
        let mut outcome = if run.records().is_empty() { run.execute() } else { run.resume() };
        if let Ok(RunOutcome {
            stopped: Stopped::Paused { reason: PauseReason::UnknownOutcome { steps } },
            ..
        }) = &outcome
        {
            let skip: BTreeMap<StepId, Decision> =
                steps.iter().map(|step| (step.clone(), Decision::Done)).collect();
            outcome = run.decide(&skip);
        }
        assert_eq!(end(outcome).0, RunEnd::Undone, "record {breaks_at}");
    });
}
