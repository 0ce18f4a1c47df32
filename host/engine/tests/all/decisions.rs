//! What a person decides about a step whose outcome is unknown, and what is undone after it.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::support::{Run, *};
use runbook_engine::*;
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// What undoes the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UndoKind {
    /// Its plugin, from any state.
    Auto,
    /// Another operation, which must not happen twice, nor for nothing.
    Explicit,
    /// Another operation that does no harm.
    Idempotent,
}

const UNDO_KINDS: [UndoKind; 3] = [UndoKind::Auto, UndoKind::Explicit, UndoKind::Idempotent];

/// One step that acts, and a look that fails: whatever was done is undone.
fn run(undo_kind: UndoKind, world: World) -> Run {
    let undo = match undo_kind {
        UndoKind::Auto => "\"auto\"",
        UndoKind::Explicit => "{ uses = \"test:move\" }",
        UndoKind::Idempotent => "{ uses = \"test:move\", idempotent = true }",
    };
    let text = format!(
        "[[step]]\nid = \"pay\"\nuses = \"test:do\"\nundo = {undo}\n[[step]]\n\
                 id = \"fail\"\nuses = \"test:look\"\n"
    );
    Run::new(&text, world.with("fail", [Reply::Fails(ErrorClass::Assertion)]))
}

/// A world in which nobody can see whether the step happened.
fn blind() -> World {
    let world = World::default();
    world.set_before("pay", Json::Null);
    world
}

fn saying(decision: Decision) -> BTreeMap<StepId, Decision> {
    BTreeMap::from([("pay".into(), decision)])
}

fn undos(run: &Run) -> usize {
    let explicit = run.world.applied().iter().filter(|step| *step == "pay/undo").count();
    explicit + run.world.undone().iter().filter(|step| *step == "pay").count()
}

fn is_asked(outcome: &Result<RunOutcome, RunError>) -> bool {
    matches!(
        outcome.as_ref().unwrap().stopped,
        Stopped::Paused { reason: PauseReason::UnknownOutcome { .. } }
    )
}

/// A run that was killed in the attempt, and asks about it.
fn cut_off(undo_kind: UndoKind) -> Run {
    let run = run(undo_kind, blind());
    *run.journal.breaks_at.lock().unwrap() = Some(3);
    assert!(run.execute().is_err());
    *run.journal.breaks_at.lock().unwrap() = None;
    assert_eq!(run.state().step(&"pay".into()).phase, StepPhase::Running, "{:#?}", run.records());
    assert!(is_asked(&run.resume()));
    run
}

/// What the attempt that follows `retry` does.
#[derive(Debug, Clone, Copy)]
enum Next {
    Succeeds,
    IsRefused,
    FailsInPart,
    IsNotAnswered,
}

#[test]
fn what_a_person_decided_is_what_is_undone_whatever_the_next_attempt_does() {
    for undo_kind in UNDO_KINDS {
        for (decision, undone) in [(Decision::Done, 1), (Decision::NotDone, 0), (Decision::Fail, 1)]
        {
            let run = cut_off(undo_kind);
            let outcome = run.decide(&saying(decision));
            assert!(!is_asked(&outcome), "{undo_kind:?} {decision:?}");
            assert_eq!(undos(&run), undone, "{undo_kind:?} {decision:?}");
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
        for next in [Next::Succeeds, Next::IsRefused, Next::FailsInPart, Next::IsNotAnswered] {
            let run = cut_off(undo_kind);
            let (reply, undone) = match next {
                Next::Succeeds => (None, 1),
                Next::IsRefused => (Some(Reply::Refused(ErrorClass::Timeout)), 0),
                Next::FailsInPart => (Some(Reply::Fails(ErrorClass::Conflict)), 1),
                Next::IsNotAnswered => (
                    Some(Reply::FailsLate(ErrorClass::Timeout)),
                    usize::from(undo_kind != UndoKind::Explicit),
                ),
            };
            run.world.tell("pay", reply);
            let outcome = run.decide(&saying(Decision::Retry));
            let asks = matches!((next, undo_kind), (Next::IsNotAnswered, UndoKind::Explicit));
            assert_eq!(is_asked(&outcome), asks, "{undo_kind:?} {next:?}");
            assert_eq!(undos(&run), undone, "{undo_kind:?} {next:?}: {:?}", run.world.applied());
            if matches!(next, Next::IsRefused) {
                assert_eq!(end(outcome).0, RunEnd::FailedClean, "{undo_kind:?}: it never happened");
            }
        }
    }
}

#[test]
fn an_undo_that_does_harm_is_not_made_on_a_guess() {
    let asking = || {
        let run =
            run(UndoKind::Explicit, blind().with("pay", [Reply::FailsLate(ErrorClass::Unknown)]));
        assert!(is_asked(&run.execute()));
        assert_eq!(undos(&run), 0);
        run
    };
    for (decision, undone, ended) in [
        (Decision::Done, 1, RunEnd::Undone),
        (Decision::NotDone, 0, RunEnd::FailedClean),
        (Decision::Fail, 1, RunEnd::Undone),
    ] {
        let run = asking();
        assert_eq!(end(run.decide(&saying(decision))).0, ended, "{decision:?}");
        assert_eq!(undos(&run), undone, "{decision:?}");
    }
    let run = asking();
    let refused = run.decide(&saying(Decision::Retry));
    assert!(matches!(refused, Err(RunError::NotAgain { .. })), "{refused:?}");
    // Asked as long as nobody has said.
    assert!(is_asked(&run.resume()));
    assert_eq!(undos(&run), 0);
}

#[test]
fn what_is_seen_not_to_have_happened_is_not_asked_about_and_not_undone() {
    let run =
        run(UndoKind::Explicit, World::default().with("pay", [Reply::Fails(ErrorClass::Unknown)]));
    assert_eq!(end(run.execute()).0, RunEnd::FailedClean);
    assert_eq!(undos(&run), 0);
}

#[test]
fn a_cancel_answers_no_question() {
    let mut run = cut_off(UndoKind::Explicit);
    run.options.cancel.cancel();
    assert!(is_asked(&run.resume()));
    assert_eq!(undos(&run), 0);
    run.options = Options { executor: uuid::Uuid::now_v7(), ..options(run.options.run) };
    assert_eq!(
        end(run.decide(&saying(Decision::NotDone))),
        (RunEnd::Cancelled, Some(Cause::Cancel))
    );
    assert_eq!(undos(&run), 0);
}

#[test]
fn broken_at_each_record_no_undo_is_a_guess() {
    let anew =
        || run(UndoKind::Explicit, blind().with("pay", [Reply::FailsLate(ErrorClass::Unknown)]));
    let whole = anew();
    assert!(is_asked(&whole.execute()));
    broken_at_each_record(&whole, anew, |run, breaks_at| {
        let outcome = run.resume();
        assert!(is_asked(&outcome), "record {breaks_at}: {outcome:?}");
        assert_eq!(undos(run), 0, "record {breaks_at}");
        let (ended, _) = end(run.decide(&saying(Decision::NotDone)));
        assert_eq!((ended, undos(run)), (RunEnd::FailedClean, 0), "record {breaks_at}");
    });
}

#[test]
fn a_decision_about_what_is_not_asked_about_is_refused_before_anything_is_done() {
    let run = cut_off(UndoKind::Explicit);
    let before = run.records().len();
    for (step, decision) in [("nosuch", Decision::Retry), ("fail", Decision::Done)] {
        let decisions =
            BTreeMap::from([("pay".into(), Decision::NotDone), (step.into(), decision)]);
        let refused = run.decide(&decisions);
        let Err(
            RunError::NothingAsked { step: named, asked } | RunError::NoStep { step: named, asked },
        ) = refused
        else {
            panic!("{step}: {refused:?}")
        };
        assert_eq!((named.as_str(), asked), (step, vec![StepId::from("pay")]));
    }
    assert_eq!(run.records().len(), before, "something was written");
    assert!(run.journal.leases.lock().unwrap().is_empty(), "a lease is left");
}

/// A run whose undo, another operation, got no answer: a refund that may have been paid.
fn undo_in_doubt() -> Run {
    let run = run(
        UndoKind::Explicit,
        World::default().with("pay/undo", [Reply::FailsLate(ErrorClass::Timeout)]),
    );
    assert_eq!(end(run.execute()).0, RunEnd::Dirty);
    assert_eq!((undos(&run), run.state().account().unclear), (1, vec![StepId::from("pay")]));
    run
}

#[test]
fn whatever_is_decided_of_an_undo_in_doubt_it_is_never_made_twice_unless_somebody_said_that_it_did_not_happen()
 {
    for (_, word, _) in Decision::ALL {
        let decision = Decision::named(word).unwrap();
        let run = undo_in_doubt();
        run.world.tell("pay/undo", []);
        let (ended, _) = end(run.undo_deciding(&saying(decision)));
        let account = run.state().account();
        let (wanted, is_open, made) = match decision {
            Decision::Done => (RunEnd::Undone, false, 1),
            Decision::Retry => (RunEnd::Undone, false, 2),
            Decision::NotDone => (RunEnd::Dirty, false, 1),
            Decision::Fail => (RunEnd::Dirty, true, 1),
        };
        assert_eq!((ended, undos(&run)), (wanted, made), "{word}");
        assert_eq!(account.unclear.is_empty(), !is_open, "{word}: {account:?}");
        // It may be put back already: that it is not, nobody has said.
        assert_eq!(account.perhaps.is_empty(), !is_open, "{word}: {account:?}");
        // What is then typed next.
        let again = run.undo();
        match decision {
            Decision::Fail => {
                assert!(matches!(again, Err(RunError::UndoUnclear { .. })), "{again:?}");
            }
            Decision::NotDone => {
                assert_eq!(
                    (end(again).0, undos(&run)),
                    (RunEnd::Undone, 2),
                    "it was said that it is not undone"
                );
            }
            Decision::Done | Decision::Retry => {
                assert!(matches!(again, Err(RunError::NothingToUndo { .. })), "{again:?}");
            }
        }
        assert!(undos(&run) <= 2, "{word}");
    }
}

#[test]
fn an_undo_that_does_harm_and_may_have_happened_is_asked_about_whatever_it_was_answered_with() {
    for class in ErrorClass::ALL.iter().copied() {
        for (undo_kind, reply, happened) in UNDO_KINDS.iter().flat_map(|undo_kind| {
            let replies = [
                (Reply::Fails(class), false),
                (Reply::FailsLate(class), true),
                (Reply::Refused(class), false),
            ];
            replies.map(|(reply, happened)| (*undo_kind, reply, happened))
        }) {
            let is_open = undo_kind == UndoKind::Explicit && !matches!(reply, Reply::Refused(_));
            let said = format!("{undo_kind:?} {reply:?}");
            let run = run(undo_kind, World::default().with("pay/undo", [reply]));
            end(run.execute());
            let (tries, account) =
                (run.state().step(&"pay".into()).undo.attempts, run.state().account());
            assert_eq!(account.unclear.is_empty(), !is_open, "{said}: {account:?}");
            if is_open {
                assert_eq!(tries, 1, "{said}: it is not tried again");
                assert_eq!(
                    (&account.changed, &account.perhaps),
                    (&vec![], &vec!["pay".into()]),
                    "{said}"
                );
                let (before, records) = (undos(&run), run.records().len());
                assert!(
                    matches!(run.undo(), Err(RunError::UndoUnclear { .. })),
                    "{said}: nobody was asked"
                );
                assert_eq!(
                    (undos(&run), run.records().len()),
                    (before, records),
                    "{said}: something was done"
                );
            }
            run.world.tell("pay/undo", []);
            let decided = if is_open {
                saying(if happened { Decision::Done } else { Decision::Retry })
            } else {
                BTreeMap::new()
            };
            match run.undo_deciding(&decided) {
                Ok(_) => {
                    assert!(
                        run.state().account().is_clean(),
                        "{said}: {:?}",
                        run.state().account()
                    );
                }
                Err(RunError::NothingToUndo { .. }) => {
                    assert!(run.state().account().is_clean(), "{said}");
                }
                Err(error) => panic!("{said}: {error}"),
            }
            if undo_kind == UndoKind::Explicit {
                assert_eq!(undos(&run), 1, "{said}: it is made once");
            }
        }
    }
}

#[test]
fn a_decision_about_the_undo_of_a_step_that_there_is_not_says_so_with_what_is_asked() {
    let run = undo_in_doubt();
    let before = run.records().len();
    let refused =
        run.undo_deciding(&BTreeMap::from([("nosuch".into(), Decision::Done)])).unwrap_err();
    assert!(
        matches!(&refused, RunError::NoStep { step, asked } if step.as_str() == "nosuch" && asked.len() == 1),
        "{refused}"
    );
    let known = run.undo_deciding(&BTreeMap::from([("fail".into(), Decision::Done)])).unwrap_err();
    assert!(matches!(known, RunError::NotAsked { .. }), "{known}");
    assert_eq!(run.records().len(), before, "something was written");
}

#[test]
fn an_undo_and_a_look_after_an_attempt_without_an_answer_are_told_how_long_ago_it_began() {
    let hour = std::time::Duration::from_hours(1);
    let answered = run(UndoKind::Auto, World::default());
    end(answered.execute());
    assert_eq!(answered.world.unanswered("pay", "undo"), [None]);
    let late =
        run(UndoKind::Auto, World::default().with("pay", [Reply::FailsLate(ErrorClass::Timeout)]));
    end(late.execute());
    assert!(matches!(late.world.unanswered("pay", "undo")[..], [Some(ago)] if ago < hour));
    // What is undone has ended, whatever it was.
    assert!(late.world.unanswered("pay", "observe").iter().all(Option::is_none));
    // Killed, and gone on with later, by another process.
    let killed = cut_off(UndoKind::Auto);
    assert!(matches!(killed.world.unanswered("pay", "observe")[..], [Some(ago)] if ago < hour));
    killed.clock.pass(hour);
    end(killed.decide(&saying(Decision::Fail)));
    assert!(matches!(killed.world.unanswered("pay", "undo")[..], [Some(ago)] if ago >= hour));
}

#[test]
fn a_step_is_planned_knowing_how_long_ago_another_one_of_its_plugin_began_that_got_no_answer() {
    let text = "[undo]\non = []\n[[step]]\nid = \"first\"\nuses = \"test:do\"\n\
                irreversible = \"an example\"\n[[finally]]\nid = \"last\"\nuses = \"test:do\"\n";
    let told = |replies: &[Reply]| {
        let run = Run::new(text, World::default().with("first", replies.to_vec()));
        end(run.execute());
        let own = run.world.unanswered("first", "plan");
        assert!(own.iter().all(Option::is_none), "nothing began before it: {own:?}");
        run.world.unanswered("last", "plan")
    };
    assert_eq!(told(&[]), [None]);
    assert!(matches!(told(&[Reply::FailsLate(ErrorClass::Timeout)])[..], [Some(_)]));
}

#[test]
fn what_may_have_happened_is_in_the_account_and_is_not_made_again_unless_that_does_no_harm() {
    let classes = [
        (ErrorClass::Transient, "transient"),
        (ErrorClass::Timeout, "timeout"),
        (ErrorClass::Assertion, "assertion"),
        (ErrorClass::Conflict, "conflict"),
    ];
    for ((class, name), idempotent) in
        classes.into_iter().flat_map(|class| [(class, false), (class, true)])
    {
        for (reply, may_have) in [
            (Reply::Fails(class), true),
            (Reply::Refused(class), false),
            (Reply::FailsLate(class), true),
        ] {
            let text = format!(
                "[[step]]\nid = \"pay\"\nuses = \"test:do\"\nirreversible = \"a test\"\n\
                 on_failure = \"stop\"\nidempotent = {idempotent}\n\
                 retry = {{ attempts = 3, delay = \"1s\", on = [\"{name}\"] }}\n"
            );
            let run = Run::new(&text, World::default().with("pay", [reply.clone()]));
            end(run.execute());
            let state = run.state();
            let again = idempotent || !may_have;
            assert_eq!(
                state.step(&"pay".into()).attempts,
                if again { 3 } else { 1 },
                "{name} {reply:?} {idempotent}"
            );
            assert_eq!(!state.account().is_clean(), may_have, "{name} {reply:?} {idempotent}");
        }
    }
}

#[test]
fn when_the_journal_cannot_be_written_what_is_known_of_each_attempt_is_told() {
    let text = "[[step]]\nid = \"pay\"\nuses = \"test:do\"\nundo = \"auto\"\n";
    let cases: [(&[Reply], UnrecordedOutcome); 3] = [
        (&[], UnrecordedOutcome::Done),
        (&[Reply::Refused(ErrorClass::Denied)], UnrecordedOutcome::DidNotHappen),
        (&[Reply::FailsLate(ErrorClass::Unknown)], UnrecordedOutcome::Unclear),
    ];
    for (replies, expected) in cases {
        let anew = || Run::new(text, World::default().with("pay", replies.to_vec()));
        let whole = anew();
        end(whole.execute());
        let mut told = Vec::new();
        for (seq, record) in whole.records().into_iter().enumerate().skip(1) {
            let run = anew();
            *run.journal.breaks_at.lock().unwrap() = Some(u64::try_from(seq).unwrap());
            let Err(RunError::Journal { unwritten, .. }) = run.execute() else {
                panic!("record {seq} was written")
            };
            let ends = matches!(
                record.event,
                RunEvent::Step { event: StepEvent::Attempt(AttemptEvent::Ended { .. }), .. }
            );
            assert_eq!(unwritten.is_empty(), !ends, "{expected:?}, record {seq}: {unwritten:?}");
            told.extend(unwritten);
        }
        assert_eq!(told, [("pay".into(), expected)]);
    }
}
