//! A new run that retries a run that has ended, from one of its steps on.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::support::{Run, *};
use runbook_engine::*;
use std::collections::BTreeMap;

/// Three steps; the last one uses the output of the first one. A failed run is not undone.
const THREE_STEPS: &str = "[defaults]\non_failure = \"stop\"\n[[step]]\nid = \"a\"\nuses = \"test:do\"\n\
                     undo = \"auto\"\n[[step]]\nid = \"b\"\nuses = \"test:do\"\nundo = \"auto\"\n\
                     [[step]]\nid = \"c\"\nuses = \"test:do\"\nundo = \"auto\"\n\
                     with.seen = \"{{ steps.a.output }}\"\n";

/// A run that failed at `b`.
fn failed_run() -> Run {
    let run = Run::new(
        THREE_STEPS,
        FakePlugins::default().with("b", [Reply::FailsWithoutEffect(ErrorClass::Assertion)]),
    );
    assert_eq!(end(run.execute()).0, RunEnd::Dirty);
    run
}

fn again(old: &Run, from: &str) -> Run {
    let mut run = Run::new(THREE_STEPS, FakePlugins::default());
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

fn retry_error(old: &Run, from: &str) -> RetryError {
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
fn a_retry_does_not_repeat_completed_steps_and_uses_their_outputs() {
    let run = again(&failed_run(), "b");
    assert_eq!(end(run.execute()).0, RunEnd::Succeeded);
    assert_eq!(run.plugins.applied(), ["b", "c"]);
    assert_ne!(run.plugins.input("c")["seen"], Json::Null, "the output of the other run");
}

#[test]
fn a_retry_undoes_its_own_steps_only() {
    let old = failed_run();
    let mut run = again(&old, "b");
    run.plugins.set_replies("c", [Reply::Fails(ErrorClass::Assertion)]);
    run.plan = plan(&THREE_STEPS.replacen("[defaults]\non_failure = \"stop\"\n", "", 1));
    assert_eq!(end(run.execute()).0, RunEnd::Undone);
    assert_eq!(run.plugins.undone(), ["c", "b"], "`a` is of the other run");
}

#[test]
fn broken_at_each_record_a_retry_repeats_nothing_of_the_retried_run() {
    let old = failed_run();
    let complete_run = again(&old, "b");
    end(complete_run.execute());
    break_journal_at_each_record(
        &complete_run,
        || again(&old, "b"),
        |run, breaks_at| {
            let mut outcome = if run.records().is_empty() { run.execute() } else { run.resume() };
            if let Ok(RunOutcome {
                stopped: StopReason::Paused { reason: PauseReason::UnknownOutcome { steps } },
                ..
            }) = &outcome
            {
                // The plugin can see that the step took effect.
                let decisions: BTreeMap<StepId, Decision> =
                    steps.iter().map(|step| (step.clone(), Decision::Done)).collect();
                outcome = run.resume_with(&decisions);
            }
            let (ended, _) = end(outcome);
            assert!(
                matches!(ended, RunEnd::Succeeded | RunEnd::SucceededWithWarnings),
                "record {breaks_at}: {ended:?}"
            );
            assert!(!run.plugins.applied().contains(&"a".to_owned()), "record {breaks_at}");
        },
    );
}

#[test]
fn an_undone_step_is_not_assumed_to_be_done() {
    let run = Run::new(
        &THREE_STEPS.replacen("[defaults]\non_failure = \"stop\"\n", "", 1),
        FakePlugins::default().with("b", [Reply::FailsWithoutEffect(ErrorClass::Assertion)]),
    );
    assert_eq!(end(run.execute()).0, RunEnd::Undone);
    assert_eq!(
        retry_error(&run, "b"),
        RetryError::NeededStepNotDone { step: "b".into(), needed: "a".into(), phase: "undone" }
    );
    let run = again(&run, "a");
    assert_eq!(end(run.execute()).0, RunEnd::Succeeded);
    assert_eq!(run.plugins.applied(), ["a", "b", "c"]);
}

#[test]
fn a_retry_can_be_retried() {
    let first = failed_run();
    let second = again(&first, "b");
    second.plugins.set_replies("c", [Reply::FailsWithoutEffect(ErrorClass::Assertion)]);
    assert_eq!(end(second.execute()).0, RunEnd::Dirty);
    let third = again(&second, "c");
    assert_eq!(end(third.execute()).0, RunEnd::Succeeded);
    assert_eq!(third.plugins.applied(), ["c"]);
}

#[test]
fn a_retry_does_only_the_branch_that_is_not_done() {
    let text = "[defaults]\non_failure = \"stop\"\n[[step]]\nid = \"a\"\nuses = \"test:do\"\n\
                undo = \"auto\"\n[[step]]\nid = \"left\"\nuses = \"test:do\"\nundo = \"auto\"\n\
                needs = [\"a\"]\n[[step]]\nid = \"right\"\nuses = \"test:do\"\nundo = \"auto\"\n\
                needs = [\"a\"]\n[[step]]\nid = \"last\"\nuses = \"test:do\"\nundo = \"auto\"\n\
                needs = [\"left\", \"right\"]\n";
    let old = Run::new(
        text,
        FakePlugins::default().with("right", [Reply::FailsWithoutEffect(ErrorClass::Assertion)]),
    );
    end(old.execute());
    let mut run = Run::new(text, FakePlugins::default());
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
    assert_eq!(run.plugins.applied(), ["right", "last"]);
}

#[test]
fn a_retry_from_an_impossible_step_is_refused() {
    let old = failed_run();
    assert!(
        matches!(retry_error(&old, "z"), RetryError::UnknownStep { known, .. } if known == ["a", "b", "c"])
    );
    assert!(
        matches!(retry_error(&old, "c"), RetryError::NeededStepNotDone { needed, .. } if needed == "b".into())
    );
    let open_run = Run::new(THREE_STEPS, FakePlugins::default());
    *open_run.journal.breaks_at.lock().unwrap() = Some(3);
    assert!(open_run.execute().is_err());
    assert_eq!(retry_error(&open_run, "b"), RetryError::NotEnded);
}

/// Four customers; the third one fails.
const REFUND: &str = "[defaults]\non_failure = \"stop\"\n[[step]]\nid = \"refund\"\n\
                      uses = \"test:move\"\nirreversible = \"money\"\n\
                      for_each = [\"1\", \"2\", \"3\", \"4\"]\n";

#[test]
fn no_customer_is_refunded_twice() {
    let old = Run::new(
        REFUND,
        FakePlugins::default().with("refund[3]", [Reply::FailsWithoutEffect(ErrorClass::Conflict)]),
    );
    assert_eq!(end(old.execute()).0, RunEnd::Dirty);
    for from in ["refund", "refund[3]", "refund[4]"] {
        let mut run = Run::new(REFUND, FakePlugins::default());
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
        assert_eq!(run.plugins.applied(), ["refund[3]", "refund[4]"], "from {from}");
        let state = run.state();
        let refund = state.step(&"refund".into());
        assert_eq!(refund.summary, "4 of 4 items done");
        let keys: Vec<_> =
            refund.output.as_ref().unwrap().as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys, ["1", "2", "3", "4"], "the outputs of the other run are there");
    }
    assert!(matches!(retry_error(&old, "refund[1]"), RetryError::AlreadyDone { .. }));
    assert!(matches!(retry_error(&old, "refund[9]"), RetryError::UnknownStep { .. }));
}

#[test]
fn a_retry_asks_about_a_step_that_may_have_happened() {
    let old = Run::new(
        REFUND,
        FakePlugins::default().with("refund[3]", [Reply::FailsAfterEffect(ErrorClass::Timeout)]),
    );
    end(old.execute());
    assert_eq!(
        retry_error(&old, "refund"),
        RetryError::OutcomeUnknown { steps: vec!["refund[3]".into()] }
    );
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
        let mut run = Run::new(REFUND, FakePlugins::default());
        run.options.retry_of = Some(with("refund[3]", decision).unwrap());
        end(run.execute());
        run.plugins.applied()
    };
    assert_eq!(applied(Decision::Done), ["refund[4]"]);
    assert_eq!(applied(Decision::Retry), ["refund[3]", "refund[4]"]);
    assert_eq!(
        with("refund[3]", Decision::Fail),
        Err(RetryError::FailNotPossible { step: "refund[3]".into() })
    );
    assert_eq!(
        with("refund[1]", Decision::Done),
        Err(RetryError::NoDecisionNeeded { step: "refund[1]".into() })
    );
}

#[test]
fn a_retry_can_begin_at_a_step_of_a_nested_file() {
    let outer =
        "[defaults]\non_failure = \"stop\"\n[[step]]\nid = \"nest\"\nrunbook = \"inner.toml\"\n";
    let inner = "[defaults]\non_failure = \"stop\"\n[[step]]\nid = \"one\"\nuses = \"test:do\"\n\
                 undo = \"auto\"\n[[step]]\nid = \"two\"\nuses = \"test:do\"\nundo = \"auto\"\n\
                 with.seen = \"{{ steps.one.output }}\"\n";
    let files = &[("inner.toml", inner)];
    let old = Run::with_nested_files(
        outer,
        files,
        FakePlugins::default().with("nest.two", [Reply::FailsWithoutEffect(ErrorClass::Conflict)]),
    );
    end(old.execute());
    for from in ["nest", "nest.two"] {
        let mut run = Run::with_nested_files(outer, files, FakePlugins::default());
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
        assert_eq!(run.plugins.applied(), ["nest.two"], "from {from}");
    }
    assert_eq!(
        retry_error(&old, "nest.one"),
        RetryError::AlreadyDone {
            step: "nest.one".into(),
            done_in: old.options.run,
            open: vec!["nest".into(), "nest.two".into()]
        }
    );
}

#[test]
fn a_retry_asks_about_a_step_that_failed_half_way_even_if_its_failure_was_tolerated() {
    let text = "[[step]]\nid = \"again\"\nuses = \"test:do\"\nirreversible = \"a test\"\n\
                on_failure = \"continue\"\n[[step]]\nid = \"raise\"\nuses = \"test:do\"\n\
                irreversible = \"a test\"\non_failure = \"stop\"\n";
    let failing = |class| {
        FakePlugins::default()
            .with("again", [Reply::Fails(class)])
            .with("raise", [Reply::FailsWithoutEffect(class)])
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
        assert_eq!(
            old.state().remaining_changes().possibly_changed,
            [StepId::from("again")],
            "{class:?}"
        );
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
            let retry_error = begin(from, &BTreeMap::new());
            assert!(
                matches!(&retry_error, Err(RetryError::OutcomeUnknown { steps }) if steps[0].as_str() == "again"),
                "{class:?} {retry_error:?}"
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
fn a_retry_does_not_ask_about_a_step_whose_undo_surely_did_not_happen() {
    let text = "[[step]]\nid = \"raise\"\nuses = \"test:do\"\nundo = { uses = \"test:move\" }\n\
                [[step]]\nid = \"fail\"\nuses = \"test:do\"\nirreversible = \"a test\"\n";
    let plugins =
        || FakePlugins::default().with("fail", [Reply::FailsWithoutEffect(ErrorClass::Assertion)]);
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
    // The undo surely did not happen, so the step is done.
    let old = Run::new(
        text,
        plugins().with("raise/undo", [Reply::FailsWithoutEffect(ErrorClass::Timeout)]),
    );
    assert_eq!(end(old.execute()).0, RunEnd::Dirty);
    assert_eq!(begin(&old).unwrap().assumed.len(), 1);
    // It is unknown whether the step is undone, so the retry asks.
    let old = Run::new(
        text,
        plugins().with("raise/undo", [Reply::FailsAfterEffect(ErrorClass::Timeout)]),
    );
    assert_eq!(end(old.execute()).0, RunEnd::Dirty);
    let result = begin(&old);
    assert!(
        matches!(&result, Err(RetryError::UndoUnknown { steps }) if steps[0].as_str() == "raise"),
        "{result:?}"
    );
}
