//! The containers that a filter lets through, on one Docker engine.
//!
//! A name is resolved to an id once, the gate judges the container as inspected, and the id is
//! acted on: a name that moves meanwhile changes nothing. The environment of a container is never
//! read into a plugin.

mod confinement;
mod engine;
mod inspected;
mod log_tail;
mod names;

use crate::bindings::runbook::docker::types::{
    Container, ContainerSpec, ContainerState, ExecOutput, LogTail, Usage,
};
use crate::bindings::runbook::docker::{control, exec, lifecycle, reader, types};
use crate::fault::{Fault, FaultClass};
use crate::host::{Commit, Host, HostCall};
use bollard::container::LogOutput;
use bollard::exec::StartExecResults;
use bollard::models::{ContainerCreateBody, ContainerInspectResponse, ExecConfig};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptionsBuilder, LogsOptionsBuilder,
    RemoveContainerOptionsBuilder, RestartContainerOptionsBuilder, StartContainerOptions,
    StatsOptionsBuilder, StopContainerOptionsBuilder, TagImageOptionsBuilder,
};
use confinement::confined;
use engine::Engine;
use futures_util::StreamExt as _;
use inspected::{container, facts, id_of, shown_output, state_of, usage};
use log_tail::Newest;
use names::{check_image, check_name, repository_and_tag};
use runbook_authority::gate::Creation;
use runbook_authority::targets::ContainerFacts;
use runbook_authority::{Operation, Verb};

/// How many lines one call of `logs` returns at most.
const MAX_LINES: u32 = 1_000;
/// Bytes of one `exec`, of each stream.
const MAX_OUTPUT: usize = 1 << 20;

impl types::Host for HostCall<'_> {}

impl reader::Host for HostCall<'_> {
    async fn list(&mut self, slot: String) -> Result<Vec<Container>, Fault> {
        let commit = self.docker(&slot, Verb::DockerList)?;
        let engine = Engine::connect(self.target(&slot)?, commit, self.scrubber()).await?;
        let mut found = Vec::new();
        for inspected in engine.all().await? {
            let (name, labels) = facts(&inspected);
            if engine
                .docker_target()
                .filter
                .matches(ContainerFacts { name: &name, labels: &labels })
            {
                found.push(container(inspected, &self.scrubber()));
            }
        }
        Ok(found)
    }

    async fn inspect(&mut self, slot: String, name: String) -> Result<Container, Fault> {
        let (_, inspected) = self.container(&slot, Verb::DockerInspect, &name).await?;
        Ok(container(inspected, &self.scrubber()))
    }

    async fn logs(&mut self, slot: String, name: String, tail: u32) -> Result<LogTail, Fault> {
        let (engine, inspected) = self.container(&slot, Verb::DockerLogs, &name).await?;
        // One more than may be kept, to see whether there are more, and those in which a secret may
        // begin that ends in what is shown.
        let before = u32::try_from(self.scrubber().lines()).unwrap_or(u32::MAX);
        let asked = tail.min(MAX_LINES + 1).saturating_add(before).to_string();
        let options = LogsOptionsBuilder::default().stdout(true).stderr(true).tail(&asked).build();
        let mut stream = engine.docker.logs(&id_of(&inspected), Some(options));
        let mut newest = Newest::default();
        while let Some(output) = stream.next().await {
            let output = output.map_err(|error| engine.fault(&error))?;
            let stderr = matches!(output, LogOutput::StdErr { .. });
            newest.add(stderr, &output.into_bytes());
        }
        Ok(newest.into_tail(&self.scrubber(), tail))
    }

    async fn stats(&mut self, slot: String, name: String) -> Result<Usage, Fault> {
        let (engine, inspected) = self.container(&slot, Verb::DockerStats, &name).await?;
        // Without `one-shot` the engine measures twice, so that a share of the processor can be
        // told.
        let options = StatsOptionsBuilder::default().stream(false).one_shot(false).build();
        match engine.docker.stats(&id_of(&inspected), Some(options)).next().await {
            Some(Ok(stats)) => Ok(usage(&stats)),
            Some(Err(error)) => Err(engine.fault(&error)),
            None => Err(Fault::new(
                FaultClass::Conflict,
                "docker.not-running",
                "it does not run, so there is nothing to measure",
            )),
        }
    }
}

impl control::Host for HostCall<'_> {
    async fn start(&mut self, slot: String, name: String) -> Result<(), Fault> {
        let (engine, inspected) = self.container(&slot, Verb::DockerStart, &name).await?;
        engine.commit.send()?;
        let done =
            engine.docker.start_container(&id_of(&inspected), None::<StartContainerOptions>).await;
        engine.already(done)
    }

    async fn stop(&mut self, slot: String, name: String, grace_s: u32) -> Result<(), Fault> {
        let (engine, inspected) = self.container(&slot, Verb::DockerStop, &name).await?;
        let options = StopContainerOptionsBuilder::default().t(seconds(grace_s)).build();
        engine.commit.send()?;
        let done = engine.docker.stop_container(&id_of(&inspected), Some(options)).await;
        engine.already(done)
    }

    async fn restart(&mut self, slot: String, name: String, grace_s: u32) -> Result<(), Fault> {
        let (engine, inspected) = self.container(&slot, Verb::DockerRestart, &name).await?;
        let options = RestartContainerOptionsBuilder::default().t(seconds(grace_s)).build();
        engine.commit.send()?;
        engine
            .docker
            .restart_container(&id_of(&inspected), Some(options))
            .await
            .map_err(|error| engine.refused(&error))
    }
}

impl lifecycle::Host for HostCall<'_> {
    async fn pull(&mut self, slot: String, image: String) -> Result<String, Fault> {
        let commit = self.docker(&slot, Verb::DockerPull)?;
        self.enter(&Operation::Image { slot: &slot, verb: Verb::DockerPull, image: &image })?;
        check_image(&image)?;
        let engine = Engine::connect(self.target(&slot)?, commit, self.scrubber()).await?;
        // Without a tag the engine would fetch every tag there is.
        let has_digest = image.contains('@');
        let (repository, tag) =
            if has_digest { (image.as_str(), "") } else { repository_and_tag(&image) };
        let options = CreateImageOptionsBuilder::default().from_image(repository).tag(tag).build();
        engine.commit.send()?;
        let mut progress = engine.docker.create_image(Some(options), None, None);
        while let Some(step) = progress.next().await {
            step.map_err(|error| engine.fault(&error))?;
        }
        let found =
            engine.docker.inspect_image(&image).await.map_err(|error| engine.fault(&error))?;
        Ok(found.id.unwrap_or_default())
    }

    async fn tag(&mut self, slot: String, image: String, target: String) -> Result<(), Fault> {
        let commit = self.docker(&slot, Verb::DockerTag)?;
        for name in [&image, &target] {
            self.enter(&Operation::Image { slot: &slot, verb: Verb::DockerTag, image: name })?;
            check_image(name)?;
        }
        let engine = Engine::connect(self.target(&slot)?, commit, self.scrubber()).await?;
        let (repository, tag) = repository_and_tag(&target);
        let options = TagImageOptionsBuilder::default().repo(repository).tag(tag).build();
        engine.commit.send()?;
        engine.docker.tag_image(&image, Some(options)).await.map_err(|error| engine.refused(&error))
    }

    async fn create(&mut self, slot: String, spec: ContainerSpec) -> Result<String, Fault> {
        let commit = self.docker(&slot, Verb::DockerCreate)?;
        let creation = Creation {
            container: ContainerFacts { name: &spec.name, labels: &spec.labels },
            image: &spec.image,
            command: &spec.command,
            environment: &spec.environment,
        };
        self.enter(&Operation::Create { slot: &slot, verb: Verb::DockerCreate, creation })?;
        let engine = Engine::connect(self.target(&slot)?, commit, self.scrubber()).await?;
        let body = ContainerCreateBody {
            host_config: Some(confined(engine.docker_target())),
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
        engine.commit.send()?;
        engine
            .docker
            .create_container(Some(options), body)
            .await
            .map(|made| made.id)
            .map_err(|error| engine.refused(&error))
    }

    async fn remove(&mut self, slot: String, name: String, force: bool) -> Result<(), Fault> {
        let (engine, inspected) = self.container(&slot, Verb::DockerRemove, &name).await?;
        let options = RemoveContainerOptionsBuilder::default().force(force).build();
        engine.commit.send()?;
        engine
            .docker
            .remove_container(&id_of(&inspected), Some(options))
            .await
            .map_err(|error| engine.refused(&error))
    }

    async fn prune(&mut self, slot: String) -> Result<Vec<String>, Fault> {
        let commit = self.docker(&slot, Verb::DockerPrune)?;
        let engine = Engine::connect(self.target(&slot)?, commit, self.scrubber()).await?;
        let mut removed = Vec::new();
        for inspected in engine.all().await? {
            let (name, labels) = facts(&inspected);
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
            self.enter(&Operation::Container {
                slot: &slot,
                verb: Verb::DockerPrune,
                container: ContainerFacts { name: &name, labels: &labels },
            })?;
            let options = RemoveContainerOptionsBuilder::default().force(false).build();
            engine.commit.send()?;
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
        self.enter(&Operation::Exec { slot: &slot, verb: Verb::DockerExec, command: &command })?;
        let (engine, inspected) = self.container(&slot, Verb::DockerExec, &name).await?;
        let config = ExecConfig {
            cmd: Some(command),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..ExecConfig::default()
        };
        let made = engine
            .docker
            .create_exec(&id_of(&inspected), config)
            .await
            .map_err(|error| engine.fault(&error))?;
        engine.commit.send()?;
        let started = engine
            .docker
            .start_exec(&made.id, None)
            .await
            .map_err(|error| engine.refused(&error))?;
        let mut output =
            ExecOutput { exit_code: -1, stdout: Vec::new(), stderr: Vec::new(), truncated: false };
        let most = MAX_OUTPUT + self.scrubber().lookahead();
        if let StartExecResults::Attached { output: mut stream, .. } = started {
            while let Some(part) = stream.next().await {
                let part = part.map_err(|error| engine.fault(&error))?;
                let sink = if matches!(part, LogOutput::StdErr { .. }) {
                    &mut output.stderr
                } else {
                    &mut output.stdout
                };
                let bytes = part.into_bytes();
                let room = most - sink.len();
                output.truncated |= bytes.len() > room;
                sink.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
        }
        let ended =
            engine.docker.inspect_exec(&made.id).await.map_err(|error| engine.fault(&error))?;
        output.exit_code = ended.exit_code.unwrap_or(-1);
        output.truncated |= output.stdout.len() > MAX_OUTPUT || output.stderr.len() > MAX_OUTPUT;
        Ok(shown_output(output, MAX_OUTPUT, &self.scrubber()))
    }
}

impl Host {
    /// Asks the gate. Nothing happens before the [`Commit`] is sent, just before the one request
    /// that acts.
    fn docker(&mut self, slot: &str, verb: Verb) -> Result<Commit, Fault> {
        self.enter(&Operation::Docker { slot, verb })?;
        Ok(self.provisional(slot, verb, 1))
    }

    /// Resolves a name, and lets the gate judge what was found.
    async fn container(
        &mut self,
        slot: &str,
        verb: Verb,
        name: &str,
    ) -> Result<(Engine, ContainerInspectResponse), Fault> {
        let commit = if verb == Verb::DockerExec {
            // The gate was asked about its command already.
            self.provisional(slot, verb, 1)
        } else {
            self.docker(slot, verb)?
        };
        let engine = Engine::connect(self.target(slot)?, commit, self.scrubber()).await?;
        let wanted = match (name, engine.docker_target().filter.single()) {
            ("", Some(single)) => single.to_owned(),
            ("", None) => {
                let message = "the slot is bound to several containers, so one must be named";
                return Err(Fault::new(FaultClass::Invalid, "docker.no-name", message));
            }
            (name, _) => name.to_owned(),
        };
        check_name(&wanted)?;
        let inspected = engine
            .docker
            .inspect_container(&wanted, None)
            .await
            .map_err(|error| engine.fault(&error))?;
        let (found, labels) = facts(&inspected);
        self.enter(&Operation::Container {
            slot,
            verb,
            container: ContainerFacts { name: &found, labels: &labels },
        })?;
        Ok((engine, inspected))
    }
}

fn seconds(grace_s: u32) -> i32 {
    i32::try_from(grace_s).unwrap_or(i32::MAX)
}

#[cfg(test)]
pub(super) mod tests;
