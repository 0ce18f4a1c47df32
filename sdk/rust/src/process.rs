//! The program that the runbook bound to a slot.

use crate::bindings::runbook::process::{inspector, runner, types};
use crate::fault::Result;
use crate::native::host;
use crate::slot::Slot;

pub use types::Output;

/// A slot that is bound to one program, with the arguments and the input of one run.
#[derive(Debug, Clone)]
pub struct Program {
    slot: Slot,
    arguments: Vec<String>,
    stdin: types::Input,
}

impl Program {
    /// The program of a slot of `plugin.toml`, without arguments and input.
    pub fn slot(slot: Slot) -> Self {
        Self { slot, arguments: Vec::new(), stdin: types::Input::Nothing }
    }

    /// Adds an argument. It must match the target's pattern for its position.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Gives it these bytes on stdin.
    #[must_use]
    pub fn input(mut self, bytes: Vec<u8>) -> Self {
        self.stdin = types::Input::Bytes(bytes);
        self
    }

    /// Gives it a file of a files slot on stdin, streamed by the host and decompressed if its name
    /// ends in `.zst`.
    #[must_use]
    pub fn input_file(mut self, slot: Slot, path: &str) -> Self {
        self.stdin =
            types::Input::File(types::File { slot: slot.name().to_owned(), path: path.to_owned() });
        self
    }

    /// Runs the program where it can read and change nothing, without input, and keeps what it
    /// writes to stdout. For probes: the slot declares `inspect`, and the target says
    /// `read_only = true`.
    ///
    /// # Errors
    /// `denied` if the slot is not granted `inspect`, an argument does not match, or the program's
    /// file does not match its digest; `not-found` if there is no such program; `timeout` if it does
    /// not end in time. Another exit code than 0 is no error.
    #[track_caller]
    pub fn inspect(&self) -> Result<Output> {
        host!("process/inspector.run", inspector::run(self.slot.name(), &self.arguments))
    }

    /// Runs the program and keeps what it writes to stdout, up to the target's `max_output`.
    ///
    /// # Errors
    /// `denied` if the slot is not granted `run`, an argument does not match, or the program is not
    /// the one of its digest; `not-found` if there is no such program; `timeout` if it does not end
    /// in time. Another exit code than 0 is no error.
    #[track_caller]
    pub fn run(&self) -> Result<Output> {
        host!(
            "process/runner.run",
            runner::run(self.slot.name(), &self.arguments, &self.stdin, &types::Sink::Capture)
        )
    }

    /// Runs the program and streams its stdout to a new file of a files slot, compressed if its
    /// name ends in `.zst`. The file appears only if the program ends with exit code 0.
    ///
    /// # Errors
    /// As [`run`](Self::run); `denied` too if `slot` is not granted `write`, `conflict` if the file
    /// is there already.
    #[track_caller]
    pub fn run_to_file(&self, slot: Slot, path: &str) -> Result<Output> {
        let file = types::File { slot: slot.name().to_owned(), path: path.to_owned() };
        host!(
            "process/runner.run",
            runner::run(self.slot.name(), &self.arguments, &self.stdin, &types::Sink::File(file))
        )
    }
}
