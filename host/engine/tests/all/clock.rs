//! A wall clock that is set during a run: records have the times that it showed, and decisions use
//! the monotonic clock where they can.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::support::{Run, *};
use jiff::SignedDuration;
use runbook_engine::*;

/// A runbook with many time limits.
const TIMED: &str = "[runbook]\n[locks]\nexclusive = [\"db\"]\n[[step]]\nid = \"a\"\n\
                     uses = \"test:do\"\nundo = \"auto\"\nidempotent = true\ntimeout = \"30s\"\n\
                     retry = { attempts = 3, delay = \"5s\" }\n[[step]]\nid = \"wait\"\n\
                     uses = \"test:look\"\nuntil = \"outcome == 'pass'\"\nevery = \"10s\"\n\
                     within = \"1m\"\n[[step]]\nid = \"b\"\nuses = \"test:do\"\nundo = \"auto\"\n\
                     idempotent = true\ntimeout = \"30s\"\ntotal_timeout = \"1m\"\n";

fn timed_runbook() -> String {
    TIMED.replacen("[runbook]\n", "", 1)
}

fn plugins() -> FakePlugins {
    let not_yet = Reply::Found(Outcome::Fail, serde_json::json!({}));
    let passes = Reply::Found(Outcome::Pass, serde_json::json!({}));
    FakePlugins::default().with("wait", [not_yet.clone(), not_yet, passes])
}

fn day(days: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * days)
}

#[test]
fn setting_the_wall_clock_during_a_run_changes_nothing() {
    for jumps in [vec![day(0), day(1)], vec![day(0), day(-1)], vec![day(3), day(-3), day(0)]] {
        let run = Run::new(&timed_runbook(), plugins());
        run.clock.set_jumps(jumps.clone());
        assert_eq!(end(run.execute()).0, RunEnd::Succeeded, "{jumps:?}");
        assert_eq!(run.plugins.applied(), ["a", "b"], "{jumps:?}");
        let passed = u64::try_from(run.clock.monotonic().as_millis()).unwrap();
        assert_eq!(
            run.state().execution_time.recorded_ms(),
            passed,
            "{jumps:?}: a change of the wall clock does not change how long it took"
        );
        for record in run.records() {
            if let RunEvent::Step {
                event: StepEvent::Attempt(AttemptEvent::Ended { duration_ms, .. }),
                ..
            } = record.event
            {
                assert!(duration_ms < 1_000, "{jumps:?}: an attempt took {duration_ms} ms");
            }
        }
    }
}

#[test]
fn setting_the_wall_clock_between_crash_and_resume_repeats_and_prolongs_nothing() {
    for jump in [day(1), day(-1), day(400)] {
        let new_run = || Run::new(&timed_runbook(), plugins());
        let complete_run = new_run();
        end(complete_run.execute());
        break_journal_at_each_record(&complete_run, new_run, |run, breaks_at| {
            run.clock.set_jumps([jump]);
            let before = run.clock.monotonic();
            let outcome = if run.records().is_empty() { run.execute() } else { run.resume() };
            let took = run.clock.monotonic().saturating_sub(before);
            let (ended, cause) = end(outcome);
            // If the wall clock says that a year has passed since the first attempt, `within` is
            // over, and the run is undone.
            assert!(
                matches!(ended, RunEnd::Succeeded | RunEnd::Undone),
                "record {breaks_at}, {jump:?}: {ended:?} {cause:?}"
            );
            assert!(took.as_secs() < 120, "record {breaks_at}, {jump:?}: it waited for {took:?}");
            let completed = |step: &str| {
                let is_success = |record: &&Record| matches!(&record.event, RunEvent::Step { step: of, event: StepEvent::Attempt(AttemptEvent::Ended { result: AttemptResult::Succeeded { .. }, .. }) } if of.as_str() == step);
                run.records().iter().filter(is_success).count()
            };
            assert!(
                completed("a") <= 1 && completed("b") <= 1,
                "record {breaks_at}, {jump:?}: a completed step ran again"
            );
        });
    }
}

#[test]
fn the_execution_time_of_a_killed_run_counts_until_its_last_heartbeat() {
    let complete_run = Run::new(&timed_runbook(), plugins());
    end(complete_run.execute());
    let total = |run: &Run| run.state().execution_time.recorded_ms();
    break_journal_at_each_record(
        &complete_run,
        || Run::new(&timed_runbook(), plugins()),
        |run, breaks_at| {
            if run.records().is_empty() {
                return;
            }
            let first = total(run);
            // By its heartbeats, the process lived on for 20 s. Then no process executed the run
            // for a day.
            let last = run.records().last().unwrap().at;
            *run.journal.last_seen.lock().unwrap() = Some(last + SignedDuration::from_secs(20));
            run.clock.advance(std::time::Duration::from_hours(24));
            let before = run.clock.monotonic();
            end(run.resume());
            let second =
                u64::try_from(run.clock.monotonic().saturating_sub(before).as_millis()).unwrap();
            assert_eq!(total(run), first + 20_000 + second, "record {breaks_at}");
            let recorded_ms = run.records().iter().rev().find_map(|record| {
                let RunEvent::Run(LifecycleEvent::RunEnded { took_ms, .. }) = &record.event else {
                    return None;
                };
                *took_ms
            });
            assert_eq!(
                recorded_ms,
                Some(total(run)),
                "record {breaks_at}: the last record says it, too"
            );
        },
    );
}
