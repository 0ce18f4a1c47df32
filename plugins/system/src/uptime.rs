//! `system:uptime`

use runbook_sdk::prelude::*;
use runbook_sdk::system::{Machine, MachineUptime};

/// How long the machine must have been running.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// A shorter time is a warning: the machine was started again.
    warn_below: Option<Span>,
    /// A shorter time is a failure.
    crit_below: Option<Span>,
}

/// How long the machine has been running.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Seconds since it was started.
    seconds: u64,
    /// Milliseconds since 1970 at which it was started.
    booted_at_ms: u64,
}

pub(crate) fn uptime(_job: &Job, input: Input) -> Result<Report<Output>> {
    Ok(report(&input, &Machine::slot(slot!("machine")).uptime()?))
}

fn report(input: &Input, uptime: &MachineUptime) -> Report<Output> {
    let is_below =
        |limit: Option<Span>| limit.is_some_and(|limit| uptime.seconds < limit.as_secs());
    let outcome = if is_below(input.crit_below) {
        Outcome::Fail
    } else if is_below(input.warn_below) {
        Outcome::Warn
    } else {
        Outcome::Pass
    };
    let summary = format!("the machine has been running for {}", words(uptime.seconds));
    let output = Output { seconds: uptime.seconds, booted_at_ms: uptime.booted_at_ms };
    #[expect(clippy::cast_precision_loss, reason = "seconds of an uptime are few")]
    let measured = measurement("uptime", uptime.seconds as f64, "s");
    let range = |limit: Option<Span>| limit.map(|limit| format!("{}:", limit.as_secs()));
    let measured =
        Measurement { warn: range(input.warn_below), crit: range(input.crit_below), ..measured };
    Report::new(outcome, summary, output).measure(measured)
}

/// A time in its two largest units: `3 d 4 h`.
pub(crate) fn words(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_was_started_a_short_time_ago_is_told() {
        let input: Input =
            serde_json::from_value(json!({ "warn_below": "1h", "crit_below": "5m" }))
                .expect("input");
        for (seconds, outcome, words) in [
            (299, Outcome::Fail, "4 min 59 s"),
            (300, Outcome::Warn, "5 min 0 s"),
            (3_600, Outcome::Pass, "1 h 0 min"),
            (100_000, Outcome::Pass, "1 d 3 h"),
        ] {
            let report = report(&input, &MachineUptime { seconds, booted_at_ms: 0 });
            assert_eq!(report.outcome, outcome, "{seconds}");
            assert!(report.summary.ends_with(words), "{}", report.summary);
        }
    }
}
