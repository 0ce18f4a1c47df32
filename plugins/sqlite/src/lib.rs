//! The bundled plugin `sqlite`: checks, backs up, restores and vacuums a SQLite database.

mod backup;
mod constraints;
mod integrity_check;
mod restore;
mod vacuum;

use runbook_sdk::files::Directory;
use runbook_sdk::sql::Database;

fn database() -> Database {
    Database::slot(runbook_sdk::slot!("db"))
}

fn directory() -> Directory {
    Directory::slot(runbook_sdk::slot!("directory"))
}

runbook_sdk::plugin! {
    probes: { "integrity-check" => integrity_check::check },
    steps: { "backup" => backup::Backup, "restore" => restore::Restore, "vacuum" => vacuum::Vacuum },
}
