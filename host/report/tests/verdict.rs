//! No report says that a run, or a check, succeeded unless it did: every state of a run, in every
//! format.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use runbook_engine::RunEnd;
use runbook_engine::model::Criticality;
use runbook_report::checks::{
    CHECK_FORMATS, CheckFormat, CheckResult, Checks, Health, WarningPolicy,
};
use runbook_report::{ExecutionStatus, FORMATS, Format, RunVerdict, StepStatus, Summary, render};
use serde_json::{Value, json};
use support::{AT, summary};

/// Two steps that worked.
fn succeeded_steps() -> Vec<Value> {
    let step =
        |id: &str| json!({ "id": id, "title": id, "section": "step", "uses": "u", "digest": "d" });
    let proposal = json!({ "effects": [], "summary": "s", "before": null });
    let mut events =
        vec![json!({ "of": "run", "type": "run-started", "runbook": "r", "title": "t",
            "steps": [step("a"), step("b")], "params": {} })];
    events.push(json!({ "of": "run", "type": "steps-began", "locks": [] }));
    for id in ["a", "b"] {
        events.push(json!({ "of": "step", "type": "attempt-started", "step": id, "attempt": 1,
            "input": {}, "input_digest": "d", "proposal": proposal, "undo": "auto" }));
        let result = json!({ "type": "succeeded", "outcome": "pass", "summary": "s", "output": {},
            "changed": true, "measurements": [], "cases": [] });
        events.push(json!({ "of": "step", "type": "attempt-ended", "step": id, "attempt": 1,
            "result": result, "then": { "type": "final" }, "duration_ms": 5 }));
    }
    events
}

/// Whether a run that ends so is a success.
fn is_good(end: RunEnd) -> bool {
    match end {
        RunEnd::Succeeded | RunEnd::SucceededWithWarnings => true,
        RunEnd::FailedClean | RunEnd::Undone | RunEnd::Dirty | RunEnd::Cancelled => false,
    }
}

/// Runs in every state, each with its name and whether it succeeded. All steps that ended have
/// succeeded.
fn runs() -> Vec<(String, Summary, bool)> {
    let mut runs = Vec::new();
    let mut add = |name: String, further_events: Vec<Value>, has_succeeded: bool| {
        runs.push((name, summary(&[succeeded_steps(), further_events].concat()), has_succeeded));
    };
    add("running".into(), vec![], false);
    add(
        "waiting for a lock".into(),
        vec![json!({ "of": "run", "type": "lock-waiting", "name": "n", "holder": "h" })],
        false,
    );
    add("verifying".into(), vec![json!({ "of": "run", "type": "verify-began" })], false);
    add(
        "in finally".into(),
        vec![json!({ "of": "run", "type": "finally-began", "end": "succeeded", "cause": null })],
        false,
    );
    let undo = json!({ "of": "run", "type": "undo-began", "cause": { "type": "cancel" },
        "order": ["b", "a"] });
    add(
        "undoing".into(),
        vec![
            undo.clone(),
            json!({ "of": "step", "type": "undo-started", "step": "b", "attempt": 1 }),
        ],
        false,
    );
    for reason in [
        json!({ "type": "unknown-outcome", "steps": ["a"] }),
        json!({ "type": "approval", "steps": ["a"] }),
        json!({ "type": "manual", "steps": ["a"] }),
        json!({ "type": "guard", "guard": "g", "why": "w" }),
        json!({ "type": "lease-lost", "name": "n" }),
        json!({ "type": "outside-window", "opens": AT }),
        json!({ "type": "interrupted" }),
    ] {
        add(
            format!("paused {reason}"),
            vec![json!({ "of": "run", "type": "paused", "reason": reason })],
            false,
        );
        let resumed = json!({ "of": "run", "type": "resumed", "by": "b" });
        add(
            format!("resumed {reason}"),
            vec![json!({ "of": "run", "type": "paused", "reason": reason }), resumed],
            false,
        );
    }
    let ends = [
        RunEnd::Succeeded,
        RunEnd::SucceededWithWarnings,
        RunEnd::FailedClean,
        RunEnd::Undone,
        RunEnd::Dirty,
        RunEnd::Cancelled,
    ];
    for end in ends {
        for cause in [
            json!(null),
            json!({ "type": "cancel" }),
            json!({ "type": "timeout" }),
            json!({ "type": "requested" }),
        ] {
            let run_ended = json!({ "of": "run", "type": "run-ended", "end": end, "cause": cause });
            add(format!("{end:?} {cause}"), vec![run_ended.clone()], is_good(end));
            let undo_requested = json!({ "of": "run", "type": "undo-requested", "by": "b" });
            add(
                format!("{end:?} {cause}, then undone"),
                vec![run_ended, undo_requested, undo.clone()],
                false,
            );
        }
    }
    let mut interrupted = summary(&succeeded_steps());
    interrupted.set_execution(ExecutionStatus::Nobody, AT.parse().unwrap());
    runs.push(("interrupted".into(), interrupted, false));
    let mut executed = summary(&succeeded_steps());
    executed.set_execution(ExecutionStatus::Somebody("process 7".into()), AT.parse().unwrap());
    runs.push(("executed".into(), executed, false));
    runs
}

/// Whether CI shows a JUnit document as a success: without failures, errors and skipped tests.
fn is_success(junit: &str) -> bool {
    junit.contains("failures=\"0\"")
        && junit.contains("errors=\"0\"")
        && !junit.contains("<skipped")
}

fn reports_success(format: Format, text: &str) -> bool {
    match format {
        Format::Text | Format::Markdown => text.contains("Succeeded"),
        Format::Html => text.contains("Succeeded") || text.contains("\"end good\""),
        Format::Json => serde_json::from_str::<Value>(text).unwrap()["state"]
            .as_str()
            .unwrap()
            .starts_with("succeeded"),
        Format::Junit => is_success(text),
    }
}

#[test]
fn no_report_says_success_unless_the_run_succeeded() {
    for (name, summary, has_succeeded) in runs() {
        assert_eq!(summary.verdict() == RunVerdict::Good, has_succeeded, "{name}");
        for (format, format_name, ..) in FORMATS {
            let text = render(*format, &summary);
            assert_eq!(
                reports_success(*format, &text),
                has_succeeded,
                "{name} as {format_name}:\n{text}"
            );
        }
    }
}

#[test]
fn a_report_for_ci_is_red_for_what_failed_and_skipped_for_what_waits_with_the_reason() {
    for (name, summary, _) in runs() {
        let junit = render(Format::Junit, &summary);
        let (failed, unknown) =
            (!junit.contains("failures=\"0\""), !junit.contains("errors=\"0\""));
        match summary.verdict() {
            RunVerdict::Good => assert!(!failed && !unknown, "{name}: {junit}"),
            RunVerdict::Bad => assert!(failed, "{name}: {junit}"),
            RunVerdict::Open => assert!(unknown, "{name}: {junit}"),
            RunVerdict::Waiting => assert!(
                !failed && !unknown && junit.contains("<skipped message="),
                "{name}: {junit}"
            ),
        }
    }
}

#[test]
fn a_run_that_has_ended_has_no_step_that_runs_or_waits() {
    let started_events = [
        json!({ "of": "step", "type": "attempt-ended", "step": "b", "attempt": 1,
            "result": { "type": "failed",
            "fault": { "class": "assertion", "code": "c", "message": "m" }, "outcome": "fail",
            "output": null, "measurements": [], "cases": [] },
            "then": { "type": "retry", "delay_ms": 5 }, "duration_ms": 5 }),
        json!({ "of": "step", "type": "manual-asked", "step": "b", "instructions": "i",
            "options": ["--set v=STRING"] }),
        json!({ "of": "step", "type": "approval-asked", "step": "b", "digest": "d", "input": {},
            "proposal": { "effects": [], "summary": "s", "before": null }, "quorum": 1,
            "expires_ms": null }),
        json!({ "of": "step", "type": "group-began", "step": "b", "params": {} }),
        json!({ "of": "step", "type": "items-listed", "step": "b",
            "items": [{ "key": "k", "value": 1 }] }),
        json!({ "of": "step", "type": "still-waiting", "step": "b", "call": "plan",
            "waited_ms": 60_000, "at_most_ms": 90_000, "then": "goes-on" }),
        json!({ "of": "step", "type": "undo-started", "step": "a", "attempt": 1 }),
        json!({ "of": "step", "type": "attempt-started", "step": "b", "attempt": 1, "input": {},
            "input_digest": "d", "proposal": null, "undo": "not-needed" }),
    ];
    for event in started_events {
        for end in ["cancelled", "failed-clean", "dirty", "undone"] {
            let mut events = succeeded_steps();
            events.truncate(4);
            events.push(event.clone());
            events.push(json!({ "of": "run", "type": "run-ended", "end": end,
                "cause": { "type": "cancel" } }));
            for step in &summary(&events).steps {
                if step.id == "b" && step.attempts > 0 {
                    // A check that was interrupted is unknown, whatever it saw before.
                    assert_eq!(
                        CheckResult::of("s", "c", step, Criticality::Critical).health,
                        Health::Unknown,
                        "{event} {end}: {step:?}"
                    );
                }
                let is_open = matches!(
                    step.state,
                    StepStatus::Running | StepStatus::WaitingForPerson | StepStatus::Undoing
                );
                assert!(!is_open, "{event} {end}: {step:?}");
            }
        }
    }
}

fn reports_check_success(format: CheckFormat, text: &str) -> bool {
    match format {
        CheckFormat::Table | CheckFormat::Markdown => {
            !text.contains("unknown") && !text.contains("critical")
        }
        CheckFormat::Json | CheckFormat::JsonLines => {
            text.contains("\"healthy\"")
                && !text.contains("\"unknown\",")
                && !text.contains("\"critical\",")
        }
        CheckFormat::Junit => is_success(text),
        CheckFormat::Tap => !text.contains("not ok"),
        CheckFormat::Prometheus => {
            text.contains("runbook_check_healthy{suite=\"s\",check=\"c\"} 1")
        }
        CheckFormat::Nagios => text.starts_with("OK"),
        CheckFormat::Github => !text.contains("::error"),
    }
}

/// Checks whose warnings pass, so that a format that reports success too easily fails the test.
fn checks(results: Vec<CheckResult>) -> Checks {
    Checks { at: AT.parse().unwrap(), results, warnings: WarningPolicy::Pass }
}

#[test]
fn no_format_of_checks_says_healthy_unless_the_check_passed() {
    for (name, summary, _) in runs() {
        for step in &summary.steps {
            let result = CheckResult::of("s", "c", step, Criticality::Critical);
            assert_eq!(
                result.health == Health::Healthy,
                step.state == StepStatus::Succeeded,
                "{name}: {:?}",
                step.state
            );
            if !matches!(result.health, Health::Unknown | Health::Critical) {
                continue;
            }
            for (format, format_name) in CHECK_FORMATS {
                let text = format.render(&checks(vec![result.clone()]));
                assert!(!reports_check_success(*format, &text), "{name} as {format_name}:\n{text}");
            }
        }
    }
    let healthy =
        CheckResult::of("s", "c", &summary(&succeeded_steps()).steps[0], Criticality::Critical);
    for (format, format_name) in CHECK_FORMATS {
        let text = format.render(&checks(vec![healthy.clone()]));
        assert!(reports_check_success(*format, &text), "{format_name}:\n{text}");
        let no_checks_text = format.render(&checks(vec![]));
        assert!(
            *format != CheckFormat::Nagios || no_checks_text.starts_with("UNKNOWN"),
            "{no_checks_text}"
        );
    }
}

#[test]
fn a_possible_change_is_not_reported_as_a_change_and_no_undo_is_offered_that_does_not_exist() {
    let attempt = |undo: &str, result: Value| {
        let mut events = succeeded_steps();
        events.truncate(2);
        let proposal = json!({ "effects": [], "summary": "s", "before": null });
        events.push(json!({ "of": "step", "type": "attempt-started", "step": "a", "attempt": 1,
            "input": {}, "input_digest": "d", "proposal": proposal, "undo": undo }));
        events.push(json!({ "of": "step", "type": "attempt-ended", "step": "a", "attempt": 1,
            "result": result, "then": { "type": "final" }, "duration_ms": 5 }));
        events.push(json!({ "of": "run", "type": "run-ended", "end": "dirty",
            "cause": { "type": "step", "step": "a" } }));
        render(Format::Text, &summary(&events))
    };
    let failed = |class: &str| {
        json!({ "type": "failed",
        "fault": { "class": class, "code": "c", "message": "m" }, "outcome": null, "output": null,
        "measurements": [], "cases": [] })
    };
    let done = json!({ "type": "succeeded", "outcome": "pass", "summary": "s", "output": {},
        "changed": true, "measurements": [], "cases": [] });
    for undo in ["auto", "explicit", "irreversible", "not-needed"] {
        for (result, is_certain) in [
            (failed("unknown"), false),
            (failed("timeout"), false),
            (failed("invalid"), false),
            (done.clone(), true),
        ] {
            let text = attempt(undo, result);
            assert_eq!(
                text.contains("Something was changed and not put back (a)"),
                is_certain,
                "{undo}: {text}"
            );
            assert_eq!(
                text.contains("Something may have been changed, and was not put back (a)"),
                !is_certain,
                "{undo}: {text}"
            );
            assert_eq!(
                text.contains("runbook undo"),
                matches!(undo, "auto" | "explicit"),
                "{undo}: {text}"
            );
        }
    }
}

/// A run with three steps that act, as it ends after its undo.
fn undone_summary(attempts: &[(&str, &str, &str)]) -> Summary {
    let mut events = succeeded_steps();
    events.truncate(2);
    let proposal = json!({ "effects": [], "summary": "s", "before": null });
    let result = |kind: &str| match kind {
        "done" => {
            json!({ "type": "succeeded", "outcome": "pass", "summary": "s", "output": {},
                "changed": true, "measurements": [], "cases": [] })
        }
        class => {
            json!({ "type": "failed", "fault": { "class": class, "code": "c", "message": "m" },
                "outcome": null, "output": null, "measurements": [], "cases": [] })
        }
    };
    for (step, undo, result_kind) in attempts {
        events.push(json!({ "of": "step", "type": "attempt-started", "step": step, "attempt": 1,
            "input": {}, "input_digest": "d", "proposal": proposal, "undo": undo }));
        events.push(json!({ "of": "step", "type": "attempt-ended", "step": step, "attempt": 1,
            "result": result(result_kind), "then": { "type": "final" }, "duration_ms": 5 }));
    }
    for (step, ..) in attempts.iter().filter(|(_, undo, _)| *undo == "auto") {
        events.push(json!({ "of": "step", "type": "undo-started", "step": step, "attempt": 1 }));
        events.push(json!({ "of": "step", "type": "undo-ended", "step": step, "attempt": 1,
            "result": { "type": "done", "summary": "s" }, "then": { "type": "final" },
            "duration_ms": 5 }));
    }
    events.push(json!({ "of": "run", "type": "run-ended", "end": "undone",
        "cause": { "type": "step", "step": "b" } }));
    summary(&events)
}

#[test]
fn the_report_of_an_undone_run_names_the_changes_that_have_no_undo() {
    for (class, is_certain) in [
        ("done", true),
        ("invalid", false),
        ("unknown", false),
        ("timeout", false),
        ("assertion", false),
    ] {
        for first in ["auto", "irreversible"] {
            let found = undone_summary(&[("a", first, "done"), ("b", "irreversible", class)]);
            let text = render(Format::Text, &found);
            let is_undone = first == "auto";
            assert_eq!(text.contains("What can be undone is undone"), is_undone, "{class}: {text}");
            let changed = match (is_undone, is_certain) {
                (true, false) => "",
                (true, true) => "What `b` changed stays: the runbook says that it has no undo",
                (false, true) => {
                    "What `a`, `b` changed stays: the runbook says that it has no undo"
                }
                (false, false) => "What `a` changed stays: the runbook says that it has no undo",
            };
            assert!(text.contains(changed), "{class} {first}: {text}");
            assert_eq!(
                text.contains("What `b` may have changed stays: it has no undo."),
                !is_certain,
                "{class} {first}: {text}"
            );
            let json: Value = serde_json::from_str(&render(Format::Json, &found)).unwrap();
            assert_eq!(
                json["steps"][1]["remaining_effect"],
                if is_certain { "surely" } else { "perhaps" },
                "{class}"
            );
            assert_eq!(
                json["steps"][0]["remaining_effect"],
                if is_undone { "nothing" } else { "surely" },
                "{class}"
            );
        }
    }
}

/// A step with two items that were done, and what came of their undos.
fn items_undone_summary(undos: [Option<&str>; 2]) -> Summary {
    let mut events = succeeded_steps();
    events.truncate(2);
    events.push(json!({ "of": "step", "type": "items-listed", "step": "a",
            "items": [{ "key": "1", "value": 1 }, { "key": "2", "value": 2 }] }));
    let proposal = json!({ "effects": [], "summary": "s", "before": null });
    let done = json!({ "type": "succeeded", "outcome": "pass", "summary": "s", "output": {},
        "changed": true, "measurements": [], "cases": [] });
    let failed =
        json!({ "type": "failed", "fault": { "class": "conflict", "code": "c", "message": "m" } });
    for (item, undo) in ["a[1]", "a[2]"].into_iter().zip(undos) {
        let plan = if undo.is_some() { "auto" } else { "irreversible" };
        events.push(json!({ "of": "step", "type": "attempt-started", "step": item, "attempt": 1,
            "input": {}, "input_digest": "d", "proposal": proposal, "undo": plan }));
        events.push(json!({ "of": "step", "type": "attempt-ended", "step": item, "attempt": 1,
            "result": done, "then": { "type": "final" }, "duration_ms": 5 }));
    }
    events.push(json!({ "of": "step", "type": "items-ended", "step": "a", "result": done,
        "then": { "type": "final" } }));
    for (item, undo) in ["a[1]", "a[2]"].into_iter().zip(undos) {
        let Some(undo) = undo else { continue };
        let result =
            if undo == "done" { json!({ "type": "done", "summary": "s" }) } else { failed.clone() };
        events.push(json!({ "of": "step", "type": "undo-started", "step": item, "attempt": 1 }));
        events.push(json!({ "of": "step", "type": "undo-ended", "step": item, "attempt": 1,
            "result": result, "then": { "type": "final" }, "duration_ms": 5 }));
    }
    let end = if undos.contains(&Some("failed")) { "dirty" } else { "undone" };
    events.push(json!({ "of": "run", "type": "run-ended", "end": end,
        "cause": { "type": "step", "step": "b" } }));
    summary(&events)
}

#[test]
fn a_group_is_not_done_when_its_items_are_undone() {
    for (undos, state) in [
        ([None, None], StepStatus::Succeeded),
        ([Some("done"), None], StepStatus::Succeeded),
        ([Some("done"), Some("done")], StepStatus::Undone),
        ([Some("done"), Some("failed")], StepStatus::UndoFailed),
        ([Some("failed"), Some("failed")], StepStatus::UndoFailed),
    ] {
        let found = items_undone_summary(undos);
        assert_eq!(found.steps[0].state, state, "{undos:?}");
        // A remaining change is counted once: for its item, and not for the group.
        let left = undos.iter().filter(|undo| **undo != Some("done")).count();
        let remaining_changes = found.remaining_changes();
        assert_eq!(
            remaining_changes.changed.len() + remaining_changes.possibly_changed.len(),
            left,
            "{undos:?}: {remaining_changes:?}"
        );
        let junit = render(Format::Junit, &found);
        let step_case = junit.split("<testcase name=\"a\"").nth(1).unwrap_or_default();
        let step_case = step_case.split("<testcase").next().unwrap_or_default();
        assert_eq!(
            step_case.contains("skipped") || step_case.contains("failure"),
            state != StepStatus::Succeeded,
            "{undos:?}: {junit}"
        );
    }
}
