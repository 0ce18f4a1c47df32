//! `docker:stop` and `docker:start`, each the undo of the other.

use crate::{containers, is_running, state_word};
use runbook_sdk::clock;
use runbook_sdk::prelude::*;
use std::time::Duration;

/// How long the engine may take, after the grace period, to kill a container and to report it.
const KILL_TIME: Duration = Duration::from_secs(5);
/// The pause between two inspections of a container that may be stopping.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// The time reserved at the end of a call, in which it can still report why it stopped waiting.
const ANSWER_RESERVE: Duration = Duration::from_secs(1);

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

impl Input {
    fn grace(&self) -> Duration {
        self.grace.map_or(Duration::from_secs(10), |grace| grace.0)
    }
}

/// What the container does now.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// The name of the container.
    name: String,
    /// Whether the container runs now.
    running: bool,
}

/// The state that `undo` needs and that the host compares after it. It contains nothing that
/// changes by itself.
fn running_state(name: &str) -> Result<Json> {
    Ok(json!({ "running": is_running(&containers().inspect(name)?) }))
}

/// Starts the container. If it runs already it is left alone, because an attempt that was cut off
/// may have started it.
fn start_container(name: &str) -> Result<Output> {
    if !is_running(&containers().inspect(name)?) {
        containers().start(name)?;
    }
    let container = containers().inspect(name)?;
    if is_running(&container) {
        return Ok(Output { name: container.name, running: true });
    }
    let message = format!(
        "{} was started and is {} already, exit code {}",
        container.name,
        state_word(container.state),
        container.exit_code
    );
    Err(Fault::assertion("docker.not-running", message))
}

fn stop_container(name: &str, grace: Duration) -> Result<Output> {
    if is_running(&containers().inspect(name)?) {
        containers().stop(name, grace)?;
    }
    let container = containers().inspect(name)?;
    if is_running(&container) {
        return Err(Fault::assertion(
            "docker.still-running",
            format!("{} was stopped and is {} still", container.name, state_word(container.state)),
        ));
    }
    Ok(Output { name: container.name, running: false })
}

/// Waits until a stop that got no answer cannot stop the container any more: the engine continues
/// it until the grace period is over. The caller inspects the container afterwards.
fn await_stop(job: &Job, input: &Input) -> Result<()> {
    let Some(asked_ago) = job.unanswered else { return Ok(()) };
    let remaining_time = (input.grace() + KILL_TIME).saturating_sub(asked_ago);
    let allowed_wait = Duration::from_millis(job.deadline_ms.saturating_sub(clock::now_ms()))
        .saturating_sub(ANSWER_RESERVE);
    let wait_start = clock::monotonic();
    while is_running(&containers().inspect(&input.name)?) {
        let waited = clock::monotonic().saturating_sub(wait_start);
        if waited >= remaining_time {
            break;
        }
        if waited >= allowed_wait {
            let message = format!(
                "{} was asked to stop, and the engine may do it within the next {} s: there was no \
                 time to wait for that",
                input.name,
                remaining_time.saturating_sub(waited).as_secs() + 1
            );
            return Err(Fault::transient("docker.stopping", message));
        }
        clock::sleep(POLL_INTERVAL);
    }
    Ok(())
}

/// Starts or stops the container, so that it runs exactly if it ran before.
fn restore_state(input: &Input, before: &Json) -> Result<Completion<Json>> {
    let was_running = before["running"] == json!(true);
    if is_running(&containers().inspect(&input.name)?) == was_running {
        return Ok(Completion::unchanged(
            if was_running { "it runs, as before" } else { "it is stopped, as before" },
            Json::Null,
        ));
    }
    if was_running {
        let output = start_container(&input.name)?;
        return Ok(Completion::changed(format!("started {} again", output.name), Json::Null));
    }
    let output = stop_container(&input.name, input.grace())?;
    Ok(Completion::changed(format!("stopped {} again", output.name), Json::Null))
}

pub(crate) struct Stop;

impl Step for Stop {
    type Input = Input;
    type Output = Output;

    fn plan(_job: &Job, input: &Input) -> Result<Proposal> {
        let container = containers().inspect(&input.name)?;
        let before = json!({ "running": is_running(&container) });
        if !is_running(&container) {
            return Ok(Proposal::nothing(
                format!("{} is {} already", container.name, state_word(container.state)),
                before,
            ));
        }
        let summary = format!("stop {}, {} s grace", container.name, input.grace().as_secs());
        Ok(Proposal::one(
            effect("docker.stop", format!("container {}", container.name), summary),
            before,
        ))
    }

    fn apply(_job: &Job, input: &Input, proposal: &Proposal) -> Result<Completion<Output>> {
        let output = stop_container(&input.name, input.grace())?;
        let name = output.name.clone();
        Ok(if proposal.effects.is_empty() {
            Completion::unchanged(format!("{name} was stopped already"), output)
        } else {
            Completion::changed(format!("stopped {name}"), output)
        })
    }

    fn observe(job: &Job, input: &Input) -> Result<Json> {
        await_stop(job, input)?;
        running_state(&input.name)
    }

    fn undo(job: &Job, input: &Input, before: &Json) -> Result<Completion<Json>> {
        await_stop(job, input)?;
        restore_state(input, before)
    }
}

pub(crate) struct Start;

impl Step for Start {
    type Input = Input;
    type Output = Output;

    fn plan(job: &Job, input: &Input) -> Result<Proposal> {
        // A container that is about to be stopped must not count as running.
        await_stop(job, input)?;
        let container = containers().inspect(&input.name)?;
        let before = json!({ "running": is_running(&container) });
        if is_running(&container) {
            return Ok(Proposal::nothing(format!("{} runs already", container.name), before));
        }
        let summary = format!("start {}", container.name);
        Ok(Proposal::one(
            effect("docker.start", format!("container {}", container.name), summary),
            before,
        ))
    }

    fn apply(_job: &Job, input: &Input, proposal: &Proposal) -> Result<Completion<Output>> {
        let output = start_container(&input.name)?;
        let name = output.name.clone();
        Ok(if proposal.effects.is_empty() {
            Completion::unchanged(format!("{name} ran already"), output)
        } else {
            Completion::changed(format!("started {name}"), output)
        })
    }

    fn observe(_job: &Job, input: &Input) -> Result<Json> {
        running_state(&input.name)
    }

    fn undo(_job: &Job, input: &Input, before: &Json) -> Result<Completion<Json>> {
        restore_state(input, before)
    }
}
