//! A program that a test started and that ends with the test, also with one that fails.

use std::ops::{Deref, DerefMut};
use std::process::{Child, Command, Output};

/// A program that runs. It is killed, by its own pid, when this goes out of scope.
#[derive(Debug)]
pub struct Running(Option<Child>);

impl Running {
    /// Starts the program.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(command: &mut Command) -> Self {
        Self(Some(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"))))
    }

    /// Whether it was stopped, as by Ctrl-Z, and not continued yet.
    pub fn stands_still(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('T'))
    }

    /// Reads all that it says, until it ends by itself.
    ///
    /// # Errors
    /// What it says cannot be read.
    pub fn wait_with_output(mut self) -> std::io::Result<Output> {
        // While it is read, nothing of this process can fail but by a signal.
        self.0.take().expect("it is there until this").wait_with_output()
    }
}

impl Deref for Running {
    type Target = Child;

    fn deref(&self) -> &Child {
        self.0.as_ref().expect("it is there while it can be named")
    }
}

impl DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Child {
        self.0.as_mut().expect("it is there while it can be named")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that was waited for is gone, and its pid is not used again.
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
    fn a_program_ends_with_the_test_that_failed() {
        let (tell, told) = std::sync::mpsc::channel();
        let failed = std::thread::spawn(move || {
            let running = Running::start(Command::new("sleep").arg("600"));
            tell.send(running.id()).expect("it is heard");
            panic!("a test that fails");
        });
        assert!(failed.join().is_err());
        let pid = told.recv().expect("it was started");
        let is_there = std::path::Path::new(&format!("/proc/{pid}")).exists();
        assert!(!is_there, "process {pid} goes on");
    }

    #[test]
    fn what_a_program_said_is_read_to_its_end() {
        let mut command = Command::new("echo");
        command.arg("said").stdout(std::process::Stdio::piped());
        let output = Running::start(&mut command).wait_with_output().expect("it ends");
        assert_eq!(output.stdout, b"said\n");
    }
}
