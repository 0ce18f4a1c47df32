//! A new run that begins at a step of one that has ended.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::support::{Run, *};
use runbook_engine::*;
use std::collections::BTreeMap;

/// Three steps; the last one sees what the first one produced. What fails stays as it is, for a
/// person to look at.
const THREE: &str = "[defaults]\non_failure = \"stop\"\n[[step]]\nid = \"a\"\nuses = \"test:do\"\n\
                     undo = \"auto\"\n[[step]]\nid = \"b\"\nuses = \"test:do\"\nundo = \"auto\"\n\
                     [[step]]\nid = \"c\"\nuses = \"test:do\"\nundo = \"auto\"\n\
                     with.seen = \"{{ steps.a.output }}\"\n";

/// A run that failed at `b`, and what it takes to try it again.
fn failed() -> Run {
    let run = Run::new(THREE, World::default().with("b", [Reply::Refused(ErrorClass::Assertion)]));
    assert_eq!(end(run.execute()).0, RunEnd::Dirty);
    run
}

fn again(old: &Run, from: &str) -> Run {
    let mut run = Run::new(THREE, World::default());
    run.options.retry_of = Some(
        retry_of(
            &run.plan,
            old.options.run,
            &old.state(),
            &BTreeMap::new(),
            &from.into(),
            &BTreeMap::new(),
        )
        .unwrap(),
    );
    run
}

fn refused(old: &Run, from: &str) -> RetryError {
    retry_of(
        &old.plan,
        old.options.run,
        &old.state(),
        &BTreeMap::new(),
        &from.into(),
        &BTreeMap::new(),
    )
    .unwrap_err()
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
    run.plan = plan(&THREE.replacen("[defaults]\non_failure = \"stop\"\n", "", 1));
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
            if let Ok(RunOutcome {
                stopped: Stopped::Paused { reason: PauseReason::UnknownOutcome { steps } },
                ..
            }) = &outcome
            {
                // What was cut off had happened, as its plugin sees.
                let skip: BTreeMap<StepId, Decision> =
                    steps.iter().map(|step| (step.clone(), Decision::Done)).collect();
                outcome = run.decide(&skip);
            }
            let (ended, _) = end(outcome);
            assert!(
                matches!(ended, RunEnd::Succeeded | RunEnd::SucceededWithWarnings),
                "record {breaks_at}: {ended:?}"
            );
            assert!(!run.world.applied().contains(&"a".to_owned()), "record {breaks_at}");
        },
    );
}

#[test]
fn what_is_undone_is_not_taken_as_done() {
    let run = Run::new(
        &THREE.replacen("[defaults]\non_failure = \"stop\"\n", "", 1),
        World::default().with("b", [Reply::Refused(ErrorClass::Assertion)]),
    );
    assert_eq!(end(run.execute()).0, RunEnd::Undone);
    assert_eq!(
        refused(&run, "b"),
        RetryError::NotDone { step: "b".into(), needed: "a".into(), phase: "undone" }
    );
    let run = again(&run, "a");
    assert_eq!(end(run.execute()).0, RunEnd::Succeeded);
    assert_eq!(run.world.applied(), ["a", "b", "c"]);
}

#[test]
fn a_run_can_be_tried_again_more_than_once() {
    let first = failed();
    let second = again(&first, "b");
    second.world.tell("c", [Reply::Refused(ErrorClass::Assertion)]);
    assert_eq!(end(second.execute()).0, RunEnd::Dirty);
    let third = again(&second, "c");
    assert_eq!(end(third.execute()).0, RunEnd::Succeeded);
    assert_eq!(third.world.applied(), ["c"]);
}

#[test]
fn a_branch_that_is_done_stays_done_and_one_that_is_not_is_done() {
    let text = "[defaults]\non_failure = \"stop\"\n[[step]]\nid = \"a\"\nuses = \"test:do\"\n\
                undo = \"auto\"\n[[step]]\nid = \"left\"\nuses = \"test:do\"\nundo = \"auto\"\n\
                needs = [\"a\"]\n[[step]]\nid = \"right\"\nuses = \"test:do\"\nundo = \"auto\"\n\
                needs = [\"a\"]\n[[step]]\nid = \"last\"\nuses = \"test:do\"\nundo = \"auto\"\n\
                needs = [\"left\", \"right\"]\n";
    let old =
        Run::new(text, World::default().with("right", [Reply::Refused(ErrorClass::Assertion)]));
    end(old.execute());
    let mut run = Run::new(text, World::default());
    run.options.retry_of = Some(
        retry_of(
            &run.plan,
            old.options.run,
            &old.state(),
            &BTreeMap::new(),
            &"right".into(),
            &BTreeMap::new(),
        )
        .unwrap(),
    );
    assert_eq!(end(run.execute()).0, RunEnd::Succeeded);
    assert_eq!(run.world.applied(), ["right", "last"]);
}

#[test]
fn what_cannot_be_tried_again_is_said() {
    let old = failed();
    assert!(
        matches!(refused(&old, "z"), RetryError::NoStep { known, .. } if known == ["a", "b", "c"])
    );
    assert!(
        matches!(refused(&old, "c"), RetryError::NotDone { needed, .. } if needed == "b".into())
    );
    let open = Run::new(THREE, World::default());
    *open.journal.breaks_at.lock().unwrap() = Some(3);
    assert!(open.execute().is_err());
    assert_eq!(refused(&open, "b"), RetryError::NotEnded);
}

/// Four customers; the third one fails.
const REFUND: &str = "[defaults]\non_failure = \"stop\"\n[[step]]\nid = \"refund\"\n\
                      uses = \"test:move\"\nirreversible = \"money\"\n\
                      for_each = [\"1\", \"2\", \"3\", \"4\"]\n";

#[test]
fn no_customer_is_refunded_twice() {
    let old = Run::new(
        REFUND,
        World::default().with("refund[3]", [Reply::Refused(ErrorClass::Conflict)]),
    );
    assert_eq!(end(old.execute()).0, RunEnd::Dirty);
    for from in ["refund", "refund[3]", "refund[4]"] {
        let mut run = Run::new(REFUND, World::default());
        run.options.retry_of = Some(
            retry_of(
                &run.plan,
                old.options.run,
                &old.state(),
                &BTreeMap::new(),
                &from.into(),
                &BTreeMap::new(),
            )
            .unwrap(),
        );
        assert_eq!(end(run.execute()).0, RunEnd::Succeeded);
        assert_eq!(run.world.applied(), ["refund[3]", "refund[4]"], "from {from}");
        let state = run.state();
        let refund = state.step(&"refund".into());
        assert_eq!(refund.summary, "4 of 4 items done");
        let keys: Vec<_> =
            refund.output.as_ref().unwrap().as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys, ["1", "2", "3", "4"], "the outputs of the other run are there");
    }
    assert!(matches!(refused(&old, "refund[1]"), RetryError::Done { .. }));
    assert!(matches!(refused(&old, "refund[9]"), RetryError::NoStep { .. }));
}

#[test]
fn what_may_have_happened_is_asked_about_and_not_done_twice() {
    let old = Run::new(
        REFUND,
        World::default().with("refund[3]", [Reply::FailsLate(ErrorClass::Timeout)]),
    );
    end(old.execute());
    assert_eq!(refused(&old, "refund"), RetryError::Doubtful { steps: vec!["refund[3]".into()] });
    let with = |step: &str, decision| {
        let decisions = BTreeMap::from([(StepId::from(step), decision)]);
        retry_of(
            &old.plan,
            old.options.run,
            &old.state(),
            &BTreeMap::new(),
            &"refund".into(),
            &decisions,
        )
    };
    let applied = |decision| {
        let mut run = Run::new(REFUND, World::default());
        run.options.retry_of = Some(with("refund[3]", decision).unwrap());
        end(run.execute());
        run.world.applied()
    };
    assert_eq!(applied(Decision::Done), ["refund[4]"]);
    assert_eq!(applied(Decision::Retry), ["refund[3]", "refund[4]"]);
    assert_eq!(
        with("refund[3]", Decision::Fail),
        Err(RetryError::NoWay { step: "refund[3]".into() })
    );
    assert_eq!(
        with("refund[1]", Decision::Done),
        Err(RetryError::NotAsked { step: "refund[1]".into() })
    );
}

#[test]
fn a_step_of_a_nested_file_is_a_place_to_begin() {
    let outer =
        "[defaults]\non_failure = \"stop\"\n[[step]]\nid = \"nest\"\nrunbook = \"inner.toml\"\n";
    let inner = "[defaults]\non_failure = \"stop\"\n[[step]]\nid = \"one\"\nuses = \"test:do\"\n\
                 undo = \"auto\"\n[[step]]\nid = \"two\"\nuses = \"test:do\"\nundo = \"auto\"\n\
                 with.seen = \"{{ steps.one.output }}\"\n";
    let files = &[("inner.toml", inner)];
    let old = Run::nesting(
        outer,
        files,
        World::default().with("nest.two", [Reply::Refused(ErrorClass::Conflict)]),
    );
    end(old.execute());
    for from in ["nest", "nest.two"] {
        let mut run = Run::nesting(outer, files, World::default());
        run.options.retry_of = Some(
            retry_of(
                &run.plan,
                old.options.run,
                &old.state(),
                &BTreeMap::new(),
                &from.into(),
                &BTreeMap::new(),
            )
            .unwrap(),
        );
        assert_eq!(end(run.execute()).0, RunEnd::Succeeded);
        assert_eq!(run.world.applied(), ["nest.two"], "from {from}");
    }
    assert_eq!(
        refused(&old, "nest.one"),
        RetryError::Done {
            step: "nest.one".into(),
            done_in: old.options.run,
            open: vec!["nest".into(), "nest.two".into()]
        }
    );
}

#[test]
fn what_failed_half_way_is_asked_about_and_what_was_tolerated_is_no_obstacle() {
    let text = "[[step]]\nid = \"again\"\nuses = \"test:do\"\nirreversible = \"a test\"\n\
                on_failure = \"continue\"\n[[step]]\nid = \"raise\"\nuses = \"test:do\"\n\
                irreversible = \"a test\"\non_failure = \"stop\"\n";
    let failing = |class| {
        World::default().with("again", [Reply::Fails(class)]).with("raise", [Reply::Refused(class)])
    };
    for class in [
        ErrorClass::Assertion,
        ErrorClass::Transient,
        ErrorClass::Invalid,
        ErrorClass::Timeout,
        ErrorClass::Unknown,
    ] {
        let old = Run::new(text, failing(class));
        assert_eq!(end(old.execute()).0, RunEnd::Dirty, "{class:?}");
        assert_eq!(old.state().account().perhaps, [StepId::from("again")], "{class:?}");
        let begin = |from: &str, decisions: &BTreeMap<StepId, Decision>| {
            retry_of(
                &old.plan,
                old.options.run,
                &old.state(),
                &BTreeMap::new(),
                &from.into(),
                decisions,
            )
        };
        for from in ["again", "raise"] {
            let refused = begin(from, &BTreeMap::new());
            assert!(
                matches!(&refused, Err(RetryError::Doubtful { steps }) if steps[0].as_str() == "again"),
                "{class:?} {refused:?}"
            );
            let done = begin(from, &BTreeMap::from([("again".into(), Decision::Done)])).unwrap();
            assert_eq!(done.assumed.len(), 1, "{class:?} {from}: it begins after what happened");
            let retried =
                begin(from, &BTreeMap::from([("again".into(), Decision::Retry)])).unwrap();
            assert!(retried.assumed.is_empty(), "{class:?} {from}");
        }
    }
}

#[test]
fn what_is_done_and_was_not_undone_is_not_asked_about() {
    let text = "[[step]]\nid = \"raise\"\nuses = \"test:do\"\nundo = { uses = \"test:move\" }\n\
                [[step]]\nid = \"fail\"\nuses = \"test:do\"\nirreversible = \"a test\"\n";
    let world = || World::default().with("fail", [Reply::Refused(ErrorClass::Assertion)]);
    let begin = |old: &Run| {
        retry_of(
            &old.plan,
            old.options.run,
            &old.state(),
            &BTreeMap::new(),
            &"fail".into(),
            &BTreeMap::new(),
        )
    };
    // The host knows that nothing of its undo happened: it is done.
    let old = Run::new(text, world().with("raise/undo", [Reply::Refused(ErrorClass::Timeout)]));
    assert_eq!(end(old.execute()).0, RunEnd::Dirty);
    assert_eq!(begin(&old).unwrap().assumed.len(), 1);
    // Nobody knows whether it is undone: that is what is asked.
    let old = Run::new(text, world().with("raise/undo", [Reply::FailsLate(ErrorClass::Timeout)]));
    assert_eq!(end(old.execute()).0, RunEnd::Dirty);
    let asked = begin(&old);
    assert!(
        matches!(&asked, Err(RetryError::PerhapsUndone { steps }) if steps[0].as_str() == "raise"),
        "{asked:?}"
    );
}
