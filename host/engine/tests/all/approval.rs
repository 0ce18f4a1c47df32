//! `approval`: a step has no effect before a person has seen and approved what it would do.
#![allow(clippy::unwrap_used, reason = "a test")]

use crate::support::{
    FakePlugins, Reply, Run, break_journal_at_each_record, end, pause, refusal_messages,
};
use runbook_engine::*;
use std::time::Duration;

fn runbook_with_approval(approval: &str) -> String {
    format!(
        "[[step]]\nid = \"first\"\nuses = \"test:do\"\nundo = \"auto\"\n\
         [[step]]\nid = \"drop\"\nuses = \"test:do\"\nundo = \"auto\"\napproval = {approval}\n\
         [[step]]\nid = \"last\"\nuses = \"test:do\"\nundo = \"auto\"\n"
    )
}

/// Answers the approval request of the step by a record in the journal, as `runbook approve` and
/// `runbook reject` do.
fn answer_request(run: &Run, by: &str, verdict: ApprovalVerdict) {
    let state = run.state();
    let digest = state.step(&"drop".into()).approval.asked.clone().expect("it asks").digest;
    let event = ApprovalEvent::Given { digest, by: by.to_owned(), verdict }.of("drop".into());
    let record = Record { seq: state.next_seq, at: run.clock.now(), event };
    run.journal.records.lock().unwrap().push(record);
}

fn assert_asks_for_approval(outcome: Result<RunOutcome, RunError>) {
    assert_eq!(pause(outcome), PauseReason::Approval { steps: vec!["drop".into()] });
}

#[test]
fn a_step_waits_until_it_is_approved_and_then_does_what_was_approved() {
    let run = Run::new(&runbook_with_approval("{}"), FakePlugins::default());
    assert_asks_for_approval(run.execute());
    assert_eq!(run.plugins.applied(), ["first"]);
    assert_eq!(run.state().step(&"drop".into()).phase.name(), "waiting-for-a-person");
    assert_asks_for_approval(run.resume());
    answer_request(&run, "ada@bastion", ApprovalVerdict::Approved);
    assert_eq!(end(run.resume()).0, RunEnd::Succeeded);
    assert_eq!(run.plugins.applied(), ["first", "drop", "last"]);
}

#[test]
fn a_rejected_step_fails_and_what_was_done_is_undone() {
    let run = Run::new(&runbook_with_approval("{}"), FakePlugins::default());
    assert_asks_for_approval(run.execute());
    answer_request(
        &run,
        "ada@bastion",
        ApprovalVerdict::Rejected { reason: "not today".to_owned() },
    );
    assert_eq!(end(run.resume()), (RunEnd::Undone, Some(Cause::Step { step: "drop".into() })));
    assert_eq!(run.plugins.applied(), ["first"]);
    assert_eq!(run.plugins.undone(), ["first"]);
    assert_eq!(
        run.state().step(&"drop".into()).fault.as_ref().unwrap().message,
        "ada@bastion rejected it: not today"
    );
}

#[test]
fn a_quorum_is_of_different_people() {
    let run = Run::new(&runbook_with_approval("{ quorum = 2 }"), FakePlugins::default());
    assert_asks_for_approval(run.execute());
    for by in ["ada@bastion", "ada@bastion", "ada@laptop", "ada@bastion (as root)"] {
        answer_request(&run, by, ApprovalVerdict::Approved);
    }
    assert_asks_for_approval(run.resume());
    answer_request(&run, "ada@laptop", ApprovalVerdict::Approved);
    answer_request(&run, "bob@bastion", ApprovalVerdict::Approved);
    assert_eq!(end(run.resume()).0, RunEnd::Succeeded);
}

#[test]
fn the_starter_of_a_run_is_the_same_person_on_another_machine_or_as_root() {
    let mut run = Run::new(&runbook_with_approval("{ not_self = true }"), FakePlugins::default());
    run.options.operator = "eve@bastion".to_owned();
    assert_asks_for_approval(run.execute());
    // Another operator resumes the run: the starter stays the same.
    run.options.operator = "ada@bastion".to_owned();
    for by in ["eve@bastion", "eve@laptop", "eve@bastion (as root)"] {
        answer_request(&run, by, ApprovalVerdict::Approved);
        assert_asks_for_approval(run.resume());
    }
    answer_request(&run, "ada@bastion", ApprovalVerdict::Approved);
    assert_eq!(end(run.resume()).0, RunEnd::Succeeded);
}

#[test]
fn only_approvers_count() {
    let run = Run::new(&runbook_with_approval("{ approvers = [\"ada\"] }"), FakePlugins::default());
    assert_asks_for_approval(run.execute());
    answer_request(&run, "mallory@bastion", ApprovalVerdict::Approved);
    assert_asks_for_approval(run.resume());
    answer_request(&run, "ada@bastion", ApprovalVerdict::Approved);
    assert_eq!(end(run.resume()).0, RunEnd::Succeeded);
}

#[test]
fn an_approval_that_is_too_old_is_asked_for_again() {
    let run = Run::new(&runbook_with_approval("{ expires = \"15m\" }"), FakePlugins::default());
    assert_asks_for_approval(run.execute());
    answer_request(&run, "ada@bastion", ApprovalVerdict::Approved);
    run.clock.advance(Duration::from_mins(16));
    assert_asks_for_approval(run.resume());
    assert_eq!(run.plugins.applied(), ["first"]);
    answer_request(&run, "ada@bastion", ApprovalVerdict::Approved);
    assert_eq!(end(run.resume()).0, RunEnd::Succeeded);
}

#[test]
fn a_changed_proposal_needs_a_new_approval() {
    let run = Run::new(&runbook_with_approval("{}"), FakePlugins::default());
    assert_asks_for_approval(run.execute());
    let first_digest = run.state().step(&"drop".into()).approval.asked.clone().unwrap().digest;
    answer_request(&run, "ada@bastion", ApprovalVerdict::Approved);
    // The state before has changed, so the proposal changes too.
    run.plugins.set_before("drop", serde_json::json!({ "changed": true }));
    assert_asks_for_approval(run.resume());
    assert_ne!(
        run.state().step(&"drop".into()).approval.asked.clone().unwrap().digest,
        first_digest
    );
    assert_eq!(run.plugins.applied(), ["first"]);
}

#[test]
fn branches_that_need_no_approval_go_on_before_the_run_waits() {
    let text = "[[step]]\nid = \"drop\"\nuses = \"test:do\"\nundo = \"auto\"\napproval = {}\n\
                needs = []\n[[step]]\nid = \"beside\"\nuses = \"test:do\"\nundo = \"auto\"\n\
                needs = []\n";
    let run = Run::new(text, FakePlugins::default());
    assert_asks_for_approval(run.execute());
    assert_eq!(run.plugins.applied(), ["beside"]);
}

#[test]
fn a_failure_in_another_branch_undoes_without_waiting_for_approval() {
    let text = "[[step]]\nid = \"drop\"\nuses = \"test:do\"\nundo = \"auto\"\napproval = {}\n\
                needs = []\n[[step]]\nid = \"beside\"\nuses = \"test:do\"\nundo = \"auto\"\n\
                needs = []\n";
    let run =
        Run::new(text, FakePlugins::default().with("beside", [Reply::Fails(ErrorClass::Invalid)]));
    assert_eq!(end(run.execute()).1, Some(Cause::Step { step: "beside".into() }));
    assert!(run.plugins.applied().iter().all(|step| step != "drop"));
}

#[test]
fn broken_at_each_record_it_still_asks_before_it_acts() {
    let new_run = || Run::new(&runbook_with_approval("{}"), FakePlugins::default());
    let complete_run = new_run();
    assert_asks_for_approval(complete_run.execute());
    break_journal_at_each_record(&complete_run, new_run, |run, breaks_at| {
        let mut outcome = if run.records().is_empty() { run.execute() } else { run.resume() };
        if matches!(
            &outcome,
            Ok(RunOutcome {
                stopped: StopReason::Paused { reason: PauseReason::UnknownOutcome { .. } },
                ..
            })
        ) {
            outcome = run.resume_with(&[("first".into(), Decision::Retry)].into());
        }
        assert_asks_for_approval(outcome);
        assert!(!run.plugins.applied().contains(&"drop".to_owned()), "record {breaks_at}");
        answer_request(run, "ada@bastion", ApprovalVerdict::Approved);
        assert_eq!(end(run.resume()).0, RunEnd::Succeeded, "record {breaks_at}");
    });
}

#[test]
fn mistakes_in_approval_are_shown() {
    assert!(
        refusal_messages(&runbook_with_approval("{ quorum = 0 }"))
            .contains("`quorum` must be 1 or more")
    );
    assert!(
        refusal_messages(&runbook_with_approval("{ quorum = 2, approvers = [\"ada\"] }"))
            .contains("has only 1")
    );
    assert!(
        refusal_messages(&runbook_with_approval("{ qorum = 1 }")).contains("unknown key `qorum`")
    );
    let probe = "[[step]]\nid = \"look\"\nuses = \"test:look\"\napproval = {}\n";
    assert!(refusal_messages(probe).contains("has no plan that could be approved"));
}
