//! No report says that a run, or a check, was a success unless it was: every way in which a run can
//! stand, in every format.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use runbook_engine::RunEnd;
use runbook_engine::model::Criticality;
use runbook_report::checks::{CHECK_FORMATS, CheckFormat, CheckResult, Checks, Health, Warnings};
use runbook_report::{Execution, FORMATS, Format, RunVerdict, StepStatus, Summary, render};
use serde_json::{Value, json};
use support::{AT, summary};

/// Two steps that worked.
fn green() -> Vec<Value> {
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

/// Runs that stand in each way although all of their steps that ended worked, and whether they
/// succeeded.
fn runs() -> Vec<(String, Summary, bool)> {
    let mut runs = Vec::new();
    let mut add = |name: String, more: Vec<Value>, good: bool| {
        runs.push((name, summary(&[green(), more].concat()), good));
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
            let ended = json!({ "of": "run", "type": "run-ended", "end": end, "cause": cause });
            add(format!("{end:?} {cause}"), vec![ended.clone()], is_good(end));
            let asked = json!({ "of": "run", "type": "undo-requested", "by": "b" });
            add(format!("{end:?} {cause}, then undone"), vec![ended, asked, undo.clone()], false);
        }
    }
    let mut interrupted = summary(&green());
    interrupted.is_executed(Execution::Nobody, AT.parse().unwrap());
    runs.push(("interrupted".into(), interrupted, false));
    let mut executed = summary(&green());
    executed.is_executed(Execution::By("process 7".into()), AT.parse().unwrap());
    runs.push(("executed".into(), executed, false));
    runs
}

/// What CI and monitoring make of a JUnit document: red, or with a test that was not made, or
/// green.
fn is_green(junit: &str) -> bool {
    junit.contains("failures=\"0\"")
        && junit.contains("errors=\"0\"")
        && !junit.contains("<skipped")
}

fn says_success(format: Format, text: &str) -> bool {
    match format {
        Format::Text | Format::Markdown => text.contains("Succeeded"),
        Format::Html => text.contains("Succeeded") || text.contains("\"end good\""),
        Format::Json => serde_json::from_str::<Value>(text).unwrap()["state"]
            .as_str()
            .unwrap()
            .starts_with("succeeded"),
        Format::Junit => is_green(text),
    }
}

#[test]
fn no_report_says_success_unless_the_run_succeeded() {
    for (name, summary, good) in runs() {
        assert_eq!(summary.verdict() == RunVerdict::Good, good, "{name}");
        for (format, format_name, ..) in FORMATS {
            let text = render(*format, &summary);
            assert_eq!(says_success(*format, &text), good, "{name} as {format_name}:\n{text}");
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
    let begun = [
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
    for event in begun {
        for end in ["cancelled", "failed-clean", "dirty", "undone"] {
            let mut events = green();
            events.truncate(4);
            events.push(event.clone());
            events.push(json!({ "of": "run", "type": "run-ended", "end": end,
                "cause": { "type": "cancel" } }));
            for step in &summary(&events).steps {
                if step.id == "b" && step.attempts > 0 {
                    // An interrupted look is no finding, whatever it saw so far.
                    assert_eq!(
                        CheckResult::of("s", "c", step, Criticality::Critical).health,
                        Health::Unknown,
                        "{event} {end}: {step:?}"
                    );
                }
                let open = matches!(
                    step.state,
                    StepStatus::Running | StepStatus::WaitingForPerson | StepStatus::Undoing
                );
                assert!(!open, "{event} {end}: {step:?}");
            }
        }
    }
}

fn check_says_success(format: CheckFormat, text: &str) -> bool {
    match format {
        CheckFormat::Table | CheckFormat::Markdown => {
            !text.contains("unknown") && !text.contains("critical")
        }
        CheckFormat::Json | CheckFormat::JsonLines => {
            text.contains("\"healthy\"")
                && !text.contains("\"unknown\",")
                && !text.contains("\"critical\",")
        }
        CheckFormat::Junit => is_green(text),
        CheckFormat::Tap => !text.contains("not ok"),
        CheckFormat::Prometheus => {
            text.contains("runbook_check_healthy{suite=\"s\",check=\"c\"} 1")
        }
        CheckFormat::Nagios => text.starts_with("OK"),
        CheckFormat::Github => !text.contains("::error"),
    }
}

/// Where warnings pass, so that a format that says success too easily is seen.
fn checks(results: Vec<CheckResult>) -> Checks {
    Checks { at: AT.parse().unwrap(), results, warnings: Warnings::Pass }
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
                assert!(!check_says_success(*format, &text), "{name} as {format_name}:\n{text}");
            }
        }
    }
    let healthy = CheckResult::of("s", "c", &summary(&green()).steps[0], Criticality::Critical);
    for (format, format_name) in CHECK_FORMATS {
        let text = format.render(&checks(vec![healthy.clone()]));
        assert!(check_says_success(*format, &text), "{format_name}:\n{text}");
        let nothing = format.render(&checks(vec![]));
        assert!(*format != CheckFormat::Nagios || nothing.starts_with("UNKNOWN"), "{nothing}");
    }
}

#[test]
fn what_only_may_have_been_changed_is_not_said_to_be_changed_and_no_undo_is_promised_that_there_is_not()
 {
    let attempt = |undo: &str, result: Value| {
        let mut events = green();
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
        for (result, sure) in [
            (failed("unknown"), false),
            (failed("timeout"), false),
            (failed("invalid"), false),
            (done.clone(), true),
        ] {
            let text = attempt(undo, result);
            assert_eq!(
                text.contains("Something was changed and not put back (a)"),
                sure,
                "{undo}: {text}"
            );
            assert_eq!(
                text.contains("Something may have been changed, and was not put back (a)"),
                !sure,
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
fn undone_run(left: &[(&str, &str, &str)]) -> Summary {
    let mut events = green();
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
    for (step, undo, came) in left {
        events.push(json!({ "of": "step", "type": "attempt-started", "step": step, "attempt": 1,
            "input": {}, "input_digest": "d", "proposal": proposal, "undo": undo }));
        events.push(json!({ "of": "step", "type": "attempt-ended", "step": step, "attempt": 1,
            "result": result(came), "then": { "type": "final" }, "duration_ms": 5 }));
    }
    for (step, ..) in left.iter().filter(|(_, undo, _)| *undo == "auto") {
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
fn a_run_that_ends_undone_names_what_has_no_undo() {
    for (class, sure) in [
        ("done", true),
        ("invalid", false),
        ("unknown", false),
        ("timeout", false),
        ("assertion", false),
    ] {
        for first in ["auto", "irreversible"] {
            let found = undone_run(&[("a", first, "done"), ("b", "irreversible", class)]);
            let text = render(Format::Text, &found);
            let is_undone = first == "auto";
            assert_eq!(text.contains("What can be undone is undone"), is_undone, "{class}: {text}");
            let changed = match (is_undone, sure) {
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
                !sure,
                "{class} {first}: {text}"
            );
            let json: Value = serde_json::from_str(&render(Format::Json, &found)).unwrap();
            assert_eq!(
                json["steps"][1]["left"],
                if sure { "surely" } else { "perhaps" },
                "{class}"
            );
            assert_eq!(
                json["steps"][0]["left"],
                if is_undone { "nothing" } else { "surely" },
                "{class}"
            );
        }
    }
}

/// A step with two items that were done, and what came of their undos.
fn items_undone(undos: [Option<&str>; 2]) -> Summary {
    let mut events = green();
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
fn what_stands_for_others_is_not_done_when_they_are_undone() {
    for (undos, state) in [
        ([None, None], StepStatus::Succeeded),
        ([Some("done"), None], StepStatus::Succeeded),
        ([Some("done"), Some("done")], StepStatus::Undone),
        ([Some("done"), Some("failed")], StepStatus::UndoFailed),
        ([Some("failed"), Some("failed")], StepStatus::UndoFailed),
    ] {
        let found = items_undone(undos);
        assert_eq!(found.steps[0].state, state, "{undos:?}");
        // What is left of the items is said once, of them.
        let left = undos.iter().filter(|undo| **undo != Some("done")).count();
        let account = found.account();
        assert_eq!(account.changed.len() + account.perhaps.len(), left, "{undos:?}: {account:?}");
        let junit = render(Format::Junit, &found);
        let own = junit.split("<testcase name=\"a\"").nth(1).unwrap_or_default();
        let own = own.split("<testcase").next().unwrap_or_default();
        assert_eq!(
            own.contains("skipped") || own.contains("failure"),
            state != StepStatus::Succeeded,
            "{undos:?}: {junit}"
        );
    }
}
