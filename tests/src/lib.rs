//! Shared by the tests of the real program: a home directory for each test, and real servers on
//! loopback, each stopped by its own pid.
//!
//! A server that cannot be had is a failure with what to install, never a skip.

pub mod certificates;
pub mod docker;
pub mod env;
pub mod hostile_text;
pub mod http;
pub mod mariadb;
pub mod postgres;
pub mod registry;
pub mod running;
pub mod server;
pub mod statements;
pub mod terminal;
pub mod watchdog;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How far apart the places are at which the longest tests kill a program: each fifth one, or what
/// `RUNBOOK_TEST_EACH` says. What they would find at the others, a test of the same engine with a
/// quicker journal finds at each.
///
/// # Panics
/// If the variable is no number.
pub fn each_so_many() -> usize {
    std::env::var("RUNBOOK_TEST_EACH")
        .map_or(5, |text| text.parse().expect("RUNBOOK_TEST_EACH is a number"))
}

/// The launcher as a program of its own, built beside the test that asks.
///
/// # Panics
/// If it cannot be built.
pub fn launcher() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let test = std::env::current_exe().expect("a test has a path");
        let folder = test
            .ancestors()
            .find(|folder| folder.ends_with("deps"))
            .and_then(Path::parent)
            .expect("cargo's folders");
        let target = folder.parent().expect("cargo's folders");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let output = Command::new(env!("CARGO"))
            .args(["build", "--offline", "--quiet", "-p", "runbook-launch", "--target-dir"])
            .arg(target)
            .current_dir(root)
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        target.join("debug/runbook-launch")
    };
    BUILT.get_or_init(build).clone()
}

/// A TCP port that was free a moment ago.
///
/// # Panics
/// If loopback has no free port.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// Waits until `ready` says so.
///
/// # Panics
/// With `what`, after 2 minutes.
pub fn wait_for(what: &str, mut ready: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(2);
    while !ready() {
        assert!(Instant::now() < deadline, "{what}: not after 2 minutes");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Presses Ctrl-C for a program.
///
/// # Panics
/// If it does not run any more.
pub fn interrupt(child: &std::process::Child) {
    send(child, "INT");
}

/// Sends a signal, by its number or its name without `SIG`; those for real time have no constants.
///
/// # Panics
/// If the program does not run any more.
pub fn send(child: &std::process::Child, signal: &str) {
    let sent =
        std::process::Command::new("kill").args(["-s", signal, &child.id().to_string()]).status();
    assert!(sent.expect("`kill` is there").success(), "the program runs");
}

/// The first of `candidates` that is there.
///
/// # Panics
/// With the name of the Debian package that has it.
pub fn program(candidates: &[&str], package: &str) -> String {
    let found = candidates.iter().find(|path| Path::new(path).exists());
    (*found.unwrap_or_else(|| {
        panic!("none of {candidates:?} is here; install Debian's `{package}` (scripts/test does)")
    }))
    .to_owned()
}
