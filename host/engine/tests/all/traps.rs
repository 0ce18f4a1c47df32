//! Known mistakes of other tools, which this engine does not make. They are described in
//! `docs/traps.md`.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::support::{Run, *};
use runbook_engine::*;
use serde_json::json;
use std::cell::Cell;
use std::collections::BTreeMap;

/// Two steps that can be undone, one after the other.
const TWO_STEPS: &str = "[[step]]\nid = \"a\"\nuses = \"test:do\"\nundo = \"auto\"\n[[step]]\n\
                   id = \"b\"\nuses = \"test:do\"\nundo = \"auto\"\n";

#[test]
fn after_a_failed_step_nothing_is_verified_and_nothing_says_success() {
    let text = format!("{TWO_STEPS}[[verify]]\nid = \"fine\"\nuses = \"test:look\"\n");
    let run =
        Run::new(&text, FakePlugins::default().with("b", [Reply::Fails(ErrorClass::Assertion)]));
    assert_eq!(end(run.execute()).0, RunEnd::Undone);
    assert_eq!(
        run.state().step(&"fine".into()).attempts,
        0,
        "what was there before the run is not verified"
    );
}

#[test]
fn every_class_of_error_is_undone_alike() {
    for class in ErrorClass::ALL.iter().copied() {
        let run = Run::new(TWO_STEPS, FakePlugins::default().with("b", [Reply::Fails(class)]));
        assert_eq!(end(run.execute()).0, RunEnd::Undone, "{class:?}");
        assert!(run.plugins.undone().contains(&"a".to_owned()), "{class:?}");
        assert!(run.plugins.done().is_empty(), "{class:?}");
    }
}

#[test]
fn the_output_of_a_step_that_did_not_run_is_an_error_and_never_an_empty_text() {
    let text = "[params.go]\ntype = \"bool\"\ndefault = false\n[[step]]\nid = \"a\"\n\
                uses = \"test:look\"\nwhen = \"params.go\"\n[[step]]\nid = \"b\"\n\
                uses = \"test:do\"\nundo = \"auto\"\nwith.name = \"{{ steps.a.output.name }}\"\n";
    let outcome = Run::new(text, FakePlugins::default());
    let (ended, _) = end(outcome.execute());
    assert!(outcome.plugins.applied().is_empty(), "it acted on a value that nobody had found");
    assert_ne!(ended, RunEnd::Succeeded, "{ended:?}");
}

#[test]
fn a_poll_that_does_not_hold_yet_is_not_a_failure() {
    let not_yet = Reply::Found(Outcome::Fail, json!({ "n": 3 }));
    let text = "[[step]]\nid = \"empty\"\nuses = \"test:look\"\nuntil = \"outcome == 'pass'\"\n\
                every = \"1s\"\nwithin = \"1m\"\non_failure = \"stop\"\nexpect.n = 0\n";
    let plugins = FakePlugins::default()
        .with("empty", [not_yet.clone(), not_yet, Reply::Found(Outcome::Pass, json!({ "n": 0 }))]);
    let run = Run::new(text, plugins);
    assert_eq!(end(run.execute()).0, RunEnd::Succeeded);
    assert_eq!(run.state().step(&"empty".into()).attempts, 3);
}

#[test]
fn attempts_counts_the_first_attempt_too() {
    let text = "[[step]]\nid = \"a\"\nuses = \"test:do\"\nundo = \"auto\"\nidempotent = true\n\
                retry = { attempts = 3, delay = \"1s\" }\n";
    let run = Run::new(
        text,
        FakePlugins::default().with("a", [Reply::FailsAfterEffect(ErrorClass::Transient)]),
    );
    end(run.execute());
    assert_eq!(run.plugins.applied().len(), 3);
}

#[test]
fn attempts_are_counted_across_a_crash() {
    let text = "[[step]]\nid = \"a\"\nuses = \"test:do\"\nundo = \"auto\"\nidempotent = true\n\
                retry = { attempts = 3, delay = \"1s\" }\n";
    let new_run = || {
        Run::new(
            text,
            FakePlugins::default().with("a", [Reply::FailsAfterEffect(ErrorClass::Transient)]),
        )
    };
    let complete_run = new_run();
    end(complete_run.execute());
    break_journal_at_each_record(&complete_run, new_run, |run, breaks_at| {
        end(if run.records().is_empty() { run.execute() } else { run.resume() });
        let ended = |record: &&Record| {
            matches!(
                record.event,
                RunEvent::Step { event: StepEvent::Attempt(AttemptEvent::Ended { .. }), .. }
                    | RunEvent::Step {
                        event: StepEvent::Attempt(AttemptEvent::Refused { .. }),
                        ..
                    }
            )
        };
        let finished = run.records().iter().filter(ended).count();
        assert!(finished <= 3, "record {breaks_at}: {finished} attempts have failed");
        // The one that was cut off is not known to have failed.
        assert!(
            run.plugins.applied().len() <= 4,
            "record {breaks_at}: {:?}",
            run.plugins.applied()
        );
    });
}

#[test]
fn a_run_with_a_tolerated_failure_ends_with_warnings() {
    let text = "[[step]]\nid = \"a\"\nuses = \"test:do\"\nundo = \"auto\"\n\
                on_failure = \"continue\"\n[[step]]\nid = \"b\"\nuses = \"test:look\"\n\
                needs = []\n";
    let run =
        Run::new(text, FakePlugins::default().with("a", [Reply::Fails(ErrorClass::Assertion)]));
    assert_eq!(end(run.execute()).0, RunEnd::SucceededWithWarnings);
}

#[test]
fn finally_and_notifications_never_hide_a_failure() {
    let after = "[[finally]]\nid = \"tidy\"\nuses = \"test:look\"\n[[notify]]\n\
                 on = [\"undone\", \"succeeded\"]\nuses = \"test:do\"\n";
    let failing = FakePlugins::default().with("b", [Reply::Fails(ErrorClass::Assertion)]);
    assert_eq!(
        end(Run::new(&format!("{TWO_STEPS}{after}"), failing).execute()).0,
        RunEnd::Undone,
        "all after it went well"
    );
    let untidy = FakePlugins::default().with("tidy", [Reply::Fails(ErrorClass::Assertion)]);
    assert_eq!(
        end(Run::new(&format!("{TWO_STEPS}{after}"), untidy).execute()).0,
        RunEnd::SucceededWithWarnings
    );
    let silent = FakePlugins::default().with("notify/1", [Reply::Fails(ErrorClass::Transient)]);
    assert_eq!(
        end(Run::new(&format!("{TWO_STEPS}{after}"), silent).execute()).0,
        RunEnd::SucceededWithWarnings
    );
}

#[test]
fn an_undo_that_fails_is_dirty_whatever_else_went_well() {
    let text = "[[step]]\nid = \"a\"\nuses = \"test:do\"\nundo = { uses = \"test:move\" }\n\
                [[step]]\nid = \"b\"\nuses = \"test:do\"\nundo = \"auto\"\n[[step]]\nid = \"c\"\n\
                uses = \"test:look\"\n";
    let plugins = FakePlugins::default()
        .with("c", [Reply::Fails(ErrorClass::Assertion)])
        .with("a/undo", [Reply::Fails(ErrorClass::Assertion)]);
    let run = Run::new(text, plugins);
    assert_eq!(end(run.execute()).0, RunEnd::Dirty);
    assert_eq!(run.plugins.undone(), ["b"], "the others are undone all the same");
}

#[test]
fn undo_is_the_default_for_every_way_to_fail() {
    let failing = || FakePlugins::default().with("b", [Reply::Fails(ErrorClass::Assertion)]);
    let with_verify = format!("{TWO_STEPS}[[verify]]\nid = \"sound\"\nuses = \"test:look\"\n");
    let after = "[[step]]\nid = \"long\"\nuses = \"test:look\"\nuntil = \"outcome == 'fail'\"\n\
                 within = \"9h\"\nevery = \"1m\"\n";
    let cancelled = Run::new(&with_verify, FakePlugins::default());
    // At the first record after the effect of `a`.
    let token = cancelled.options.cancel.clone();
    let reporter = &mut |record: &Record| {
        if matches!(&record.event, RunEvent::Step { step, event: StepEvent::Attempt(AttemptEvent::Ended { .. }) } if step.as_str() == "a")
        {
            token.cancel();
        }
    };
    let outcome = block_on(cancelled.engine().execute(reporter));
    let runs = [
        ("failure", Run::new(&with_verify, failing())),
        (
            "timeout",
            Run::new(&format!("timeout = \"1h\"\n{TWO_STEPS}{after}"), FakePlugins::default()),
        ),
        (
            "verify",
            Run::new(
                &with_verify,
                FakePlugins::default().with("sound", [Reply::Fails(ErrorClass::Assertion)]),
            ),
        ),
    ];
    let mut ends = vec![("cancel", end(outcome).0, cancelled.plugins.undone())];
    ends.extend(runs.map(|(why, run)| (why, end(run.execute()).0, run.plugins.undone())));
    for (why, ended, undone) in ends {
        assert_eq!(ended, RunEnd::Undone, "{why}");
        assert!(undone.contains(&"a".to_owned()), "{why}: {undone:?}");
    }
}

#[test]
fn a_run_that_failed_in_a_preflight_undoes_nothing() {
    let text = format!("[[preflight]]\nid = \"ready\"\nuses = \"test:look\"\n{TWO_STEPS}");
    let run = Run::new(
        &text,
        FakePlugins::default().with("ready", [Reply::Fails(ErrorClass::Transient)]),
    );
    assert_eq!(end(run.execute()).0, RunEnd::FailedClean);
    assert!(run.plugins.undone().is_empty() && run.plugins.applied().is_empty());
}

#[test]
fn a_check_without_a_result_is_never_a_success() {
    let n_checked = Cell::new(0);
    for outcome in [Outcome::Unknown, Outcome::Fail] {
        let plugins = FakePlugins::default().with("look", [Reply::Found(outcome, json!({}))]);
        let run = Run::new("[[step]]\nid = \"look\"\nuses = \"test:look\"\n", plugins);
        assert_ne!(end(run.execute()).0, RunEnd::Succeeded, "{outcome:?}");
        n_checked.set(n_checked.get() + 1);
    }
    assert_eq!(n_checked.get(), 2);
}

#[test]
fn a_paused_run_holds_no_lock_that_others_wait_for() {
    let text = "[locks]\nexclusive = [\"db\"]\n[[step]]\nid = \"call\"\nuses = \"test:move\"\n\
                irreversible = \"said\"\n";
    let new_run = || {
        let plugins = FakePlugins::default();
        plugins.set_before("call", Json::Null);
        Run::new(text, plugins)
    };
    let complete_run = new_run();
    end(complete_run.execute());
    let n_pauses = Cell::new(0);
    break_journal_at_each_record(&complete_run, new_run, |run, breaks_at| {
        let outcome = if run.records().is_empty() { run.execute() } else { run.resume() };
        if matches!(&outcome, Ok(RunOutcome { stopped: StopReason::Paused { .. }, .. })) {
            assert!(
                run.journal.leases.lock().unwrap().is_empty(),
                "record {breaks_at}: a paused run keeps its lock"
            );
            n_pauses.set(n_pauses.get() + 1);
            end(run.resume_with(&BTreeMap::from([("call".into(), Decision::Done)])));
        }
    });
    assert!(n_pauses.get() > 0, "it never paused");
}

#[test]
fn a_run_is_not_resumed_with_another_plugin_unless_somebody_says_so() {
    let mut run = Run::new(TWO_STEPS, FakePlugins::default());
    *run.journal.breaks_at.lock().unwrap() = Some(3);
    assert!(run.execute().is_err(), "it breaks");
    *run.journal.breaks_at.lock().unwrap() = None;
    let mut other_facts = FakePlugins::facts_of("test:do");
    other_facts.digest = "sha256:1".to_owned();
    run.plan = plan_with(TWO_STEPS, &other_facts);
    let Err(RunError::Changed { differences }) = run.resume() else {
        panic!("it was resumed with another plugin")
    };
    assert!(
        differences
            .iter()
            .any(|differences| differences.contains("`a`") && differences.contains("test:do")),
        "it says what changed: {differences:?}"
    );
    assert_eq!(run.plugins.applied().len(), 1, "nothing more was done");
}

#[test]
fn on_failure_of_defaults_applies_to_all_steps_that_do_not_set_it() {
    let failing = || FakePlugins::default().with("b", [Reply::Fails(ErrorClass::Assertion)]);
    let ended = |defaults: &str, last_step: &str| {
        end(Run::new(&format!("{defaults}{TWO_STEPS}{last_step}"), failing()).execute()).0
    };
    assert_eq!(ended("", ""), RunEnd::Undone);
    assert_eq!(
        ended("[defaults]\non_failure = \"stop\"\n", ""),
        RunEnd::Dirty,
        "half done, as the runbook says"
    );
    assert_eq!(ended("[defaults]\non_failure = \"continue\"\n", ""), RunEnd::SucceededWithWarnings);
    assert_eq!(
        ended("[defaults]\non_failure = \"continue\"\n", "on_failure = \"undo\"\n"),
        RunEnd::Undone,
        "the step says otherwise"
    );
}
