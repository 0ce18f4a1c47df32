//! The bundled plugin `command`: runs an existing program, as a check or as a step.

mod check;
mod expectation;
mod run;

use runbook_sdk::process::Program;

/// A program with its arguments.
fn with_arguments(program: Program, arguments: &[String]) -> Program {
    arguments.iter().fold(program, Program::argument)
}

runbook_sdk::plugin! {
    probes: { "check" => check::check },
    smoke_tests: { "test" => check::test },
    steps: { "run" => run::Run },
}
