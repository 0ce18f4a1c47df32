//! `system:memory`

use crate::thresholds::{Thresholds, percent, worse};
use runbook_sdk::prelude::*;
use runbook_sdk::system::{Machine, MemoryUsage};

/// How full memory and swap may be.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "the keys of the input say their unit")]
pub(crate) struct Input {
    /// More memory in use, which the kernel cannot free at once, is a warning.
    #[serde(default = "default_warn")]
    warn_percent: f64,
    /// More is a failure.
    #[serde(default = "default_crit")]
    crit_percent: f64,
    /// More swap in use is a warning.
    #[serde(default = "default_swap_warn")]
    warn_swap_percent: f64,
    /// More swap in use is a failure.
    #[serde(default = "default_swap_crit")]
    crit_swap_percent: f64,
}

fn default_warn() -> f64 {
    85.0
}

fn default_crit() -> f64 {
    95.0
}

fn default_swap_warn() -> f64 {
    50.0
}

fn default_swap_crit() -> f64 {
    90.0
}

/// The memory of the machine.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    total_bytes: u64,
    /// Free, or freed at once when it is needed.
    available_bytes: u64,
    used_percent: f64,
    /// 0 on a machine without swap.
    swap_total_bytes: u64,
    swap_free_bytes: u64,
    swap_used_percent: f64,
    /// What the control group of this program may use at most, if that is limited.
    limit_bytes: Option<u64>,
}

pub(crate) fn memory(_job: &Job, input: Input) -> Result<Report<Output>> {
    report(&input, &Machine::slot(slot!("machine")).memory()?)
}

fn report(input: &Input, memory: &MemoryUsage) -> Result<Report<Output>> {
    let limits = Thresholds::new(
        ("warn_percent", input.warn_percent),
        ("crit_percent", input.crit_percent),
    )?;
    let swap_limits = Thresholds::new(
        ("warn_swap_percent", input.warn_swap_percent),
        ("crit_swap_percent", input.crit_swap_percent),
    )?;
    let used =
        percent(memory.total_bytes.saturating_sub(memory.available_bytes), memory.total_bytes);
    let swap_used = percent(
        memory.swap_total_bytes.saturating_sub(memory.swap_free_bytes),
        memory.swap_total_bytes,
    );
    let swap = if memory.swap_total_bytes == 0 {
        "there is no swap".to_owned()
    } else {
        format!("{swap_used} % of {} swap", Size(memory.swap_total_bytes))
    };
    let summary = format!(
        "{used} % of {} memory is in use, {} are available; {swap}",
        Size(memory.total_bytes),
        Size(memory.available_bytes)
    );
    let output = Output {
        total_bytes: memory.total_bytes,
        available_bytes: memory.available_bytes,
        used_percent: used,
        swap_total_bytes: memory.swap_total_bytes,
        swap_free_bytes: memory.swap_free_bytes,
        swap_used_percent: swap_used,
        limit_bytes: memory.limit_bytes,
    };
    let outcome = worse(limits.outcome(used), swap_limits.outcome(swap_used));
    Ok(Report::new(outcome, summary, output)
        .measure(limits.measurement("memory", used, "%"))
        .measure(swap_limits.measurement("swap", swap_used, "%")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_swap_are_compared_and_the_worse_decides() {
        let input = || serde_json::from_value::<Input>(json!({})).expect("good input");
        for (available, swap_total, swap_free, outcome) in [
            (200, 0, 0, Outcome::Pass),
            (150, 100, 50, Outcome::Pass),
            (149, 100, 100, Outcome::Warn),
            (49, 100, 100, Outcome::Fail),
            (900, 100, 49, Outcome::Warn),
            (900, 100, 9, Outcome::Fail),
        ] {
            let memory = MemoryUsage {
                total_bytes: 1000,
                available_bytes: available,
                swap_total_bytes: swap_total,
                swap_free_bytes: swap_free,
                limit_bytes: None,
            };
            let report = report(&input(), &memory).expect("good limits");
            assert_eq!(report.outcome, outcome, "{}", report.summary);
        }
    }
}
