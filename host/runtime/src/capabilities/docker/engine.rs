//! Connects to the Docker engine of a target, and converts its errors to faults.

use crate::fault::{Fault, FaultClass};
use crate::host::{Commit, scrubbed_fault};
use bollard::Docker;
use bollard::errors::Error;
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::ListContainersOptionsBuilder;
use runbook_authority::Target;
use runbook_authority::targets::DockerTarget;
use runbook_secrets::Scrubber;
use std::sync::Arc;

/// The timeout of one request to the engine, in seconds; stopping a container adds its grace
/// period.
const ANSWER_TIMEOUT_S: u64 = 120;

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
        let socket = docker_target_of(&target).socket.clone();
        let unreachable_fault = |error: &Error| {
            let message = format!(
                "the Docker engine at `{socket}` does not answer: {error}; start it, or set \
                 `socket` in the target"
            );
            Fault::new(FaultClass::Transient, "docker.engine-away", message)
        };
        let docker =
            Docker::connect_with_unix(&socket, ANSWER_TIMEOUT_S, bollard::API_DEFAULT_VERSION)
                .map_err(|error| unreachable_fault(&error))?;
        let docker = docker.negotiate_version().await.map_err(|error| unreachable_fault(&error))?;
        Ok(Self { docker, commit, target, scrubber })
    }

    pub(super) fn docker_target(&self) -> &DockerTarget {
        docker_target_of(&self.target)
    }

    /// The fault for an error of the request that changes something. If the engine has refused the
    /// request, the call is marked as rolled back.
    pub(super) fn change_fault(&self, error: &Error) -> Fault {
        if matches!(error, Error::DockerResponseServerError { status_code: 400 | 404 | 409, .. }) {
            self.commit.mark_rolled_back();
        }
        self.fault(error)
    }

    /// Inspects every container of the engine, running or not.
    pub(super) async fn inspect_all_containers(
        &self,
    ) -> Result<Vec<ContainerInspectResponse>, Fault> {
        let options = ListContainersOptionsBuilder::default().all(true).build();
        let summaries =
            self.docker.list_containers(Some(options)).await.map_err(|error| self.fault(&error))?;
        let mut containers = Vec::new();
        for id in summaries.into_iter().filter_map(|container| container.id) {
            match self.docker.inspect_container(&id, None).await {
                Ok(inspected) => containers.push(inspected),
                // The container was removed between the two requests.
                Err(Error::DockerResponseServerError { status_code: 404, .. }) => {}
                Err(error) => return Err(self.fault(&error)),
            }
        }
        containers.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(containers)
    }

    /// Accepts status 304: the container is already in the wanted state.
    pub(super) fn accept_not_modified(&self, result: Result<(), Error>) -> Result<(), Fault> {
        match result {
            Ok(()) | Err(Error::DockerResponseServerError { status_code: 304, .. }) => Ok(()),
            Err(error) => Err(self.change_fault(&error)),
        }
    }

    pub(super) fn fault(&self, error: &Error) -> Fault {
        engine_fault(error, &self.docker_target().socket, &self.scrubber)
    }
}

/// The fault for an error of the engine, without secrets.
pub(super) fn engine_fault(error: &Error, socket: &str, scrubber: &Scrubber) -> Fault {
    let fault = match error {
        Error::DockerResponseServerError { status_code, message } => {
            let (class, code) = match status_code {
                404 => (FaultClass::NotFound, "docker.not-found"),
                409 => (FaultClass::Conflict, "docker.conflict"),
                400 => (FaultClass::Invalid, "docker.invalid"),
                _ => (FaultClass::Transient, "docker.engine"),
            };
            // Scrubbed first, because the scrubber would not recognise a secret in lower case.
            Fault::new(class, code, scrubber.text(message).to_lowercase())
        }
        other => {
            let message = format!("the Docker engine at `{socket}` does not answer: {other}");
            Fault::new(FaultClass::Transient, "docker.engine-away", message)
        }
    };
    scrubbed_fault(fault, scrubber)
}

fn docker_target_of(target: &Target) -> &DockerTarget {
    target.docker().expect("the gate lets docker operations through on docker targets only")
}
