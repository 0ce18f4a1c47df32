//! A plugin with an operation of each kind, called the way that the host calls it.

use runbook_sdk::guest::{Info, Probe, RawJob, RawProposal, SmokeTest, StepExport};
use runbook_sdk::prelude::*;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Limit {
    /// More is a failure.
    limit: u64,
}

#[derive(Serialize, JsonSchema)]
struct DepthOutput {
    depth: u64,
}

fn refuse_zero(input: &Limit) -> Result<()> {
    if input.limit == 0 {
        Err(Fault::conflict("test.zero", "nothing is below zero"))
    } else {
        Ok(())
    }
}

fn depth(job: &Job, input: Limit) -> Result<Report<DepthOutput>> {
    refuse_zero(&input)?;
    let summary = format!("{} in attempt {}", job.step, job.attempt);
    Ok(Report::pass_if(7 <= input.limit, summary, DepthOutput { depth: 7 })
        .measure(measurement("depth", 7.0, "")))
}

fn scenario(_job: &Job, input: Limit) -> Result<Vec<Verdict>> {
    refuse_zero(&input)?;
    Ok(vec![Verdict {
        name: "one".to_owned(),
        outcome: Outcome::Pass,
        detail: "seen".to_owned(),
        duration_ms: 1,
    }])
}

/// Sets a number that `before` remembers.
struct Set;

impl Step for Set {
    type Input = Limit;
    type Output = DepthOutput;

    fn plan(_job: &Job, input: &Limit) -> Result<Proposal> {
        Ok(Proposal::one(
            effect("test.set", "the limit", format!("set {}", input.limit)),
            json!({ "limit": 1 }),
        ))
    }

    fn apply(_job: &Job, input: &Limit, proposal: &Proposal) -> Result<Completion<DepthOutput>> {
        assert_eq!(proposal.before, json!({ "limit": 1 }), "the host gives back what was planned");
        Ok(Completion::changed("set", DepthOutput { depth: input.limit }))
    }

    fn undo(_job: &Job, _input: &Limit, before: &Json) -> Result<Completion<Json>> {
        Ok(Completion::changed("put back", before.clone()))
    }
}

/// A step without undo.
struct Send;

impl Step for Send {
    type Input = Limit;
    type Output = DepthOutput;

    fn plan(_job: &Job, _input: &Limit) -> Result<Proposal> {
        Ok(Proposal::nothing("sent already", Json::Null))
    }

    fn apply(_job: &Job, _input: &Limit, _proposal: &Proposal) -> Result<Completion<DepthOutput>> {
        Ok(Completion::unchanged("sent already", DepthOutput { depth: 0 }))
    }
}

runbook_sdk::plugin! {
    probes: { "depth" => depth },
    smoke_tests: { "scenario" => scenario },
    steps: { "set" => Set, "send" => Send },
}

fn job(input: &str) -> RawJob {
    RawJob {
        run_id: "run".to_owned(),
        step: "step".to_owned(),
        attempt: 2,
        input: input.to_owned(),
        deadline_ms: 0,
        dry_run: false,
        unanswered_ms: None,
    }
}

fn proposal(before: &str) -> RawProposal {
    RawProposal { effects: Vec::new(), summary: String::new(), before: before.to_owned() }
}

#[test]
fn every_operation_is_described_with_its_kind_and_schemas() {
    let described: Json =
        serde_json::from_str(&RunbookPlugin::describe()).expect("it describes itself in JSON");
    let operations = described["operations"].as_array().expect("it lists operations");
    let names_and_kinds: Vec<_> = operations
        .iter()
        .map(|operation| (operation["name"].as_str(), operation["kind"].as_str()))
        .collect();
    assert_eq!(
        names_and_kinds,
        [
            (Some("depth"), Some("probe")),
            (Some("scenario"), Some("smoke-test")),
            (Some("set"), Some("step")),
            (Some("send"), Some("step"))
        ]
    );
    assert_eq!(operations[0]["input"]["properties"]["limit"]["description"], "More is a failure.");
    assert_eq!(operations[0]["input"]["required"], json!(["limit"]));
    assert_eq!(operations[0]["input"]["additionalProperties"], json!(false));
    assert_eq!(operations[0]["output"]["required"], json!(["depth"]));
}

#[test]
fn a_probe_reports_what_it_found() {
    let report = RunbookPlugin::check("depth".to_owned(), job("{\"limit\":5}")).expect("it looks");
    assert_eq!(report.outcome, Outcome::Fail);
    assert_eq!(report.summary, "step in attempt 2");
    assert_eq!(report.output, "{\"depth\":7}");
    assert_eq!(report.measurements[0].label, "depth");
    let passing_report =
        RunbookPlugin::check("depth".to_owned(), job("{\"limit\":7}")).expect("it looks");
    assert_eq!(passing_report.outcome, Outcome::Pass);
}

#[test]
fn a_smoke_test_gives_a_verdict_for_each_case() {
    let verdicts =
        RunbookPlugin::run("scenario".to_owned(), job("{\"limit\":5}")).expect("it runs");
    assert_eq!((verdicts.len(), verdicts[0].detail.as_str()), (1, "seen"));
}

#[test]
fn a_step_is_planned_applied_observed_and_undone() {
    let input = "{\"limit\":5}";
    let plan = RunbookPlugin::plan("set".to_owned(), job(input)).expect("it plans");
    assert_eq!((plan.summary.as_str(), plan.before.as_str()), ("set 5", "{\"limit\":1}"));
    let completion = RunbookPlugin::apply("set".to_owned(), job(input), proposal(&plan.before))
        .expect("it acts");
    assert_eq!((completion.output.as_str(), completion.changed), ("{\"depth\":5}", true));
    let observed = RunbookPlugin::observe("set".to_owned(), job(input)).expect("it looks");
    assert_eq!(observed, plan.before, "by default, what `plan` sees");
    let undo_completion =
        RunbookPlugin::undo("set".to_owned(), job(input), plan.before).expect("it undoes");
    assert_eq!(undo_completion.output, "{\"limit\":1}");
}

#[test]
fn a_step_without_undo_says_so() {
    let fault = RunbookPlugin::undo("send".to_owned(), job("{\"limit\":5}"), "null".to_owned())
        .expect_err("it has none");
    assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Invalid, "plugin.no-undo"));
}

#[test]
fn a_fault_of_an_operation_reaches_the_host_as_it_is() {
    let zero = "{\"limit\":0}";
    let check = RunbookPlugin::check("depth".to_owned(), job(zero)).expect_err("it refuses");
    let run = RunbookPlugin::run("scenario".to_owned(), job(zero)).expect_err("it refuses");
    for fault in [check, run] {
        assert_eq!((fault.class, fault.code.as_str()), (FaultClass::Conflict, "test.zero"));
    }
}

#[test]
fn an_input_that_does_not_fit_is_refused_before_the_operation_runs() {
    for input in ["{}", "{\"limit\":\"5\"}", "{\"limit\":5,\"limits\":6}", "not JSON"] {
        let fault =
            RunbookPlugin::check("depth".to_owned(), job(input)).expect_err("it does not fit");
        assert_eq!(
            (fault.class, fault.code.as_str()),
            (FaultClass::Invalid, "plugin.input"),
            "{input}"
        );
    }
}

#[test]
fn an_operation_is_found_only_under_its_own_kind() {
    let input = "{\"limit\":5}";
    let codes = [
        RunbookPlugin::check("set".to_owned(), job(input)).map_err(|fault| fault.code).err(),
        RunbookPlugin::run("depth".to_owned(), job(input)).map_err(|fault| fault.code).err(),
        RunbookPlugin::plan("depth".to_owned(), job(input)).map_err(|fault| fault.code).err(),
        RunbookPlugin::observe("nobody".to_owned(), job(input)).map_err(|fault| fault.code).err(),
    ];
    assert!(
        codes.iter().all(|code| code.as_deref() == Some("plugin.unknown-operation")),
        "{codes:?}"
    );
}
