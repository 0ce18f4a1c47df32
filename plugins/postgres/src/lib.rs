//! The bundled plugin `postgres`: checks, dumps, restores and vacuums a PostgreSQL database.

mod blockers;
mod dump;
mod ping;
mod queries;
mod restore;
mod sessions;
mod terminate;
mod vacuum;

use runbook_sdk::files::Directory;
use runbook_sdk::process::Program;
use runbook_sdk::sql::Database;

fn database() -> Database {
    Database::slot(runbook_sdk::slot!("db"))
}

fn directory() -> Directory {
    Directory::slot(runbook_sdk::slot!("directory"))
}

fn program() -> Program {
    Program::slot(runbook_sdk::slot!("program"))
}

/// The last line that a program wrote to stderr, where it gives the reason of its failure.
fn last_line(output: &runbook_sdk::process::Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text
        .lines()
        .rfind(|line| !line.trim().is_empty())
        .unwrap_or("it said nothing")
        .trim()
        .to_owned();
    // The end was cut off, and the reason may be in it.
    if output.truncated {
        format!("it wrote more than the target's `max_output` lets through, at last: {line}")
    } else {
        line
    }
}

runbook_sdk::plugin! {
    probes: { "ping" => ping::ping, "long-running" => queries::long_running },
    steps: {
        "terminate-queries" => queries::Terminate,
        "terminate-blockers" => blockers::TerminateBlockers,
        "vacuum" => vacuum::Vacuum,
        "dump" => dump::Dump,
        "restore" => restore::Restore,
    },
}
