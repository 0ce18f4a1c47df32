//! A real systemd: Debian in a container, whose bus is a socket in a folder of the test.

use crate::docker::{docker, ensure_engine};
use crate::{program, wait_for};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// The image: made once by `debootstrap`, and kept by the engine and as a file in `target`.
const IMAGE: &str = "runbook-tests/systemd:1";

/// A machine that systemd has started; removed when dropped.
#[derive(Debug)]
pub struct Systemd {
    name: String,
    folder: TempDir,
}

impl Systemd {
    /// Starts one, and waits until all of its units are started.
    ///
    /// # Panics
    /// If it cannot be started here.
    pub fn start(name: &str) -> Self {
        ensure_engine();
        ensure_image();
        let folder = tempfile::tempdir().expect("a folder can be made");
        let bus = folder.path().join("bus");
        fs::create_dir(&bus).expect("a folder can be made");
        let name = format!("runbook-test-systemd-{name}-{}", std::process::id());
        let mount = format!("{}:/run/dbus", bus.display());
        let mut arguments = vec![
            "run",
            "-d",
            "-t",
            "--name",
            &name,
            "--label",
            "runbook.test=1",
            "--tmpfs",
            "/run",
            "--tmpfs",
            "/run/lock",
            "--tmpfs",
            "/tmp",
            "-v",
            &mount,
            "--cap-add",
            "SYS_ADMIN",
            "--security-opt",
            "seccomp=unconfined",
            "--security-opt",
            "apparmor=unconfined",
        ];
        // With control groups of version 2, a container has a tree of its own.
        if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
            arguments.extend(["--privileged", "--cgroupns", "private"]);
        } else {
            arguments.extend(["-v", "/sys/fs/cgroup:/sys/fs/cgroup:ro"]);
        }
        arguments.extend([IMAGE, "/lib/systemd/systemd"]);
        let (text, started) = docker(&arguments);
        let systemd = Self { name, folder };
        assert!(started, "docker run: {text}");
        wait_for("systemd has started the machine", || {
            let (state, _) = systemd.run(&["systemctl", "is-system-running"]);
            // `degraded`: some unit has failed, such as one that needs hardware.
            matches!(state.as_str(), "running" | "degraded") && systemd.bus().exists()
        });
        systemd
    }

    /// The socket of its system bus.
    pub fn bus(&self) -> PathBuf {
        self.folder.path().join("bus/system_bus_socket")
    }

    /// Runs a program in it. Returns what it printed, and whether it succeeded.
    pub fn run(&self, command: &[&str]) -> (String, bool) {
        docker(&[&["exec", &self.name], command].concat())
    }

    /// A property of a unit, as `systemctl show` prints it.
    pub fn property(&self, unit: &str, name: &str) -> String {
        self.run(&["systemctl", "show", "--value", "-p", name, unit]).0
    }

    /// Adds a unit with this text.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn add(&self, unit: &str, text: &str) {
        let script =
            format!("printf '%s' \"$1\" > /etc/systemd/system/{unit} && systemctl daemon-reload");
        let (said, added) = self.run(&["sh", "-c", &script, "sh", text]);
        assert!(added, "{unit}: {said}");
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        docker(&["rm", "-f", &self.name]);
    }
}

/// Makes the image, unless the engine has it or `target` has it as a file.
fn ensure_image() {
    let lock = fs::File::create("/tmp/runbook-tests-systemd.lock").expect("a lock can be made");
    lock.lock().expect("a file can be locked");
    if docker(&["image", "inspect", IMAGE]).1 {
        return;
    }
    let tar = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/runbook-tests-systemd.tar");
    if !tar.exists() {
        make_root(&tar);
    }
    let (text, imported) =
        docker(&["import", "-c", "ENV container=docker", &tar.display().to_string(), IMAGE]);
    assert!(imported, "docker import: {text}");
}

/// Installs the distribution of this machine, with systemd and dbus, by the mirror that apt uses
/// here, and packs it.
fn make_root(tar: &Path) {
    let debootstrap = program(&["/usr/sbin/debootstrap"], "debootstrap");
    let folder = tempfile::tempdir().expect("a folder can be made");
    let root = folder.path().join("root");
    let targets = ["indextargets", "--format", "$(SITE) $(RELEASE)", "Created-By: Packages"];
    let listed = output(Command::new("apt-get").args(targets));
    let first = listed.lines().next().unwrap_or_default();
    let (mirror, release) = first.split_once(' ').expect("apt knows a mirror");
    output(
        Command::new(debootstrap)
            .args(["--variant=minbase", "--include=systemd,systemd-sysv,dbus", release])
            .arg(&root)
            .arg(mirror),
    );
    // A part of a tar is not taken for a whole one.
    let part = tar.with_extension("part");
    let excluded =
        ["./var/cache/apt", "./var/lib/apt/lists", "./usr/share/doc", "./usr/share/locale"];
    let excluded = excluded.map(|folder| format!("--exclude={folder}"));
    output(Command::new("tar").arg("-C").arg(&root).args(excluded).arg("-cf").arg(&part).arg("."));
    fs::rename(&part, tar).expect("a file can be renamed");
}

fn output(command: &mut Command) -> String {
    let done = command.stdin(Stdio::null()).output().expect("the program is there");
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&done.stderr));
    text
}
