//! Processors and load.

use super::{ReadError, container};
use crate::bindings::runbook::system::types::{CpuUsage, LoadAverage};
use procfs::{CpuTime, Current as _, CurrentSI as _, KernelStats};
use std::time::Duration;

/// What the processors did during a sample.
pub(super) fn usage(sample: Duration) -> Result<CpuUsage, ReadError> {
    let before = KernelStats::current()?;
    std::thread::sleep(sample);
    let after = KernelStats::current()?;
    let [used, wait, steal, total] = std::array::from_fn(|index| {
        ticks(&after.total)[index].saturating_sub(ticks(&before.total)[index])
    });
    if total == 0 {
        return Err(ReadError::NotKept("time of its processors in so short a sample"));
    }
    Ok(CpuUsage {
        used_percent: percent(used, total),
        wait_percent: percent(wait, total),
        steal_percent: percent(steal, total),
        processors: count(&after),
        quota: container::processor_quota(),
    })
}

pub(super) fn load() -> Result<LoadAverage, ReadError> {
    let load = procfs::LoadAverage::current()?;
    // The kernel writes two digits; a conversion from `f32` would add others.
    let exact = |value: f32| (f64::from(value) * 100.0).round() / 100.0;
    Ok(LoadAverage {
        one: exact(load.one),
        five: exact(load.five),
        fifteen: exact(load.fifteen),
        processors: count(&KernelStats::current()?),
    })
}

fn count(stats: &KernelStats) -> u32 {
    u32::try_from(stats.cpu_time.len()).unwrap_or(u32::MAX)
}

/// Ticks in use, waiting for disks, given to other machines, and of all. The time of guests is in
/// that of users already.
fn ticks(time: &CpuTime) -> [u64; 4] {
    let wait = time.iowait.unwrap_or(0);
    let steal = time.steal.unwrap_or(0);
    let interrupts = time.irq.unwrap_or(0) + time.softirq.unwrap_or(0);
    let used = time.user + time.nice + time.system + interrupts + steal;
    [used, wait, steal, used + wait + time.idle]
}

#[expect(clippy::cast_precision_loss, reason = "ticks of a sample are few")]
fn percent(part: u64, whole: u64) -> f64 {
    (part as f64 / whole as f64 * 100.0).min(100.0)
}
