//! Every server of a test is started here. A server is stopped when it is dropped, and by a
//! watchdog when the test is killed.

use crate::watchdog::Watchdog;
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::process::{Child, Command};

/// How a server is told to stop at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// `SIGINT`.
    Interrupt,
    /// `SIGTERM`.
    Terminate,
}

impl Stop {
    fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "INT",
            Self::Terminate => "TERM",
        }
    }

    fn signal(self) -> Signal {
        match self {
            Self::Interrupt => Signal::INT,
            Self::Terminate => Signal::TERM,
        }
    }
}

/// A server process that is stopped when this is dropped, or when this process ends.
#[derive(Debug)]
pub struct Server {
    child: Child,
    stop: Stop,
    /// Dropped after the server was stopped.
    _watchdog: Watchdog,
}

impl Server {
    /// Starts a server. If this process is killed, the server is stopped and its folder removed.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(command: &mut Command, stop: Stop, folder: &Path) -> Self {
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{} starts: {error}", command.get_program().display()));
        let watchdog = Watchdog::start(&child, stop.name(), folder);
        Self { child, stop, _watchdog: watchdog }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Stops it as a crash would.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The pid of a process that was waited for may belong to another process by now.
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, self.stop.signal());
        }
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::CertificateAuthority;
    use crate::engines::{Podman, TlsEngine};
    use crate::mail::MailServer;
    use crate::mariadb::MariaDb;
    use crate::postgres::Postgres;
    use crate::redis::Redis;
    use crate::registry::Registry;
    use crate::s3::S3;
    use crate::wait_for;
    use std::io::{BufRead as _, BufReader};
    use std::process::Stdio;

    const CHILD: &str = "RUNBOOK_TEST_SERVER";

    /// The test below starts this test as a process of its own, and kills it.
    #[test]
    fn starts_a_server_and_waits_if_it_is_asked_to() {
        let Ok(name) = std::env::var(CHILD) else { return };
        let report_and_wait = |id: u32, folder: &Path| {
            println!("\nserver {id} {}", folder.display());
            std::thread::park();
        };
        match name.as_str() {
            "postgres" => {
                let server = Postgres::start(1);
                report_and_wait(server.id(), server.folder());
            }
            "mariadb" => {
                let server = MariaDb::start();
                report_and_wait(server.id(), server.folder());
            }
            "redis" => {
                let server = Redis::start();
                report_and_wait(server.id(), server.folder());
            }
            "dockerd" => {
                let server = TlsEngine::start(&CertificateAuthority::new("engines"));
                report_and_wait(server.id(), server.folder());
            }
            "podman" => {
                let server = Podman::start();
                report_and_wait(server.id(), server.folder());
            }
            "s3" => {
                let server = S3::start();
                report_and_wait(server.id(), server.folder());
            }
            "mail" => {
                let certificate = CertificateAuthority::new("Team").server("localhost");
                let server = MailServer::start(&certificate, None);
                report_and_wait(server.id(), server.folder());
            }
            "registry" => {
                let server = Registry::start();
                report_and_wait(server.id(), server.folder());
            }
            other => panic!("no server `{other}`"),
        }
    }

    #[test]
    fn no_server_outlives_a_test_that_is_killed_by_any_signal() {
        for name in ["dockerd", "mail", "mariadb", "podman", "postgres", "redis", "registry", "s3"]
        {
            for signal in ["TERM", "KILL", "INT", "HUP"] {
                // Whoever started this test may ignore signals (`nohup`, a background job); its
                // child must not.
                let mut test = Command::new("env")
                    .arg("--default-signal")
                    .arg(std::env::current_exe().expect("a test has a path"))
                    .args([
                        "--exact",
                        "--nocapture",
                        "server::tests::starts_a_server_and_waits_if_it_is_asked_to",
                    ])
                    .env(CHILD, name)
                    .stdin(Stdio::null())
                    .stdout(Stdio::piped())
                    .spawn()
                    .expect("it starts");
                let lines = BufReader::new(test.stdout.take().expect("it is piped")).lines();
                let line = lines
                    .map_while(Result::ok)
                    .find(|line| line.starts_with("server "))
                    .expect("the server has started");
                let (id, folder) =
                    line["server ".len()..].split_once(' ').expect("an id and a folder");
                assert!(process_exists(id) && Path::new(folder).exists(), "{name}");
                crate::send(&test, signal);
                test.wait().expect("it ends");
                wait_for("the server is stopped", || !process_exists(id));
                wait_for("its folder is removed", || !Path::new(folder).exists());
            }
        }
    }

    fn process_exists(id: &str) -> bool {
        Path::new("/proc").join(id).exists()
    }

    /// How many `spawn` calls each file of this crate has for processes that are no servers.
    const OTHER_SPAWNS: &[(&str, usize)] = &[
        // Clients of a server, which end with their connection.
        ("postgres.rs", 1),
        ("mariadb.rs", 1),
        // The engine is the machine's and outlives the tests on purpose.
        ("docker.rs", 1),
        // The program under test.
        ("env.rs", 1),
        ("running.rs", 1),
        ("terminal.rs", 1),
        // The watchdog, and a process for its tests.
        ("watchdog.rs", 2),
        // `Server::start`, and this test.
        ("server.rs", 2),
    ];

    #[test]
    fn every_server_is_started_by_server_start() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut found = Vec::new();
        let mut folders = vec![folder];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("it can be listed") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path).expect("a source file is text");
                let n_spawned = text.matches(concat!(".spa", "wn()")).count();
                let name = path.file_name().expect("a name").to_string_lossy().into_owned();
                found.extend((n_spawned > 0).then_some((name, n_spawned)));
            }
        }
        found.sort();
        let mut listed: Vec<(String, usize)> =
            OTHER_SPAWNS.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        listed.sort();
        assert_eq!(found, listed, "a server is started by `Server::start`; list what is none");
    }
}
