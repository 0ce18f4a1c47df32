//! `[window]` and `[limits]` in a run: no effect begins outside of them, and completed steps may
//! always be undone.
#![allow(clippy::unwrap_used, reason = "a test")]

use crate::support::{
    FakePlugins, InstantClock, Reply, Run, break_journal_at_each_record, end, pause,
    refusal_messages,
};
use runbook_engine::*;
use std::time::Duration;

const WINDOW: &str =
    "[window]\nallow = [{ days = \"sun\", from = \"02:00\", to = \"06:00\", zone = \"UTC\" }]\n";
const STEPS: &str = "[[step]]\nid = \"a\"\nuses = \"test:do\"\nundo = \"auto\"\n[[step]]\n\
                     id = \"b\"\nuses = \"test:do\"\nundo = \"auto\"\n";

fn run_at(window: &str, now: &str) -> Run {
    Run {
        clock: InstantClock::at(now),
        ..Run::new(&format!("{window}{STEPS}"), FakePlugins::default())
    }
}

#[test]
fn a_run_inside_its_window_succeeds() {
    let run = run_at(WINDOW, "2026-11-22T05:59:00Z");
    assert_eq!(end(run.execute()).0, RunEnd::Succeeded);
}

#[test]
fn a_run_outside_its_window_ends_before_anything_happens() {
    let run = run_at(WINDOW, "2026-11-21T12:00:00Z");
    let (ended, cause) = end(run.execute());
    let opens_at = Some("2026-11-22T02:00:00Z".parse().unwrap());
    assert_eq!((ended, cause), (RunEnd::FailedClean, Some(Cause::OutsideWindow { opens_at })));
    assert!(run.plugins.applied().is_empty());
}

#[test]
fn a_run_outside_a_window_that_warns_succeeds_with_warnings() {
    let run = run_at(&format!("{WINDOW}outside = \"warn\"\n"), "2026-11-21T12:00:00Z");
    assert_eq!(end(run.execute()).0, RunEnd::SucceededWithWarnings);
}

#[test]
fn an_overridden_window_is_recorded_with_its_operator() {
    let mut run = run_at(WINDOW, "2026-11-21T12:00:00Z");
    run.options.outside_window = OutsideWindow::Override;
    assert_eq!(end(run.execute()).0, RunEnd::SucceededWithWarnings);
    assert!(
        matches!(run.state().window, Some(WindowVerdict::Overridden { by, .. }) if by == "tester")
    );
}

/// A run that stopped after the result of the first step, at a time when the window has closed.
fn run_with_closed_window(plugins: FakePlugins) -> Run {
    let run = Run { plugins, ..run_at(WINDOW, "2026-11-22T05:00:00Z") };
    let complete_run = run_at(WINDOW, "2026-11-22T05:00:00Z");
    complete_run.execute().unwrap();
    let is_attempt_end = |record: &Record| {
        matches!(
            &record.event,
            RunEvent::Step { event: StepEvent::Attempt(AttemptEvent::Ended { .. }), .. }
        )
    };
    let first_result = complete_run.records().into_iter().find(is_attempt_end).unwrap().seq;
    *run.journal.breaks_at.lock().unwrap() = Some(first_result + 1);
    run.execute().unwrap_err();
    *run.journal.breaks_at.lock().unwrap() = None;
    run.clock.advance(Duration::from_hours(2));
    run
}

#[test]
fn a_run_that_is_resumed_after_its_window_closed_pauses_before_the_next_effect() {
    let mut run = run_with_closed_window(FakePlugins::default());
    assert!(matches!(pause(run.resume()), PauseReason::OutsideWindow { opens_at: Some(_) }));
    assert_eq!(run.plugins.applied(), ["a"]);
    run.options.outside_window = OutsideWindow::Override;
    assert_eq!(end(run.resume()).0, RunEnd::SucceededWithWarnings);
    assert_eq!(run.plugins.applied(), ["a", "b"]);
}

#[test]
fn a_failed_run_is_undone_after_its_window_has_closed() {
    let run = run_with_closed_window(
        FakePlugins::default().with("a", [Reply::FailsAfterEffect(ErrorClass::Assertion)]),
    );
    assert_eq!(end(run.resume()).0, RunEnd::Undone);
    assert!(run.plugins.done().is_empty());
}

#[test]
fn a_window_that_closes_during_a_preflight_stops_the_run() {
    let run = run_at(WINDOW, "2026-11-22T05:59:59Z");
    let preflight = "[[preflight]]\nid = \"p\"\nuses = \"test:look\"\nuntil = \"outcome == 'pass'\"\n\
                   every = \"5s\"\nwithin = \"1m\"\n";
    let plugins = FakePlugins::default().with(
        "p",
        [Reply::Found(Outcome::Fail, Json::Null), Reply::Found(Outcome::Pass, Json::Null)],
    );
    let run =
        Run { plan: crate::support::plan(&format!("{WINDOW}{preflight}{STEPS}")), plugins, ..run };
    assert!(matches!(end(run.execute()), (RunEnd::FailedClean, Some(Cause::OutsideWindow { .. }))));
    assert!(run.plugins.applied().is_empty());
}

#[test]
fn a_windowed_run_is_resumed_from_every_record() {
    let complete_run = run_at(WINDOW, "2026-11-22T03:00:00Z");
    complete_run.execute().unwrap();
    break_journal_at_each_record(
        &complete_run,
        || run_at(WINDOW, "2026-11-22T03:00:00Z"),
        |run, at| {
            let mut outcome = run.resume();
            if let Ok(RunOutcome {
                stopped: StopReason::Paused { reason: PauseReason::UnknownOutcome { steps } },
                ..
            }) = &outcome
            {
                let decisions = steps.iter().map(|step| (step.clone(), Decision::Done)).collect();
                outcome = run.resume_with(&decisions);
            }
            assert!(
                matches!(end(outcome).0, RunEnd::Succeeded | RunEnd::SucceededWithWarnings),
                "record {at}"
            );
            assert_eq!(run.plugins.applied(), ["a", "b"], "record {at}");
        },
    );
}

#[test]
fn mistakes_in_a_window_are_shown() {
    let window =
        |entry: &str| refusal_messages(&format!("[window]\nallow = [{{ {entry} }}]\n{STEPS}"));
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
    assert!(
        refusal_messages(&format!("[window]\noutside = \"warn\"\n{STEPS}"))
            .contains("has no `allow`")
    );
}

#[test]
fn an_effect_beyond_max_effects_is_not_begun() {
    let run = Run::new(
        &format!("[limits]\nmax_effects = {{ sql = 1 }}\n{STEPS}"),
        FakePlugins::default(),
    );
    assert_eq!(end(run.execute()), (RunEnd::Undone, Some(Cause::Step { step: "b".into() })));
    assert_eq!(
        (run.plugins.applied(), run.plugins.undone()),
        (vec!["a".to_owned()], vec!["a".to_owned()])
    );
    let state = run.state();
    let fault = state.step(&"b".into()).fault.clone().unwrap();
    assert_eq!((fault.class, fault.code.as_str()), (ErrorClass::Limit, "engine.max-effects"));
}
