//! `system:cpu` and `system:load`

use crate::thresholds::{Thresholds, one_decimal};
use runbook_sdk::prelude::*;
use runbook_sdk::system::{CpuUsage, LoadAverage, Machine};
use std::time::Duration;

/// How long processors are measured, and how busy they may be.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CpuInput {
    /// How long they are measured: from 100ms to 10s.
    #[serde(default = "default_sample")]
    sample: Span,
    /// More is a warning.
    #[serde(default = "default_cpu_warn")]
    warn_percent: f64,
    /// More is a failure.
    #[serde(default = "default_cpu_crit")]
    crit_percent: f64,
}

fn default_sample() -> Span {
    Span(Duration::from_secs(1))
}

fn default_cpu_warn() -> f64 {
    90.0
}

fn default_cpu_crit() -> f64 {
    98.0
}

/// What the processors did, in percent of all of them.
#[derive(Serialize, JsonSchema)]
pub(crate) struct CpuOutput {
    /// In use, with what the hypervisor took.
    used_percent: f64,
    /// Waiting for disks.
    wait_percent: f64,
    /// Taken by the hypervisor for other machines.
    steal_percent: f64,
    /// How many processors the machine has.
    processors: u32,
    /// How many of them the control group of this program may use, if that is limited.
    quota: Option<f64>,
}

pub(crate) fn cpu(_job: &Job, input: CpuInput) -> Result<Report<CpuOutput>> {
    let limits = Thresholds::new(
        ("warn_percent", input.warn_percent),
        ("crit_percent", input.crit_percent),
    )?;
    Ok(cpu_report(limits, &Machine::slot(slot!("machine")).cpu(input.sample.0)?))
}

fn cpu_report(limits: Thresholds, usage: &CpuUsage) -> Report<CpuOutput> {
    let used = one_decimal(usage.used_percent);
    let output = CpuOutput {
        used_percent: used,
        wait_percent: one_decimal(usage.wait_percent),
        steal_percent: one_decimal(usage.steal_percent),
        processors: usage.processors,
        quota: usage.quota,
    };
    let summary = format!("{used} % of {} processors are in use", usage.processors);
    let (wait, steal) = (output.wait_percent, output.steal_percent);
    Report::new(limits.outcome(used), summary, output)
        .measure(limits.measurement("used", used, "%"))
        .measure(measurement("wait", wait, "%"))
        .measure(measurement("steal", steal, "%"))
}

/// Which load is compared, and how high it may be for each processor.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoadInput {
    /// Over how many minutes.
    #[serde(default)]
    average: Average,
    /// More for each processor is a warning.
    #[serde(default = "default_load_warn")]
    warn_per_processor: f64,
    /// More is a failure.
    #[serde(default = "default_load_crit")]
    crit_per_processor: f64,
}

/// The time of a load average.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
enum Average {
    #[serde(rename = "1m")]
    One,
    #[default]
    #[serde(rename = "5m")]
    Five,
    #[serde(rename = "15m")]
    Fifteen,
}

fn default_load_warn() -> f64 {
    1.5
}

fn default_load_crit() -> f64 {
    4.0
}

/// The load of the machine.
#[derive(Serialize, JsonSchema)]
pub(crate) struct LoadOutput {
    /// Over one minute.
    one: f64,
    /// Over five minutes.
    five: f64,
    /// Over fifteen minutes.
    fifteen: f64,
    /// How many processors the machine has.
    processors: u32,
    /// The load that is compared, for each processor.
    per_processor: f64,
}

pub(crate) fn load(_job: &Job, input: LoadInput) -> Result<Report<LoadOutput>> {
    let limits = Thresholds::new(
        ("warn_per_processor", input.warn_per_processor),
        ("crit_per_processor", input.crit_per_processor),
    )?;
    Ok(load_report(limits, input.average, &Machine::slot(slot!("machine")).load()?))
}

fn load_report(limits: Thresholds, average: Average, load: &LoadAverage) -> Report<LoadOutput> {
    let (compared, time) = match average {
        Average::One => (load.one, "1m"),
        Average::Five => (load.five, "5m"),
        Average::Fifteen => (load.fifteen, "15m"),
    };
    let per_processor = (compared / f64::from(load.processors.max(1)) * 100.0).round() / 100.0;
    let output = LoadOutput {
        one: load.one,
        five: load.five,
        fifteen: load.fifteen,
        processors: load.processors,
        per_processor,
    };
    let summary = format!(
        "the load over {time} is {compared}, {per_processor} for each of {} processors",
        load.processors
    );
    Report::new(limits.outcome(per_processor), summary, output).measure(limits.measurement(
        "load_per_processor",
        per_processor,
        "",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_use_of_all_processors_is_compared() {
        let limits = Thresholds::new(("w", 90.0), ("c", 98.0)).expect("good limits");
        for (used, outcome) in [(90.0, Outcome::Pass), (95.0, Outcome::Warn), (99.0, Outcome::Fail)]
        {
            let usage = CpuUsage {
                used_percent: used,
                wait_percent: 0.0,
                steal_percent: 0.0,
                processors: 4,
                quota: None,
            };
            assert_eq!(cpu_report(limits, &usage).outcome, outcome, "{used}");
        }
    }

    #[test]
    fn the_load_is_compared_for_each_processor_over_the_time_that_is_asked_for() {
        let limits = Thresholds::new(("w", 1.5), ("c", 4.0)).expect("good limits");
        let load = LoadAverage { one: 20.0, five: 8.0, fifteen: 4.0, processors: 4 };
        for (average, outcome, per_processor) in [
            (Average::One, Outcome::Fail, 5.0),
            (Average::Five, Outcome::Warn, 2.0),
            (Average::Fifteen, Outcome::Pass, 1.0),
        ] {
            let report = load_report(limits, average, &load);
            assert_eq!(report.outcome, outcome, "{}", report.summary);
            assert!((report.output.per_processor - per_processor).abs() < f64::EPSILON);
        }
    }
}
