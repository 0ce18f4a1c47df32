//! A new run that begins at a step of one that has ended.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use runbook_engine::*;
use std::collections::BTreeMap;
use support::*;

/// Three steps; the last one sees what the first one produced. What fails stays as it is, for a person to look at.
const THREE: &str = "on_failure = \"stop\"\n\
    [[step]]\nid = \"a\"\nuses = \"test:do\"\nundo = \"auto\"\n\
    [[step]]\nid = \"b\"\nuses = \"test:do\"\nundo = \"auto\"\n\
    [[step]]\nid = \"c\"\nuses = \"test:do\"\nundo = \"auto\"\nwith.seen = \"{{ steps.a.output }}\"\n";

/// A run that failed at `b`, and what it takes to try it again.
fn failed() -> Run {
    let run = Run::new(THREE, World::default().with("b", [Reply::Fails(ErrorClass::Assertion)]));
    assert_eq!(end(run.execute()).0, RunEnd::Dirty);
    run
}

fn again(old: &Run, from: &str) -> Run {
    let mut run = Run::new(THREE, World::default());
    run.options.retry_of = Some(retry_of(&run.plan, old.options.run, &old.state(), &from.into()).unwrap());
    run
}

fn refused(old: &Run, from: &str) -> RetryError {
    retry_of(&old.plan, old.options.run, &old.state(), &from.into()).unwrap_err()
}

#[test]
fn what_was_done_is_not_done_again_and_its_output_is_seen() {
    let run = again(&failed(), "b");
    assert_eq!(end(run.execute()).0, RunEnd::Succeeded);
    assert_eq!(run.world.applied(), ["b", "c"]);
    assert_ne!(run.world.input("c")["seen"], Json::Null, "the output of the other run");
}

#[test]
fn a_run_tried_again_undoes_its_own_steps_only() {
    let old = failed();
    let mut run = again(&old, "b");
    run.world.tell("c", [Reply::Fails(ErrorClass::Assertion)]);
    run.plan = plan(&THREE.replacen("on_failure = \"stop\"\n", "", 1));
    assert_eq!(end(run.execute()).0, RunEnd::Undone);
    assert_eq!(run.world.undone(), ["c", "b"], "`a` is of the other run");
}

#[test]
fn broken_at_each_record_nothing_of_the_other_run_is_done_again() {
    let old = failed();
    let whole = again(&old, "b");
    end(whole.execute());
    broken_at_each_record(
        &whole,
        || again(&old, "b"),
        |run, breaks_at| {
            let mut outcome = if run.records().is_empty() { run.execute() } else { run.resume() };
            if let Ok(RunOutcome { stopped: Stopped::Paused { reason: PauseReason::UnknownOutcome { steps } }, .. }) = &outcome {
                // What was cut off had happened, as its plugin sees.
                let skip: BTreeMap<StepId, Decision> = steps.iter().map(|step| (step.clone(), Decision::Skip)).collect();
                outcome = run.decide(&skip);
            }
            let (ended, _) = end(outcome);
            assert!(matches!(ended, RunEnd::Succeeded | RunEnd::SucceededWithWarnings), "record {breaks_at}: {ended:?}");
            assert!(!run.world.applied().contains(&"a".to_owned()), "record {breaks_at}");
        },
    );
}

#[test]
fn what_is_undone_is_not_taken_as_done() {
    let run = Run::new(
        &THREE.replacen("on_failure = \"stop\"\n", "", 1),
        World::default().with("b", [Reply::Fails(ErrorClass::Assertion)]),
    );
    assert_eq!(end(run.execute()).0, RunEnd::Undone);
    assert_eq!(refused(&run, "b"), RetryError::NotDone { step: "b".into(), needed: "a".into(), phase: "undone" });
    let run = again(&run, "a");
    assert_eq!(end(run.execute()).0, RunEnd::Succeeded);
    assert_eq!(run.world.applied(), ["a", "b", "c"]);
}

#[test]
fn a_run_can_be_tried_again_more_than_once() {
    let first = failed();
    let second = again(&first, "b");
    second.world.tell("c", [Reply::Fails(ErrorClass::Assertion)]);
    assert_eq!(end(second.execute()).0, RunEnd::Dirty);
    let third = again(&second, "c");
    assert_eq!(end(third.execute()).0, RunEnd::Succeeded);
    assert_eq!(third.world.applied(), ["c"]);
}

#[test]
fn a_branch_that_is_done_stays_done_and_one_that_is_not_is_done() {
    let text = "on_failure = \"stop\"\n[[step]]\nid = \"a\"\nuses = \"test:do\"\nundo = \"auto\"\n\
        [[step]]\nid = \"left\"\nuses = \"test:do\"\nundo = \"auto\"\nneeds = [\"a\"]\n\
        [[step]]\nid = \"right\"\nuses = \"test:do\"\nundo = \"auto\"\nneeds = [\"a\"]\n\
        [[step]]\nid = \"last\"\nuses = \"test:do\"\nundo = \"auto\"\nneeds = [\"left\", \"right\"]\n";
    let old = Run::new(text, World::default().with("right", [Reply::Fails(ErrorClass::Assertion)]));
    end(old.execute());
    let mut run = Run::new(text, World::default());
    run.options.retry_of = Some(retry_of(&run.plan, old.options.run, &old.state(), &"right".into()).unwrap());
    assert_eq!(end(run.execute()).0, RunEnd::Succeeded);
    assert_eq!(run.world.applied(), ["right", "last"]);
}

#[test]
fn what_cannot_be_tried_again_is_said() {
    let old = failed();
    assert!(matches!(refused(&old, "z"), RetryError::NoStep { known, .. } if known == ["a", "b", "c"]));
    assert!(matches!(refused(&old, "c"), RetryError::NotDone { needed, .. } if needed == "b".into()));
    let open = Run::new(THREE, World::default());
    *open.journal.breaks_at.lock().unwrap() = Some(3);
    assert!(open.execute().is_err());
    assert_eq!(refused(&open, "b"), RetryError::NotEnded);
}
