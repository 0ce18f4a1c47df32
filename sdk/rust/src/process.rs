//! The program that the runbook bound to a slot.

use crate::bindings::runbook::process::{runner, types};
use crate::fault::Result;

pub use types::Output;

/// The slot of one program.
#[derive(Debug, Clone)]
pub struct Program {
    slot: String,
    arguments: Vec<String>,
    stdin: types::Input,
}

impl Program {
    /// The slot called `name` in `plugin.toml`.
    pub fn slot(name: &str) -> Self {
        Self { slot: name.to_owned(), arguments: Vec::new(), stdin: types::Input::Nothing }
    }

    /// Adds an argument. Each must match the target's pattern for its position.
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

    /// Gives it a file of a files slot on stdin, streamed by the host and decompressed if its name ends in `.zst`.
    #[must_use]
    pub fn input_file(mut self, slot: &str, path: &str) -> Self {
        self.stdin = types::Input::File(types::File { slot: slot.to_owned(), path: path.to_owned() });
        self
    }

    /// Runs it and keeps what it writes to stdout.
    pub fn run(&self) -> Result<Output> {
        runner::run(&self.slot, &self.arguments, &self.stdin, &types::Sink::Capture)
    }

    /// Runs it and streams its stdout to a new file of a files slot, compressed if its name ends in `.zst`. The file is there only
    /// if the program ends with 0.
    pub fn run_to_file(&self, slot: &str, path: &str) -> Result<Output> {
        let file = types::File { slot: slot.to_owned(), path: path.to_owned() };
        runner::run(&self.slot, &self.arguments, &self.stdin, &types::Sink::File(file))
    }
}
