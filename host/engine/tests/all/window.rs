//! `[window]` and `[limits]` in a run: nothing begins outside, what has begun may always be undone.
#![allow(clippy::unwrap_used, reason = "a test")]

use crate::support::{Reply, Run, Still, World, broken_at_each_record, end, pause, refused};
use runbook_engine::*;
use std::time::Duration;

const REFUSES: &str =
    "[window]\nallow = [{ days = \"sun\", from = \"02:00\", to = \"06:00\", zone = \"UTC\" }]\n";
const STEPS: &str = "[[step]]\nid = \"a\"\nuses = \"test:do\"\nundo = \"auto\"\n[[step]]\n\
                     id = \"b\"\nuses = \"test:do\"\nundo = \"auto\"\n";

fn run_at(window: &str, now: &str) -> Run {
    Run { clock: Still::at(now), ..Run::new(&format!("{window}{STEPS}"), World::default()) }
}

#[test]
fn a_run_inside_its_window_succeeds() {
    let run = run_at(REFUSES, "2026-11-22T05:59:00Z");
    assert_eq!(end(run.execute()).0, RunEnd::Succeeded);
}

#[test]
fn a_run_outside_its_window_ends_before_anything_happens() {
    let run = run_at(REFUSES, "2026-11-21T12:00:00Z");
    let (ended, cause) = end(run.execute());
    let opens = Some("2026-11-22T02:00:00Z".parse().unwrap());
    assert_eq!((ended, cause), (RunEnd::FailedClean, Some(Cause::OutsideWindow { opens })));
    assert!(run.world.applied().is_empty());
}

#[test]
fn a_run_outside_a_window_that_warns_succeeds_with_warnings() {
    let run = run_at(&format!("{REFUSES}outside = \"warn\"\n"), "2026-11-21T12:00:00Z");
    assert_eq!(end(run.execute()).0, RunEnd::SucceededWithWarnings);
}

#[test]
fn an_override_is_written_down_with_its_operator() {
    let mut run = run_at(REFUSES, "2026-11-21T12:00:00Z");
    run.options.outside_window = OutsideWindow::Override;
    assert_eq!(end(run.execute()).0, RunEnd::SucceededWithWarnings);
    assert!(
        matches!(run.state().window, Some(WindowVerdict::Overridden { by, .. }) if by == "tester")
    );
}

/// Stops after the first step's result, and goes on when the window has closed.
fn resumed_after_it_closed(world: World) -> Run {
    let run = Run { world, ..run_at(REFUSES, "2026-11-22T05:00:00Z") };
    let whole = run_at(REFUSES, "2026-11-22T05:00:00Z");
    whole.execute().unwrap();
    let ended = |record: &Record| {
        matches!(
            &record.event,
            RunEvent::Step { event: StepEvent::Attempt(AttemptEvent::Ended { .. }), .. }
        )
    };
    let first_result = whole.records().into_iter().find(ended).unwrap().seq;
    *run.journal.breaks_at.lock().unwrap() = Some(first_result + 1);
    run.execute().unwrap_err();
    *run.journal.breaks_at.lock().unwrap() = None;
    run.clock.pass(Duration::from_hours(2));
    run
}

#[test]
fn a_run_that_is_resumed_after_its_window_closed_pauses_before_the_next_effect() {
    let mut run = resumed_after_it_closed(World::default());
    assert!(matches!(pause(run.resume()), PauseReason::OutsideWindow { opens: Some(_) }));
    assert_eq!(run.world.applied(), ["a"]);
    run.options.outside_window = OutsideWindow::Override;
    assert_eq!(end(run.resume()).0, RunEnd::SucceededWithWarnings);
    assert_eq!(run.world.applied(), ["a", "b"]);
}

#[test]
fn what_failed_is_undone_although_the_window_has_closed() {
    let run = resumed_after_it_closed(
        World::default().with("a", [Reply::FailsLate(ErrorClass::Assertion)]),
    );
    assert_eq!(end(run.resume()).0, RunEnd::Undone);
    assert!(run.world.done().is_empty());
}

#[test]
fn a_window_that_closes_during_a_preflight_stops_the_run() {
    let run = run_at(REFUSES, "2026-11-22T05:59:59Z");
    let waiting = "[[preflight]]\nid = \"p\"\nuses = \"test:look\"\nuntil = \"outcome == 'pass'\"\n\
                   every = \"5s\"\nwithin = \"1m\"\n";
    let world = World::default().with(
        "p",
        [Reply::Found(Outcome::Fail, Json::Null), Reply::Found(Outcome::Pass, Json::Null)],
    );
    let run =
        Run { plan: crate::support::plan(&format!("{REFUSES}{waiting}{STEPS}")), world, ..run };
    assert!(matches!(end(run.execute()), (RunEnd::FailedClean, Some(Cause::OutsideWindow { .. }))));
    assert!(run.world.applied().is_empty());
}

#[test]
fn a_windowed_run_is_resumed_from_every_record() {
    let whole = run_at(REFUSES, "2026-11-22T03:00:00Z");
    whole.execute().unwrap();
    broken_at_each_record(
        &whole,
        || run_at(REFUSES, "2026-11-22T03:00:00Z"),
        |run, at| {
            let mut outcome = run.resume();
            if let Ok(RunOutcome {
                stopped: Stopped::Paused { reason: PauseReason::UnknownOutcome { steps } },
                ..
            }) = &outcome
            {
                let decisions = steps.iter().map(|step| (step.clone(), Decision::Done)).collect();
                outcome = run.decide(&decisions);
            }
            assert!(
                matches!(end(outcome).0, RunEnd::Succeeded | RunEnd::SucceededWithWarnings),
                "record {at}"
            );
            assert_eq!(run.world.applied(), ["a", "b"], "record {at}");
        },
    );
}

#[test]
fn mistakes_in_a_window_are_shown() {
    let window = |entry: &str| refused(&format!("[window]\nallow = [{{ {entry} }}]\n{STEPS}"));
    assert!(
        window("from = \"2am\", to = \"06:00\", zone = \"UTC\"")
            .contains("`from` must be a time of day")
    );
    assert!(window("from = \"02:00\", to = \"02:00\", zone = \"UTC\"").contains("never open"));
    assert!(
        window("from = \"02:00\", to = \"03:00\", zone = \"Europe/Berln\"")
            .contains("not a time zone")
    );
    assert!(window("from = \"02:00\", to = \"03:00\"").contains("has no `zone`"));
    assert!(
        window("days = \"sunday\", from = \"02:00\", to = \"03:00\", zone = \"UTC\"")
            .contains("is not a day")
    );
    assert!(refused(&format!("[window]\noutside = \"warn\"\n{STEPS}")).contains("has no `allow`"));
}

#[test]
fn the_effect_that_would_be_one_too_many_is_not_begun() {
    let run =
        Run::new(&format!("[limits]\nmax_effects = {{ sql = 1 }}\n{STEPS}"), World::default());
    assert_eq!(end(run.execute()), (RunEnd::Undone, Some(Cause::Step { step: "b".into() })));
    assert_eq!(
        (run.world.applied(), run.world.undone()),
        (vec!["a".to_owned()], vec!["a".to_owned()])
    );
    let state = run.state();
    let fault = state.step(&"b".into()).fault.clone().unwrap();
    assert_eq!((fault.class, fault.code.as_str()), (ErrorClass::Limit, "engine.max-effects"));
}
