//! A lock that another run has taken: from that moment on the run begins nothing.
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

/// The steps that began an effect, in the journal's order.
fn intents(records: &[Record]) -> usize {
    records.iter().filter(|record| record.event.begins_effect()).count()
}

/// A run whose last step fails, so that the others are undone, up to the person that it waits for;
/// and then to its end.
fn to_the_end(run: &Run) -> Result<RunOutcome, RunError> {
    let first = run.execute();
    go_on(run, first)
}

/// Answers for the person as long as the run waits for one.
fn go_on(run: &Run, mut outcome: Result<RunOutcome, RunError>) -> Result<RunOutcome, RunError> {
    while let Ok(RunOutcome {
        stopped: Stopped::Paused { reason: PauseReason::Manual { .. } },
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

/// Steps that have taken effect and are not undone; a message that was sent stays sent.
fn left(run: &Run) -> Vec<String> {
    run.world.done().into_iter().filter(|step| !step.starts_with("notify/")).collect()
}

fn fresh() -> Run {
    Run::new(LOCKED, World::default().with("c", [Reply::Fails(ErrorClass::Assertion)]))
}

#[test]
fn whichever_lock_is_taken_at_whichever_record_no_effect_begins_after_it() {
    let whole = fresh();
    assert_eq!(end(to_the_end(&whole)).0, RunEnd::Undone);
    let n_records = whole.records().len() as u64;
    assert!(
        intents(&whole.records()) >= 6,
        "attempts, a person, undos, a notification: {:#?}",
        whole.records()
    );
    for lock in ["lock:db", "lock:shop"] {
        for at in 1..n_records {
            let run = fresh();
            *run.journal.taken_at.lock().unwrap() = Some((at, lock.to_owned()));
            let outcome = to_the_end(&run);
            let records = run.records();
            let late = records
                .iter()
                .filter(|record| record.seq >= at && record.event.begins_effect())
                .count();
            assert_eq!(late, 0, "{lock} at {at}: {records:#?}");
            match outcome.unwrap().stopped {
                Stopped::Paused { reason: PauseReason::LeaseLost { name, .. } } => {
                    assert_eq!(format!("lock:{name}"), lock);
                }
                // It was taken when nothing was left to do.
                Stopped::Ended { .. } => {
                    assert_eq!(intents(&records), intents(&whole.records()), "{lock} at {at}");
                }
                Stopped::Paused { reason } => panic!("{lock} at {at}: {reason:?}"),
            }
            // The lock is free again.
            *run.journal.taken_at.lock().unwrap() = None;
            if run.state().ended.is_none() {
                let first = run.resume();
                assert_eq!(end(go_on(&run, first)).0, RunEnd::Undone, "{lock} at {at}");
            }
            assert!(left(&run).is_empty(), "{lock} at {at}: all is undone: {:?}", left(&run));
            let applied = run.world.applied();
            let once = |step: &str| applied.iter().filter(|done| *done == step).count() == 1;
            assert!(once("a") && once("b"), "{lock} at {at}: {applied:?}");
        }
    }
}

#[test]
fn whoever_lost_the_right_to_execute_a_run_writes_and_begins_nothing_more() {
    let whole = fresh();
    end(to_the_end(&whole));
    for at in 1..whole.records().len() as u64 {
        let run = fresh();
        *run.journal.taken_at.lock().unwrap() = Some((at, format!("run:{}", run.options.run)));
        let outcome = to_the_end(&run);
        assert!(matches!(outcome, Err(RunError::TakenOver { .. })), "record {at}: {outcome:?}");
        let records = run.records();
        // What a person says is written by another process.
        let own = records
            .iter()
            .filter(|record| {
                !matches!(
                    record.event,
                    RunEvent::Step { event: StepEvent::Manual(ManualEvent::Answered { .. }), .. }
                )
            })
            .count() as u64;
        assert!(own <= at, "record {at}: {records:#?}");
        let undone = run.world.undone().len();
        assert!(
            run.world.applied().len() + undone <= intents(&records),
            "record {at}: an effect without its intent"
        );
    }
}

/// The process stands still between the intent and the effect, for longer than its leases live.
#[test]
fn an_effect_whose_lock_was_lost_after_its_intent_does_not_happen_and_is_done_by_resume() {
    let whole = fresh();
    end(to_the_end(&whole));
    for at in whole
        .records()
        .iter()
        .filter(|record| record.event.begins_effect())
        .map(|record| record.seq)
    {
        let (run, stopped) = (fresh(), at);
        let journal = &run.journal;
        let mut tell = |record: &Record| {
            if record.seq == stopped {
                run.clock.pass(LEASE_TTL);
                *journal.taken_at.lock().unwrap() = Some((stopped + 1, "lock:shop".to_owned()));
            }
        };
        let mut outcome = block_on(run.engine().execute(&mut tell));
        while let Ok(RunOutcome {
            stopped: Stopped::Paused { reason: PauseReason::Manual { .. } },
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
            outcome = block_on(run.engine().resume(&BTreeMap::new(), Changes::Refuse, &mut tell));
        }
        let acted = run.world.applied().len() + run.world.undone().len();
        let earlier = whole
            .records()
            .iter()
            .filter(|record| record.seq < at && record.event.begins_effect())
            .count();
        assert!(
            acted <= earlier,
            "record {at}: {acted} effects, {earlier} intents before it; {outcome:?}"
        );
        *run.journal.taken_at.lock().unwrap() = None;
        if run.state().ended.is_none() {
            let first = run.resume();
            go_on(&run, first).unwrap();
        }
        assert!(
            run.state().ended.is_some() && left(&run).is_empty(),
            "record {at}: {:?}",
            left(&run)
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
fn a_holder_is_dead_only_if_its_pid_is_seen_as_it_saw_it_and_is_nobodys_or_a_younger_process() {
    let names: &'static [&str] = &["", "x", "y"];
    let all = || {
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
    for own in all() {
        for other in all() {
            let same = own == other && !own.boot.is_empty() && !own.namespaces.is_empty();
            for (seen, gone) in [
                (ProcessSighting::Missing, true),
                (ProcessSighting::Started(99), false),
                (ProcessSighting::Started(100), false),
                (ProcessSighting::Started(101), true),
                (ProcessSighting::Hidden, false),
            ] {
                let dead = holder(Some(other.clone())).is_dead(Some(&own), |pid| {
                    assert_eq!(pid, 7);
                    seen
                });
                assert_eq!(dead, same && gone, "{own:?} sees {other:?} as {seen:?}");
            }
        }
        assert!(
            !holder(None).is_dead(Some(&own), |_| ProcessSighting::Missing),
            "of whom nothing is known, nothing is proven"
        );
        assert!(!holder(Some(own)).is_dead(None, |_| ProcessSighting::Missing));
    }
}
