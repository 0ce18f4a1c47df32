//! Converts the data of the engine about containers and commands to the types of the contract.

use crate::bindings::runbook::docker::types::{
    Container, ContainerState, ExecOutput, Health, Usage,
};
use bollard::models::{
    ContainerInspectResponse, ContainerStateStatusEnum, ContainerStatsResponse, HealthStatusEnum,
};
use runbook_secrets::Scrubber;
use std::collections::HashMap;

/// The output of a command for the guest: the first `max_bytes` bytes of each stream, without
/// secrets. More was captured, so that secrets across the cut are recognised.
pub(super) fn scrubbed_output(
    output: ExecOutput,
    max_bytes: usize,
    scrubber: &Scrubber,
) -> ExecOutput {
    let [stdout, stderr] = [&output.stdout, &output.stderr]
        .map(|stream| scrubber.first_bytes(stream, max_bytes).into_owned());
    ExecOutput { stdout, stderr, ..output }
}

pub(super) fn id_of(inspected: &ContainerInspectResponse) -> String {
    inspected.id.clone().unwrap_or_default()
}

/// The name and the labels of an inspected container.
pub(super) fn name_and_labels(
    inspected: &ContainerInspectResponse,
) -> (String, Vec<(String, String)>) {
    let name = inspected.name.as_deref().unwrap_or_default().trim_start_matches('/').to_owned();
    let labels: HashMap<String, String> =
        inspected.config.as_ref().and_then(|config| config.labels.clone()).unwrap_or_default();
    let mut labels: Vec<_> = labels.into_iter().collect();
    labels.sort();
    (name, labels)
}

pub(super) fn state_of(inspected: &ContainerInspectResponse) -> ContainerState {
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

/// The container for the guest, without secrets.
pub(super) fn container(inspected: ContainerInspectResponse, scrubber: &Scrubber) -> Container {
    let scrub = |text: String| scrubber.text(&text).into_owned();
    let (name, labels) = name_and_labels(&inspected);
    let labels = labels.into_iter().map(|(name, value)| (scrub(name), scrub(value))).collect();
    let state = state_of(&inspected);
    let details = inspected.state.unwrap_or_default();
    Container {
        id: inspected.id.unwrap_or_default(),
        name,
        image: scrub(inspected.config.and_then(|config| config.image).unwrap_or_default()),
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

/// Whether the engine has measured twice: a share of a processor is one of the time between two
/// measurements. Podman measures once, and a container that does not run is not measured.
pub(super) fn has_earlier_measurement(stats: &ContainerStatsResponse) -> bool {
    let system = |cpu: Option<&bollard::models::ContainerCpuStats>| {
        cpu.and_then(|cpu| cpu.system_cpu_usage).unwrap_or(0)
    };
    system(stats.cpu_stats.as_ref()) == 0 || system(stats.precpu_stats.as_ref()) > 0
}

#[expect(clippy::cast_precision_loss, reason = "shares of a processor are approximate")]
pub(super) fn usage(stats: &ContainerStatsResponse) -> Usage {
    let total = |cpu: Option<&bollard::models::ContainerCpuStats>| {
        let container_cpu = cpu
            .and_then(|cpu| cpu.cpu_usage.as_ref())
            .and_then(|usage| usage.total_usage)
            .unwrap_or(0);
        let system = cpu.and_then(|cpu| cpu.system_cpu_usage).unwrap_or(0);
        (container_cpu, system, cpu.and_then(|cpu| cpu.online_cpus).unwrap_or(1).max(1))
    };
    let (container_now, system_now, processors) = total(stats.cpu_stats.as_ref());
    let (container_before, system_before, _) = total(stats.precpu_stats.as_ref());
    let system = system_now.saturating_sub(system_before);
    let cpu_percent = if system == 0 {
        0.0
    } else {
        container_now.saturating_sub(container_before) as f64 / system as f64
            * f64::from(processors)
            * 100.0
    };
    let memory = stats.memory_stats.as_ref();
    let networks = stats.networks.iter().flatten().map(|(_, network)| network);
    let (received, sent) = networks.fold((0, 0), |(received, sent), network| {
        (received + network.rx_bytes.unwrap_or(0), sent + network.tx_bytes.unwrap_or(0))
    });
    let blocks =
        stats.blkio_stats.as_ref().and_then(|blocks| blocks.io_service_bytes_recursive.as_ref());
    let io_bytes = |operation: &str| -> u64 {
        let is_operation = |entry: &&bollard::models::ContainerBlkioStatEntry| {
            entry.op.as_deref().is_some_and(|op| op.eq_ignore_ascii_case(operation))
        };
        blocks.into_iter().flatten().filter(is_operation).filter_map(|entry| entry.value).sum()
    };
    Usage {
        cpu_percent,
        memory_bytes: memory.and_then(|memory| memory.usage).unwrap_or(0),
        memory_limit_bytes: memory.and_then(|memory| memory.limit).unwrap_or(0),
        network_received_bytes: received,
        network_sent_bytes: sent,
        block_read_bytes: io_bytes("read"),
        block_written_bytes: io_bytes("write"),
    }
}
