//! A lock that another run has taken: from then on the run begins no effect.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::support::{Run, *};
use runbook_engine::*;
use std::collections::BTreeMap;

const LOCKED: &str = r#"
    [locks]
    exclusive = ["db", "shop"]

    [[notify]]
    on = ["failed", "undone"]
    uses = "test:do"
    with = { text = "over" }

    [[step]]
    id = "a"
    uses = "test:do"
    undo = "auto"

    [[step]]
    id = "b"
    uses = "test:do"
    undo = "auto"
    needs = []

    [[step]]
    id = "ask"
    manual = { instructions = "look", confirm = "seen" }
    needs = ["a"]

    [[step]]
    id = "c"
    uses = "test:do"
    undo = "auto"
"#;

/// How many effects began.
fn n_intents(records: &[Record]) -> usize {
    records.iter().filter(|record| record.event.begins_effect()).count()
}

/// Executes a run to its end, and answers its manual step.
fn run_to_the_end(run: &Run) -> Result<RunOutcome, RunError> {
    let first = run.execute();
    resume_to_the_end(run, first)
}

/// Answers the manual step and resumes, as long as the run waits for a person.
fn resume_to_the_end(
    run: &Run,
    mut outcome: Result<RunOutcome, RunError>,
) -> Result<RunOutcome, RunError> {
    while let Ok(RunOutcome {
        stopped: StopReason::Paused { reason: PauseReason::Manual { .. } },
        state,
    }) = &outcome
    {
        let event = ManualEvent::Answered { by: "ada".into(), values: serde_json::json!({}) }
            .of(StepId::new("ask"));
        let record = Record { seq: state.next_seq, at: run.clock.now(), event };
        block_on(run.journal.append(run.options.run, &record)).unwrap();
        outcome = run.resume();
    }
    outcome
}

/// Steps that have taken effect and are not undone, without notifications.
fn remaining_effects(run: &Run) -> Vec<String> {
    run.plugins.done().into_iter().filter(|step| !step.starts_with("notify/")).collect()
}

fn new_run() -> Run {
    Run::new(LOCKED, FakePlugins::default().with("c", [Reply::Fails(ErrorClass::Assertion)]))
}

#[test]
fn no_effect_begins_after_any_lock_is_taken_at_any_record() {
    let complete_run = new_run();
    assert_eq!(end(run_to_the_end(&complete_run)).0, RunEnd::Undone);
    let n_records = complete_run.records().len() as u64;
    assert!(
        n_intents(&complete_run.records()) >= 6,
        "attempts, a person, undos, a notification: {:#?}",
        complete_run.records()
    );
    for lock in ["lock:db", "lock:shop"] {
        for at in 1..n_records {
            let run = new_run();
            *run.journal.taken_at.lock().unwrap() = Some((at, lock.to_owned()));
            let outcome = run_to_the_end(&run);
            let records = run.records();
            let n_late_effects = records
                .iter()
                .filter(|record| record.seq >= at && record.event.begins_effect())
                .count();
            assert_eq!(n_late_effects, 0, "{lock} at {at}: {records:#?}");
            match outcome.unwrap().stopped {
                StopReason::Paused { reason: PauseReason::LeaseLost { name, .. } } => {
                    assert_eq!(format!("lock:{name}"), lock);
                }
                // The lock was taken when nothing was left to do.
                StopReason::Ended { .. } => {
                    assert_eq!(
                        n_intents(&records),
                        n_intents(&complete_run.records()),
                        "{lock} at {at}"
                    );
                }
                StopReason::Paused { reason } => panic!("{lock} at {at}: {reason:?}"),
            }
            // The lock is free again.
            *run.journal.taken_at.lock().unwrap() = None;
            if run.state().ended.is_none() {
                let first = run.resume();
                assert_eq!(end(resume_to_the_end(&run, first)).0, RunEnd::Undone, "{lock} at {at}");
            }
            assert!(
                remaining_effects(&run).is_empty(),
                "{lock} at {at}: all is undone: {:?}",
                remaining_effects(&run)
            );
            let applied = run.plugins.applied();
            let is_applied_once =
                |step: &str| applied.iter().filter(|done| *done == step).count() == 1;
            assert!(is_applied_once("a") && is_applied_once("b"), "{lock} at {at}: {applied:?}");
        }
    }
}

#[test]
fn a_process_that_lost_the_right_to_execute_a_run_writes_and_begins_nothing() {
    let complete_run = new_run();
    end(run_to_the_end(&complete_run));
    for at in 1..complete_run.records().len() as u64 {
        let run = new_run();
        *run.journal.taken_at.lock().unwrap() = Some((at, format!("run:{}", run.options.run)));
        let outcome = run_to_the_end(&run);
        assert!(matches!(outcome, Err(RunError::TakenOver { .. })), "record {at}: {outcome:?}");
        let records = run.records();
        // What a person says is written by another process.
        let n_own_records = records
            .iter()
            .filter(|record| {
                !matches!(
                    record.event,
                    RunEvent::Step { event: StepEvent::Manual(ManualEvent::Answered { .. }), .. }
                )
            })
            .count() as u64;
        assert!(n_own_records <= at, "record {at}: {records:#?}");
        let undone = run.plugins.undone().len();
        assert!(
            run.plugins.applied().len() + undone <= n_intents(&records),
            "record {at}: an effect without its intent"
        );
    }
}

/// The process is stopped between the intent and the effect, for longer than its leases live.
#[test]
fn an_effect_whose_lock_was_lost_after_its_intent_does_not_happen_and_is_done_by_resume() {
    let complete_run = new_run();
    end(run_to_the_end(&complete_run));
    for at in complete_run
        .records()
        .iter()
        .filter(|record| record.event.begins_effect())
        .map(|record| record.seq)
    {
        let (run, stopped) = (new_run(), at);
        let journal = &run.journal;
        let mut reporter = |record: &Record| {
            if record.seq == stopped {
                run.clock.advance(LEASE_TTL);
                *journal.taken_at.lock().unwrap() = Some((stopped + 1, "lock:shop".to_owned()));
            }
        };
        let mut outcome = block_on(run.engine().execute(&mut reporter));
        while let Ok(RunOutcome {
            stopped: StopReason::Paused { reason: PauseReason::Manual { .. } },
            state,
        }) = &outcome
        {
            if state.next_seq > stopped + 1 {
                break;
            }
            let event = ManualEvent::Answered { by: "ada".into(), values: serde_json::json!({}) }
                .of(StepId::new("ask"));
            let record = Record { seq: state.next_seq, at: run.clock.now(), event };
            block_on(journal.append(run.options.run, &record)).unwrap();
            outcome = block_on(run.engine().resume(
                &BTreeMap::new(),
                ChangePolicy::Refuse,
                &mut reporter,
            ));
        }
        let n_effects = run.plugins.applied().len() + run.plugins.undone().len();
        let n_earlier_intents = complete_run
            .records()
            .iter()
            .filter(|record| record.seq < at && record.event.begins_effect())
            .count();
        assert!(
            n_effects <= n_earlier_intents,
            "record {at}: {n_effects} effects, {n_earlier_intents} intents before it; {outcome:?}"
        );
        *run.journal.taken_at.lock().unwrap() = None;
        if run.state().ended.is_none() {
            let first = run.resume();
            resume_to_the_end(&run, first).unwrap();
        }
        assert!(
            run.state().ended.is_some() && remaining_effects(&run).is_empty(),
            "record {at}: {:?}",
            remaining_effects(&run)
        );
    }
}

fn identity(machine: &str, boot: &str, namespaces: &str, started: u64) -> ProcessIdentity {
    ProcessIdentity {
        machine: machine.into(),
        boot: boot.into(),
        namespaces: namespaces.into(),
        started,
    }
}

#[test]
fn a_holder_is_dead_only_if_its_pid_is_missing_or_started_later_in_the_same_namespaces() {
    let names: &'static [&str] = &["", "x", "y"];
    let all_identities = || {
        names.iter().flat_map(|m| {
            names.iter().flat_map(move |b| names.iter().map(move |n| identity(m, b, n, 100)))
        })
    };
    let holder = |process| Holder {
        run: RunId::generate(),
        executor: uuid::Uuid::nil(),
        host: "same".into(),
        pid: 7,
        process,
    };
    for observer in all_identities() {
        for other in all_identities() {
            let shares_pids =
                observer == other && !observer.boot.is_empty() && !observer.namespaces.is_empty();
            for (pid_status, is_gone) in [
                (PidStatus::Missing, true),
                (PidStatus::Started(99), false),
                (PidStatus::Started(100), false),
                (PidStatus::Started(101), true),
                (PidStatus::Hidden, false),
            ] {
                let is_dead = holder(Some(other.clone())).is_dead(Some(&observer), |pid| {
                    assert_eq!(pid, 7);
                    pid_status
                });
                assert_eq!(
                    is_dead,
                    shares_pids && is_gone,
                    "{observer:?} sees {other:?} as {pid_status:?}"
                );
            }
        }
        assert!(
            !holder(None).is_dead(Some(&observer), |_| PidStatus::Missing),
            "of whom nothing is known, nothing is proven"
        );
        assert!(!holder(Some(observer)).is_dead(None, |_| PidStatus::Missing));
    }
}
