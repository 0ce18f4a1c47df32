//! What a step made is kept as long as it is needed to put back a later one; and people are told,
//! however long an undo took.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::support::{Run, *};
use runbook_engine::*;

const SAME_TARGET: &str = "bind.slot = \"db\"";
const OTHER_TARGET: &str = "bind.slot = \"app\"";

/// A step that makes something, one that depends on it or does not, and a check that fails.
fn run(bind: &str, read: &str, undo_of_raise: &[Reply]) -> Run {
    let text = format!(
        "[targets.db]\nsql = \"sqlite:shop.db\"\n[targets.app]\n\
                 docker = {{ containers = [\"app\"] }}\n[[step]]\nid = \"backup\"\n\
                 uses = \"test:do\"\nbind.slot = \"db\"\nundo = \"auto\"\n[[step]]\n\
                 id = \"raise\"\nuses = \"test:do\"\n{bind}\n\
                 undo = {{ uses = \"test:move\", idempotent = true, with = {{ file = \"{read}\" }} \
                 }}\n[[step]]\nid = \"fail\"\nuses = \"test:look\"\n"
    );
    let world = World::default().with("fail", [Reply::Fails(ErrorClass::Assertion)]);
    Run::new(&text, world.with("raise/undo", undo_of_raise.to_vec()))
}

#[test]
fn what_is_needed_to_put_back_a_later_step_is_kept_when_that_one_cannot_be_put_back() {
    let reading = "{{ steps.backup.output.file | default('x') }}";
    for (bind, read, is_kept) in [
        (SAME_TARGET, "x", true),
        (OTHER_TARGET, reading, true),
        (SAME_TARGET, reading, true),
        (OTHER_TARGET, "x", false),
        ("", "x", false),
    ] {
        for class in [ErrorClass::Conflict, ErrorClass::Denied, ErrorClass::NotFound] {
            let run = run(bind, read, &[Reply::Refused(class)]);
            let (end, _) = end(run.execute());
            assert_eq!(end, RunEnd::Dirty);
            let backup = run.state().step(&"backup".into()).clone();
            let undone = run.world.undone().contains(&"backup".to_owned());
            assert_eq!(undone, !is_kept, "{bind} {read} {class:?}");
            if is_kept {
                let fault = backup.undo.fault.unwrap();
                assert!(fault.message.contains("`raise`, which depends on it"), "{fault:?}");
                assert_eq!(backup.change.left(), RemainingEffect::Surely);
            }
            // Once the later one can be put back, all is.
            let again = end_of_undo(&run);
            assert_eq!(again, RunEnd::Undone, "{bind} {read}");
            assert!(
                run.world.undone().contains(&"backup".to_owned())
                    && run.world.applied().contains(&"raise/undo".to_owned())
            );
        }
    }
}

fn end_of_undo(run: &Run) -> RunEnd {
    run.world.tell("raise/undo", []);
    end(run.undo()).0
}

#[test]
fn an_undo_that_works_keeps_nothing() {
    let run = run(SAME_TARGET, "x", &[]);
    assert_eq!(end(run.execute()).0, RunEnd::Undone);
    assert_eq!(run.world.undone(), ["backup"]);
}

#[test]
fn what_always_runs_and_what_tells_people_has_time_of_its_own_however_long_the_undo_took() {
    let text = "[limits]\ncleanup_timeout = \"2s\"\n[[step]]\nid = \"a\"\nuses = \"test:do\"\n\
                undo = { uses = \"test:move\", idempotent = true }\n[[step]]\nid = \"fail\"\n\
                uses = \"test:look\"\n[[finally]]\nid = \"tidy\"\nuses = \"test:do\"\n[[notify]]\n\
                on = [\"dirty\"]\nuses = \"test:tell\"\n";
    let world = World::default()
        .with("fail", [Reply::Fails(ErrorClass::Assertion)])
        .with("a/undo", [Reply::Hangs]);
    let run = Run::new(text, world);
    assert_eq!(end(run.execute()).0, RunEnd::Dirty);
    let state = run.state();
    assert_eq!(state.step(&"tidy".into()).phase, StepPhase::Succeeded, "{:#?}", run.records());
    assert!(
        state.notify_faults.is_empty() && state.notified.len() == 1,
        "{:?}",
        state.notify_faults
    );
}

#[test]
fn a_message_that_is_waited_for_takes_none_of_the_time_of_the_run() {
    let text = "timeout = \"3s\"\n[[notify]]\non = [\"start\"]\nuses = \"test:tell\"\n\
                timeout = \"1m\"\n[[notify]]\non = [\"start\"]\nuses = \"test:tell\"\n[[step]]\n\
                id = \"a\"\nuses = \"test:do\"\nirreversible = \"an example\"\n[[step]]\n\
                id = \"b\"\nuses = \"test:do\"\ntimeout = \"10s\"\nirreversible = \"an example\"\n";
    let hangs =
        || World::default().with("notify/1", [Reply::Hangs]).with("notify/2", [Reply::Hangs]);
    let run = Run::new(text, hangs());
    assert_eq!(end(run.execute()), (RunEnd::SucceededWithWarnings, None));
    assert_eq!(run.state().notify_faults.len(), 2, "each ended by its own time limit");
    // The time of the run is for what it does.
    let late = Run::new(text, hangs().with("b", [Reply::Hangs]));
    assert_eq!(end(late.execute()).1, Some(Cause::Timeout));
}
