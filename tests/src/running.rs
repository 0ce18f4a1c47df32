//! A program that a test starts. It is killed when the test ends, also when the test fails.

use std::ops::{Deref, DerefMut};
use std::process::{Child, Command, Output};

/// A child process that is killed by its own pid when this is dropped.
#[derive(Debug)]
pub struct RunningProgram(Option<Child>);

impl RunningProgram {
    /// Starts the program.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(command: &mut Command) -> Self {
        Self(Some(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"))))
    }

    /// Whether the process is stopped, as by Ctrl-Z, and not yet continued.
    pub fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('T'))
    }

    /// Reads all output of the program until it ends by itself.
    ///
    /// # Errors
    /// If the output cannot be read.
    pub fn wait_with_output(mut self) -> std::io::Result<Output> {
        // Only a signal can end this process while it reads, so the child need not be killed.
        self.0.take().expect("only this method takes it").wait_with_output()
    }
}

impl Deref for RunningProgram {
    type Target = Child;

    fn deref(&self) -> &Child {
        self.0.as_ref().expect("it is there while it can be named")
    }
}

impl DerefMut for RunningProgram {
    fn deref_mut(&mut self) -> &mut Child {
        self.0.as_mut().expect("it is there while it can be named")
    }
}

impl Drop for RunningProgram {
    fn drop(&mut self) {
        // If the child was already waited for, `kill` does nothing: the pid may be reused.
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_killed_when_its_test_fails() {
        let (pid_sender, pid_receiver) = std::sync::mpsc::channel();
        let failed = std::thread::spawn(move || {
            let running = RunningProgram::start(Command::new("sleep").arg("600"));
            pid_sender.send(running.id()).expect("the receiver exists");
            panic!("a test that fails");
        });
        assert!(failed.join().is_err());
        let pid = pid_receiver.recv().expect("it was started");
        let exists = std::path::Path::new(&format!("/proc/{pid}")).exists();
        assert!(!exists, "process {pid} goes on");
    }

    #[test]
    fn all_output_of_a_program_is_read() {
        let mut command = Command::new("echo");
        command.arg("said").stdout(std::process::Stdio::piped());
        let output = RunningProgram::start(&mut command).wait_with_output().expect("it ends");
        assert_eq!(output.stdout, b"said\n");
    }
}
