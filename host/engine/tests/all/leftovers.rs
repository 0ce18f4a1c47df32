//! A smoke test removes what it made. If it does not show that it did, the run does not end clean.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::support::{Run, *};
use runbook_engine::*;

const GOOD: (&str, Outcome) = ("an order can be made", Outcome::Pass);
const BAD: (&str, Outcome) = ("an order can be made", Outcome::Fail);
const REMOVED: (&str, Outcome) = ("cleanup: it is removed", Outcome::Pass);
const NOT_REMOVED: (&str, Outcome) = ("cleanup: it is removed", Outcome::Fail);
const NOT_TRIED: (&str, Outcome) = ("cleanup: it is removed", Outcome::Unknown);

/// Replies, each with whether it shows that nothing is left.
const ANSWERS: &[(Reply, bool)] = &[
    (Reply::Cases(&[GOOD]), true),
    (Reply::Cases(&[GOOD, REMOVED]), true),
    (Reply::Cases(&[BAD, REMOVED]), true),
    (Reply::Cases(&[BAD]), false),
    (Reply::Cases(&[GOOD, NOT_REMOVED]), false),
    (Reply::Cases(&[BAD, NOT_TRIED]), false),
    (Reply::Cases(&[GOOD, REMOVED, NOT_REMOVED]), false),
    // It is unknown how far it came.
    (Reply::Fails(ErrorClass::Timeout), false),
    (Reply::Fails(ErrorClass::Trap), false),
];

/// A smoke test in each section, before or after a step that can be undone.
const RUNBOOKS: &[&str] = &[
    "[[step]]\nid = \"smoke\"\nuses = \"test:smoke\"\n",
    "[[step]]\nid = \"up\"\nuses = \"test:do\"\nundo = \"auto\"\n[[step]]\nid = \"smoke\"\n\
     uses = \"test:smoke\"\n",
    "[[step]]\nid = \"up\"\nuses = \"test:do\"\nundo = \"auto\"\n[[verify]]\nid = \"smoke\"\n\
     uses = \"test:smoke\"\n",
];

#[test]
fn a_smoke_test_that_wrote_and_did_not_show_that_it_removed_it_is_no_clean_end() {
    for text in RUNBOOKS {
        for (answer, shows_nothing_left) in ANSWERS {
            let run = Run::new(text, FakePlugins::default().with("smoke", [answer.clone()]));
            let ended = end(run.execute()).0;
            assert_eq!(
                ended != RunEnd::Dirty,
                *shows_nothing_left,
                "{answer:?} in {text}: {ended:?}"
            );
            assert_eq!(fold(&run.records()).unwrap().unwrap(), run.state());
        }
    }
}

#[test]
fn a_smoke_test_that_wrote_nothing_leaves_nothing() {
    for text in RUNBOOKS {
        let plugins = FakePlugins::default()
            .with_changing_verbs("smoke", &[])
            .with("smoke", [Reply::Cases(&[BAD])]);
        assert_ne!(end(Run::new(text, plugins).execute()).0, RunEnd::Dirty, "{text}");
    }
}

#[test]
fn a_leftover_of_one_attempt_is_reported_although_the_next_one_passes() {
    let text = "[[step]]\nid = \"smoke\"\nuses = \"test:smoke\"\n\
                retry = { attempts = 2, delay = \"1s\", on = [\"assertion\"] }\n";
    let run = Run::new(
        text,
        FakePlugins::default().with("smoke", [Reply::Cases(&[BAD]), Reply::Cases(&[GOOD])]),
    );
    assert_eq!(end(run.execute()).0, RunEnd::SucceededWithWarnings);
}

#[test]
fn a_smoke_test_that_was_cut_off_may_have_left_something() {
    let complete_run =
        Run::new(RUNBOOKS[0], FakePlugins::default().with("smoke", [Reply::Cases(&[GOOD])]));
    assert_eq!(end(complete_run.execute()).0, RunEnd::Succeeded);
    break_journal_at_each_record(
        &complete_run,
        || Run::new(RUNBOOKS[0], FakePlugins::default().with("smoke", [Reply::Cases(&[GOOD])])),
        |run, _| {
            let is_start = |record: &Record| {
                matches!(
                    record.event,
                    RunEvent::Step { event: StepEvent::Attempt(AttemptEvent::Started { .. }), .. }
                )
            };
            let is_end = |record: &Record| {
                matches!(
                    record.event,
                    RunEvent::Step { event: StepEvent::Attempt(AttemptEvent::Ended { .. }), .. }
                )
            };
            let cut_off = run.records().iter().any(is_start) && !run.records().iter().any(is_end);
            let found = end(if run.records().is_empty() { run.execute() } else { run.resume() }).0;
            assert_eq!(
                found,
                if cut_off { RunEnd::SucceededWithWarnings } else { RunEnd::Succeeded }
            );
        },
    );
}

#[test]
fn a_step_is_skipped_if_a_step_in_its_needs_failed_unless_if_needs_failed_is_run() {
    let text = |needs: &str| {
        format!(
            "[[step]]\nid = \"renew\"\nuses = \"test:do\"\nundo = \"auto\"\n\
                 on_failure = \"continue\"\n[[step]]\nid = \"reload\"\nuses = \"test:do\"\n\
                 undo = \"auto\"\n{needs}\n[[step]]\nid = \"tell\"\nuses = \"test:do\"\n\
                 undo = \"auto\"\nneeds = [\"reload\"]\n[[step]]\nid = \"last\"\n\
                 uses = \"test:do\"\nundo = \"auto\"\n"
        )
    };
    let applied = |needs: &str| {
        let run = Run::new(
            &text(needs),
            FakePlugins::default().with("renew", [Reply::Fails(ErrorClass::Assertion)]),
        );
        assert_eq!(end(run.execute()).0, RunEnd::SucceededWithWarnings);
        run.plugins.applied()
    };
    assert_eq!(
        applied("needs = [\"renew\"]"),
        ["last"],
        "and what needs it in turn does not run either"
    );
    assert_eq!(
        applied("needs = [\"renew\"]\nif_needs_failed = \"run\""),
        ["reload", "tell", "last"]
    );
    assert_eq!(applied(""), ["reload", "tell", "last"], "one that only stands below it goes on");
    assert!(
        refusal_messages(&text("if_needs_failed = \"run\""))
            .contains("has no meaning without `needs`")
    );
}

/// Executes a run on a clock that advances by itself.
fn execute_on_auto_clock(run: &Run) -> Result<RunOutcome, RunError> {
    let Run { plan, plugins, journal, options, .. } = run;
    let clock = &AutoAdvanceClock::default();
    let engine = runbook_engine::Run { plan, operate: plugins, journal, clock, options };
    block_on(engine.execute(&mut |_: &Record| {}))
}

#[test]
fn a_plan_call_that_hangs_is_recorded_with_its_timeout() {
    let text = "[[step]]\nid = \"hangs\"\nuses = \"test:do\"\nundo = \"auto\"\ntimeout = \"1m\"\n";
    let run = Run::new(text, FakePlugins::default().with("hangs", [Reply::Hangs]));
    assert_eq!(end(execute_on_auto_clock(&run)).0, RunEnd::FailedClean);
    let waits: Vec<RunEvent> = run.records().into_iter().map(|record| record.event).collect();
    let waits: Vec<_> = waits
        .iter()
        .filter(|event| {
            matches!(
                event,
                RunEvent::Step { event: StepEvent::Wait(WaitEvent::StillWaiting { .. }), .. }
            )
        })
        .collect();
    let [
        RunEvent::Step {
            step,
            event: StepEvent::Wait(WaitEvent::StillWaiting { call, at_most_ms, then, .. }),
        },
    ] = waits.as_slice()
    else {
        panic!("{waits:?}")
    };
    assert_eq!(
        (step.as_str(), *call, *at_most_ms, *then),
        ("hangs", CallPurpose::Plan, 60_000, AfterWait::GoesOn)
    );
    assert_eq!(
        run.state().execution_time.recorded_ms(),
        61_000,
        "the time by the monotonic clock: the timeout and the grace of the host"
    );
}

#[test]
fn a_run_that_will_pause_records_the_calls_that_it_waits_for() {
    let text = "[[guard]]\nid = \"sees\"\nuses = \"test:look\"\nevery = \"1s\"\n\
                on_breach = \"pause\"\n[[step]]\nid = \"hangs\"\nuses = \"test:do\"\n\
                undo = \"auto\"\ntimeout = \"1m\"\n";
    let good = Reply::Found(Outcome::Pass, serde_json::json!({}));
    let bad = Reply::Found(Outcome::Fail, serde_json::json!({}));
    let run = Run::new(
        text,
        FakePlugins::default().with("hangs", [Reply::Hangs]).with("sees", [good, bad]),
    );
    let _ = execute_on_auto_clock(&run);
    let is_wait_before_pause = |record: &Record| matches!(&record.event, RunEvent::Step { step, event: StepEvent::Wait(WaitEvent::StillWaiting { then: AfterWait::Pauses, .. }) } if step.as_str() == "hangs");
    assert_eq!(
        run.records().iter().filter(|record| is_wait_before_pause(record)).count(),
        1,
        "{:#?}",
        run.records()
    );
}

#[test]
fn an_irreversible_change_that_is_observed_stays_and_the_run_is_not_dirty() {
    let text = "[[step]]\nid = \"backup\"\nuses = \"test:move\"\nirreversible = \"adds a file\"\n";
    // The call was stopped, and the observation shows whether it took effect.
    for (reply, took_effect) in [
        (Reply::FailsAfterEffect(ErrorClass::Cancelled), true),
        (Reply::Fails(ErrorClass::Cancelled), false),
    ] {
        let run = Run::new(text, FakePlugins::default().with("backup", [reply]));
        assert_ne!(end(run.execute()).0, RunEnd::Dirty);
        let finding = run.state().step(&"backup".into()).undo.finding.clone();
        assert_eq!(
            matches!(finding, Some(UndoFinding::TookEffect { .. })),
            took_effect,
            "{finding:?}"
        );
        assert_eq!(run.state().took_effect(), took_effect);
    }
}
