//! The compiler as a program of its own, for tests. In production it is a mode of `runbook`.

use std::process::ExitCode;

fn main() -> ExitCode {
    runbook_runtime::serve_compiler(std::env::args_os().nth(1).as_deref())
}
