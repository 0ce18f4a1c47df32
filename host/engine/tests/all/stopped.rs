//! Everything is stopped at once while calls run: what the host knows of them is recorded.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::support::{Run, *};
use runbook_engine::*;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// A world in which the operator stops everything at once while one call is under way, before
/// anything of it is made final.
struct Interrupted {
    world: World,
    cancel: CancelToken,
    /// The call: its step, and whether its undo.
    at: Mutex<Option<(&'static str, bool)>>,
    known: FaultEffect,
}

impl Operate for Interrupted {
    fn misfits(&self, site: &StepId, input: &Json) -> Vec<Misfit> {
        self.world.misfits(site, input)
    }

    async fn call(&self, call: Call, leases: LeaseWatch) -> Result<CallReturn, Fault> {
        let acts = matches!(call.phase, Phase::Apply { .. } | Phase::Undo { .. });
        let is_undo =
            matches!(call.phase, Phase::Undo { .. }) || call.step.as_str().ends_with("/undo");
        let is_it = |at: &mut (&str, bool)| {
            acts && call.step.as_str().split('/').next() == Some(at.0) && is_undo == at.1
        };
        let stops = self.at.lock().unwrap().take_if(|at| is_it(at)).is_some();
        if stops {
            self.cancel.stop_now();
            leases.stop().asked().await;
            let fault = Fault::new(ErrorClass::Cancelled, "cancelled", "the call is over");
            return Err(Fault { effect: self.known, ..fault });
        }
        self.world.call(call, leases).await
    }
}

const TEXT: &str = "[[step]]\nid = \"first\"\nuses = \"test:do\"\nundo = { uses = \"test:move\" }\n\
     [[step]]\nid = \"fail\"\nuses = \"test:look\"\n";

fn go(run: &Run, operate: &Interrupted, options: &Options) -> Result<RunOutcome, RunError> {
    // Time does not go on while a call can still end.
    let (clock, reporter) = (&Paced::default(), &mut |_: &Record| {});
    let engine =
        runbook_engine::Run { plan: &run.plan, operate, journal: &run.journal, clock, options };
    if run.records().is_empty() {
        block_on(engine.execute(reporter))
    } else {
        block_on(engine.resume(&BTreeMap::new(), Changes::Refuse, reporter))
    }
}

fn stopped(is_undo: bool, known: FaultEffect) -> (Run, Result<RunOutcome, RunError>, Vec<String>) {
    let world = World::default().with("fail", [Reply::Fails(ErrorClass::Assertion)]);
    world.set_before("first", Json::Null);
    let run = Run::new(TEXT, World::default());
    let at = Mutex::new(Some(("first", is_undo)));
    let operate = Interrupted { world, cancel: run.options.cancel.clone(), at, known };
    assert_eq!(pause(go(&run, &operate, &run.options)), PauseReason::Interrupted);
    assert!(operate.at.lock().unwrap().is_none(), "it was never under way");
    let again = options(run.options.run);
    let outcome = go(&run, &operate, &again);
    let applied = operate.world.applied();
    (run, outcome, applied)
}

#[test]
fn what_was_stopped_before_anything_was_final_is_made_once_when_the_run_goes_on() {
    for is_undo in [false, true] {
        let (_, outcome, applied) = stopped(is_undo, FaultEffect::None);
        assert_eq!(end(outcome).0, RunEnd::Undone, "undo: {is_undo}");
        assert_eq!(applied, ["first", "first/undo"], "undo: {is_undo}");
    }
}

#[test]
fn what_may_have_happened_when_all_was_stopped_is_not_made_again() {
    let (_, outcome, applied) = stopped(false, FaultEffect::Possible);
    assert!(matches!(pause(outcome), PauseReason::UnknownOutcome { .. }));
    assert!(applied.is_empty(), "{applied:?}");
    let (run, outcome, applied) = stopped(true, FaultEffect::Possible);
    assert_eq!(end(outcome).0, RunEnd::Dirty);
    assert_eq!(applied, ["first"]);
    assert_eq!(run.state().account().unclear, [StepId::from("first")]);
}
