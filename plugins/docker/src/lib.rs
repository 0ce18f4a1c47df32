//! The bundled plugin `docker`: reads the state of a container, starts, stops and restarts it.

mod restart;
mod start_stop;
mod status;

use runbook_sdk::docker::{Container, ContainerState, Containers};

/// The container of the slot.
fn containers() -> Containers {
    Containers::slot(runbook_sdk::slot!("container"))
}

fn is_running(container: &Container) -> bool {
    matches!(
        container.state,
        ContainerState::Running | ContainerState::Restarting | ContainerState::Paused
    )
}

/// The word that Docker uses.
fn state_word(state: ContainerState) -> &'static str {
    match state {
        ContainerState::Created => "created",
        ContainerState::Running => "running",
        ContainerState::Paused => "paused",
        ContainerState::Restarting => "restarting",
        ContainerState::Removing => "removing",
        ContainerState::Exited => "exited",
        ContainerState::Dead => "dead",
    }
}

runbook_sdk::plugin! {
    probes: { "status" => status::status, "wait-healthy" => status::wait_healthy },
    steps: { "stop" => start_stop::Stop, "start" => start_stop::Start, "restart" => restart::Restart },
}
