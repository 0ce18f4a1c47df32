//! `command:check` and `command:test`

use crate::expectation::{Expectation, Output};
use crate::with_arguments;
use runbook_sdk::prelude::*;
use runbook_sdk::process::Program;

pub(crate) fn check(_job: &Job, input: Expectation) -> Result<Report<Output>> {
    let program = with_arguments(Program::slot(slot!("program")), &input.arguments);
    let output = Output::from(&program.inspect()?);
    let (outcome, why) = input.judge(&output);
    Ok(Report::new(outcome, why, output))
}

pub(crate) fn test(_job: &Job, input: Expectation) -> Result<Vec<Verdict>> {
    let program = with_arguments(Program::slot(slot!("program")), &input.arguments);
    let start = clock::monotonic();
    let output = Output::from(&program.run()?);
    let duration_ms = clock::ms_since(start);
    let (outcome, detail) = input.judge(&output);
    Ok(vec![Verdict { name: "program".to_owned(), outcome, detail, duration_ms }])
}
