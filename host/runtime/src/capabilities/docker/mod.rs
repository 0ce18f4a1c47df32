//! Docker containers that match the filter of a target, on one engine.
//!
//! A name is resolved to an id once, the gate decides about the inspected container, and the host
//! acts on the id: it does not matter if the name moves to another container meanwhile. A plugin
//! never gets the environment of a container.

mod confinement;
mod engine;
mod failure;
mod inspection;
mod log_tail;
mod names;
mod transport;

use crate::bindings::runbook::docker::types::{
    Container, ContainerSpec, ContainerState, ExecOutput, LogTail, Usage,
};
use crate::bindings::runbook::docker::{control, exec, lifecycle, reader, types};
use crate::fault::{Fault, FaultClass};
use crate::host::{Commit, Host, HostCall};
use bollard::container::LogOutput;
use bollard::exec::StartExecResults;
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerStatsResponse, ExecConfig,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptionsBuilder, LogsOptionsBuilder,
    RemoveContainerOptionsBuilder, RestartContainerOptionsBuilder, StartContainerOptions,
    StatsOptionsBuilder, StopContainerOptionsBuilder, TagImageOptionsBuilder,
};
use confinement::confined_host_config;
use engine::Engine;
use futures_util::StreamExt as _;
use inspection::{
    container, has_earlier_measurement, id_of, name_and_labels, scrubbed_output, state_of, usage,
};
use log_tail::LogBuffer;
use names::{check_image, check_name, repository_and_tag};
use runbook_authority::gate::Creation;
use runbook_authority::targets::ContainerFacts;
use runbook_authority::{GateRequest, Verb};
use std::time::Duration;

/// How many lines one call of `logs` returns at most.
const MAX_LINES: u32 = 1_000;
/// The time over which the processor usage is measured if the engine does not measure twice.
const MEASURED_TIME: Duration = Duration::from_secs(1);
/// How many bytes one `exec` returns of each stream at most.
const MAX_OUTPUT: usize = 1 << 20;

impl types::Host for HostCall<'_> {}

impl reader::Host for HostCall<'_> {
    async fn list(&mut self, slot: String) -> Result<Vec<Container>, Fault> {
        let commit = self.docker(&slot, Verb::DockerList)?;
        let engine = self.engine(&slot, Verb::DockerList, commit).await?;
        let mut containers = Vec::new();
        for inspected in engine.inspect_all_containers().await? {
            let (name, labels) = name_and_labels(&inspected);
            if engine
                .docker_target()
                .filter
                .matches(ContainerFacts { name: &name, labels: &labels })
            {
                containers.push(container(inspected, &self.scrubber()));
            }
        }
        Ok(containers)
    }

    async fn inspect(&mut self, slot: String, name: String) -> Result<Container, Fault> {
        let (_, inspected) = self.container(&slot, Verb::DockerInspect, &name).await?;
        Ok(container(inspected, &self.scrubber()))
    }

    async fn logs(&mut self, slot: String, name: String, tail: u32) -> Result<LogTail, Fault> {
        let (engine, inspected) = self.container(&slot, Verb::DockerLogs, &name).await?;
        // One line more than may be kept shows whether there are more. The lines before may contain
        // the beginning of a secret that ends in the returned lines.
        let context_lines = u32::try_from(self.scrubber().max_lines()).unwrap_or(u32::MAX);
        let line_count = tail.min(MAX_LINES + 1).saturating_add(context_lines).to_string();
        let options =
            LogsOptionsBuilder::default().stdout(true).stderr(true).tail(&line_count).build();
        let mut stream = engine.docker.logs(&id_of(&inspected), Some(options));
        let mut buffer = LogBuffer::default();
        while let Some(output) = stream.next().await {
            let output = output.map_err(|error| engine.fault(&error))?;
            let stderr = matches!(output, LogOutput::StdErr { .. });
            buffer.add(stderr, &output.into_bytes());
            engine.mark_used();
        }
        Ok(buffer.into_tail(&self.scrubber(), tail))
    }

    async fn stats(&mut self, slot: String, name: String) -> Result<Usage, Fault> {
        let (engine, inspected) = self.container(&slot, Verb::DockerStats, &name).await?;
        let id = id_of(&inspected);
        let measured = measure(&engine, &id).await?;
        if has_earlier_measurement(&measured) {
            return Ok(usage(&measured));
        }
        tokio::time::sleep(MEASURED_TIME).await;
        let later = measure(&engine, &id).await?;
        Ok(usage(&ContainerStatsResponse { precpu_stats: measured.cpu_stats, ..later }))
    }
}

/// Asks the engine what a container uses.
async fn measure(engine: &Engine, id: &str) -> Result<ContainerStatsResponse, Fault> {
    // Without `one-shot` Docker measures twice, which the processor usage needs.
    let options = StatsOptionsBuilder::default().stream(false).one_shot(false).build();
    match engine.docker.stats(id, Some(options)).next().await {
        Some(Ok(stats)) => Ok(stats),
        Some(Err(error)) => Err(engine.fault(&error)),
        None => Err(Fault::new(
            FaultClass::Conflict,
            "docker.not-running",
            "it does not run, so there is nothing to measure",
        )),
    }
}

impl control::Host for HostCall<'_> {
    async fn start(&mut self, slot: String, name: String) -> Result<(), Fault> {
        let (engine, inspected) = self.container(&slot, Verb::DockerStart, &name).await?;
        engine.commit.mark_sent()?;
        let done =
            engine.docker.start_container(&id_of(&inspected), None::<StartContainerOptions>).await;
        engine.accept_not_modified(done)
    }

    async fn stop(&mut self, slot: String, name: String, grace_s: u32) -> Result<(), Fault> {
        let (engine, inspected) = self.container(&slot, Verb::DockerStop, &name).await?;
        let options = StopContainerOptionsBuilder::default().t(seconds(grace_s)).build();
        engine.commit.mark_sent()?;
        let done = engine.docker.stop_container(&id_of(&inspected), Some(options)).await;
        engine.accept_not_modified(done)
    }

    async fn restart(&mut self, slot: String, name: String, grace_s: u32) -> Result<(), Fault> {
        let (engine, inspected) = self.container(&slot, Verb::DockerRestart, &name).await?;
        let options = RestartContainerOptionsBuilder::default().t(seconds(grace_s)).build();
        engine.commit.mark_sent()?;
        engine
            .docker
            .restart_container(&id_of(&inspected), Some(options))
            .await
            .map_err(|error| engine.change_fault(&error))
    }
}

impl lifecycle::Host for HostCall<'_> {
    async fn pull(&mut self, slot: String, image: String) -> Result<String, Fault> {
        let commit = self.docker(&slot, Verb::DockerPull)?;
        self.enter(&GateRequest::Image { slot: &slot, verb: Verb::DockerPull, image: &image })?;
        check_image(&image)?;
        let engine = self.engine(&slot, Verb::DockerPull, commit).await?;
        // Without a tag the engine would pull all tags.
        let has_digest = image.contains('@');
        let (repository, tag) =
            if has_digest { (image.as_str(), "") } else { repository_and_tag(&image) };
        let options = CreateImageOptionsBuilder::default().from_image(repository).tag(tag).build();
        engine.commit.mark_sent()?;
        let mut progress = engine.docker.create_image(Some(options), None, None);
        while let Some(step) = progress.next().await {
            step.map_err(|error| engine.fault(&error))?;
            engine.mark_used();
        }
        let pulled_image =
            engine.docker.inspect_image(&image).await.map_err(|error| engine.fault(&error))?;
        Ok(pulled_image.id.unwrap_or_default())
    }

    async fn tag(&mut self, slot: String, image: String, target: String) -> Result<(), Fault> {
        let commit = self.docker(&slot, Verb::DockerTag)?;
        for name in [&image, &target] {
            self.enter(&GateRequest::Image { slot: &slot, verb: Verb::DockerTag, image: name })?;
            check_image(name)?;
        }
        let engine = self.engine(&slot, Verb::DockerTag, commit).await?;
        let (repository, tag) = repository_and_tag(&target);
        let options = TagImageOptionsBuilder::default().repo(repository).tag(tag).build();
        engine.commit.mark_sent()?;
        engine
            .docker
            .tag_image(&image, Some(options))
            .await
            .map_err(|error| engine.change_fault(&error))
    }

    async fn create(&mut self, slot: String, spec: ContainerSpec) -> Result<String, Fault> {
        let commit = self.docker(&slot, Verb::DockerCreate)?;
        let creation = Creation {
            container: ContainerFacts { name: &spec.name, labels: &spec.labels },
            image: &spec.image,
            command: &spec.command,
            environment: &spec.environment,
        };
        self.enter(&GateRequest::Create { slot: &slot, verb: Verb::DockerCreate, creation })?;
        let engine = self.engine(&slot, Verb::DockerCreate, commit).await?;
        let body = ContainerCreateBody {
            host_config: Some(confined_host_config(engine.docker_target())),
            image: Some(spec.image),
            cmd: (!spec.command.is_empty()).then_some(spec.command),
            env: Some(
                spec.environment
                    .into_iter()
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect(),
            ),
            labels: Some(spec.labels.into_iter().collect()),
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptionsBuilder::default().name(&spec.name).build();
        engine.commit.mark_sent()?;
        engine
            .docker
            .create_container(Some(options), body)
            .await
            .map(|created| created.id)
            .map_err(|error| engine.change_fault(&error))
    }

    async fn remove(&mut self, slot: String, name: String, force: bool) -> Result<(), Fault> {
        let (engine, inspected) = self.container(&slot, Verb::DockerRemove, &name).await?;
        let options = RemoveContainerOptionsBuilder::default().force(force).build();
        engine.commit.mark_sent()?;
        engine
            .docker
            .remove_container(&id_of(&inspected), Some(options))
            .await
            .map_err(|error| engine.change_fault(&error))
    }

    async fn prune(&mut self, slot: String) -> Result<Vec<String>, Fault> {
        let commit = self.docker(&slot, Verb::DockerPrune)?;
        let engine = self.engine(&slot, Verb::DockerPrune, commit).await?;
        let mut removed = Vec::new();
        for inspected in engine.inspect_all_containers().await? {
            let (name, labels) = name_and_labels(&inspected);
            let matches = engine
                .docker_target()
                .filter
                .matches(ContainerFacts { name: &name, labels: &labels });
            if !matches
                || !matches!(
                    state_of(&inspected),
                    ContainerState::Exited | ContainerState::Dead | ContainerState::Created
                )
            {
                continue;
            }
            self.enter(&GateRequest::Container {
                slot: &slot,
                verb: Verb::DockerPrune,
                container: ContainerFacts { name: &name, labels: &labels },
            })?;
            let options = RemoveContainerOptionsBuilder::default().force(false).build();
            engine.commit.mark_sent()?;
            engine
                .docker
                .remove_container(&id_of(&inspected), Some(options))
                .await
                .map_err(|error| engine.fault(&error))?;
            removed.push(name);
        }
        Ok(removed)
    }
}

impl exec::Host for HostCall<'_> {
    async fn run(
        &mut self,
        slot: String,
        name: String,
        command: Vec<String>,
    ) -> Result<ExecOutput, Fault> {
        self.enter(&GateRequest::Exec { slot: &slot, verb: Verb::DockerExec, command: &command })?;
        let (engine, inspected) = self.container(&slot, Verb::DockerExec, &name).await?;
        let config = ExecConfig {
            cmd: Some(command),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..ExecConfig::default()
        };
        let exec_instance = engine
            .docker
            .create_exec(&id_of(&inspected), config)
            .await
            .map_err(|error| engine.fault(&error))?;
        engine.commit.mark_sent()?;
        let started = engine
            .docker
            .start_exec(&exec_instance.id, None)
            .await
            .map_err(|error| engine.change_fault(&error))?;
        let mut output =
            ExecOutput { exit_code: -1, stdout: Vec::new(), stderr: Vec::new(), truncated: false };
        let max_bytes = MAX_OUTPUT + self.scrubber().lookahead();
        if let StartExecResults::Attached { output: mut stream, .. } = started {
            while let Some(part) = stream.next().await {
                let part = part.map_err(|error| engine.fault(&error))?;
                let sink = if matches!(part, LogOutput::StdErr { .. }) {
                    &mut output.stderr
                } else {
                    &mut output.stdout
                };
                let bytes = part.into_bytes();
                let room = max_bytes - sink.len();
                output.truncated |= bytes.len() > room;
                sink.extend_from_slice(&bytes[..bytes.len().min(room)]);
                engine.mark_used();
            }
        }
        let exec_result = engine
            .docker
            .inspect_exec(&exec_instance.id)
            .await
            .map_err(|error| engine.fault(&error))?;
        output.exit_code = exec_result.exit_code.unwrap_or(-1);
        output.truncated |= output.stdout.len() > MAX_OUTPUT || output.stderr.len() > MAX_OUTPUT;
        Ok(scrubbed_output(output, MAX_OUTPUT, &self.scrubber()))
    }
}

impl Host {
    /// Asks the engine for its version.
    pub(super) async fn reach_docker_engine(
        &mut self,
        slot: &str,
        verb: Verb,
    ) -> Result<String, Fault> {
        let commit = self.docker(slot, verb)?;
        let engine = self.engine(slot, verb, commit).await?;
        let version = engine.docker.version().await.map_err(|error| engine.fault(&error))?;
        let is_podman =
            version.components.iter().flatten().any(|part| part.name == "Podman Engine");
        let name = if is_podman { "Podman" } else { "the Docker engine" };
        let by_tls =
            engine.docker_target().endpoint.server().is_some_and(|server| server.tls.is_some());
        let transport = if by_tls { " by TLS" } else { "" };
        Ok(format!("{name} answers{transport}, version {}", version.version.unwrap_or_default()))
    }

    /// Asks the gate. The call has no effect before the [`Commit`] is marked as sent, just before
    /// the one request that changes something.
    fn docker(&mut self, slot: &str, verb: Verb) -> Result<Commit, Fault> {
        self.enter(&GateRequest::Docker { slot, verb })?;
        Ok(self.begin_uncommitted(slot, verb, 1))
    }

    /// Inspects the container with this name, and lets the gate decide about it.
    async fn container(
        &mut self,
        slot: &str,
        verb: Verb,
        name: &str,
    ) -> Result<(Engine, ContainerInspectResponse), Fault> {
        let commit = if verb == Verb::DockerExec {
            // The gate has already decided about the command.
            self.begin_uncommitted(slot, verb, 1)
        } else {
            self.docker(slot, verb)?
        };
        let engine = self.engine(slot, verb, commit).await?;
        let requested_name = match (name, engine.docker_target().filter.single_name()) {
            ("", Some(single_name)) => single_name.to_owned(),
            ("", None) => {
                let message = "the slot is bound to several containers, so one must be named";
                return Err(Fault::new(FaultClass::Invalid, "docker.no-name", message));
            }
            (name, _) => name.to_owned(),
        };
        check_name(&requested_name)?;
        let inspected = engine
            .inspect_container(&requested_name)
            .await
            .map_err(|error| engine.fault(&error))?;
        let (inspected_name, labels) = name_and_labels(&inspected);
        self.enter(&GateRequest::Container {
            slot,
            verb,
            container: ContainerFacts { name: &inspected_name, labels: &labels },
        })?;
        Ok((engine, inspected))
    }
}

fn seconds(grace_s: u32) -> i32 {
    i32::try_from(grace_s).unwrap_or(i32::MAX)
}

#[cfg(test)]
pub(super) mod tests;
