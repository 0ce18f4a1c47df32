//! The bundled plugin `systemd`: reads the state of units, and changes it.

mod enablement;
mod failed;
mod restart;
mod start_stop;
mod unit;

use runbook_sdk::prelude::*;
use runbook_sdk::system::{Unit, Units};
use std::time::Duration;

/// Which unit.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Its full name, such as `nginx.service`.
    unit: String,
}

/// The units of the slot.
fn units() -> Units {
    Units::slot(runbook_sdk::slot!("units"))
}

/// A unit that has a file, or was made by systemd.
fn loaded(name: &str) -> Result<Unit> {
    let unit = units().unit(name)?;
    if unit.load == "loaded" {
        Ok(unit)
    } else {
        let message = format!("{name} is `{}`", unit.load);
        Err(Fault::not_found("systemd.no-unit", message))
    }
}

/// How long a request that got no answer may be on its way to systemd.
const DELIVERY_TIME: Duration = Duration::from_secs(2);
/// The pause between two looks at a unit that is changing.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// The time reserved at the end of a call, in which it can still report why it stopped waiting.
const ANSWER_RESERVE: Duration = Duration::from_secs(1);

/// Waits until a request that got no answer cannot change the unit any more: until it has reached
/// systemd, and the job that it asked for has ended.
pub(crate) fn await_job(job: &Job, name: &str) -> Result<()> {
    let Some(asked_ago) = job.unanswered else { return Ok(()) };
    let allowed_wait = Duration::from_millis(job.deadline_ms.saturating_sub(clock::now_ms()))
        .saturating_sub(ANSWER_RESERVE);
    let wait_start = clock::monotonic();
    loop {
        let waited = clock::monotonic().saturating_sub(wait_start);
        let is_delivered = asked_ago + waited >= DELIVERY_TIME;
        let unit = units().unit(name)?;
        let is_changing = matches!(
            unit.active.as_str(),
            "activating" | "deactivating" | "reloading" | "refreshing" | "maintenance"
        );
        if is_delivered && !is_changing {
            return Ok(());
        }
        if waited >= allowed_wait {
            let message = format!(
                "{name} is {}, and an earlier request may still change it: there was no time to \
                 wait for that",
                unit.active
            );
            return Err(Fault::transient("systemd.changing", message));
        }
        clock::sleep(POLL_INTERVAL);
    }
}

/// Whether a unit runs, or is about to.
fn is_active(unit: &Unit) -> bool {
    matches!(unit.active.as_str(), "active" | "activating" | "reloading" | "refreshing")
}

runbook_sdk::plugin! {
    probes: { "unit" => unit::unit, "failed" => failed::failed },
    steps: {
        "start" => start_stop::Start,
        "stop" => start_stop::Stop,
        "restart" => restart::Restart,
        "reload" => restart::Reload,
        "enable" => enablement::Enable,
        "disable" => enablement::Disable,
    },
}
