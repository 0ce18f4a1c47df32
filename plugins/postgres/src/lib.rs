//! The bundled plugin `postgres`: checks, dumps, restores and tidies a PostgreSQL database.

mod dump;
mod ping;
mod queries;
mod restore;
mod vacuum;

use runbook_sdk::files::Directory;
use runbook_sdk::process::Program;
use runbook_sdk::sql::Database;

fn database() -> Database {
    Database::slot("db")
}

fn directory() -> Directory {
    Directory::slot("directory")
}

fn program() -> Program {
    Program::slot("program")
}

/// The last line that a program wrote to stderr: where it says why it failed.
fn last_line(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing").trim().to_owned()
}

runbook_sdk::plugin! {
    probes: { "ping" => ping::ping, "long-running" => queries::long_running },
    steps: {
        "terminate-queries" => queries::Terminate,
        "vacuum" => vacuum::Vacuum,
        "dump" => dump::Dump,
        "restore" => restore::Restore,
    },
}
