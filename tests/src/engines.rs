//! Container engines of one test, with data of their own: `dockerd` that listens with TLS, and
//! Podman behind a Unix socket.

use crate::certificates::{CertificateAuthority, IssuedCertificate};
use crate::docker::{IMAGE, docker, ensure_engine};
use crate::server::{Server, Stop};
use crate::{program, wait_for};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// An engine that listens on 127.0.0.1 with TLS and lets in whoever shows a certificate of the same
/// authority. It has [`IMAGE`].
#[derive(Debug)]
pub struct TlsEngine {
    server: Server,
    folder: TempDir,
    /// Its TCP port.
    pub port: u16,
}

impl TlsEngine {
    /// Starts one with a certificate for 127.0.0.1. Its folder has `ca.pem`, and `client.pem` with
    /// `client.key`.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(authority: &CertificateAuthority) -> Self {
        let engine = Self::start_with(authority, &authority.server("127.0.0.1"));
        let image = image(engine.folder.path());
        let (text, loaded) = engine.docker(&["load", "-i", &image]);
        assert!(loaded, "docker load: {text}");
        engine
    }

    /// Starts one with this certificate, which may be wrong, and without an image.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start_with(authority: &CertificateAuthority, certificate: &IssuedCertificate) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let home = folder.path();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        certificate.write(home, "server");
        authority.client("runbook").write(home, "client");
        std::fs::write(home.join("ca.pem"), authority.certificate()).expect("it is written");
        std::fs::write(home.join("daemon.json"), "{}").expect("it is written");
        let log = std::fs::File::create(home.join("log")).expect("a log can be made");
        let dockerd = program(&["/usr/sbin/dockerd", "/usr/bin/dockerd"], "docker.io");
        // It has a network of its own, because an engine removes the bridge of another one that it
        // finds (`docker0`). It is given the listener, as systemd does.
        let take_listener = "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\"";
        let mut command = Command::new(program(&["/usr/bin/unshare"], "util-linux"));
        command.args(["--net", "/bin/sh", "-c", take_listener, &dockerd]);
        for (option, file) in [
            ("--config-file", "daemon.json"),
            ("--data-root", "data"),
            ("--exec-root", "exec"),
            ("--pidfile", "pid"),
            ("--tlscacert", "ca.pem"),
            ("--tlscert", "server.pem"),
            ("--tlskey", "server.key"),
        ] {
            command.arg(option).arg(home.join(file));
        }
        command
            .args(["--tlsverify", "--storage-driver", "vfs", "--bridge", "none"])
            .args(["--iptables=false", "--ip6tables=false", "--host", "fd://"])
            .stdin(OwnedFd::from(listener))
            .stdout(log.try_clone().expect("a file can be cloned"))
            .stderr(log);
        let server = Server::start(&mut command, Stop::Terminate, home);
        let log = home.join("log");
        let listens =
            || std::fs::read_to_string(&log).is_ok_and(|log| log.contains("API listen on"));
        wait_for("the Docker engine listens", listens);
        Self { server, folder, port }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.server.id()
    }

    /// The folder with its data and certificates.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs the `docker` program with this engine. Returns what it printed, and whether it
    /// succeeded.
    ///
    /// # Panics
    /// If there is no `docker` program.
    pub fn docker(&self, arguments: &[&str]) -> (String, bool) {
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        let (ca, certificate, key) = (file("ca.pem"), file("client.pem"), file("client.key"));
        let tls = ["--tlsverify", "--tlscacert", &ca, "--tlscert", &certificate, "--tlskey", &key];
        client(&format!("tcp://127.0.0.1:{}", self.port), &[&tls, arguments].concat())
    }
}

impl Drop for TlsEngine {
    fn drop(&mut self) {
        remove_containers(&|arguments| self.docker(arguments));
    }
}

/// Podman with data of its own, which answers the API of Docker at a Unix socket. It has [`IMAGE`].
#[derive(Debug)]
pub struct Podman {
    server: Server,
    folder: TempDir,
}

impl Podman {
    /// Starts one.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let home = folder.path();
        let settings = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
                        log_driver = \"k8s-file\"\n[engine]\ncgroup_manager = \"cgroupfs\"\n\
                        events_logger = \"file\"\n";
        std::fs::write(home.join("containers.conf"), settings).expect("it is written");
        let log = std::fs::File::create(home.join("log")).expect("a log can be made");
        let mut command = Command::new(program(&["/usr/bin/podman"], "podman"));
        command
            .env("CONTAINERS_CONF", home.join("containers.conf"))
            .arg("--root")
            .arg(home.join("data"))
            .arg("--runroot")
            .arg(home.join("run"))
            .arg("--tmpdir")
            .arg(home.join("tmp"))
            .args(["--storage-driver", "vfs", "system", "service", "--time", "0"])
            .arg(format!("unix://{}", home.join("podman.sock").display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be cloned"))
            .stderr(log);
        let server = Server::start(&mut command, Stop::Terminate, home);
        let podman = Self { server, folder };
        let ping = ["version", "--format", "{{.Server.Version}}"];
        wait_for("Podman answers", || podman.docker(&ping).1);
        let image = image(podman.folder.path());
        let (text, loaded) = podman.docker(&["load", "-i", &image]);
        assert!(loaded, "load: {text}");
        podman
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.server.id()
    }

    /// The folder with its data.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("podman.sock")
    }

    /// Runs the `docker` program with this engine. Returns what it printed, and whether it
    /// succeeded.
    ///
    /// # Panics
    /// If there is no `docker` program.
    pub fn docker(&self, arguments: &[&str]) -> (String, bool) {
        client(&format!("unix://{}", self.socket().display()), arguments)
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        remove_containers(&|arguments| self.docker(arguments));
    }
}

fn client(host: &str, arguments: &[&str]) -> (String, bool) {
    let program = program(&["/usr/bin/docker", "/usr/local/bin/docker"], "docker.io");
    let mut command = Command::new(program);
    let output = command.args(["--host", host]).args(arguments).stdin(Stdio::null()).output();
    let output = output.expect("docker runs");
    let text = if output.status.success() { output.stdout } else { output.stderr };
    (String::from_utf8_lossy(&text).trim().to_owned(), output.status.success())
}

/// Writes [`IMAGE`] of the engine of this machine to a file, and returns its path.
fn image(folder: &Path) -> String {
    ensure_engine();
    let path = folder.join("image.tar").display().to_string();
    let (text, saved) = docker(&["save", "-o", &path, IMAGE]);
    assert!(saved, "docker save: {text}");
    path
}

fn remove_containers(docker: &dyn Fn(&[&str]) -> (String, bool)) {
    let (ids, _) = docker(&["ps", "-aq"]);
    for id in ids.split_whitespace() {
        docker(&["rm", "-f", id]);
    }
}
