//! A Docker engine, and the containers that a test starts on it.

use crate::{free_port, program, wait_for};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The image that tests run: busybox, made without a registry.
pub const IMAGE: &str = "runbook-tests/busybox:1";

/// The engine's socket.
pub const SOCKET: &str = "/var/run/docker.sock";

/// Makes sure that an engine answers and has [`IMAGE`]. If none is running, one is started. It is
/// left running, because other test processes of the machine may use it.
///
/// # Panics
/// If no engine can be started.
pub fn ensure_engine() {
    // Several test processes may come here at once: one starts the engine, the others wait for it.
    let lock = fs::File::create("/tmp/runbook-tests-docker.lock").expect("a lock file can be made");
    lock.lock().expect("a file can be locked");
    if !answers() {
        let dockerd = program(&["/usr/sbin/dockerd", "/usr/bin/dockerd"], "docker.io");
        let log = fs::File::create("/tmp/runbook-tests-dockerd.log").expect("a log can be made");
        let mut command = Command::new(dockerd);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be cloned"))
            .stderr(log);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        #[expect(
            clippy::zombie_processes,
            reason = "the engine outlives this process and serves the tests of others"
        )]
        let _engine = command.spawn().expect("dockerd starts (it needs root)");
        wait_for("the Docker engine answers (see /tmp/runbook-tests-dockerd.log)", answers);
    }
    if !docker(&["image", "inspect", IMAGE]).1 {
        make_image();
    }
}

fn answers() -> bool {
    docker(&["version", "--format", "{{.Server.Version}}"]).1
}

/// Runs the `docker` program. Returns what it printed, and whether it succeeded.
///
/// # Panics
/// If there is no `docker` program.
pub fn docker(arguments: &[&str]) -> (String, bool) {
    let client = program(&["/usr/bin/docker", "/usr/local/bin/docker"], "docker.io");
    let output = Command::new(client)
        .args(arguments)
        .env("DOCKER_HOST", format!("unix://{SOCKET}"))
        .stdin(Stdio::null())
        .output()
        .expect("docker runs");
    let text = if output.status.success() { output.stdout } else { output.stderr };
    (String::from_utf8_lossy(&text).trim().to_owned(), output.status.success())
}

/// Imports [`IMAGE`] from a tar of busybox and the pages that it serves.
fn make_image() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let root = folder.path().join("root");
    for sub in ["bin", "www", "tmp"] {
        fs::create_dir_all(root.join(sub)).expect("a folder can be made");
    }
    let busybox = PathBuf::from(program(&["/usr/bin/busybox", "/bin/busybox"], "busybox-static"));
    fs::copy(busybox, root.join("bin/busybox")).expect("busybox can be copied");
    for applet in ["sh", "httpd", "sleep", "cat", "echo", "true", "false"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet))
            .expect("a link can be made");
    }
    fs::write(root.join("www/health"), "{\"status\":\"ok\"}\n").expect("a file can be written");
    fs::write(
        root.join("www/orders.json"),
        "{\"orders\":[{\"id\":1,\"item\":\"book\"}],\"total\":1}\n",
    )
    .expect("a file can be written");
    let tar = folder.path().join("image.tar");
    let made = Command::new("tar")
        .arg("-C")
        .arg(&root)
        .arg("-cf")
        .arg(&tar)
        .arg(".")
        .status()
        .expect("tar runs");
    assert!(made.success(), "tar failed");
    let (text, imported) = docker(&[
        "import",
        "-c",
        "CMD [\"/bin/sleep\",\"600\"]",
        &tar.display().to_string(),
        IMAGE,
    ]);
    assert!(imported, "docker import: {text}");
}

/// A container that serves HTTP on a loopback port; removed when dropped.
#[derive(Debug)]
pub struct App {
    /// Its name.
    pub name: String,
    /// The port on 127.0.0.1 that leads to it.
    pub port: u16,
}

impl App {
    /// Starts one.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(name: &str) -> Self {
        Self::start_with(name, "SIGKILL")
    }

    /// Starts one that ignores the stop signal: it is killed after the grace period.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start_stubborn(name: &str) -> Self {
        Self::start_with(name, "SIGTERM")
    }

    fn start_with(name: &str, stop_signal: &str) -> Self {
        ensure_engine();
        let port = free_port();
        let name = format!("runbook-test-{name}-{port}");
        let publish = format!("127.0.0.1:{port}:8080");
        let (text, started) = docker(&[
            "run",
            "-d",
            "--stop-signal",
            stop_signal,
            "--name",
            &name,
            "-p",
            &publish,
            "--label",
            "runbook.test=1",
            IMAGE,
            "/bin/httpd",
            "-f",
            "-p",
            "8080",
            "-h",
            "/www",
        ]);
        assert!(started, "docker run: {text}");
        let app = Self { name, port };
        wait_for("the application answers", || app.answers());
        app
    }

    /// Whether it serves its health page.
    pub fn answers(&self) -> bool {
        crate::http::get(self.port, "/health").is_some_and(|text| text.contains("\"ok\""))
    }

    /// `running`, `exited`, …
    pub fn state(&self) -> String {
        docker(&["inspect", "--format", "{{.State.Status}}", &self.name]).0
    }

    /// The signals that the engine has sent to the container, in their order.
    pub fn signals(&self) -> Vec<String> {
        let filter = format!("container={}", self.name);
        let arguments = [
            "events",
            "--since",
            "1h",
            "--until",
            "0s",
            "--filter",
            &filter,
            "--filter",
            "event=kill",
            "--format",
            "{{.Actor.Attributes.signal}}",
        ];
        docker(&arguments).0.lines().map(str::to_owned).collect()
    }

    /// When it was last started, as Docker writes it.
    pub fn started_at(&self) -> String {
        docker(&["inspect", "--format", "{{.State.StartedAt}}", &self.name]).0
    }
}

impl Drop for App {
    fn drop(&mut self) {
        docker(&["rm", "-f", &self.name]);
    }
}
