//! The containers that a filter lets through, on one Docker engine.
//!
//! A name is resolved to an id once, the gate judges the container as inspected, and the id is
//! acted on: a name that moves meanwhile changes nothing. The environment of a container is never
//! read into a plugin.

use crate::bindings::runbook::docker::types::{
    Container, ContainerSpec, ContainerState, ExecOutput, Health, LogLine, LogTail, Usage,
};
use crate::bindings::runbook::docker::{control, exec, lifecycle, reader, types};
use crate::fault::{Fault, FaultClass};
use crate::host::{Commit, Host, HostCall, shown_fault};
use bollard::Docker;
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::exec::StartExecResults;
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerStateStatusEnum,
    ContainerStatsResponse, ExecConfig, HealthStatusEnum, HostConfig, RestartPolicy,
    RestartPolicyNameEnum,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptionsBuilder, ListContainersOptionsBuilder,
    LogsOptionsBuilder, RemoveContainerOptionsBuilder, RestartContainerOptionsBuilder,
    StartContainerOptions, StatsOptionsBuilder, StopContainerOptionsBuilder,
    TagImageOptionsBuilder,
};
use futures_util::StreamExt as _;
use runbook_authority::gate::Creation;
use runbook_authority::targets::{ContainerFacts, DockerTarget};
use runbook_authority::{Operation, Target, Verb};
use runbook_secrets::Scrubber;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// How many lines one call of `logs` returns at most.
const MAX_LINES: u32 = 1_000;
/// Bytes of one `exec`, of each stream.
const MAX_OUTPUT: usize = 1 << 20;
/// Seconds for one answer of the engine; stopping a container has its grace on top.
const ANSWER_S: u64 = 120;

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

/// The end of a log, as it comes.
#[derive(Default)]
struct Newest {
    /// Whether it is of stderr, and what was written there until the other stream was.
    pieces: VecDeque<(bool, Vec<u8>)>,
    bytes: usize,
    truncated: bool,
}

impl Newest {
    /// The engine parts what a container writes wherever it likes, also within a secret: what
    /// belongs together is joined.
    fn add(&mut self, stderr: bool, written: &[u8]) {
        match self.pieces.back_mut() {
            Some((kind, last)) if *kind == stderr => last.extend_from_slice(written),
            Some(_) | None => self.pieces.push_back((stderr, written.to_vec())),
        }
        self.bytes += written.len();
        // Half as much again as is ever shown stays, so that what is left of a secret at the
        // beginning is not.
        if self.bytes > 2 * MAX_OUTPUT {
            self.drop_first(self.bytes - MAX_OUTPUT - MAX_OUTPUT / 2);
            self.truncated = true;
        }
    }

    fn drop_first(&mut self, mut bytes: usize) {
        self.bytes -= bytes;
        while let Some((_, piece)) = self.pieces.front_mut() {
            if piece.len() > bytes {
                piece.drain(..bytes);
                return;
            }
            bytes -= piece.len();
            self.pieces.pop_front();
        }
    }

    /// The newest lines, without secrets, and no more than were asked for.
    fn into_tail(self, scrubber: &Scrubber, asked: u32) -> LogTail {
        let mut lines = Vec::new();
        for (stderr, piece) in &self.pieces {
            let clean = scrubber.bytes(piece);
            let text = String::from_utf8_lossy(&clean);
            lines.extend(
                text.lines()
                    .map(|line| LogLine { stderr: *stderr, text: line.trim_end().to_owned() }),
            );
        }
        lines.drain(..lines.len().saturating_sub(asked as usize));
        let mut left = MAX_OUTPUT;
        let fits = lines.iter().rev().take(MAX_LINES as usize).take_while(|line| {
            let rest = left.checked_sub(line.text.len());
            left = rest.unwrap_or(0);
            rest.is_some()
        });
        let dropped = lines.len() - fits.count();
        LogTail { lines: lines.split_off(dropped), truncated: self.truncated || dropped > 0 }
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

/// What the guest sees of a command: `most` bytes of each stream. More was kept, to find secrets
/// that lie across the cut.
fn shown_output(output: ExecOutput, most: usize, scrubber: &Scrubber) -> ExecOutput {
    let [stdout, stderr] = [&output.stdout, &output.stderr]
        .map(|stream| scrubber.first_bytes(stream, most).into_owned());
    ExecOutput { stdout, stderr, ..output }
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

/// A connection to the engine of a target.
struct Engine {
    docker: Docker,
    commit: Commit,
    target: Arc<Target>,
    scrubber: Scrubber,
}

impl Engine {
    async fn connect(
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

    fn docker_target(&self) -> &DockerTarget {
        docker_of(&self.target)
    }

    /// The fault of the one request that acts. What the engine says that it will not do did not
    /// happen.
    fn refused(&self, error: &Error) -> Fault {
        if matches!(error, Error::DockerResponseServerError { status_code: 400 | 404 | 409, .. }) {
            self.commit.void();
        }
        self.fault(error)
    }

    /// Every container of the engine, running or not, inspected.
    async fn all(&self) -> Result<Vec<ContainerInspectResponse>, Fault> {
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
    fn already(&self, done: Result<(), Error>) -> Result<(), Fault> {
        match done {
            Ok(()) | Err(Error::DockerResponseServerError { status_code: 304, .. }) => Ok(()),
            Err(error) => Err(self.refused(&error)),
        }
    }

    fn fault(&self, error: &Error) -> Fault {
        engine_fault(error, &self.docker_target().socket, &self.scrubber)
    }
}

/// What an error of the engine is, as a guest sees it.
fn engine_fault(error: &Error, socket: &str, scrubber: &Scrubber) -> Fault {
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

/// What a container that a plugin creates may use. Everything that the plugin cannot say is said
/// here, so that no default of the engine gives it more.
fn confined(target: &DockerTarget) -> HostConfig {
    let memory = i64::try_from(target.memory.0).unwrap_or(i64::MAX);
    HostConfig {
        network_mode: Some(target.network.clone()),
        memory: Some(memory),
        // Memory and swap together: no swap.
        memory_swap: Some(memory),
        pids_limit: Some(i64::from(target.pids)),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges:true".to_owned()]),
        privileged: Some(false),
        publish_all_ports: Some(false),
        auto_remove: Some(false),
        ipc_mode: Some("private".to_owned()),
        pid_mode: Some(String::new()),
        uts_mode: Some(String::new()),
        binds: Some(Vec::new()),
        mounts: Some(Vec::new()),
        volumes_from: Some(Vec::new()),
        devices: Some(Vec::new()),
        port_bindings: Some(HashMap::new()),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        ..HostConfig::default()
    }
}

fn docker_of(target: &Target) -> &DockerTarget {
    target.docker().expect("the gate lets docker operations through on docker targets only")
}

/// A name or an id, which becomes a part of a path of the engine's API: nothing in it may make
/// another path of that.
fn check_name(name: &str) -> Result<(), Fault> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(allowed) {
        return Ok(());
    }
    let message = format!("`{}` is not the name or the id of a container", name.escape_debug());
    Err(Fault::new(FaultClass::Invalid, "docker.name", message))
}

/// A reference of an image, for the same reason.
fn check_image(image: &str) -> Result<(), Fault> {
    let allowed =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/' | ':' | '@');
    let segment = |segment: &str| segment.starts_with(|c: char| c.is_ascii_alphanumeric());
    if image.chars().all(allowed) && image.split('/').all(segment) {
        return Ok(());
    }
    let message = format!("`{}` is not a reference of an image", image.escape_debug());
    Err(Fault::new(FaultClass::Invalid, "docker.image", message))
}

/// `host:5000/name:1` is `host:5000/name` and `1`; without a tag it is `latest`.
fn repository_and_tag(image: &str) -> (&str, &str) {
    image.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).unwrap_or((image, "latest"))
}

fn seconds(grace_s: u32) -> i32 {
    i32::try_from(grace_s).unwrap_or(i32::MAX)
}

fn id_of(inspected: &ContainerInspectResponse) -> String {
    inspected.id.clone().unwrap_or_default()
}

/// Name and labels, as inspected.
fn facts(inspected: &ContainerInspectResponse) -> (String, Vec<(String, String)>) {
    let name = inspected.name.as_deref().unwrap_or_default().trim_start_matches('/').to_owned();
    let labels: HashMap<String, String> =
        inspected.config.as_ref().and_then(|config| config.labels.clone()).unwrap_or_default();
    let mut labels: Vec<_> = labels.into_iter().collect();
    labels.sort();
    (name, labels)
}

fn state_of(inspected: &ContainerInspectResponse) -> ContainerState {
    match inspected.state.as_ref().and_then(|state| state.status) {
        Some(ContainerStateStatusEnum::RUNNING) => ContainerState::Running,
        Some(ContainerStateStatusEnum::PAUSED) => ContainerState::Paused,
        Some(ContainerStateStatusEnum::RESTARTING) => ContainerState::Restarting,
        Some(ContainerStateStatusEnum::REMOVING) => ContainerState::Removing,
        Some(ContainerStateStatusEnum::EXITED) => ContainerState::Exited,
        Some(ContainerStateStatusEnum::DEAD) => ContainerState::Dead,
        Some(_) | None => ContainerState::Created,
    }
}

/// What a guest sees of a container.
fn container(inspected: ContainerInspectResponse, scrubber: &Scrubber) -> Container {
    let clean = |text: String| scrubber.text(&text).into_owned();
    let (name, labels) = facts(&inspected);
    let labels = labels.into_iter().map(|(name, value)| (clean(name), clean(value))).collect();
    let state = state_of(&inspected);
    let details = inspected.state.unwrap_or_default();
    Container {
        id: inspected.id.unwrap_or_default(),
        name,
        image: clean(inspected.config.and_then(|config| config.image).unwrap_or_default()),
        image_id: inspected.image.unwrap_or_default(),
        state,
        health: match details.health.and_then(|health| health.status) {
            Some(HealthStatusEnum::STARTING) => Health::Starting,
            Some(HealthStatusEnum::HEALTHY) => Health::Healthy,
            Some(HealthStatusEnum::UNHEALTHY) => Health::Unhealthy,
            Some(_) | None => Health::None,
        },
        exit_code: details.exit_code.unwrap_or(0),
        restart_count: inspected.restart_count.unwrap_or(0),
        started_at: details.started_at.unwrap_or_default(),
        labels,
    }
}

#[expect(clippy::cast_precision_loss, reason = "shares of a processor are approximate")]
fn usage(stats: &ContainerStatsResponse) -> Usage {
    let total = |cpu: Option<&bollard::models::ContainerCpuStats>| {
        let own = cpu
            .and_then(|cpu| cpu.cpu_usage.as_ref())
            .and_then(|usage| usage.total_usage)
            .unwrap_or(0);
        let system = cpu.and_then(|cpu| cpu.system_cpu_usage).unwrap_or(0);
        (own, system, cpu.and_then(|cpu| cpu.online_cpus).unwrap_or(1).max(1))
    };
    let (now, system_now, processors) = total(stats.cpu_stats.as_ref());
    let (before, system_before, _) = total(stats.precpu_stats.as_ref());
    let system = system_now.saturating_sub(system_before);
    let cpu_percent = if system == 0 {
        0.0
    } else {
        now.saturating_sub(before) as f64 / system as f64 * f64::from(processors) * 100.0
    };
    let memory = stats.memory_stats.as_ref();
    let networks = stats.networks.iter().flatten().map(|(_, network)| network);
    let (received, sent) = networks.fold((0, 0), |(received, sent), network| {
        (received + network.rx_bytes.unwrap_or(0), sent + network.tx_bytes.unwrap_or(0))
    });
    let blocks =
        stats.blkio_stats.as_ref().and_then(|blocks| blocks.io_service_bytes_recursive.as_ref());
    let moved = |operation: &str| -> u64 {
        let of = |entry: &&bollard::models::ContainerBlkioStatEntry| {
            entry.op.as_deref().is_some_and(|op| op.eq_ignore_ascii_case(operation))
        };
        blocks.into_iter().flatten().filter(of).filter_map(|entry| entry.value).sum()
    };
    Usage {
        cpu_percent,
        memory_bytes: memory.and_then(|memory| memory.usage).unwrap_or(0),
        memory_limit_bytes: memory.and_then(|memory| memory.limit).unwrap_or(0),
        network_received_bytes: received,
        network_sent_bytes: sent,
        block_read_bytes: moved("read"),
        block_written_bytes: moved("write"),
    }
}

#[cfg(test)]
pub(super) mod tests;
