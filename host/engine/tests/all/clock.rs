//! A wall clock that is set while a run goes on: times in the journal are as the clock showed them,
//! and nothing is decided by them that a monotonic clock can decide.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::support::{Run, *};
use jiff::SignedDuration;
use runbook_engine::*;

/// With limits of time everywhere.
const TIMED: &str = "[runbook]\n[locks]\nexclusive = [\"db\"]\n[[step]]\nid = \"a\"\n\
                     uses = \"test:do\"\nundo = \"auto\"\nidempotent = true\ntimeout = \"30s\"\n\
                     retry = { attempts = 3, delay = \"5s\" }\n[[step]]\nid = \"wait\"\n\
                     uses = \"test:look\"\nuntil = \"outcome == 'pass'\"\nevery = \"10s\"\n\
                     within = \"1m\"\n[[step]]\nid = \"b\"\nuses = \"test:do\"\nundo = \"auto\"\n\
                     idempotent = true\ntimeout = \"30s\"\ntotal_timeout = \"1m\"\n";

fn text() -> String {
    TIMED.replacen("[runbook]\n", "", 1)
}

fn world() -> World {
    let not_yet = Reply::Found(Outcome::Fail, serde_json::json!({}));
    let there = Reply::Found(Outcome::Pass, serde_json::json!({}));
    World::default().with("wait", [not_yet.clone(), not_yet, there])
}

fn day(days: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * days)
}

#[test]
fn a_clock_that_is_set_while_a_run_goes_on_changes_nothing_of_it() {
    for jumps in [vec![day(0), day(1)], vec![day(0), day(-1)], vec![day(3), day(-3), day(0)]] {
        let run = Run::new(&text(), world());
        run.clock.set_by(jumps.clone());
        assert_eq!(end(run.execute()).0, RunEnd::Succeeded, "{jumps:?}");
        assert_eq!(run.world.applied(), ["a", "b"], "{jumps:?}");
        let passed = u64::try_from(run.clock.monotonic().as_millis()).unwrap();
        assert_eq!(
            run.state().executed.recorded_ms(),
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
fn a_clock_that_is_set_between_a_crash_and_the_resume_makes_nothing_longer_and_nothing_twice() {
    for jump in [day(1), day(-1), day(400)] {
        let anew = || Run::new(&text(), world());
        let whole = anew();
        end(whole.execute());
        broken_at_each_record(&whole, anew, |run, breaks_at| {
            run.clock.set_by([jump]);
            let before = run.clock.monotonic();
            let outcome = if run.records().is_empty() { run.execute() } else { run.resume() };
            let took = run.clock.monotonic().saturating_sub(before);
            let (ended, cause) = end(outcome);
            // `within` is over when the clock says that a year has passed since the first look;
            // that is no success, and is undone.
            assert!(
                matches!(ended, RunEnd::Succeeded | RunEnd::Undone),
                "record {breaks_at}, {jump:?}: {ended:?} {cause:?}"
            );
            assert!(took.as_secs() < 120, "record {breaks_at}, {jump:?}: it waited for {took:?}");
            let completed = |step: &str| {
                let done = |record: &&Record| matches!(&record.event, RunEvent::Step { step: of, event: StepEvent::Attempt(AttemptEvent::Ended { result: AttemptResult::Succeeded { .. }, .. }) } if of.as_str() == step);
                run.records().iter().filter(done).count()
            };
            assert!(
                completed("a") <= 1 && completed("b") <= 1,
                "record {breaks_at}, {jump:?}: a completed step ran again"
            );
        });
    }
}

#[test]
fn a_run_that_was_killed_and_resumed_was_executed_for_as_long_as_its_processes_were_seen() {
    let whole = Run::new(&text(), world());
    end(whole.execute());
    let total = |run: &Run| run.state().executed.recorded_ms();
    broken_at_each_record(
        &whole,
        || Run::new(&text(), world()),
        |run, breaks_at| {
            if run.records().is_empty() {
                return;
            }
            let first = total(run);
            // Its process lived on for 20 s, as its heartbeats say, and nobody executed it for a
            // day.
            let last = run.records().last().unwrap().at;
            *run.journal.last_seen.lock().unwrap() = Some(last + SignedDuration::from_secs(20));
            run.clock.pass(std::time::Duration::from_hours(24));
            let before = run.clock.monotonic();
            end(run.resume());
            let second =
                u64::try_from(run.clock.monotonic().saturating_sub(before).as_millis()).unwrap();
            assert_eq!(total(run), first + 20_000 + second, "record {breaks_at}");
            let told = run.records().iter().rev().find_map(|record| {
                let RunEvent::Run(LifecycleEvent::RunEnded { took_ms, .. }) = &record.event else {
                    return None;
                };
                *took_ms
            });
            assert_eq!(told, Some(total(run)), "record {breaks_at}: the last record says it, too");
        },
    );
}
