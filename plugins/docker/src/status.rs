//! `docker:status` and `docker:wait-healthy`

use crate::{containers, is_running, state_word};
use runbook_sdk::docker::{Container, Health};
use runbook_sdk::prelude::*;

/// What is expected of the container.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// The name of the container, if the slot is bound to several.
    #[serde(default)]
    name: String,
    /// What the container must do; `running` if absent.
    #[serde(default)]
    expect: Expected,
    /// The name of the image that it must have been made from.
    image: Option<String>,
    /// More restarts than this are a warning.
    max_restarts: Option<i64>,
}

/// What a container must do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Expected {
    /// Run, and be healthy if it has a health check.
    #[default]
    Running,
    /// Be there, and not run.
    Stopped,
    /// Be there, running or not.
    Any,
}

/// What the container is like now.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// The name of the container.
    name: String,
    /// The state as Docker calls it, such as `running` or `exited`.
    state: String,
    /// Whether the container runs.
    running: bool,
    /// `none`, `starting`, `healthy` or `unhealthy`.
    health: String,
    /// The name of the image.
    image: String,
    /// `sha256:<hex>` of the image.
    image_id: String,
    /// How often Docker restarted it.
    restarts: i64,
}

fn health_word(health: Health) -> &'static str {
    match health {
        Health::None => "none",
        Health::Starting => "starting",
        Health::Healthy => "healthy",
        Health::Unhealthy => "unhealthy",
    }
}

fn output(container: &Container) -> Output {
    Output {
        name: container.name.clone(),
        state: state_word(container.state).to_owned(),
        running: is_running(container),
        health: health_word(container.health).to_owned(),
        image: container.image.clone(),
        image_id: container.image_id.clone(),
        restarts: container.restart_count,
    }
}

pub(crate) fn status(_job: &Job, input: Input) -> Result<Report<Output>> {
    let container = containers().inspect(&input.name)?;
    let mut assertions = Assertions::new();
    let state = state_word(container.state);
    match input.expect {
        Expected::Running => {
            assertions.holds(is_running(&container), || format!("it is {state}, expected running"));
            assertions
                .holds(container.health != Health::Unhealthy, || "it is unhealthy".to_owned());
        }
        Expected::Stopped => {
            assertions
                .holds(!is_running(&container), || format!("it is {state}, expected stopped"));
        }
        Expected::Any => {}
    }
    if let Some(image) = &input.image {
        assertions.equals("its image", &container.image, image);
    }
    let has_many_restarts =
        input.max_restarts.is_some_and(|maximum| container.restart_count > maximum);
    let outcome =
        match (assertions.all_hold(), has_many_restarts || container.health == Health::Starting) {
            (false, _) => Outcome::Fail,
            (true, true) => Outcome::Warn,
            (true, false) => Outcome::Pass,
        };
    let summary =
        if assertions.all_hold() { describe(&container) } else { assertions.failures().join("; ") };
    Ok(Report::new(outcome, summary, output(&container)))
}

fn describe(container: &Container) -> String {
    let health = match container.health {
        Health::None => String::new(),
        health => format!(", {}", health_word(health)),
    };
    let restarts = if container.restart_count > 0 {
        format!(", restarted {} times", container.restart_count)
    } else {
        String::new()
    };
    format!("{} is {}{health}{restarts}", container.name, state_word(container.state))
}

/// Which container is waited for.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WaitInput {
    /// The name of the container, if the slot is bound to several.
    #[serde(default)]
    name: String,
}

pub(crate) fn wait_healthy(_job: &Job, input: WaitInput) -> Result<Report<Output>> {
    let container = containers().inspect(&input.name)?;
    let is_healthy =
        is_running(&container) && matches!(container.health, Health::None | Health::Healthy);
    Ok(Report::pass_if(is_healthy, describe(&container), output(&container)))
}
