//! The containers that the runbook bound to a slot.

use crate::bindings::runbook::docker::{control, exec, lifecycle, reader, types};
use crate::fault::Result;
use crate::native::host;
use crate::slot::Slot;
use std::time::Duration;

pub use types::{
    Container, ContainerSpec, ContainerState, ExecOutput, Health, LogLine, LogTail, Usage,
};

/// A slot that is bound to some containers of one Docker engine. The name `""` stands for the one
/// container of a slot that is bound to exactly one.
#[derive(Debug, Clone)]
pub struct Containers {
    slot: Slot,
}

impl Containers {
    /// The containers of a slot of `plugin.toml`.
    pub fn slot(slot: Slot) -> Self {
        Self { slot }
    }

    /// All containers that the slot's filter lets through, running or not.
    ///
    /// # Errors
    /// `denied` if the slot is not granted `list`, `transient` if the Docker engine cannot be
    /// reached.
    #[track_caller]
    pub fn list(&self) -> Result<Vec<Container>> {
        host!("docker/reader.list", reader::list(self.slot.name()))
    }

    /// One container: its state, health, image and labels. Its environment is never shown.
    ///
    /// # Errors
    /// `denied` if the slot is not granted `inspect` or its filter does not let the container
    /// through, `not-found` if there is none of this name, `invalid` if `name` is `""` and the slot
    /// has several, `transient` if the Docker engine cannot be reached.
    #[track_caller]
    pub fn inspect(&self, name: &str) -> Result<Container> {
        host!("docker/reader.inspect", reader::inspect(self.slot.name(), name))
    }

    /// The last `tail` lines of a container's log, oldest first, at most 1,000 lines and 1 MiB; and
    /// whether older ones were left out.
    ///
    /// # Errors
    /// As [`inspect`](Self::inspect), with the verb `logs`.
    #[track_caller]
    pub fn logs(&self, name: &str, tail: u32) -> Result<LogTail> {
        host!("docker/reader.logs", reader::logs(self.slot.name(), name, tail))
    }

    /// What a container uses now: processor, memory, network and disks.
    ///
    /// # Errors
    /// As [`inspect`](Self::inspect), with the verb `stats`; `conflict` if the container does not
    /// run.
    #[track_caller]
    pub fn stats(&self, name: &str) -> Result<Usage> {
        host!("docker/reader.stats", reader::stats(self.slot.name(), name))
    }

    /// Starts a container; does nothing if it runs already.
    ///
    /// # Errors
    /// As [`inspect`](Self::inspect), with the verb `start`.
    #[track_caller]
    pub fn start(&self, name: &str) -> Result<()> {
        host!("docker/control.start", control::start(self.slot.name(), name))
    }

    /// Asks a container to end, and kills it after `grace`, in whole seconds. It does nothing if
    /// the container is stopped already.
    ///
    /// # Errors
    /// As [`inspect`](Self::inspect), with the verb `stop`.
    #[track_caller]
    pub fn stop(&self, name: &str, grace: Duration) -> Result<()> {
        host!("docker/control.stop", control::stop(self.slot.name(), name, seconds(grace)))
    }

    /// Stops a container as [`stop`](Self::stop) does, and starts it.
    ///
    /// # Errors
    /// As [`inspect`](Self::inspect), with the verb `restart`.
    #[track_caller]
    pub fn restart(&self, name: &str, grace: Duration) -> Result<()> {
        host!("docker/control.restart", control::restart(self.slot.name(), name, seconds(grace)))
    }

    /// Fetches an image from its registry and returns its id, `sha256:…`.
    ///
    /// # Errors
    /// `denied` if the slot is not granted `pull` or the target does not list the image, `invalid`
    /// if `image` is no image reference, `not-found` if no registry has it, `transient` if the
    /// Docker engine cannot be reached.
    #[track_caller]
    pub fn pull(&self, image: &str) -> Result<String> {
        host!("docker/lifecycle.pull", lifecycle::pull(self.slot.name(), image))
    }

    /// Gives the image `image` the additional name `target`.
    ///
    /// # Errors
    /// As [`pull`](Self::pull), with the verb `tag`; the target must list both names.
    #[track_caller]
    pub fn tag(&self, image: &str, target: &str) -> Result<()> {
        host!("docker/lifecycle.tag", lifecycle::tag(self.slot.name(), image, target))
    }

    /// Makes a container without starting it, and returns its id. The target says which network,
    /// memory and number of processes it gets.
    ///
    /// # Errors
    /// `denied` if the slot is not granted `create`, or if the target does not allow the name, the
    /// image, a word of the command or a variable; `conflict` if the name is taken.
    #[track_caller]
    pub fn create(&self, spec: &ContainerSpec) -> Result<String> {
        host!("docker/lifecycle.create", lifecycle::create(self.slot.name(), spec))
    }

    /// Removes a stopped container.
    ///
    /// # Errors
    /// As [`inspect`](Self::inspect), with the verb `remove`; `conflict` if the container runs.
    #[track_caller]
    pub fn remove(&self, name: &str) -> Result<()> {
        host!("docker/lifecycle.remove", lifecycle::remove(self.slot.name(), name, false))
    }

    /// Removes a container, even if it runs.
    ///
    /// # Errors
    /// As [`inspect`](Self::inspect), with the verb `remove`.
    #[track_caller]
    pub fn remove_by_force(&self, name: &str) -> Result<()> {
        host!("docker/lifecycle.remove", lifecycle::remove(self.slot.name(), name, true))
    }

    /// Removes all stopped containers that the filter lets through, and returns their names.
    ///
    /// # Errors
    /// `denied` if the slot is not granted `prune`, `transient` if the Docker engine cannot be
    /// reached.
    #[track_caller]
    pub fn prune(&self) -> Result<Vec<String>> {
        host!("docker/lifecycle.prune", lifecycle::prune(self.slot.name()))
    }

    /// Runs a program inside a running container, and returns its exit code and output.
    ///
    /// # Errors
    /// As [`inspect`](Self::inspect), with the verb `exec`; `denied` too if the target's `command`
    /// does not match. A program that ends with another exit code than 0 is no error.
    #[track_caller]
    pub fn exec(&self, name: &str, command: &[String]) -> Result<ExecOutput> {
        host!("docker/exec.run", exec::run(self.slot.name(), name, command))
    }
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}
