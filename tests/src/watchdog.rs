//! Servers of a process that may end without a word, as a fuzzer does: at its time limit, at a finding, by a signal.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Waits beside this process until it is gone, however it ended; then stops one server by its pid and removes its folder.
/// Dropped, it does nothing any more: who drops it has stopped the server.
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
                      for _ in $(seq 100); do kill -0 \"$1\" || break; sleep 0.1; done; rm -rf \"$3\"";
        // A group of its own: whoever ends the test by its group leaves it alone.
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

    fn server() -> Child {
        Command::new("sleep").arg("600").spawn().expect("sleep is there")
    }

    #[test]
    fn when_the_process_is_gone_the_server_is_stopped_and_its_folder_removed() {
        let (mut server, folder) = (server(), tempfile::tempdir().expect("a folder can be made"));
        let mut watchdog = Watchdog::over(&server, "INT", folder.path());
        assert!(server.try_wait().expect("it is a child").is_none(), "it runs as long as this process does");
        // The end of the pipe is all that it sees of the end of a process.
        drop(watchdog.0.stdin.take());
        let status = server.wait().expect("it is a child");
        assert_eq!(status.signal(), Some(2), "SIGINT");
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
