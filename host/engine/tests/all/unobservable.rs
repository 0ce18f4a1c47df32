//! Operations whose effect their plugin cannot observe: an observation afterwards does not show
//! that nothing happened.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::support::{Run, *};
use runbook_engine::*;
use serde_json::Value as Json;
use std::collections::BTreeMap;

const CALL: &str = "[[step]]\nid = \"call\"\nuses = \"test:move\"\nirreversible = \"it is said\"\n";

/// A plugin that cannot observe what it changes, such as `sql:transaction` and `webhook:post`.
fn blind_plugins() -> FakePlugins {
    let plugins = FakePlugins::default();
    plugins.set_before("call", Json::Null);
    plugins
}

#[test]
fn a_person_is_asked_about_an_attempt_that_cannot_be_observed() {
    let new_run = || Run::new(CALL, blind_plugins());
    let complete_run = new_run();
    assert_eq!(end(complete_run.execute()).0, RunEnd::Succeeded);
    let n_asked = std::cell::Cell::new(0);
    break_journal_at_each_record(&complete_run, new_run, |run, breaks_at| {
        let outcome = if run.records().is_empty() { run.execute() } else { run.resume() };
        if matches!(
            &outcome,
            Ok(RunOutcome {
                stopped: StopReason::Paused { reason: PauseReason::UnknownOutcome { .. } },
                ..
            })
        ) {
            n_asked.set(n_asked.get() + 1);
            let happened = !run.plugins.applied().is_empty();
            let decision = if happened { Decision::Done } else { Decision::Retry };
            end(run.resume_with(&BTreeMap::from([("call".into(), decision)])));
        } else {
            end(outcome);
        }
        assert_eq!(run.plugins.applied(), ["call"], "record {breaks_at}: it happens once");
    });
    assert!(n_asked.get() > 0, "nobody was ever asked");
}

#[test]
fn a_run_whose_irreversible_step_may_have_happened_is_dirty() {
    let run = Run::new(
        CALL,
        blind_plugins().with("call", [Reply::FailsAfterEffect(ErrorClass::Timeout)]),
    );
    assert_eq!(end(run.execute()).0, RunEnd::Dirty);
    let finding = run.state().step(&"call".into()).undo.finding.clone();
    assert!(
        matches!(finding, Some(UndoFinding::Unknown { fault }) if fault.code == "engine.unobservable"),
        "it is not said why"
    );
}

/// A step with an explicit undo that is not idempotent, such as a refund.
const REFUND: &str = "[[step]]\nid = \"pay\"\nuses = \"test:do\"\nundo = { uses = \"test:move\" }\n\
                      [[step]]\nid = \"fail\"\nuses = \"test:look\"\n";

fn failing_plugins() -> FakePlugins {
    FakePlugins::default().with("fail", [Reply::Fails(ErrorClass::Assertion)])
}

#[test]
fn an_undo_that_may_have_happened_is_not_repeated() {
    let n_refunds =
        |run: &Run| run.plugins.applied().iter().filter(|step| *step == "pay/undo").count();
    // Without an answer, it is not repeated.
    let run = Run::new(
        REFUND,
        failing_plugins().with("pay/undo", [Reply::FailsAfterEffect(ErrorClass::Timeout)]),
    );
    assert_eq!(end(run.execute()).0, RunEnd::Dirty);
    assert_eq!(n_refunds(&run), 1);
    // It surely did not happen, so it is repeated.
    let run = Run::new(
        REFUND,
        failing_plugins().with(
            "pay/undo",
            [
                Reply::FailsWithoutEffect(ErrorClass::Transient),
                Reply::Found(Outcome::Pass, Json::Null),
            ],
        ),
    );
    assert_eq!(end(run.execute()).0, RunEnd::Undone);
    assert_eq!(n_refunds(&run), 1);
    // Cut off at any record, it happens at most once. If its outcome is unknown, the run is dirty.
    let new_run = || Run::new(REFUND, failing_plugins());
    let complete_run = new_run();
    assert_eq!(end(complete_run.execute()).0, RunEnd::Undone);
    let n_dirty = std::cell::Cell::new(0);
    break_journal_at_each_record(&complete_run, new_run, |run, breaks_at| {
        let mut outcome = if run.records().is_empty() { run.execute() } else { run.resume() };
        if let Ok(RunOutcome {
            stopped: StopReason::Paused { reason: PauseReason::UnknownOutcome { steps } },
            ..
        }) = &outcome
        {
            let decisions: BTreeMap<StepId, Decision> =
                steps.iter().map(|step| (step.clone(), Decision::Done)).collect();
            outcome = run.resume_with(&decisions);
        }
        let (ended, _) = end(outcome);
        assert!(n_refunds(run) <= 1, "record {breaks_at}: {:?}", run.plugins.applied());
        if ended == RunEnd::Dirty {
            n_dirty.set(n_dirty.get() + 1);
            // A person has looked, and tries it again.
            if n_refunds(run) == 0 {
                end(run.undo());
                assert_eq!(n_refunds(run), 1, "record {breaks_at}");
            }
        } else {
            assert_eq!(n_refunds(run), 1, "record {breaks_at}: {ended:?}");
        }
    });
    assert!(n_dirty.get() > 0, "it was never cut off in its undo");
}

#[test]
fn an_idempotent_undo_is_retried_until_it_succeeds() {
    let text =
        REFUND.replace("{ uses = \"test:move\" }", "{ uses = \"test:move\", idempotent = true }");
    let new_run = || Run::new(&text, failing_plugins());
    let complete_run = new_run();
    end(complete_run.execute());
    break_journal_at_each_record(&complete_run, new_run, |run, breaks_at| {
        let mut outcome = if run.records().is_empty() { run.execute() } else { run.resume() };
        if let Ok(RunOutcome {
            stopped: StopReason::Paused { reason: PauseReason::UnknownOutcome { steps } },
            ..
        }) = &outcome
        {
            let decisions: BTreeMap<StepId, Decision> =
                steps.iter().map(|step| (step.clone(), Decision::Done)).collect();
            outcome = run.resume_with(&decisions);
        }
        assert_eq!(end(outcome).0, RunEnd::Undone, "record {breaks_at}");
    });
}
