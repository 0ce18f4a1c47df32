//! The decision of a person about a step with an unknown outcome, and what is undone after it.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::support::{Run, *};
use runbook_engine::*;
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// The undo of the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UndoKind {
    /// The plugin's own undo, which works from any state.
    Auto,
    /// Another operation, which does harm if it happens twice or without the step.
    Explicit,
    /// Another operation, which is idempotent.
    Idempotent,
}

const UNDO_KINDS: [UndoKind; 3] = [UndoKind::Auto, UndoKind::Explicit, UndoKind::Idempotent];

/// A step with an effect and a check that fails, so that the step is undone.
fn run(undo_kind: UndoKind, plugins: FakePlugins) -> Run {
    let undo = match undo_kind {
        UndoKind::Auto => "\"auto\"",
        UndoKind::Explicit => "{ uses = \"test:move\" }",
        UndoKind::Idempotent => "{ uses = \"test:move\", idempotent = true }",
    };
    let text = format!(
        "[[step]]\nid = \"pay\"\nuses = \"test:do\"\nundo = {undo}\n[[step]]\n\
                 id = \"fail\"\nuses = \"test:look\"\n"
    );
    Run::new(&text, plugins.with("fail", [Reply::Fails(ErrorClass::Assertion)]))
}

/// Plugins that cannot observe the step `pay`.
fn blind_plugins() -> FakePlugins {
    let plugins = FakePlugins::default();
    plugins.set_before("pay", Json::Null);
    plugins
}

fn decision_about_pay(decision: Decision) -> BTreeMap<StepId, Decision> {
    BTreeMap::from([("pay".into(), decision)])
}

fn undo_count(run: &Run) -> usize {
    let explicit = run.plugins.applied().iter().filter(|step| *step == "pay/undo").count();
    explicit + run.plugins.undone().iter().filter(|step| *step == "pay").count()
}

fn is_asked(outcome: &Result<RunOutcome, RunError>) -> bool {
    matches!(
        outcome.as_ref().unwrap().stopped,
        StopReason::Paused { reason: PauseReason::UnknownOutcome { .. } }
    )
}

/// A run that was killed during the attempt, and asks about it.
fn run_cut_off_in_attempt(undo_kind: UndoKind) -> Run {
    let run = run(undo_kind, blind_plugins());
    *run.journal.breaks_at.lock().unwrap() = Some(3);
    assert!(run.execute().is_err());
    *run.journal.breaks_at.lock().unwrap() = None;
    assert_eq!(run.state().step(&"pay".into()).phase, StepPhase::Running, "{:#?}", run.records());
    assert!(is_asked(&run.resume()));
    run
}

/// What the attempt that follows `retry` does.
#[derive(Debug, Clone, Copy)]
enum NextAttempt {
    Succeeds,
    IsRefused,
    FailsInPart,
    IsNotAnswered,
}

#[test]
fn a_decision_about_an_unknown_outcome_decides_whether_the_step_is_undone() {
    for undo_kind in UNDO_KINDS {
        for (decision, undone) in [(Decision::Done, 1), (Decision::NotDone, 0), (Decision::Fail, 1)]
        {
            let run = run_cut_off_in_attempt(undo_kind);
            let outcome = run.resume_with(&decision_about_pay(decision));
            assert!(!is_asked(&outcome), "{undo_kind:?} {decision:?}");
            assert_eq!(undo_count(&run), undone, "{undo_kind:?} {decision:?}");
            let effect = run.state().step(&"pay".into()).effect;
            match decision {
                Decision::NotDone => {
                    assert_eq!(end(outcome).0, RunEnd::FailedClean, "{undo_kind:?}");
                }
                Decision::Done => assert_eq!(effect, EffectState::Done, "{undo_kind:?}"),
                Decision::Fail | Decision::Retry => {
                    assert_eq!(effect, EffectState::Ambiguous, "{undo_kind:?}");
                }
            }
        }
        for next in [
            NextAttempt::Succeeds,
            NextAttempt::IsRefused,
            NextAttempt::FailsInPart,
            NextAttempt::IsNotAnswered,
        ] {
            let run = run_cut_off_in_attempt(undo_kind);
            let (reply, undone) = match next {
                NextAttempt::Succeeds => (None, 1),
                NextAttempt::IsRefused => (Some(Reply::FailsWithoutEffect(ErrorClass::Timeout)), 0),
                NextAttempt::FailsInPart => (Some(Reply::Fails(ErrorClass::Conflict)), 1),
                NextAttempt::IsNotAnswered => (
                    Some(Reply::FailsAfterEffect(ErrorClass::Timeout)),
                    usize::from(undo_kind != UndoKind::Explicit),
                ),
            };
            run.plugins.set_replies("pay", reply);
            let outcome = run.resume_with(&decision_about_pay(Decision::Retry));
            let asks =
                matches!((next, undo_kind), (NextAttempt::IsNotAnswered, UndoKind::Explicit));
            assert_eq!(is_asked(&outcome), asks, "{undo_kind:?} {next:?}");
            assert_eq!(
                undo_count(&run),
                undone,
                "{undo_kind:?} {next:?}: {:?}",
                run.plugins.applied()
            );
            if matches!(next, NextAttempt::IsRefused) {
                assert_eq!(end(outcome).0, RunEnd::FailedClean, "{undo_kind:?}: it never happened");
            }
        }
    }
}

#[test]
fn an_undo_that_may_do_harm_waits_for_a_decision() {
    let new_asking_run = || {
        let run = run(
            UndoKind::Explicit,
            blind_plugins().with("pay", [Reply::FailsAfterEffect(ErrorClass::Unknown)]),
        );
        assert!(is_asked(&run.execute()));
        assert_eq!(undo_count(&run), 0);
        run
    };
    for (decision, undone, ended) in [
        (Decision::Done, 1, RunEnd::Undone),
        (Decision::NotDone, 0, RunEnd::FailedClean),
        (Decision::Fail, 1, RunEnd::Undone),
    ] {
        let run = new_asking_run();
        assert_eq!(end(run.resume_with(&decision_about_pay(decision))).0, ended, "{decision:?}");
        assert_eq!(undo_count(&run), undone, "{decision:?}");
    }
    let run = new_asking_run();
    let refused = run.resume_with(&decision_about_pay(Decision::Retry));
    assert!(matches!(refused, Err(RunError::RetryWhileUndoing { .. })), "{refused:?}");
    // The run asks again until there is a decision.
    assert!(is_asked(&run.resume()));
    assert_eq!(undo_count(&run), 0);
}

#[test]
fn a_step_that_is_observed_not_to_have_happened_is_neither_asked_about_nor_undone() {
    let run = run(
        UndoKind::Explicit,
        FakePlugins::default().with("pay", [Reply::Fails(ErrorClass::Unknown)]),
    );
    assert_eq!(end(run.execute()).0, RunEnd::FailedClean);
    assert_eq!(undo_count(&run), 0);
}

#[test]
fn a_cancel_does_not_decide_about_an_unknown_outcome() {
    let mut run = run_cut_off_in_attempt(UndoKind::Explicit);
    run.options.cancel.cancel();
    assert!(is_asked(&run.resume()));
    assert_eq!(undo_count(&run), 0);
    run.options = Options { executor: uuid::Uuid::now_v7(), ..options(run.options.run) };
    assert_eq!(
        end(run.resume_with(&decision_about_pay(Decision::NotDone))),
        (RunEnd::Cancelled, Some(Cause::Cancel))
    );
    assert_eq!(undo_count(&run), 0);
}

#[test]
fn broken_at_each_record_an_undo_that_may_do_harm_waits_for_a_decision() {
    let new_run = || {
        run(
            UndoKind::Explicit,
            blind_plugins().with("pay", [Reply::FailsAfterEffect(ErrorClass::Unknown)]),
        )
    };
    let complete_run = new_run();
    assert!(is_asked(&complete_run.execute()));
    break_journal_at_each_record(&complete_run, new_run, |run, breaks_at| {
        let outcome = run.resume();
        assert!(is_asked(&outcome), "record {breaks_at}: {outcome:?}");
        assert_eq!(undo_count(run), 0, "record {breaks_at}");
        let (ended, _) = end(run.resume_with(&decision_about_pay(Decision::NotDone)));
        assert_eq!((ended, undo_count(run)), (RunEnd::FailedClean, 0), "record {breaks_at}");
    });
}

#[test]
fn a_decision_about_a_step_that_is_not_asked_about_is_refused() {
    let run = run_cut_off_in_attempt(UndoKind::Explicit);
    let before = run.records().len();
    for (step, decision) in [("nosuch", Decision::Retry), ("fail", Decision::Done)] {
        let decisions =
            BTreeMap::from([("pay".into(), Decision::NotDone), (step.into(), decision)]);
        let refused = run.resume_with(&decisions);
        let Err(
            RunError::NoOpenDecision { step: named, asked }
            | RunError::NoStep { step: named, asked },
        ) = refused
        else {
            panic!("{step}: {refused:?}")
        };
        assert_eq!((named.as_str(), asked), (step, vec![StepId::from("pay")]));
    }
    assert_eq!(run.records().len(), before, "something was written");
    assert!(run.journal.leases.lock().unwrap().is_empty(), "a lease is left");
}

/// A run whose explicit undo got no answer, such as a refund that may have been paid.
fn run_with_unclear_undo() -> Run {
    let run = run(
        UndoKind::Explicit,
        FakePlugins::default().with("pay/undo", [Reply::FailsAfterEffect(ErrorClass::Timeout)]),
    );
    assert_eq!(end(run.execute()).0, RunEnd::Dirty);
    assert_eq!(
        (undo_count(&run), run.state().remaining_changes().undo_unclear),
        (1, vec![StepId::from("pay")])
    );
    run
}

#[test]
fn an_undo_with_an_unknown_outcome_is_repeated_only_if_a_person_says_that_it_did_not_happen() {
    for (_, word, _) in Decision::ALL {
        let decision = Decision::named(word).unwrap();
        let run = run_with_unclear_undo();
        run.plugins.set_replies("pay/undo", []);
        let (ended, _) = end(run.undo_with(&decision_about_pay(decision)));
        let remaining_changes = run.state().remaining_changes();
        let (expected_end, is_unclear, n_undos) = match decision {
            Decision::Done => (RunEnd::Undone, false, 1),
            Decision::Retry => (RunEnd::Undone, false, 2),
            Decision::NotDone => (RunEnd::Dirty, false, 1),
            Decision::Fail => (RunEnd::Dirty, true, 1),
        };
        assert_eq!((ended, undo_count(&run)), (expected_end, n_undos), "{word}");
        assert_eq!(
            remaining_changes.undo_unclear.is_empty(),
            !is_unclear,
            "{word}: {remaining_changes:?}"
        );
        // The step may be undone already.
        assert_eq!(
            remaining_changes.possibly_changed.is_empty(),
            !is_unclear,
            "{word}: {remaining_changes:?}"
        );
        // The next `runbook undo`.
        let second_undo = run.undo();
        match decision {
            Decision::Fail => {
                assert!(
                    matches!(second_undo, Err(RunError::UndoUnclear { .. })),
                    "{second_undo:?}"
                );
            }
            Decision::NotDone => {
                assert_eq!(
                    (end(second_undo).0, undo_count(&run)),
                    (RunEnd::Undone, 2),
                    "it was said that it is not undone"
                );
            }
            Decision::Done | Decision::Retry => {
                assert!(
                    matches!(second_undo, Err(RunError::NothingToUndo { .. })),
                    "{second_undo:?}"
                );
            }
        }
        assert!(undo_count(&run) <= 2, "{word}");
    }
}

#[test]
fn a_person_is_asked_about_a_harmful_undo_that_may_have_happened_after_any_error() {
    for class in ErrorClass::ALL.iter().copied() {
        for (undo_kind, reply, happened) in UNDO_KINDS.iter().flat_map(|undo_kind| {
            let replies = [
                (Reply::Fails(class), false),
                (Reply::FailsAfterEffect(class), true),
                (Reply::FailsWithoutEffect(class), false),
            ];
            replies.map(|(reply, happened)| (*undo_kind, reply, happened))
        }) {
            let is_unclear =
                undo_kind == UndoKind::Explicit && !matches!(reply, Reply::FailsWithoutEffect(_));
            let case = format!("{undo_kind:?} {reply:?}");
            let run = run(undo_kind, FakePlugins::default().with("pay/undo", [reply]));
            end(run.execute());
            let (tries, remaining_changes) =
                (run.state().step(&"pay".into()).undo.attempts, run.state().remaining_changes());
            assert_eq!(
                remaining_changes.undo_unclear.is_empty(),
                !is_unclear,
                "{case}: {remaining_changes:?}"
            );
            if is_unclear {
                assert_eq!(tries, 1, "{case}: it is not tried again");
                assert_eq!(
                    (&remaining_changes.changed, &remaining_changes.possibly_changed),
                    (&vec![], &vec!["pay".into()]),
                    "{case}"
                );
                let (before, records) = (undo_count(&run), run.records().len());
                assert!(
                    matches!(run.undo(), Err(RunError::UndoUnclear { .. })),
                    "{case}: nobody was asked"
                );
                assert_eq!(
                    (undo_count(&run), run.records().len()),
                    (before, records),
                    "{case}: something was done"
                );
            }
            run.plugins.set_replies("pay/undo", []);
            let decisions = if is_unclear {
                decision_about_pay(if happened { Decision::Done } else { Decision::Retry })
            } else {
                BTreeMap::new()
            };
            match run.undo_with(&decisions) {
                Ok(_) => {
                    assert!(
                        run.state().remaining_changes().is_clean(),
                        "{case}: {:?}",
                        run.state().remaining_changes()
                    );
                }
                Err(RunError::NothingToUndo { .. }) => {
                    assert!(run.state().remaining_changes().is_clean(), "{case}");
                }
                Err(error) => panic!("{case}: {error}"),
            }
            if undo_kind == UndoKind::Explicit {
                assert_eq!(undo_count(&run), 1, "{case}: it is made once");
            }
        }
    }
}

#[test]
fn a_decision_about_the_undo_of_an_unknown_step_is_refused() {
    let run = run_with_unclear_undo();
    let before = run.records().len();
    let refused = run.undo_with(&BTreeMap::from([("nosuch".into(), Decision::Done)])).unwrap_err();
    assert!(
        matches!(&refused, RunError::NoStep { step, asked } if step.as_str() == "nosuch" && asked.len() == 1),
        "{refused}"
    );
    let known = run.undo_with(&BTreeMap::from([("fail".into(), Decision::Done)])).unwrap_err();
    assert!(matches!(known, RunError::NoUndoDecisionNeeded { .. }), "{known}");
    assert_eq!(run.records().len(), before, "something was written");
}

#[test]
fn undo_and_observe_get_the_time_since_an_unanswered_attempt() {
    let hour = std::time::Duration::from_hours(1);
    let answered_run = run(UndoKind::Auto, FakePlugins::default());
    end(answered_run.execute());
    assert_eq!(answered_run.plugins.unanswered("pay", "undo"), [None]);
    let unanswered_run = run(
        UndoKind::Auto,
        FakePlugins::default().with("pay", [Reply::FailsAfterEffect(ErrorClass::Timeout)]),
    );
    end(unanswered_run.execute());
    assert!(
        matches!(unanswered_run.plugins.unanswered("pay", "undo")[..], [Some(ago)] if ago < hour)
    );
    // What is undone has ended, whatever it was.
    assert!(unanswered_run.plugins.unanswered("pay", "observe").iter().all(Option::is_none));
    // Killed, and gone on with later, by another process.
    let killed_run = run_cut_off_in_attempt(UndoKind::Auto);
    assert!(
        matches!(killed_run.plugins.unanswered("pay", "observe")[..], [Some(ago)] if ago < hour)
    );
    killed_run.clock.advance(hour);
    end(killed_run.resume_with(&decision_about_pay(Decision::Fail)));
    assert!(matches!(killed_run.plugins.unanswered("pay", "undo")[..], [Some(ago)] if ago >= hour));
}

#[test]
fn plan_gets_the_time_since_an_unanswered_attempt_of_the_same_plugin() {
    let text = "[undo]\non = []\n[[step]]\nid = \"first\"\nuses = \"test:do\"\n\
                irreversible = \"an example\"\n[[finally]]\nid = \"last\"\nuses = \"test:do\"\n";
    let times_since = |replies: &[Reply]| {
        let run = Run::new(text, FakePlugins::default().with("first", replies.to_vec()));
        end(run.execute());
        let of_first_step = run.plugins.unanswered("first", "plan");
        assert!(
            of_first_step.iter().all(Option::is_none),
            "nothing began before it: {of_first_step:?}"
        );
        run.plugins.unanswered("last", "plan")
    };
    assert_eq!(times_since(&[]), [None]);
    assert!(matches!(times_since(&[Reply::FailsAfterEffect(ErrorClass::Timeout)])[..], [Some(_)]));
}

#[test]
fn an_effect_that_may_have_happened_remains_and_is_repeated_only_if_idempotent() {
    let classes = [
        (ErrorClass::Transient, "transient"),
        (ErrorClass::Timeout, "timeout"),
        (ErrorClass::Assertion, "assertion"),
        (ErrorClass::Conflict, "conflict"),
    ];
    for ((class, name), idempotent) in
        classes.into_iter().flat_map(|class| [(class, false), (class, true)])
    {
        for (reply, may_have_happened) in [
            (Reply::Fails(class), true),
            (Reply::FailsWithoutEffect(class), false),
            (Reply::FailsAfterEffect(class), true),
        ] {
            let text = format!(
                "[[step]]\nid = \"pay\"\nuses = \"test:do\"\nirreversible = \"a test\"\n\
                 on_failure = \"stop\"\nidempotent = {idempotent}\n\
                 retry = {{ attempts = 3, delay = \"1s\", on = [\"{name}\"] }}\n"
            );
            let run = Run::new(&text, FakePlugins::default().with("pay", [reply.clone()]));
            end(run.execute());
            let state = run.state();
            let is_repeated = idempotent || !may_have_happened;
            assert_eq!(
                state.step(&"pay".into()).attempts,
                if is_repeated { 3 } else { 1 },
                "{name} {reply:?} {idempotent}"
            );
            assert_eq!(
                !state.remaining_changes().is_clean(),
                may_have_happened,
                "{name} {reply:?} {idempotent}"
            );
        }
    }
}

#[test]
fn outcomes_that_cannot_be_recorded_are_in_the_error() {
    let text = "[[step]]\nid = \"pay\"\nuses = \"test:do\"\nundo = \"auto\"\n";
    let cases: [(&[Reply], UnrecordedOutcome); 3] = [
        (&[], UnrecordedOutcome::Done),
        (&[Reply::FailsWithoutEffect(ErrorClass::Denied)], UnrecordedOutcome::DidNotHappen),
        (&[Reply::FailsAfterEffect(ErrorClass::Unknown)], UnrecordedOutcome::Unclear),
    ];
    for (replies, expected) in cases {
        let new_run = || Run::new(text, FakePlugins::default().with("pay", replies.to_vec()));
        let complete_run = new_run();
        end(complete_run.execute());
        let mut all_unrecorded = Vec::new();
        for (seq, record) in complete_run.records().into_iter().enumerate().skip(1) {
            let run = new_run();
            *run.journal.breaks_at.lock().unwrap() = Some(u64::try_from(seq).unwrap());
            let Err(RunError::Journal { unrecorded, .. }) = run.execute() else {
                panic!("record {seq} was written")
            };
            let is_attempt_end = matches!(
                record.event,
                RunEvent::Step { event: StepEvent::Attempt(AttemptEvent::Ended { .. }), .. }
            );
            assert_eq!(
                unrecorded.is_empty(),
                !is_attempt_end,
                "{expected:?}, record {seq}: {unrecorded:?}"
            );
            all_unrecorded.extend(unrecorded);
        }
        assert_eq!(all_unrecorded, [("pay".into(), expected)]);
    }
}
