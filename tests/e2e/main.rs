//! The real program, run as a user runs it, against real servers.

mod approval;
mod audit_log;
mod authority;
mod bad_input;
mod between_reads;
mod blockers;
mod cancel;
mod check;
mod command;
mod command_line;
mod commands_to_copy;
mod completion;
mod contributing;
mod crash;
mod crash_matrix;
mod denied;
mod disk;
mod docs;
mod doctor_targets;
mod emergency;
mod engines;
mod environments;
mod error_pages;
mod events;
mod explain;
mod files;
mod files_read;
mod fmt;
mod given_files;
mod glossary;
mod grpc;
mod host_policy;
mod hostile_text;
mod import_cycles;
mod inline_targets;
mod interrupted_stop;
mod journal_failures;
mod layers;
mod leases;
mod locked_text;
mod mail;
mod nagios;
mod needed_if;
mod nested;
mod net;
mod no_answer;
mod objects;
mod output_files;
mod parameters;
mod plan_file;
mod plan_json;
mod plugins;
mod process_target;
mod program_bounds;
mod program_log;
mod project;
mod prompts;
mod prune;
mod quickstart;
mod quiet;
mod redis;
mod resolved_paths;
mod resumed_runs;
mod retry;
mod review;
mod review_keys;
mod revisions;
mod rotation;
mod run_id;
mod schema;
mod secret_sources;
mod secrets;
mod signals;
mod signing;
mod sql;
mod streams;
mod system;
mod systemd;
mod target_pages;
mod telemetry;
mod terminal;
mod tooling;
mod traps;
mod truncation;
mod window;
mod with_file;
mod wrong_runbooks;

use runbook_tests::env::TestEnv;

/// A home of its own, with the program.
fn home() -> TestEnv {
    TestEnv::new(env!("CARGO_BIN_EXE_runbook"))
}

/// The texts that a query finds in a SQLite database of a home.
fn query_texts(env: &TestEnv, database: &str, query: &str) -> Vec<String> {
    let database =
        rusqlite::Connection::open(env.path().join(database)).expect("the database is there");
    database.busy_timeout(std::time::Duration::from_secs(5)).expect("it can wait");
    let mut statement = database.prepare(query).expect("good SQL");
    statement
        .query_map([], |row| row.get(0))
        .expect("the query works")
        .map(|text| text.expect("text"))
        .collect()
}

/// The repository.
fn repository() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .expect("the repository is there")
}

/// A plugin inside the program.
#[derive(Debug)]
pub struct BundledPlugin {
    /// Its name.
    pub name: &'static str,
    /// Its component.
    pub component: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/bundled.rs"));

/// The component of a bundled plugin under another name of the same length, as a team's own plugin.
fn renamed_plugin(name: &str, to: &str) -> Vec<u8> {
    assert_eq!(name.len(), to.len(), "a section keeps its length");
    let component = bundled(name);
    let written = [format!("name = \"{name}\""), format!("\"name\":\"{name}\"")];
    let (at, before) = written
        .iter()
        .find_map(|text| {
            Some((component.windows(text.len()).position(|found| found == text.as_bytes())?, text))
        })
        .expect("the manifest says the name");
    let mut changed = component.to_vec();
    changed[at..at + before.len()].copy_from_slice(before.replace(name, to).as_bytes());
    changed
}

/// The component of a bundled plugin.
fn bundled(name: &str) -> &'static [u8] {
    BUNDLED
        .iter()
        .find(|bundled| bundled.name == name)
        .map(|bundled| bundled.component)
        .expect("it is bundled")
}
