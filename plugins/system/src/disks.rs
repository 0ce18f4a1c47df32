//! `system:disks`

use crate::thresholds::{Thresholds, percent, worse};
use runbook_sdk::prelude::*;
use runbook_sdk::system::{FileSystem as Found, FileSystemList, Machine};

/// Which file systems are checked, and how full they may be.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Mount points that must be there; all that the target lets be seen, if absent.
    #[serde(default)]
    mounts: Vec<String>,
    /// Fuller than this is a warning.
    #[serde(default = "default_warn")]
    warn_percent: f64,
    /// Fuller than this is a failure.
    #[serde(default = "default_crit")]
    crit_percent: f64,
    /// More inodes in use are a warning.
    #[serde(default = "default_warn")]
    warn_inodes_percent: f64,
    /// More inodes in use are a failure.
    #[serde(default = "default_crit")]
    crit_inodes_percent: f64,
    /// Whether one that is mounted read-only is a failure.
    #[serde(default)]
    writable: bool,
}

fn default_warn() -> f64 {
    80.0
}

fn default_crit() -> f64 {
    90.0
}

/// How full each file system is.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// The fullest first.
    file_systems: Vec<FileSystem>,
    /// Whether some were left out, because of `max_rows` of the target or because they do not tell
    /// their size.
    truncated: bool,
    /// Whether they are those of a container.
    in_container: bool,
}

/// One file system.
#[derive(Serialize, JsonSchema)]
struct FileSystem {
    mount: String,
    device: String,
    /// Such as `ext4`.
    kind: String,
    total_bytes: u64,
    /// Without what is reserved for root.
    available_bytes: u64,
    /// As `df` computes it: of what others than root may use.
    used_percent: f64,
    /// 0 if the file system does not count inodes.
    inodes_used_percent: f64,
    read_only: bool,
}

pub(crate) fn disks(_job: &Job, input: Input) -> Result<Report<Output>> {
    let machine = Machine::slot(slot!("machine"));
    let found = if input.mounts.is_empty() {
        vec![(None, machine.disks(None)?)]
    } else {
        let of = |mount: &String| Ok((Some(mount.clone()), machine.disks(Some(mount))?));
        input.mounts.iter().map(of).collect::<Result<Vec<_>>>()?
    };
    report(&input, found)
}

fn report(input: &Input, answers: Vec<(Option<String>, FileSystemList)>) -> Result<Report<Output>> {
    let bytes = Thresholds::new(
        ("warn_percent", input.warn_percent),
        ("crit_percent", input.crit_percent),
    )?;
    let inodes = Thresholds::new(
        ("warn_inodes_percent", input.warn_inodes_percent),
        ("crit_inodes_percent", input.crit_inodes_percent),
    )?;
    let mut problems = Vec::new();
    let (mut truncated, mut in_container) = (false, false);
    let mut all: Vec<FileSystem> = Vec::new();
    for (mount, answer) in answers {
        truncated |= answer.cut;
        in_container |= answer.in_container;
        if let Some(mount) = mount
            && answer.count == 0
        {
            problems.push(format!("nothing is mounted at `{mount}`"));
        }
        all.extend(answer.found.into_iter().map(file_system));
    }
    all.sort_by(|one, other| fullness(other).total_cmp(&fullness(one)));
    let Some(fullest) = all.first() else {
        return empty(problems, truncated, in_container);
    };
    let mut outcome = if problems.is_empty() { Outcome::Pass } else { Outcome::Fail };
    for one in &all {
        outcome = worse(outcome, bytes.outcome(one.used_percent));
        outcome = worse(outcome, inodes.outcome(one.inodes_used_percent));
        if input.writable && one.read_only {
            outcome = Outcome::Fail;
            problems.push(format!("`{}` is mounted read-only", one.mount));
        }
    }
    let full = format!(
        "`{}` is {} % full, {} are free, {} % of its inodes are used",
        fullest.mount,
        fullest.used_percent,
        Size(fullest.available_bytes),
        fullest.inodes_used_percent
    );
    let list = BoundedList::fit(all, 0);
    truncated |= list.is_truncated();
    if truncated {
        problems.push(
            "more file systems than the target lets through, or that tell their size".to_owned(),
        );
        outcome = worse(outcome, Outcome::Unknown);
    }
    problems.push(full);
    let report = Report::new(outcome, problems.join("; "), ());
    let report = list.items.iter().fold(report, |report, one| {
        report.measure(bytes.measurement(&one.mount, one.used_percent, "%")).measure(
            inodes.measurement(&format!("{} inodes", one.mount), one.inodes_used_percent, "%"),
        )
    });
    Ok(report.map(|()| Output { file_systems: list.items, truncated, in_container }))
}

/// The report without any file system.
fn empty(problems: Vec<String>, truncated: bool, in_container: bool) -> Result<Report<Output>> {
    let output = Output { file_systems: Vec::new(), truncated, in_container };
    if truncated {
        return Ok(Report::unknown("no file system tells its size", output));
    }
    if problems.is_empty() {
        let message = "the target lets no file system be seen that has a size";
        return Err(Fault::invalid("system.mounts", message));
    }
    Ok(Report::fail(problems.join("; "), output))
}

fn fullness(one: &FileSystem) -> f64 {
    one.used_percent.max(one.inodes_used_percent)
}

fn file_system(found: Found) -> FileSystem {
    let used = found.total_bytes.saturating_sub(found.free_bytes);
    FileSystem {
        used_percent: percent(used, used.saturating_add(found.available_bytes)),
        inodes_used_percent: percent(found.inodes.saturating_sub(found.inodes_free), found.inodes),
        mount: found.mount,
        device: found.device,
        kind: found.kind,
        total_bytes: found.total_bytes,
        available_bytes: found.available_bytes,
        read_only: found.read_only,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(mount: &str, available: u64, inodes_free: u64, read_only: bool) -> Found {
        Found {
            mount: mount.to_owned(),
            device: "/dev/a".to_owned(),
            kind: "ext4".to_owned(),
            total_bytes: 1000,
            free_bytes: available,
            available_bytes: available,
            inodes: 100,
            inodes_free,
            read_only,
        }
    }

    fn judged(input: &Json, found: Vec<Found>, cut: bool) -> Report<Output> {
        let input: Input = serde_json::from_value(input.clone()).expect("good input");
        let count = u32::try_from(found.len()).expect("few");
        let answer = FileSystemList { found, count, cut, in_container: false };
        report(&input, vec![(None, answer)]).expect("file systems")
    }

    #[test]
    fn bytes_and_inodes_of_the_fullest_decide() {
        for (available, inodes_free, outcome) in [
            (200, 100, Outcome::Pass),
            (199, 100, Outcome::Warn),
            (99, 100, Outcome::Fail),
            (900, 19, Outcome::Warn),
            (900, 9, Outcome::Fail),
        ] {
            let all =
                vec![found("/", 900, 100, false), found("/data", available, inodes_free, false)];
            let report = judged(&json!({}), all, false);
            assert_eq!(report.outcome, outcome, "{}", report.summary);
        }
        let full = judged(
            &json!({}),
            vec![found("/", 900, 100, false), found("/b", 10, 100, false)],
            false,
        );
        assert_eq!(full.output.file_systems[0].mount, "/b");
        assert!(full.summary.starts_with("`/b` is 99 % full"), "{}", full.summary);
    }

    #[test]
    fn what_is_missing_read_only_or_left_out_does_not_pass() {
        let nothing =
            FileSystemList { found: Vec::new(), count: 0, cut: false, in_container: false };
        let input: Input =
            serde_json::from_value(json!({ "mounts": ["/data"] })).expect("good input");
        let missing = report(&input, vec![(Some("/data".to_owned()), nothing)]).expect("a report");
        assert_eq!(missing.outcome, Outcome::Fail);
        assert_eq!(missing.summary, "nothing is mounted at `/data`");
        let read_only = || vec![found("/", 900, 100, true)];
        assert_eq!(judged(&json!({}), read_only(), false).outcome, Outcome::Pass);
        assert_eq!(judged(&json!({ "writable": true }), read_only(), false).outcome, Outcome::Fail);
        let cut = judged(&json!({}), vec![found("/", 900, 100, false)], true);
        assert_eq!((cut.outcome, cut.output.truncated), (Outcome::Unknown, true));
    }
}
