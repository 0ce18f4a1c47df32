//! The containers that the runbook bound to a slot.

use crate::bindings::runbook::docker::{control, exec, lifecycle, reader, types};
use crate::fault::Result;
use std::time::Duration;

pub use types::{Container, ContainerSpec, ContainerState, ExecOutput, Health, LogLine, LogTail, Usage};

/// The slot of some containers. A name may be `""` when the slot is bound to exactly one.
#[derive(Debug, Clone)]
pub struct Containers {
    slot: String,
}

impl Containers {
    /// The slot called `name` in `plugin.toml`.
    pub fn slot(name: &str) -> Self {
        Self { slot: name.to_owned() }
    }

    /// All that the slot's filter lets through.
    pub fn list(&self) -> Result<Vec<Container>> {
        reader::list(&self.slot)
    }

    /// One of them.
    pub fn inspect(&self, name: &str) -> Result<Container> {
        reader::inspect(&self.slot, name)
    }

    /// The last lines of its log, and whether the host left some out.
    pub fn logs(&self, name: &str, tail: u32) -> Result<LogTail> {
        reader::logs(&self.slot, name, tail)
    }

    /// What it uses now.
    pub fn stats(&self, name: &str) -> Result<Usage> {
        reader::stats(&self.slot, name)
    }

    /// Starts it, if it does not run.
    pub fn start(&self, name: &str) -> Result<()> {
        control::start(&self.slot, name)
    }

    /// Stops it, if it runs; kills it after `grace`.
    pub fn stop(&self, name: &str, grace: Duration) -> Result<()> {
        control::stop(&self.slot, name, seconds(grace))
    }

    /// Stops and starts it.
    pub fn restart(&self, name: &str, grace: Duration) -> Result<()> {
        control::restart(&self.slot, name, seconds(grace))
    }

    /// Fetches an image and returns its id.
    pub fn pull(&self, image: &str) -> Result<String> {
        lifecycle::pull(&self.slot, image)
    }

    /// Gives an image another name.
    pub fn tag(&self, image: &str, target: &str) -> Result<()> {
        lifecycle::tag(&self.slot, image, target)
    }

    /// Makes a container without starting it and returns its id.
    pub fn create(&self, spec: &ContainerSpec) -> Result<String> {
        lifecycle::create(&self.slot, spec)
    }

    /// Removes a stopped container.
    pub fn remove(&self, name: &str) -> Result<()> {
        lifecycle::remove(&self.slot, name, false)
    }

    /// Removes a container, running or not.
    pub fn remove_by_force(&self, name: &str) -> Result<()> {
        lifecycle::remove(&self.slot, name, true)
    }

    /// Removes all stopped ones and returns their names.
    pub fn prune(&self) -> Result<Vec<String>> {
        lifecycle::prune(&self.slot)
    }

    /// Runs a program inside one.
    pub fn exec(&self, name: &str, command: &[String]) -> Result<ExecOutput> {
        exec::run(&self.slot, name, command)
    }
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}
