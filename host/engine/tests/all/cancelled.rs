//! A cancel at any moment of a run.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::support::{Run, *};
use runbook_engine::*;

const RUNBOOK: &str = "[[preflight]]\nid = \"before\"\nuses = \"test:look\"\n[[step]]\nid = \"a\"\n\
     uses = \"test:do\"\nundo = \"auto\"\n[[step]]\nid = \"b\"\nuses = \"test:do\"\n\
     undo = \"auto\"\n[[verify]]\nid = \"sound\"\nuses = \"test:look\"\n[[finally]]\n\
     id = \"tidy\"\nuses = \"test:do\"\n";

/// Somebody cancels the run when it has written this record.
fn cancelled_at(run: &Run, record: u64) -> Result<RunOutcome, RunError> {
    let token = run.options.cancel.clone();
    let reporter = &mut |written: &Record| {
        if written.seq == record {
            token.cancel_for("ada@desk");
        }
    };
    block_on(run.engine().execute(reporter))
}

#[test]
fn a_cancel_is_in_the_journal_wherever_it_comes_and_once_the_steps_are_over_it_undoes_nothing() {
    for fails in [false, true] {
        let sound: &[Reply] = if fails { &[Reply::Fails(ErrorClass::Assertion)] } else { &[] };
        let world = || World::default().with("sound", sound.iter().cloned());
        let whole = Run::new(RUNBOOK, world());
        let (usual, cause) = end(whole.execute());
        let records = whole.records();
        let place = |wanted: fn(&LifecycleEvent) -> bool| {
            let is_it =
                |record: &&Record| matches!(&record.event, RunEvent::Run(event) if wanted(event));
            records.iter().find(is_it).map(|record| record.seq)
        };
        let over = place(|event| matches!(event, LifecycleEvent::FinallyBegan { .. })).unwrap();
        let undoing =
            place(|event| matches!(event, LifecycleEvent::UndoBegan { .. })).unwrap_or(over);
        for at in 0..records.len() as u64 - 1 {
            let run = Run::new(RUNBOOK, world());
            let (ended, why) = end(cancelled_at(&run, at));
            let asked: Vec<String> = run
                .records()
                .iter()
                .filter_map(|record| {
                    let RunEvent::Run(LifecycleEvent::CancelRequested { by }) = &record.event
                    else {
                        return None;
                    };
                    Some(by.clone())
                })
                .collect();
            assert_eq!(asked, ["ada@desk"], "record {at}: who and that, once");
            if at >= undoing {
                assert_eq!((ended, &why), (usual, &cause), "record {at}: it ends as it would have");
            } else {
                // What was decided before it was looked at stays decided.
                let is_late = why == cause && ended == usual;
                assert!(is_late || why == Some(Cause::Cancel), "record {at}: {ended:?} {why:?}");
            }
            if at >= over {
                let done: Vec<String> = run.world.done();
                let expected: &[&str] = if fails { &["tidy"] } else { &["a", "b", "tidy"] };
                assert_eq!(done, expected, "record {at}");
            }
            let account = run.state().account();
            assert!(
                !account.changed.contains(&"tidy".into())
                    && !account.perhaps.contains(&"tidy".into()),
                "{account:?}"
            );
        }
    }
}
