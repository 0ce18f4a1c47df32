//! The confinement of containers that plugins create.

use bollard::models::{HostConfig, RestartPolicy, RestartPolicyNameEnum};
use runbook_authority::targets::DockerTarget;
use std::collections::HashMap;

/// The host configuration of a container that a plugin creates. Every field is set, so that no
/// default of the engine gives the container more.
pub(super) fn confined_host_config(target: &DockerTarget) -> HostConfig {
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
