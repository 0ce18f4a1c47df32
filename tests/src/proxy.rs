//! An HTTP proxy.

use crate::server::{Server, Stop};
use crate::{free_port, program, wait_for};
use std::fs;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// The password of the user `runbook` of a proxy that asks for a login.
pub const PASSWORD: &str = "proxy-word";

/// A running `tinyproxy` on loopback.
#[derive(Debug)]
pub struct Tinyproxy {
    server: Server,
    folder: TempDir,
    /// Its TCP port on 127.0.0.1.
    pub port: u16,
}

impl Tinyproxy {
    /// Starts a proxy with these further lines of its configuration. Without `ConnectPort` it
    /// connects to every port.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(config: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("rb-proxy").tempdir().expect("a folder");
        let port = free_port();
        let place = folder.path().display();
        let text = format!(
            "Port {port}\nListen 127.0.0.1\nTimeout 600\nMaxClients 50\nLogLevel Connect\n\
             LogFile \"{place}/log\"\nPidFile \"{place}/pid\"\n{config}\n"
        );
        let file = folder.path().join("tinyproxy.conf");
        fs::write(&file, text).expect("it can be written");
        let mut command = Command::new(program(&["/usr/bin/tinyproxy"], "tinyproxy-bin"));
        command.arg("-d").arg("-c").arg(&file);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Server::start(&mut command, Stop::Terminate, folder.path());
        wait_for("the proxy listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { server, folder, port }
    }

    /// Starts a proxy that asks for a login.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start_with_login() -> Self {
        Self::start(&format!("BasicAuth runbook {PASSWORD}"))
    }

    /// Its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// What it was asked for, such as `CONNECT 127.0.0.1:8080 HTTP/1.1`.
    pub fn requests(&self) -> Vec<String> {
        let log = self.log();
        let lines = log.lines().filter(|line| line.contains("Request (file descriptor"));
        lines.filter_map(|line| Some(line.split_once("): ")?.1.to_owned())).collect()
    }

    /// Stops it as a crash would.
    pub fn kill(&mut self) {
        self.server.kill();
    }
}
