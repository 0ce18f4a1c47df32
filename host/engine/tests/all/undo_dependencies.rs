//! A step is not undone while the undo of a later step depends on it; and notifications are sent,
//! however long an undo took.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::support::{Run, *};
use runbook_engine::*;

const SAME_TARGET: &str = "bind.slot = \"db\"";
const OTHER_TARGET: &str = "bind.slot = \"app\"";

/// A step, a later step that may depend on it, and a check that fails.
fn run(bind: &str, read: &str, undo_of_raise: &[Reply]) -> Run {
    let text = format!(
        "[targets.db]\nsql = \"sqlite:shop.db\"\n[targets.app]\n\
                 docker = {{ containers = [\"app\"] }}\n[[step]]\nid = \"backup\"\n\
                 uses = \"test:do\"\nbind.slot = \"db\"\nundo = \"auto\"\n[[step]]\n\
                 id = \"raise\"\nuses = \"test:do\"\n{bind}\n\
                 undo = {{ uses = \"test:move\", idempotent = true, with = {{ file = \"{read}\" }} \
                 }}\n[[step]]\nid = \"fail\"\nuses = \"test:look\"\n"
    );
    let plugins = FakePlugins::default().with("fail", [Reply::Fails(ErrorClass::Assertion)]);
    Run::new(&text, plugins.with("raise/undo", undo_of_raise.to_vec()))
}

#[test]
fn a_step_is_not_undone_while_a_later_step_that_depends_on_it_cannot_be_undone() {
    let reads_output = "{{ steps.backup.output.file | default('x') }}";
    for (bind, read, is_kept) in [
        (SAME_TARGET, "x", true),
        (OTHER_TARGET, reads_output, true),
        (SAME_TARGET, reads_output, true),
        (OTHER_TARGET, "x", false),
        ("", "x", false),
    ] {
        for class in [ErrorClass::Conflict, ErrorClass::Denied, ErrorClass::NotFound] {
            let run = run(bind, read, &[Reply::FailsWithoutEffect(class)]);
            let (end, _) = end(run.execute());
            assert_eq!(end, RunEnd::Dirty);
            let backup = run.state().step(&"backup".into()).clone();
            let undone = run.plugins.undone().contains(&"backup".to_owned());
            assert_eq!(undone, !is_kept, "{bind} {read} {class:?}");
            if is_kept {
                let fault = backup.undo.fault.unwrap();
                assert!(fault.message.contains("`raise`, which depends on it"), "{fault:?}");
                assert_eq!(backup.change.remaining(), RemainingEffect::Surely);
            }
            // Once the later step can be undone, both are undone.
            let second_end = end_of_undo(&run);
            assert_eq!(second_end, RunEnd::Undone, "{bind} {read}");
            assert!(
                run.plugins.undone().contains(&"backup".to_owned())
                    && run.plugins.applied().contains(&"raise/undo".to_owned())
            );
        }
    }
}

fn end_of_undo(run: &Run) -> RunEnd {
    run.plugins.set_replies("raise/undo", []);
    end(run.undo()).0
}

#[test]
fn after_a_successful_undo_earlier_steps_are_undone_too() {
    let run = run(SAME_TARGET, "x", &[]);
    assert_eq!(end(run.execute()).0, RunEnd::Undone);
    assert_eq!(run.plugins.undone(), ["backup"]);
}

#[test]
fn finally_and_notifications_have_time_of_their_own_after_a_slow_undo() {
    let text = "[limits]\ncleanup_timeout = \"2s\"\n[[step]]\nid = \"a\"\nuses = \"test:do\"\n\
                undo = { uses = \"test:move\", idempotent = true }\n[[step]]\nid = \"fail\"\n\
                uses = \"test:look\"\n[[finally]]\nid = \"tidy\"\nuses = \"test:do\"\n[[notify]]\n\
                on = [\"dirty\"]\nuses = \"test:tell\"\n";
    let plugins = FakePlugins::default()
        .with("fail", [Reply::Fails(ErrorClass::Assertion)])
        .with("a/undo", [Reply::Hangs]);
    let run = Run::new(text, plugins);
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
fn the_time_of_a_notification_does_not_count_towards_the_timeout_of_the_run() {
    let text = "timeout = \"3s\"\n[[notify]]\non = [\"start\"]\nuses = \"test:tell\"\n\
                timeout = \"1m\"\n[[notify]]\non = [\"start\"]\nuses = \"test:tell\"\n[[step]]\n\
                id = \"a\"\nuses = \"test:do\"\nirreversible = \"an example\"\n[[step]]\n\
                id = \"b\"\nuses = \"test:do\"\ntimeout = \"10s\"\nirreversible = \"an example\"\n";
    let hangs =
        || FakePlugins::default().with("notify/1", [Reply::Hangs]).with("notify/2", [Reply::Hangs]);
    let run = Run::new(text, hangs());
    assert_eq!(end(run.execute()), (RunEnd::SucceededWithWarnings, None));
    assert_eq!(run.state().notify_faults.len(), 2, "each ended by its own time limit");
    // The timeout of the run applies to its steps.
    let late_run = Run::new(text, hangs().with("b", [Reply::Hangs]));
    assert_eq!(end(late_run.execute()).1, Some(Cause::Timeout));
}
