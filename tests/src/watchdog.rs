//! Stops the servers of a process that can end at any time, as a fuzzer does: at its time limit, at
//! a finding, by a signal.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A process that waits until this process is gone, however it ended. Then it stops one server by
/// its pid, by force after 10 s, and removes its folder. It does nothing if it is dropped before:
/// then the server was stopped.
#[derive(Debug)]
pub struct Watchdog(Child);

impl Watchdog {
    /// Watches over `server`, which a signal (its name without `SIG`) stops at once.
    ///
    /// # Panics
    /// If no shell can be started.
    pub fn over(server: &Child, signal: &str, folder: &Path) -> Self {
        // The pipe has no other writer than this process: its end is the end of this process.
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

    /// A server with the signals that `option` of `env` says, whoever started the tests with
    /// signals that are ignored (`nohup`, a background job).
    fn server_with(option: &str) -> Child {
        let server =
            Command::new("env").args([option, "sleep", "600"]).spawn().expect("sleep is there");
        let name = Path::new("/proc").join(server.id().to_string()).join("comm");
        wait_for("the server has its signals", || {
            std::fs::read_to_string(&name).is_ok_and(|name| name == "sleep\n")
        });
        server
    }

    /// One that every signal ends.
    fn server() -> Child {
        server_with("--default-signal")
    }

    #[test]
    fn when_the_process_is_gone_the_server_is_stopped_and_its_folder_removed() {
        let (mut server, folder) = (server(), tempfile::tempdir().expect("a folder can be made"));
        let mut watchdog = Watchdog::over(&server, "INT", folder.path());
        assert!(
            server.try_wait().expect("it is a child").is_none(),
            "it runs as long as this process does"
        );
        // The end of the pipe is all that it sees of the end of a process.
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
        let mut watchdog = Watchdog::over(&server, "INT", folder.path());
        drop(watchdog.0.stdin.take());
        assert_eq!(server.wait().expect("it is a child").signal(), Some(9), "SIGKILL");
        wait_for("the folder is removed", || !folder.path().exists());
    }

    #[test]
    fn a_watchdog_that_is_dropped_stops_nothing() {
        let (mut server, folder) = (server(), tempfile::tempdir().expect("a folder can be made"));
        drop(Watchdog::over(&server, "INT", folder.path()));
        assert!(server.try_wait().expect("it is a child").is_none() && folder.path().exists());
        server.kill().expect("it runs");
        server.wait().expect("it is a child");
    }
}
