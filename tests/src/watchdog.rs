//! Stops the servers of a process that may end at any time, as a fuzzer does: at its time limit,
//! after a crash that it found, or by a signal.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A shell process that waits until this process has ended, for whatever reason. Then it stops one
/// server by its pid (with SIGKILL after 10 s) and removes the server's folder. If it is dropped
/// before, it does nothing.
#[derive(Debug)]
pub struct Watchdog(Child);

impl Watchdog {
    /// Starts a watchdog for `server`, which `signal` (a name without `SIG`) stops at once.
    ///
    /// # Panics
    /// If no shell can be started.
    pub fn start(server: &Child, signal: &str, folder: &Path) -> Self {
        // This process is the only writer of the pipe, so `cat` ends when this process ends.
        let script = "trap '' INT TERM HUP; cat >/dev/null; kill -s \"$2\" \"$1\" || exit 0; \
                      for _ in $(seq 100); do kill -0 \"$1\" || break; sleep 0.1; done; \
                      kill -s KILL \"$1\"; rm -rf \"$3\"";
        // A process group of its own, so that a signal to the group of the test does not end it.
        let shell = Command::new("sh")
            .process_group(0)
            .args(["-c", script, "watchdog", &server.id().to_string(), signal])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(shell.expect("a shell can be started"))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait_for;
    use std::os::unix::process::ExitStatusExt as _;

    /// Starts `sleep` as the server. `option` of `env` sets its signal handling, because whoever
    /// started the tests may ignore signals (`nohup`, a background job).
    fn server_with(option: &str) -> Child {
        let server =
            Command::new("env").args([option, "sleep", "600"]).spawn().expect("sleep is there");
        let name = Path::new("/proc").join(server.id().to_string()).join("comm");
        wait_for("the server has its signals", || {
            std::fs::read_to_string(&name).is_ok_and(|name| name == "sleep\n")
        });
        server
    }

    /// A server that every signal ends.
    fn server() -> Child {
        server_with("--default-signal")
    }

    #[test]
    fn when_the_process_is_gone_the_server_is_stopped_and_its_folder_removed() {
        let (mut server, folder) = (server(), tempfile::tempdir().expect("a folder can be made"));
        let mut watchdog = Watchdog::start(&server, "INT", folder.path());
        assert!(
            server.try_wait().expect("it is a child").is_none(),
            "it runs as long as this process does"
        );
        // Closing the pipe looks to the watchdog as if this process had ended.
        drop(watchdog.0.stdin.take());
        let status = server.wait().expect("it is a child");
        assert_eq!(status.signal(), Some(2), "SIGINT");
        wait_for("the folder is removed", || !folder.path().exists());
    }

    #[test]
    fn a_server_that_does_not_stop_is_killed() {
        let (mut server, folder) = (
            server_with("--ignore-signal=INT"),
            tempfile::tempdir().expect("a folder can be made"),
        );
        let mut watchdog = Watchdog::start(&server, "INT", folder.path());
        drop(watchdog.0.stdin.take());
        assert_eq!(server.wait().expect("it is a child").signal(), Some(9), "SIGKILL");
        wait_for("the folder is removed", || !folder.path().exists());
    }

    #[test]
    fn a_watchdog_that_is_dropped_stops_nothing() {
        let (mut server, folder) = (server(), tempfile::tempdir().expect("a folder can be made"));
        drop(Watchdog::start(&server, "INT", folder.path()));
        assert!(server.try_wait().expect("it is a child").is_none() && folder.path().exists());
        server.kill().expect("it runs");
        server.wait().expect("it is a child");
    }
}
