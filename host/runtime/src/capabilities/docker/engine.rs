//! Connects to the Docker engine of a target.

use super::failure::{engine_fault, transport_failure};
use super::transport::{Reading, Transport, TransportFailure, Way};
use crate::fault::{Fault, FaultClass};
use crate::host::{Commit, Host};
use crate::net::allowed_addresses::Server;
use crate::net::tls::ServerVerification;
use bollard::errors::Error;
use bollard::models::ContainerInspectResponse;
use bollard::{BollardRequest, Docker};
use http_body_util::BodyExt as _;
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::HeaderValue;
use runbook_authority::targets::{DockerEndpoint, DockerServer, DockerTarget};
use runbook_authority::{Target, Verb};
use runbook_secrets::Scrubber;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// The timeout of one request to the engine, in seconds; stopping a container adds its grace
/// period.
const ANSWER_TIMEOUT_S: u64 = 120;

/// The longest time in which one host function connects to an engine.
const CALL_TIMEOUT: Duration = Duration::from_hours(24);

/// A connection to the engine of a target.
pub(super) struct Engine {
    pub(super) docker: Docker,
    pub(super) commit: Commit,
    transport: Arc<Transport>,
    target: Arc<Target>,
    scrubber: Scrubber,
}

impl Host {
    /// Connects to the engine of a slot. The gate has allowed the verb, and decides about each
    /// address of an engine on a server.
    pub(super) async fn engine(
        &mut self,
        slot: &str,
        verb: Verb,
        commit: Commit,
    ) -> Result<Engine, Fault> {
        let target = self.target(slot)?;
        let endpoint = &docker_target_of(&target).endpoint;
        let place = endpoint.to_string();
        let way = match endpoint {
            DockerEndpoint::Socket(path) => Way::Socket(path.into()),
            DockerEndpoint::Server(server) => self.way_to(server, slot, verb, &place).await?,
        };
        let scrubber = self.scrubber();
        let fault = |error: &Error| engine_fault(error, &place, &scrubber);
        let transport = Arc::new(Transport::new(way));
        let sender = Arc::clone(&transport);
        let send = move |request: BollardRequest| sender.send(request, Reading::Parts);
        // The library makes addresses of requests from this one; the transport takes only the path.
        let address = Some("http://docker");
        let version = bollard::API_DEFAULT_VERSION;
        let docker =
            Docker::connect_with_custom_transport(send, address, ANSWER_TIMEOUT_S, version)
                .map_err(|error| fault(&error))?;
        let docker = docker.negotiate_version().await.map_err(|error| match &error {
            Error::DockerResponseServerError { status_code: 404, .. } => {
                let message = format!("the server at `{place}` does not speak the API of Docker");
                Fault::new(FaultClass::Assertion, "docker.protocol", message)
            }
            _ => fault(&error),
        })?;
        Ok(Engine { docker, commit, transport, target, scrubber })
    }

    /// The way to a server, at the addresses that the gate allows.
    async fn way_to(
        &mut self,
        server: &DockerServer,
        slot: &str,
        verb: Verb,
        place: &str,
    ) -> Result<Way, Fault> {
        let tls = match &server.tls {
            None => None,
            Some(keys) => {
                let verification = ServerVerification::Certificate;
                Some(self.client_config(keys, verification, &[], "docker.tls").await?)
            }
        };
        let (host, port) = (server.host.as_str(), server.port);
        // Each request has a connection of its own, until the host function ends.
        let timeout = self.remaining(CALL_TIMEOUT);
        let addresses = self
            .allowed_addresses(&Server { slot, verb, host, port, timeout })
            .await
            .map_err(|error| {
            let error = TransportFailure::Connect(error).into();
            engine_fault(&error, place, &self.scrubber())
        })?;
        let authority = place.trim_start_matches("tcp://");
        let authority = HeaderValue::from_str(authority).map_err(|error| {
            Fault::new(FaultClass::Invalid, "docker.tls", format!("`{place}`: {error}"))
        })?;
        Ok(Way::Server { addresses, host: host.to_owned(), authority, tls })
    }
}

impl Engine {
    pub(super) fn docker_target(&self) -> &DockerTarget {
        docker_target_of(&self.target)
    }

    /// The fault for an error of the request that changes something. If the engine has refused the
    /// request, or has not received it, the call is marked as rolled back.
    pub(super) fn change_fault(&self, error: &Error) -> Fault {
        let fault = self.fault(error);
        let is_refused = matches!(error, Error::DockerResponseServerError { .. })
            && matches!(
                fault.class,
                FaultClass::Invalid | FaultClass::NotFound | FaultClass::Conflict
            );
        let is_unsent =
            transport_failure(error).is_some_and(TransportFailure::is_before_the_request);
        if is_refused || is_unsent {
            self.commit.mark_rolled_back();
        }
        fault
    }

    /// Inspects every container of the engine, running or not.
    pub(super) async fn inspect_all_containers(
        &self,
    ) -> Result<Vec<ContainerInspectResponse>, Fault> {
        let listed = self.get("/containers/json?all=true").await;
        let mut containers = Vec::new();
        for id in ids(&listed.map_err(|error| self.fault(&error))?) {
            match self.inspect_container(&id).await {
                Ok(inspected) => containers.push(inspected),
                // The container was removed between the two requests.
                Err(Error::DockerResponseServerError { status_code: 404, .. }) => {}
                Err(error) => return Err(self.fault(&error)),
            }
        }
        containers.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(containers)
    }

    /// Inspects one container, by its name or its id.
    pub(super) async fn inspect_container(
        &self,
        name: &str,
    ) -> Result<ContainerInspectResponse, Error> {
        let mut inspected = self.get(&format!("/containers/{name}/json")).await?;
        translate_state(&mut inspected);
        Ok(serde_json::from_value(inspected)?)
    }

    /// Reads one resource. The library refuses an answer with a state of a container that it does
    /// not know, and Podman has such states.
    async fn get(&self, path: &str) -> Result<Value, Error> {
        let path = format!("/v{}{path}", self.docker.client_version());
        let request = Request::get(path).body(bollard::body_full(Bytes::new()))?;
        let answering = self.transport.send(request, Reading::Whole);
        let late = Duration::from_secs(ANSWER_TIMEOUT_S);
        let answer = tokio::time::timeout(late, answering).await;
        let answer = answer.map_err(|_| Error::RequestTimeoutError)??;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        if status.is_success() {
            return Ok(serde_json::from_slice(&body)?);
        }
        let text = || String::from_utf8_lossy(&body).into_owned();
        let message = serde_json::from_slice::<Value>(&body).ok();
        let message = message.and_then(|body| body["message"].as_str().map(str::to_owned));
        let message = message.unwrap_or_else(text);
        Err(Error::DockerResponseServerError { status_code: status.as_u16(), message })
    }

    /// All that was read of the current answer has been used. Whoever reads a long answer part by
    /// part says so after each.
    pub(super) fn mark_used(&self) {
        self.transport.mark_used();
    }

    /// Accepts status 304: the container is already in the wanted state.
    pub(super) fn accept_not_modified(&self, result: Result<(), Error>) -> Result<(), Fault> {
        match result {
            Ok(()) | Err(Error::DockerResponseServerError { status_code: 304, .. }) => Ok(()),
            Err(error) => Err(self.change_fault(&error)),
        }
    }

    pub(super) fn fault(&self, error: &Error) -> Fault {
        let place = self.docker_target().endpoint.to_string();
        if self.transport.is_exceeded() {
            // The library leaves out why an answer that it reads part by part has broken off.
            return engine_fault(&TransportFailure::TooLarge.into(), &place, &self.scrubber);
        }
        engine_fault(error, &place, &self.scrubber)
    }
}

/// The ids in a list of containers.
fn ids(listed: &Value) -> Vec<String> {
    let containers = listed.as_array().into_iter().flatten();
    containers.filter_map(|container| container["Id"].as_str()).map(str::to_owned).collect()
}

/// Writes the state of an inspected container as Docker does, which knows fewer states than Podman.
fn translate_state(inspected: &mut Value) {
    let Some(status) = inspected.pointer_mut("/State/Status") else { return };
    let translated = match status.as_str() {
        // It runs until it has stopped.
        Some("stopping") => "running",
        Some("stopped") => "exited",
        Some("configured" | "initialized") => "created",
        Some(
            "" | "created" | "running" | "paused" | "restarting" | "removing" | "exited" | "dead",
        ) => return,
        Some(_) | None => "",
    };
    *status = translated.into();
}

fn docker_target_of(target: &Target) -> &DockerTarget {
    target.docker().expect("the gate lets docker operations through on docker targets only")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every state of Docker and of Podman, and what is none.
    #[test]
    fn every_state_of_podman_is_one_of_docker() {
        for (podman, docker) in [
            ("created", "created"),
            ("running", "running"),
            ("paused", "paused"),
            ("restarting", "restarting"),
            ("removing", "removing"),
            ("exited", "exited"),
            ("dead", "dead"),
            ("stopping", "running"),
            ("stopped", "exited"),
            ("configured", "created"),
            ("initialized", "created"),
            ("unknown", ""),
            ("", ""),
        ] {
            let mut inspected = serde_json::json!({ "State": { "Status": podman } });
            translate_state(&mut inspected);
            assert_eq!(inspected["State"]["Status"], docker, "{podman}");
            serde_json::from_value::<ContainerInspectResponse>(inspected).unwrap();
        }
        for other in [serde_json::json!(null), serde_json::json!({ "State": { "Status": 7 } })] {
            let mut inspected = other;
            translate_state(&mut inspected);
        }
    }
}
