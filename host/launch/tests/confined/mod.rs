//! Runs scripts in the sandbox of a program that may change files, and without it.
#![allow(dead_code, reason = "each test program uses a part of it")]

use runbook_launch::confinement::Confinement;
use runbook_launch::files::{FileAccess, Paths};
use runbook_launch::network::{Network, Signals};
use runbook_launch::{LaunchRefusal, LaunchSpec, ProgramSandbox, Status, VARIABLE_PREFIX};
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

pub const PERL: &str = "/usr/bin/perl";

pub const CLOSED: Confinement = Confinement {
    network: Network::Closed,
    signals: Signals::Own,
    files: FileAccess::ANY,
    memory: None,
    cpu_s: None,
};

/// Runs a Perl script in the sandbox, and asserts that the launcher started it.
pub fn run_confined(script: &str, confinement: &Confinement) -> Output {
    let (output, refusal) = launch(script, confinement);
    assert_eq!(refusal, None, "{script}");
    output
}

/// What a script printed, or why it was not started.
pub fn launch(script: &str, confinement: &Confinement) -> (Output, Option<LaunchRefusal>) {
    let (status, launcher_end) = Status::new(File::open("/dev/null").unwrap()).unwrap();
    let spec = LaunchSpec {
        parent: i32::try_from(std::process::id()).unwrap(),
        program: PERL.into(),
        content: None,
        interpreter: None,
        arguments: vec!["-e".to_owned(), script.to_owned()],
        sandbox: ProgramSandbox::Confined(confinement.clone()),
        cgroup: None,
    };
    let output = Command::new(env!("CARGO_BIN_EXE_runbook-launch"))
        .arg(serde_json::to_string(&spec).unwrap())
        .env_clear()
        .env(format!("{VARIABLE_PREFIX}LC_ALL"), "C")
        .current_dir("/")
        .stdin(launcher_end)
        .output()
        .unwrap();
    (output, status.read().unwrap())
}

/// Runs a Perl script without a sandbox.
pub fn run_without_sandbox(script: &str) -> Output {
    Command::new(PERL).args(["-e", script]).current_dir("/").output().unwrap()
}

/// The standard output.
pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A process of this user outside of the sandbox.
pub struct OutsideProcess(pub Child);

impl OutsideProcess {
    pub fn new() -> Self {
        Self(Command::new("/bin/sleep").arg("600").stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for OutsideProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn below(paths: &[&Path]) -> Paths {
    Paths::Below(paths.iter().map(|path| path.to_path_buf()).collect())
}

/// A folder with the file `key`, not below `/tmp`.
pub fn folder_with_key() -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("launch-").tempdir_in("/var/tmp").unwrap();
    std::fs::write(folder.path().join("key"), "secret").unwrap();
    folder
}
