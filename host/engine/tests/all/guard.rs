//! Guards: what is watched while a run changes things.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::support::{Run, *};
use runbook_engine::*;
use serde_json::json;
use std::collections::BTreeMap;

/// `stop` acts, `wait` looks every 5 s until it passes, `start` acts; the guard looks every 2 s.
fn watched(guard: &str) -> String {
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

/// `wait` passes at its third look, ten seconds after `stop`.
fn world(looks: impl IntoIterator<Item = Reply>) -> World {
    let not_yet = || Reply::Found(Outcome::Fail, json!({}));
    let passes = Reply::Found(Outcome::Pass, json!({}));
    World::default().with("wait", [not_yet(), not_yet(), passes]).with("errors", looks)
}

fn breached() -> Cause {
    Cause::Guard { guard: "errors".into() }
}

fn looks(run: &Run) -> Vec<GuardVerdict> {
    let look = |record: Record| {
        let RunEvent::Guard { event: GuardEvent::GuardObserved { observation }, .. } = record.event
        else {
            return None;
        };
        Some(observation.verdict)
    };
    run.records().into_iter().filter_map(look).collect()
}

#[test]
fn a_guard_that_holds_is_written_down_once() {
    let run = Run::new(&watched(""), world([rate(1.0)]));
    assert_eq!(end(run.execute()), (RunEnd::Succeeded, None));
    assert_eq!(run.world.applied(), ["stop", "start"]);
    assert_eq!(looks(&run), [GuardVerdict::Holds]);
}

#[test]
fn a_breach_undoes_what_was_done() {
    let run = Run::new(&watched(""), world([rate(1.0), rate(1.0), rate(9.0)]));
    assert_eq!(end(run.execute()), (RunEnd::Undone, Some(breached())));
    assert_eq!(
        (run.world.applied(), run.world.undone()),
        (vec!["stop".to_owned()], vec!["stop".to_owned()])
    );
}

#[test]
fn a_breach_undoes_although_the_runbook_undoes_nothing_else() {
    let text = format!("[undo]\non = [\"cancel\"]\n{}", watched(""));
    let run = Run::new(&text, world([rate(1.0), rate(9.0)]));
    assert_eq!(end(run.execute()), (RunEnd::Undone, Some(breached())));
}

#[test]
fn what_is_bad_at_the_first_look_lets_nothing_begin() {
    let run = Run::new(&watched(""), world([rate(9.0)]));
    assert_eq!(end(run.execute()), (RunEnd::FailedClean, Some(breached())));
    assert!(run.world.applied().is_empty());
}

#[test]
fn between_a_bad_look_and_the_next_good_one_no_step_begins() {
    let run = Run::new(&watched("for = 3"), world([rate(9.0), rate(9.0), rate(1.0)]));
    assert_eq!(end(run.execute()), (RunEnd::Succeeded, None));
    let at = |wanted: &dyn Fn(&RunEvent) -> bool| {
        run.records().iter().position(|record| wanted(&record.event)).unwrap()
    };
    let good = at(
        &|event| matches!(event, RunEvent::Guard { event: GuardEvent::GuardObserved { observation, .. }, .. } if observation.verdict == GuardVerdict::Holds),
    );
    assert!(
        good < at(&|event| matches!(
            event,
            RunEvent::Step { event: StepEvent::Attempt(AttemptEvent::Started { .. }), .. }
        ))
    );
    assert_eq!(looks(&run), [GuardVerdict::Breached, GuardVerdict::Breached, GuardVerdict::Holds]);
}

#[test]
fn bad_looks_that_are_not_in_a_row_do_not_add_up() {
    let run = Run::new(&watched("for = 2"), world([rate(9.0), rate(1.0), rate(9.0), rate(1.0)]));
    assert_eq!(end(run.execute()), (RunEnd::Succeeded, None));
}

#[test]
fn a_pause_undoes_nothing_and_the_run_goes_on_when_it_is_resumed() {
    let run = Run::new(&watched("on_breach = \"pause\""), world([rate(1.0), rate(9.0)]));
    let reason = pause(run.execute());
    assert!(
        matches!(&reason, PauseReason::Guard { guard, why } if guard.as_str() == "errors" && why.contains('9')),
        "{reason:?}"
    );
    assert_eq!((run.world.done(), run.world.undone().len()), (vec!["stop".to_owned()], 0));
    assert!(matches!(pause(run.resume()), PauseReason::Guard { .. }), "it is still breached");
    run.world.tell("errors", [rate(1.0)]);
    assert_eq!(end(run.resume()), (RunEnd::Succeeded, None));
    assert_eq!(run.world.applied(), ["stop", "start"]);
}

#[test]
fn a_guard_that_sees_nothing_pauses_and_never_undoes() {
    for blind in [
        Reply::Fails(ErrorClass::Transient),
        Reply::Found(Outcome::Unknown, json!({})),
        Reply::Found(Outcome::Pass, json!({})),
    ] {
        let run = Run::new(&watched(""), world([rate(1.0), blind]));
        assert!(matches!(pause(run.execute()), PauseReason::Guard { .. }));
        assert!(run.world.undone().is_empty());
    }
}

#[test]
fn an_abort_leaves_everything_as_it_is_and_says_that_it_is_dirty() {
    let run = Run::new(&watched("on_breach = \"abort\""), world([rate(1.0), rate(9.0)]));
    assert_eq!(end(run.execute()), (RunEnd::Dirty, Some(breached())));
    assert_eq!((run.world.done(), run.world.undone().len()), (vec!["stop".to_owned()], 0));
}

#[test]
fn a_breach_survives_a_crash_at_each_record() {
    let anew = || Run::new(&watched(""), world([rate(1.0), rate(9.0)]));
    let whole = anew();
    end(whole.execute());
    let given_up = BTreeMap::from([(StepId::from("stop"), Decision::Fail)]);
    broken_at_each_record(&whole, anew, |run, at| {
        let mut outcome = run.resume().unwrap();
        if matches!(outcome.stopped, Stopped::Paused { reason: PauseReason::UnknownOutcome { .. } })
        {
            outcome = run.decide(&given_up).unwrap();
        }
        let Stopped::Ended { end, cause } = outcome.stopped else {
            panic!("record {at}: {:?}", outcome.stopped)
        };
        let of_the_crash = Some(Cause::Step { step: "stop".into() });
        assert!(matches!(end, RunEnd::Undone | RunEnd::FailedClean), "record {at}: {end:?}");
        assert!(cause == Some(breached()) || cause == of_the_crash, "record {at}: {cause:?}");
        assert!(run.world.done().is_empty(), "record {at}: {:?}", run.world.done());
    });
}

#[test]
fn a_guard_only_looks() {
    let refused = refused(
        &watched("").replace("\"test:look\"\n        expect", "\"test:do\"\n        expect"),
    );
    assert!(refused.contains("guard `errors`"), "{refused}");
    let scribbles = crate::support::refused(&watched("").replacen("test:look", "test:scribble", 1));
    assert!(scribbles.contains("guard `errors`"), "{scribbles}");
}

#[test]
fn a_look_that_ended_with_a_fault_breaches_if_an_answer_was_wrong_and_pauses_whatever_else_it_was()
{
    for class in ErrorClass::ALL {
        let run = Run::new(&watched(""), world([rate(1.0), Reply::Fails(*class)]));
        let ended = run.execute();
        let expected = if *class == ErrorClass::Assertion {
            GuardVerdict::Breached
        } else {
            GuardVerdict::Blind
        };
        assert_eq!(looks(&run).get(1), Some(&expected), "{}", class.name());
        if expected == GuardVerdict::Breached {
            assert_eq!(end(ended), (RunEnd::Undone, Some(breached())));
        } else {
            assert_eq!(
                (run.world.applied(), run.world.undone()),
                (vec!["stop".to_owned()], Vec::<String>::new()),
                "{}",
                class.name()
            );
        }
    }
}
