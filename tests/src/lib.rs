//! Shared by the tests of the real program: a home directory for each test, and real servers on
//! loopback, each stopped by its own pid.
//!
//! If a server is not installed, the test fails and names the package to install. It is never
//! skipped.

pub mod certificates;
pub mod docker;
pub mod engines;
pub mod env;
pub mod hostile_text;
pub mod http;
pub mod mail;
pub mod mariadb;
pub mod postgres;
pub mod proxy;
pub mod redis;
pub mod registry;
pub mod running;
pub mod s3;
pub mod server;
pub mod ssh;
pub mod statements;
pub mod systemd;
pub mod terminal;
pub mod vault;
pub mod watchdog;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The stride between the journal records at which the longest tests kill the program: 5, or the
/// value of `RUNBOOK_TEST_EACH`. A test of the same engine with a faster journal kills it at every
/// record.
///
/// # Panics
/// If the variable is not a number.
pub fn kill_point_stride() -> usize {
    std::env::var("RUNBOOK_TEST_EACH")
        .map_or(5, |text| text.parse().expect("RUNBOOK_TEST_EACH is a number"))
}

/// Builds the standalone launcher beside the current test and returns its path.
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

/// Waits until `ready` returns true.
///
/// # Panics
/// After 2 minutes, with `what` in the message.
pub fn wait_for(what: &str, mut ready: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(2);
    while !ready() {
        assert!(Instant::now() < deadline, "{what}: not after 2 minutes");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sends SIGINT to a program, as Ctrl-C does.
///
/// # Panics
/// If it does not run any more.
pub fn interrupt(child: &std::process::Child) {
    send(child, "INT");
}

/// Sends a signal, given by its number or its name without `SIG`. It is a text because real-time
/// signals have no constants.
///
/// # Panics
/// If the program does not run any more.
pub fn send(child: &std::process::Child, signal: &str) {
    let sent =
        std::process::Command::new("kill").args(["-s", signal, &child.id().to_string()]).status();
    assert!(sent.expect("`kill` is there").success(), "the program runs");
}

/// The first of `candidates` that exists.
///
/// # Panics
/// If none exists, with the name of the Debian package that contains it.
pub fn program(candidates: &[&str], package: &str) -> String {
    let found = candidates.iter().find(|path| Path::new(path).exists());
    (*found.unwrap_or_else(|| {
        panic!("none of {candidates:?} is here; install Debian's `{package}` (scripts/test does)")
    }))
    .to_owned()
}
