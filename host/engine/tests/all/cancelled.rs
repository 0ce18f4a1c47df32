//! A cancel at any record of a run.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::support::{Run, *};
use runbook_engine::*;

const RUNBOOK: &str = "[[preflight]]\nid = \"before\"\nuses = \"test:look\"\n[[step]]\nid = \"a\"\n\
     uses = \"test:do\"\nundo = \"auto\"\n[[step]]\nid = \"b\"\nuses = \"test:do\"\n\
     undo = \"auto\"\n[[verify]]\nid = \"sound\"\nuses = \"test:look\"\n[[finally]]\n\
     id = \"tidy\"\nuses = \"test:do\"\n";

/// Executes a run that is cancelled when it has written this record.
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
fn a_cancel_is_recorded_at_any_record_and_undoes_nothing_after_the_steps() {
    for fails in [false, true] {
        let verify_replies: &[Reply] =
            if fails { &[Reply::Fails(ErrorClass::Assertion)] } else { &[] };
        let plugins = || FakePlugins::default().with("sound", verify_replies.iter().cloned());
        let complete_run = Run::new(RUNBOOK, plugins());
        let (usual_end, cause) = end(complete_run.execute());
        let records = complete_run.records();
        let seq_of = |wanted: fn(&LifecycleEvent) -> bool| {
            let is_wanted =
                |record: &&Record| matches!(&record.event, RunEvent::Run(event) if wanted(event));
            records.iter().find(is_wanted).map(|record| record.seq)
        };
        let finally_seq =
            seq_of(|event| matches!(event, LifecycleEvent::FinallyBegan { .. })).unwrap();
        let undo_seq = seq_of(|event| matches!(event, LifecycleEvent::UndoBegan { .. }))
            .unwrap_or(finally_seq);
        for cancel_seq in 0..records.len() as u64 - 1 {
            let run = Run::new(RUNBOOK, plugins());
            let (ended, ended_cause) = end(cancelled_at(&run, cancel_seq));
            let requested_by: Vec<String> = run
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
            assert_eq!(requested_by, ["ada@desk"], "record {cancel_seq}: who and that, once");
            if cancel_seq >= undo_seq {
                assert_eq!(
                    (ended, &ended_cause),
                    (usual_end, &cause),
                    "record {cancel_seq}: it ends as it would have"
                );
            } else {
                // The end may have been decided before the cancel was seen.
                let is_late = ended_cause == cause && ended == usual_end;
                assert!(
                    is_late || ended_cause == Some(Cause::Cancel),
                    "record {cancel_seq}: {ended:?} {ended_cause:?}"
                );
            }
            if cancel_seq >= finally_seq {
                let done: Vec<String> = run.plugins.done();
                let expected: &[&str] = if fails { &["tidy"] } else { &["a", "b", "tidy"] };
                assert_eq!(done, expected, "record {cancel_seq}");
            }
            let remaining_changes = run.state().remaining_changes();
            assert!(
                !remaining_changes.changed.contains(&"tidy".into())
                    && !remaining_changes.possibly_changed.contains(&"tidy".into()),
                "{remaining_changes:?}"
            );
        }
    }
}
