//! An immediate stop while calls run: certain results of the calls are recorded.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::support::{Run, *};
use runbook_engine::*;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Fake plugins during one call of which the operator stops the run at once, before the effect of
/// that call becomes final.
struct InterruptingPlugins {
    plugins: FakePlugins,
    cancel: CancelToken,
    /// The call that is interrupted: its step, and whether it is the undo.
    interrupted_call: Mutex<Option<(&'static str, bool)>>,
    fault_effect: FaultEffect,
}

impl Operate for InterruptingPlugins {
    fn misfits(&self, site: &StepId, input: &Json) -> Vec<Misfit> {
        self.plugins.misfits(site, input)
    }

    async fn call(&self, call: Call, leases: LeaseWatch) -> Result<CallReturn, Fault> {
        let acts = matches!(call.phase, Phase::Apply { .. } | Phase::Undo { .. });
        let is_undo =
            matches!(call.phase, Phase::Undo { .. }) || call.step.as_str().ends_with("/undo");
        let is_interrupted = |interrupted_call: &mut (&str, bool)| {
            acts && call.step.as_str().split('/').next() == Some(interrupted_call.0)
                && is_undo == interrupted_call.1
        };
        let stops = self
            .interrupted_call
            .lock()
            .unwrap()
            .take_if(|interrupted_call| is_interrupted(interrupted_call))
            .is_some();
        if stops {
            self.cancel.stop_now();
            leases.stop().requested().await;
            let fault = Fault::new(ErrorClass::Cancelled, "cancelled", "the call is over");
            return Err(Fault { effect: self.fault_effect, ..fault });
        }
        self.plugins.call(call, leases).await
    }
}

const RUNBOOK: &str = "[[step]]\nid = \"first\"\nuses = \"test:do\"\nundo = { uses = \"test:move\" }\n\
     [[step]]\nid = \"fail\"\nuses = \"test:look\"\n";

fn execute_or_resume(
    run: &Run,
    operate: &InterruptingPlugins,
    options: &Options,
) -> Result<RunOutcome, RunError> {
    // A clock on which no time passes while a call can still end.
    let (clock, reporter) = (&AutoAdvanceClock::default(), &mut |_: &Record| {});
    let engine =
        runbook_engine::Run { plan: &run.plan, operate, journal: &run.journal, clock, options };
    if run.records().is_empty() {
        block_on(engine.execute(reporter))
    } else {
        block_on(engine.resume(&BTreeMap::new(), ChangePolicy::Refuse, reporter))
    }
}

fn stop_and_resume(
    is_undo: bool,
    fault_effect: FaultEffect,
) -> (Run, Result<RunOutcome, RunError>, Vec<String>) {
    let plugins = FakePlugins::default().with("fail", [Reply::Fails(ErrorClass::Assertion)]);
    plugins.set_before("first", Json::Null);
    let run = Run::new(RUNBOOK, FakePlugins::default());
    let interrupted_call = Mutex::new(Some(("first", is_undo)));
    let operate = InterruptingPlugins {
        plugins,
        cancel: run.options.cancel.clone(),
        interrupted_call,
        fault_effect,
    };
    assert_eq!(pause(execute_or_resume(&run, &operate, &run.options)), PauseReason::Interrupted);
    assert!(operate.interrupted_call.lock().unwrap().is_none(), "it was never under way");
    let new_options = options(run.options.run);
    let outcome = execute_or_resume(&run, &operate, &new_options);
    let applied = operate.plugins.applied();
    (run, outcome, applied)
}

#[test]
fn a_call_stopped_before_its_effect_is_made_once_after_resume() {
    for is_undo in [false, true] {
        let (_, outcome, applied) = stop_and_resume(is_undo, FaultEffect::None);
        assert_eq!(end(outcome).0, RunEnd::Undone, "undo: {is_undo}");
        assert_eq!(applied, ["first", "first/undo"], "undo: {is_undo}");
    }
}

#[test]
fn a_stopped_call_that_may_have_taken_effect_is_not_repeated() {
    let (_, outcome, applied) = stop_and_resume(false, FaultEffect::Possible);
    assert!(matches!(pause(outcome), PauseReason::UnknownOutcome { .. }));
    assert!(applied.is_empty(), "{applied:?}");
    let (run, outcome, applied) = stop_and_resume(true, FaultEffect::Possible);
    assert_eq!(end(outcome).0, RunEnd::Dirty);
    assert_eq!(applied, ["first"]);
    assert_eq!(run.state().remaining_changes().undo_unclear, [StepId::from("first")]);
}
