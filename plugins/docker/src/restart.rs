//! `docker:restart`

use crate::{containers, is_running, state_word};
use runbook_sdk::prelude::*;
use std::time::Duration;

/// Which container, and how long it may take to end.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// The name of the container, if the slot is bound to several.
    #[serde(default)]
    name: String,
    /// How long it may take to end by itself before it is killed; 10 s if absent. The step's
    /// `timeout` must be longer.
    #[schemars(extend("x-runbook-spent" = "10s"))]
    grace: Option<Span>,
}

/// What the container does now.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// The name of the container.
    name: String,
    /// When it was started, as Docker writes it.
    started_at: String,
}

pub(crate) struct Restart;

impl Step for Restart {
    type Input = Input;
    type Output = Output;

    fn plan(_job: &Job, input: &Input) -> Result<Proposal> {
        let container = containers().inspect(&input.name)?;
        let summary =
            format!("restart {}, which is {}", container.name, state_word(container.state));
        Ok(Proposal::one(
            effect("docker.restart", format!("container {}", container.name), summary),
            Json::Null,
        ))
    }

    fn apply(_job: &Job, input: &Input, _proposal: &Proposal) -> Result<Completion<Output>> {
        let grace = input.grace.map_or(Duration::from_secs(10), |grace| grace.0);
        let before = containers().inspect(&input.name)?;
        containers().restart(&input.name, grace)?;
        let container = containers().inspect(&input.name)?;
        if !is_running(&container) || container.started_at == before.started_at {
            return Err(Fault::assertion(
                "docker.not-restarted",
                format!("{} is {}", container.name, state_word(container.state)),
            ));
        }
        Ok(Completion::changed(
            format!("restarted {}", container.name),
            Output { name: container.name, started_at: container.started_at },
        ))
    }
}
