//! A connection to the Docker engine of a target, and what its errors are to a plugin.

use crate::fault::{Fault, FaultClass};
use crate::host::{Commit, shown_fault};
use bollard::Docker;
use bollard::errors::Error;
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::ListContainersOptionsBuilder;
use runbook_authority::Target;
use runbook_authority::targets::DockerTarget;
use runbook_secrets::Scrubber;
use std::sync::Arc;

/// Seconds for one answer of the engine; stopping a container has its grace on top.
const ANSWER_S: u64 = 120;

/// A connection to the engine of a target.
pub(super) struct Engine {
    pub(super) docker: Docker,
    pub(super) commit: Commit,
    target: Arc<Target>,
    scrubber: Scrubber,
}

impl Engine {
    pub(super) async fn connect(
        target: Arc<Target>,
        commit: Commit,
        scrubber: Scrubber,
    ) -> Result<Self, Fault> {
        let socket = docker_of(&target).socket.clone();
        let away = |error: &Error| {
            let message = format!(
                "the Docker engine at `{socket}` does not answer: {error}; start it, or set \
                 `socket` in the target"
            );
            Fault::new(FaultClass::Transient, "docker.engine-away", message)
        };
        let docker = Docker::connect_with_unix(&socket, ANSWER_S, bollard::API_DEFAULT_VERSION)
            .map_err(|error| away(&error))?;
        let docker = docker.negotiate_version().await.map_err(|error| away(&error))?;
        Ok(Self { docker, commit, target, scrubber })
    }

    pub(super) fn docker_target(&self) -> &DockerTarget {
        docker_of(&self.target)
    }

    /// The fault of the one request that acts. What the engine says that it will not do did not
    /// happen.
    pub(super) fn refused(&self, error: &Error) -> Fault {
        if matches!(error, Error::DockerResponseServerError { status_code: 400 | 404 | 409, .. }) {
            self.commit.void();
        }
        self.fault(error)
    }

    /// Every container of the engine, running or not, inspected.
    pub(super) async fn all(&self) -> Result<Vec<ContainerInspectResponse>, Fault> {
        let options = ListContainersOptionsBuilder::default().all(true).build();
        let listed =
            self.docker.list_containers(Some(options)).await.map_err(|error| self.fault(&error))?;
        let mut found = Vec::new();
        for id in listed.into_iter().filter_map(|container| container.id) {
            match self.docker.inspect_container(&id, None).await {
                Ok(inspected) => found.push(inspected),
                // Gone between the two questions.
                Err(Error::DockerResponseServerError { status_code: 404, .. }) => {}
                Err(error) => return Err(self.fault(&error)),
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// 304 says that it is so already.
    pub(super) fn already(&self, done: Result<(), Error>) -> Result<(), Fault> {
        match done {
            Ok(()) | Err(Error::DockerResponseServerError { status_code: 304, .. }) => Ok(()),
            Err(error) => Err(self.refused(&error)),
        }
    }

    pub(super) fn fault(&self, error: &Error) -> Fault {
        engine_fault(error, &self.docker_target().socket, &self.scrubber)
    }
}

/// What an error of the engine is, as a guest sees it.
pub(super) fn engine_fault(error: &Error, socket: &str, scrubber: &Scrubber) -> Fault {
    let fault = match error {
        Error::DockerResponseServerError { status_code, message } => {
            let (class, code) = match status_code {
                404 => (FaultClass::NotFound, "docker.not-found"),
                409 => (FaultClass::Conflict, "docker.conflict"),
                400 => (FaultClass::Invalid, "docker.invalid"),
                _ => (FaultClass::Transient, "docker.engine"),
            };
            // In other letters a secret would not be recognised.
            Fault::new(class, code, scrubber.text(message).to_lowercase())
        }
        other => {
            let message = format!("the Docker engine at `{socket}` does not answer: {other}");
            Fault::new(FaultClass::Transient, "docker.engine-away", message)
        }
    };
    shown_fault(fault, scrubber)
}

fn docker_of(target: &Target) -> &DockerTarget {
    target.docker().expect("the gate lets docker operations through on docker targets only")
}
