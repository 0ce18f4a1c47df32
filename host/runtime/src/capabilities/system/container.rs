//! Whether this program runs in a container, and the limits of the control groups around it.

use std::path::{Path, PathBuf};

/// The name space of processes that the kernel begins with: its number is fixed
/// (`PROC_PID_INIT_INO` of `include/linux/proc_ns.h`).
const FIRST_NAME_SPACE: &str = "pid:[4026531836]";

/// Where control groups of version 2 are mounted.
const CONTROL_GROUPS: &str = "/sys/fs/cgroup";

/// Whether the processes that this program sees are those of a container.
pub(super) fn in_container() -> bool {
    std::fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link != Path::new(FIRST_NAME_SPACE))
}

/// The smallest memory limit of the control groups around this program; `None` without a limit.
pub(super) fn memory_limit() -> Option<u64> {
    control_files("memory.max").filter_map(|text| text.trim().parse().ok()).min()
}

/// The smallest share of processors of the control groups around this program; `None` without a
/// limit.
pub(super) fn processor_quota() -> Option<f64> {
    control_files("cpu.max").filter_map(|text| quota(&text)).reduce(f64::min)
}

/// `50000 100000`: half of a processor. `max 100000` is no limit.
fn quota(text: &str) -> Option<f64> {
    let (time, period) = text.trim().split_once(' ')?;
    let (time, period): (f64, f64) = (time.parse().ok()?, period.parse().ok()?);
    (period > 0.0).then_some(time / period)
}

/// The content of a file of the control group of this program, and of each group around it.
fn control_files(name: &'static str) -> impl Iterator<Item = String> {
    let text = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let folder = text.lines().find_map(|line| line.strip_prefix("0::/")).map(str::to_owned);
    let folders: Vec<PathBuf> = folder
        .iter()
        .flat_map(|folder| Path::new(folder).ancestors())
        .map(|folder| Path::new(CONTROL_GROUPS).join(folder))
        .collect();
    folders.into_iter().filter_map(move |folder| std::fs::read_to_string(folder.join(name)).ok())
}

#[cfg(test)]
mod tests {
    use super::quota;

    #[test]
    fn a_quota_is_time_in_a_period_and_max_is_none() {
        for (text, expected) in [
            ("max 100000\n", None),
            ("50000 100000\n", Some(0.5)),
            ("400000 100000", Some(4.0)),
            ("100 0", None),
            ("", None),
        ] {
            assert_eq!(quota(text), expected, "{text}");
        }
    }
}
