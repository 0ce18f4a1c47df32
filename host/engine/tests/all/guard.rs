//! Guards: probes that are repeated while a run changes things.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::support::{Run, *};
use runbook_engine::*;
use serde_json::json;
use std::collections::BTreeMap;

/// A runbook in which `stop` has an effect, `wait` polls every 5 s, and `start` has an effect. The
/// guard is probed every 2 s.
fn runbook_with_guard(guard: &str) -> String {
    format!(
        r#"
        [[guard]]
        id = "errors"
        uses = "test:look"
        expect = {{ crit = "5" }}
        every = "2s"
        {guard}

        [[step]]
        id = "stop"
        uses = "test:do"
        undo = "auto"

        [[step]]
        id = "wait"
        uses = "test:look"
        until = "outcome == 'pass'"
        every = "5s"
        within = "1m"

        [[step]]
        id = "start"
        uses = "test:do"
        undo = "auto"
        "#
    )
}

fn rate(value: f64) -> Reply {
    Reply::Found(Outcome::Pass, json!({ "value": value }))
}

/// Plugins with which `wait` passes at its third attempt, ten seconds after `stop`.
fn plugins(replies: impl IntoIterator<Item = Reply>) -> FakePlugins {
    let not_yet = || Reply::Found(Outcome::Fail, json!({}));
    let passes = Reply::Found(Outcome::Pass, json!({}));
    FakePlugins::default().with("wait", [not_yet(), not_yet(), passes]).with("errors", replies)
}

fn breach_cause() -> Cause {
    Cause::Guard { guard: "errors".into() }
}

fn verdicts(run: &Run) -> Vec<GuardVerdict> {
    let verdict = |record: Record| {
        let RunEvent::Guard { event: GuardEvent::GuardObserved { observation }, .. } = record.event
        else {
            return None;
        };
        Some(observation.verdict)
    };
    run.records().into_iter().filter_map(verdict).collect()
}

#[test]
fn a_guard_that_holds_is_recorded_once() {
    let run = Run::new(&runbook_with_guard(""), plugins([rate(1.0)]));
    assert_eq!(end(run.execute()), (RunEnd::Succeeded, None));
    assert_eq!(run.plugins.applied(), ["stop", "start"]);
    assert_eq!(verdicts(&run), [GuardVerdict::Holds]);
}

#[test]
fn a_breach_undoes_what_was_done() {
    let run = Run::new(&runbook_with_guard(""), plugins([rate(1.0), rate(1.0), rate(9.0)]));
    assert_eq!(end(run.execute()), (RunEnd::Undone, Some(breach_cause())));
    assert_eq!(
        (run.plugins.applied(), run.plugins.undone()),
        (vec!["stop".to_owned()], vec!["stop".to_owned()])
    );
}

#[test]
fn a_breach_undoes_although_the_runbook_undoes_nothing_else() {
    let text = format!("[undo]\non = [\"cancel\"]\n{}", runbook_with_guard(""));
    let run = Run::new(&text, plugins([rate(1.0), rate(9.0)]));
    assert_eq!(end(run.execute()), (RunEnd::Undone, Some(breach_cause())));
}

#[test]
fn no_step_begins_if_the_first_probe_of_a_guard_fails() {
    let run = Run::new(&runbook_with_guard(""), plugins([rate(9.0)]));
    assert_eq!(end(run.execute()), (RunEnd::FailedClean, Some(breach_cause())));
    assert!(run.plugins.applied().is_empty());
}

#[test]
fn no_step_begins_between_a_failed_probe_and_the_next_good_one() {
    let run = Run::new(&runbook_with_guard("for = 3"), plugins([rate(9.0), rate(9.0), rate(1.0)]));
    assert_eq!(end(run.execute()), (RunEnd::Succeeded, None));
    let position_of = |wanted: &dyn Fn(&RunEvent) -> bool| {
        run.records().iter().position(|record| wanted(&record.event)).unwrap()
    };
    let first_good_probe = position_of(
        &|event| matches!(event, RunEvent::Guard { event: GuardEvent::GuardObserved { observation, .. }, .. } if observation.verdict == GuardVerdict::Holds),
    );
    assert!(
        first_good_probe
            < position_of(&|event| matches!(
                event,
                RunEvent::Step { event: StepEvent::Attempt(AttemptEvent::Started { .. }), .. }
            ))
    );
    assert_eq!(
        verdicts(&run),
        [GuardVerdict::Breached, GuardVerdict::Breached, GuardVerdict::Holds]
    );
}

#[test]
fn failed_probes_that_are_not_consecutive_do_not_add_up() {
    let run = Run::new(
        &runbook_with_guard("for = 2"),
        plugins([rate(9.0), rate(1.0), rate(9.0), rate(1.0)]),
    );
    assert_eq!(end(run.execute()), (RunEnd::Succeeded, None));
}

#[test]
fn a_pause_undoes_nothing_and_the_run_goes_on_when_it_is_resumed() {
    let run =
        Run::new(&runbook_with_guard("on_breach = \"pause\""), plugins([rate(1.0), rate(9.0)]));
    let reason = pause(run.execute());
    assert!(
        matches!(&reason, PauseReason::Guard { guard, why } if guard.as_str() == "errors" && why.contains('9')),
        "{reason:?}"
    );
    assert_eq!((run.plugins.done(), run.plugins.undone().len()), (vec!["stop".to_owned()], 0));
    assert!(matches!(pause(run.resume()), PauseReason::Guard { .. }), "it is still breached");
    run.plugins.set_replies("errors", [rate(1.0)]);
    assert_eq!(end(run.resume()), (RunEnd::Succeeded, None));
    assert_eq!(run.plugins.applied(), ["stop", "start"]);
}

#[test]
fn a_guard_with_an_unknown_result_pauses_and_never_undoes() {
    for blind in [
        Reply::Fails(ErrorClass::Transient),
        Reply::Found(Outcome::Unknown, json!({})),
        Reply::Found(Outcome::Pass, json!({})),
    ] {
        let run = Run::new(&runbook_with_guard(""), plugins([rate(1.0), blind]));
        assert!(matches!(pause(run.execute()), PauseReason::Guard { .. }));
        assert!(run.plugins.undone().is_empty());
    }
}

#[test]
fn an_abort_leaves_everything_as_it_is_and_says_that_it_is_dirty() {
    let run =
        Run::new(&runbook_with_guard("on_breach = \"abort\""), plugins([rate(1.0), rate(9.0)]));
    assert_eq!(end(run.execute()), (RunEnd::Dirty, Some(breach_cause())));
    assert_eq!((run.plugins.done(), run.plugins.undone().len()), (vec!["stop".to_owned()], 0));
}

#[test]
fn a_breach_survives_a_crash_at_each_record() {
    let new_run = || Run::new(&runbook_with_guard(""), plugins([rate(1.0), rate(9.0)]));
    let complete_run = new_run();
    end(complete_run.execute());
    let decisions = BTreeMap::from([(StepId::from("stop"), Decision::Fail)]);
    break_journal_at_each_record(&complete_run, new_run, |run, at| {
        let mut outcome = run.resume().unwrap();
        if matches!(
            outcome.stopped,
            StopReason::Paused { reason: PauseReason::UnknownOutcome { .. } }
        ) {
            outcome = run.resume_with(&decisions).unwrap();
        }
        let StopReason::Ended { end, cause } = outcome.stopped else {
            panic!("record {at}: {:?}", outcome.stopped)
        };
        let crash_cause = Some(Cause::Step { step: "stop".into() });
        assert!(matches!(end, RunEnd::Undone | RunEnd::FailedClean), "record {at}: {end:?}");
        assert!(cause == Some(breach_cause()) || cause == crash_cause, "record {at}: {cause:?}");
        assert!(run.plugins.done().is_empty(), "record {at}: {:?}", run.plugins.done());
    });
}

#[test]
fn a_guard_may_only_read() {
    let refusal_messages = refusal_messages(
        &runbook_with_guard("")
            .replace("\"test:look\"\n        expect", "\"test:do\"\n        expect"),
    );
    assert!(refusal_messages.contains("guard `errors`"), "{refusal_messages}");
    let writing_probe_messages = crate::support::refusal_messages(
        &runbook_with_guard("").replacen("test:look", "test:scribble", 1),
    );
    assert!(writing_probe_messages.contains("guard `errors`"), "{writing_probe_messages}");
}

#[test]
fn a_failed_assertion_of_a_probe_is_a_breach_and_any_other_fault_pauses() {
    for class in ErrorClass::ALL {
        let run = Run::new(&runbook_with_guard(""), plugins([rate(1.0), Reply::Fails(*class)]));
        let ended = run.execute();
        let expected = if *class == ErrorClass::Assertion {
            GuardVerdict::Breached
        } else {
            GuardVerdict::Blind
        };
        assert_eq!(verdicts(&run).get(1), Some(&expected), "{}", class.name());
        if expected == GuardVerdict::Breached {
            assert_eq!(end(ended), (RunEnd::Undone, Some(breach_cause())));
        } else {
            assert_eq!(
                (run.plugins.applied(), run.plugins.undone()),
                (vec!["stop".to_owned()], Vec::<String>::new()),
                "{}",
                class.name()
            );
        }
    }
}
