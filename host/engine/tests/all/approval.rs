//! `approval`: nothing happens before a person has seen what would happen and approved it.
#![allow(clippy::unwrap_used, reason = "a test")]

use crate::support::{Reply, Run, World, broken_at_each_record, end, pause, refused};
use runbook_engine::*;
use std::time::Duration;

fn text(approval: &str) -> String {
    format!(
        "[[step]]\nid = \"first\"\nuses = \"test:do\"\nundo = \"auto\"\n\
         [[step]]\nid = \"drop\"\nuses = \"test:do\"\nundo = \"auto\"\napproval = {approval}\n\
         [[step]]\nid = \"last\"\nuses = \"test:do\"\nundo = \"auto\"\n"
    )
}

/// Says something about the step, as `runbook approve` and `reject` do: by one more record in the
/// journal.
fn say(run: &Run, by: &str, verdict: ApprovalVerdict) {
    let state = run.state();
    let digest = state.step(&"drop".into()).approval.asked.clone().expect("it asks").digest;
    let event = ApprovalEvent::Given { digest, by: by.to_owned(), verdict }.of("drop".into());
    let record = Record { seq: state.next_seq, at: run.clock.now(), event };
    run.journal.records.lock().unwrap().push(record);
}

fn asks(outcome: Result<RunOutcome, RunError>) {
    assert_eq!(pause(outcome), PauseReason::Approval { steps: vec!["drop".into()] });
}

#[test]
fn a_step_waits_until_it_is_approved_and_then_does_what_was_approved() {
    let run = Run::new(&text("{}"), World::default());
    asks(run.execute());
    assert_eq!(run.world.applied(), ["first"]);
    assert_eq!(run.state().step(&"drop".into()).phase.name(), "waiting-for-a-person");
    asks(run.resume());
    say(&run, "ada@bastion", ApprovalVerdict::Approved);
    assert_eq!(end(run.resume()).0, RunEnd::Succeeded);
    assert_eq!(run.world.applied(), ["first", "drop", "last"]);
}

#[test]
fn a_rejected_step_fails_and_what_was_done_is_undone() {
    let run = Run::new(&text("{}"), World::default());
    asks(run.execute());
    say(&run, "ada@bastion", ApprovalVerdict::Rejected { reason: "not today".to_owned() });
    assert_eq!(end(run.resume()), (RunEnd::Undone, Some(Cause::Step { step: "drop".into() })));
    assert_eq!(run.world.applied(), ["first"]);
    assert_eq!(run.world.undone(), ["first"]);
    assert_eq!(
        run.state().step(&"drop".into()).fault.as_ref().unwrap().message,
        "ada@bastion rejected it: not today"
    );
}

#[test]
fn a_quorum_is_of_different_people() {
    let run = Run::new(&text("{ quorum = 2 }"), World::default());
    asks(run.execute());
    for by in ["ada@bastion", "ada@bastion", "ada@laptop", "ada@bastion (as root)"] {
        say(&run, by, ApprovalVerdict::Approved);
    }
    asks(run.resume());
    say(&run, "ada@laptop", ApprovalVerdict::Approved);
    say(&run, "bob@bastion", ApprovalVerdict::Approved);
    assert_eq!(end(run.resume()).0, RunEnd::Succeeded);
}

#[test]
fn who_started_the_run_is_nobody_else_on_another_machine_or_as_root() {
    let mut run = Run::new(&text("{ not_self = true }"), World::default());
    run.options.operator = "eve@bastion".to_owned();
    asks(run.execute());
    // Somebody else resumes it: that makes nobody of who started it.
    run.options.operator = "ada@bastion".to_owned();
    for by in ["eve@bastion", "eve@laptop", "eve@bastion (as root)"] {
        say(&run, by, ApprovalVerdict::Approved);
        asks(run.resume());
    }
    say(&run, "ada@bastion", ApprovalVerdict::Approved);
    assert_eq!(end(run.resume()).0, RunEnd::Succeeded);
}

#[test]
fn only_approvers_count() {
    let run = Run::new(&text("{ approvers = [\"ada\"] }"), World::default());
    asks(run.execute());
    say(&run, "mallory@bastion", ApprovalVerdict::Approved);
    asks(run.resume());
    say(&run, "ada@bastion", ApprovalVerdict::Approved);
    assert_eq!(end(run.resume()).0, RunEnd::Succeeded);
}

#[test]
fn an_approval_that_is_too_old_is_asked_for_again() {
    let run = Run::new(&text("{ expires = \"15m\" }"), World::default());
    asks(run.execute());
    say(&run, "ada@bastion", ApprovalVerdict::Approved);
    run.clock.pass(Duration::from_mins(16));
    asks(run.resume());
    assert_eq!(run.world.applied(), ["first"]);
    say(&run, "ada@bastion", ApprovalVerdict::Approved);
    assert_eq!(end(run.resume()).0, RunEnd::Succeeded);
}

#[test]
fn a_plan_that_changed_voids_its_approval() {
    let run = Run::new(&text("{}"), World::default());
    asks(run.execute());
    let before = run.state().step(&"drop".into()).approval.asked.clone().unwrap().digest;
    say(&run, "ada@bastion", ApprovalVerdict::Approved);
    // What is there is something else now, so the plugin would do something else.
    run.world.set_before("drop", serde_json::json!({ "changed": true }));
    asks(run.resume());
    assert_ne!(run.state().step(&"drop".into()).approval.asked.clone().unwrap().digest, before);
    assert_eq!(run.world.applied(), ["first"]);
}

#[test]
fn branches_that_need_no_approval_go_on_before_the_run_waits() {
    let text = "[[step]]\nid = \"drop\"\nuses = \"test:do\"\nundo = \"auto\"\napproval = {}\n\
                needs = []\n[[step]]\nid = \"beside\"\nuses = \"test:do\"\nundo = \"auto\"\n\
                needs = []\n";
    let run = Run::new(text, World::default());
    asks(run.execute());
    assert_eq!(run.world.applied(), ["beside"]);
}

#[test]
fn a_failure_beside_it_undoes_without_waiting_for_approval() {
    let text = "[[step]]\nid = \"drop\"\nuses = \"test:do\"\nundo = \"auto\"\napproval = {}\n\
                needs = []\n[[step]]\nid = \"beside\"\nuses = \"test:do\"\nundo = \"auto\"\n\
                needs = []\n";
    let run = Run::new(text, World::default().with("beside", [Reply::Fails(ErrorClass::Invalid)]));
    assert_eq!(end(run.execute()).1, Some(Cause::Step { step: "beside".into() }));
    assert!(run.world.applied().iter().all(|step| step != "drop"));
}

#[test]
fn broken_at_each_record_it_still_asks_before_it_acts() {
    let anew = || Run::new(&text("{}"), World::default());
    let whole = anew();
    asks(whole.execute());
    broken_at_each_record(&whole, anew, |run, breaks_at| {
        let mut outcome = if run.records().is_empty() { run.execute() } else { run.resume() };
        if matches!(
            &outcome,
            Ok(RunOutcome {
                stopped: Stopped::Paused { reason: PauseReason::UnknownOutcome { .. } },
                ..
            })
        ) {
            outcome = run.decide(&[("first".into(), Decision::Retry)].into());
        }
        asks(outcome);
        assert!(!run.world.applied().contains(&"drop".to_owned()), "record {breaks_at}");
        say(run, "ada@bastion", ApprovalVerdict::Approved);
        assert_eq!(end(run.resume()).0, RunEnd::Succeeded, "record {breaks_at}");
    });
}

#[test]
fn mistakes_in_approval_are_shown() {
    assert!(refused(&text("{ quorum = 0 }")).contains("`quorum` must be 1 or more"));
    assert!(refused(&text("{ quorum = 2, approvers = [\"ada\"] }")).contains("has only 1"));
    assert!(refused(&text("{ qorum = 1 }")).contains("unknown key `qorum`"));
    let probe = "[[step]]\nid = \"look\"\nuses = \"test:look\"\napproval = {}\n";
    assert!(refused(probe).contains("has no plan that could be approved"));
}
