//! The real program, run as a user runs it, against real servers.

mod bad_input;
mod command_line;
mod crash;
mod emergency;
mod layers;
mod quickstart;
mod secrets;
mod sql;
mod window;

use runbook_tests::env::TestEnv;

/// A home of its own, with the program.
fn home() -> TestEnv {
    TestEnv::new(env!("CARGO_BIN_EXE_runbook"))
}

/// The repository.
fn repository() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository is there")
}
