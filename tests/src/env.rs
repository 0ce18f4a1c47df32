//! The program with a home directory of its own.

use crate::running::RunningProgram;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A home with nothing in it, and the program to run there.
#[derive(Debug)]
pub struct TestEnv {
    program: PathBuf,
    home: TempDir,
    cache: PathBuf,
}

/// The output and exit status of the program.
#[derive(Debug)]
pub struct ProgramOutput {
    /// Exit status; `-1` if it was killed.
    pub status: i32,
    /// All of stdout, as text.
    pub stdout: String,
    /// All of stderr, as text.
    pub stderr: String,
}

impl ProgramOutput {
    /// Checks the exit status.
    ///
    /// # Panics
    /// If it is another, with all output.
    #[track_caller]
    pub fn status(self, expected: i32) -> Self {
        assert_eq!(
            self.status, expected,
            "\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout, self.stderr
        );
        self
    }

    /// Checks that stdout contains `text`.
    ///
    /// # Panics
    /// If it does not, with all output.
    #[track_caller]
    pub fn out(self, text: &str) -> Self {
        assert!(
            self.stdout.contains(text),
            "no `{text}` in stdout\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// Checks that stderr contains `text`.
    ///
    /// # Panics
    /// If it does not, with all output.
    #[track_caller]
    pub fn err(self, text: &str) -> Self {
        assert!(
            self.stderr.contains(text),
            "no `{text}` in stderr\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// Checks that neither stdout nor stderr contains `text`.
    ///
    /// # Panics
    /// If one does, with all output.
    #[track_caller]
    pub fn without(self, text: &str) -> Self {
        assert!(
            !self.stdout.contains(text) && !self.stderr.contains(text),
            "`{text}` is there\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout,
            self.stderr
        );
        self
    }
}

impl TestEnv {
    /// A new home. Compiled plugins are shared between tests: their cache is keyed by content.
    ///
    /// # Panics
    /// If no folder can be made.
    pub fn new(program: &str) -> Self {
        let home = tempfile::tempdir().expect("a folder can be made");
        let cache = Path::new(program)
            .parent()
            .expect("the program is in a folder")
            .join("test-plugin-cache");
        fs::create_dir_all(&cache).expect("a folder can be made");
        let _ = fs::set_permissions(&cache, std::os::unix::fs::PermissionsExt::from_mode(0o700));
        Self { program: program.into(), home, cache }
    }

    /// The home.
    pub fn path(&self) -> &Path {
        self.home.path()
    }

    /// Writes a file below the home.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.home.path().join(name);
        fs::create_dir_all(path.parent().expect("a file is in a folder"))
            .expect("a folder can be made");
        fs::write(&path, text).expect("a file can be written");
        path
    }

    /// Writes a shell script below the home that can be executed.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn script(&self, name: &str, commands: &str) -> PathBuf {
        let path = self.file(name, &format!("#!/bin/sh\n{commands}\n"));
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("a file of our own");
        path
    }

    /// Text of a file below the home.
    ///
    /// # Panics
    /// If it cannot be read.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.home.path().join(name))
            .unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The program with arguments, not started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(self.home.path())
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", "/usr/bin:/bin")
            .env("USER", "tester")
            .env("NO_COLOR", "1")
            .env("RUNBOOK_CACHE", &self.cache)
            .stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn run(&self, arguments: &[&str]) -> ProgramOutput {
        finish(self.command(arguments).output().expect("the program starts"))
    }

    /// Runs the program in a folder below the home.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn run_in(&self, folder: &str, arguments: &[&str]) -> ProgramOutput {
        finish(
            self.command(arguments)
                .current_dir(self.path().join(folder))
                .output()
                .expect("the program starts"),
        )
    }

    /// Runs the program with a text on stdin.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> ProgramOutput {
        use std::io::Write as _;
        let mut command = self.command(arguments);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        child
            .stdin
            .take()
            .expect("stdin is piped")
            .write_all(input.as_bytes())
            .expect("the program reads stdin");
        finish(child.wait_with_output().expect("the program ends"))
    }

    /// The id of the newest run in the journal of this home, as `runbook runs` prints it.
    ///
    /// # Panics
    /// If there is none.
    pub fn newest_run(&self) -> String {
        first_run(&self.run(&["runs", "--limit", "1"]).status(0))
    }

    /// Starts the program in the background; it ends with the test at the latest.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn spawn(&self, arguments: &[&str]) -> RunningProgram {
        RunningProgram::start(self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()))
    }
}

/// The id of the first run in the output of `runbook runs`.
///
/// # Panics
/// If there is none.
pub fn first_run(listed: &ProgramOutput) -> String {
    listed
        .stdout
        .split_whitespace()
        .next()
        .unwrap_or_else(|| panic!("there is no run: {listed:?}"))
        .to_owned()
}

/// Converts the output of a command.
pub fn finish(output: std::process::Output) -> ProgramOutput {
    ProgramOutput {
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
