//! A registry of images on loopback.

use crate::server::{Server, Stop};
use crate::{free_port, program, wait_for};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

/// A registry, stopped by its own pid when dropped.
#[derive(Debug)]
pub struct Registry {
    /// Its port on 127.0.0.1. Docker engines pull from loopback without TLS.
    pub port: u16,
    server: Server,
    folder: tempfile::TempDir,
}

impl Registry {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.server.id()
    }

    /// The folder with its configuration and data.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts an empty one.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start() -> Self {
        let port = free_port();
        let folder = tempfile::tempdir().expect("a folder can be made");
        let config = folder.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
             http:\n  addr: 127.0.0.1:{port}\n",
            folder.path().display()
        );
        std::fs::write(&config, text).expect("a file can be written");
        let mut command = Command::new(program(&["/usr/bin/docker-registry"], "docker-registry"));
        command
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let server = Server::start(&mut command, Stop::Terminate, folder.path());
        wait_for("the registry answers", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { port, server, folder }
    }
}
