//! An operation of which its plugin can see nothing: that nothing is seen afterwards is no sign that nothing happened.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use runbook_engine::*;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use support::*;

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
        if matches!(&outcome, Ok(RunOutcome { stopped: Stopped::Paused { reason: PauseReason::UnknownOutcome { .. } }, .. })) {
            asked.set(asked.get() + 1);
            let happened = !run.world.applied().is_empty();
            let decision = if happened { Decision::Skip } else { Decision::Retry };
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
    let finding = run.state().step(&"call".into()).finding.clone();
    assert!(matches!(finding, Some(UndoFinding::Unknown { fault }) if fault.code == "engine.unobservable"), "it is not said why");
}
