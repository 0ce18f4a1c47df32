//! `disk:space`

use crate::df::{FileSystem, read};
use runbook_sdk::prelude::*;
use runbook_sdk::process::{Output as ProgramOutput, Program};

/// Which file systems are checked, and how full they may be.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Folders or files, whose file systems are checked.
    paths: Vec<String>,
    /// Fuller than this is a warning.
    #[serde(default = "default_warn")]
    warn_percent: u64,
    /// Fuller than this is a failure.
    #[serde(default = "default_crit")]
    crit_percent: u64,
}

fn default_warn() -> u64 {
    80
}

fn default_crit() -> u64 {
    90
}

/// How full each file system is.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// The file systems of all paths, each once.
    file_systems: Vec<FileSystem>,
}

pub(crate) fn space(_job: &Job, input: Input) -> Result<Report<Output>> {
    if input.paths.is_empty() {
        return Err(Fault::invalid(
            "disk.paths",
            "`paths` is empty, so nothing would be looked at",
        ));
    }
    let program =
        ["-P", "-k", "--"].into_iter().fold(Program::slot(slot!("program")), Program::argument);
    let df_output = input.paths.iter().fold(program, Program::argument).inspect()?;
    report(&input, &df_output)
}

fn report(input: &Input, df_output: &ProgramOutput) -> Result<Report<Output>> {
    if df_output.exit_code != 0 {
        let message = String::from_utf8_lossy(&df_output.stderr);
        let last = message.lines().last().unwrap_or_default();
        return Err(Fault::invalid(
            "disk.df-failed",
            format!("`df` ended with {}: {last}", df_output.exit_code),
        ));
    }
    if df_output.truncated {
        return Err(Fault::invalid(
            "disk.df-cut",
            "what `df` printed was cut; raise `max_output` of its target",
        ));
    }
    let found = read(&String::from_utf8_lossy(&df_output.stdout))?;
    let Some(fullest) = found.iter().max_by_key(|file_system| file_system.used_percent) else {
        return Err(Fault::invalid("disk.df", "`df` named no file system"));
    };
    let outcome = match fullest.used_percent {
        percent if percent > input.crit_percent => Outcome::Fail,
        percent if percent > input.warn_percent => Outcome::Warn,
        _ => Outcome::Pass,
    };
    let summary = format!(
        "`{}` is {} % full, {} are free",
        fullest.mount,
        fullest.used_percent,
        Size(fullest.free_bytes)
    );
    let report = found.iter().fold(Report::new(outcome, summary, ()), |report, file_system| {
        #[expect(clippy::cast_precision_loss, reason = "a percent is small")]
        let used_space = measurement(&file_system.mount, file_system.used_percent as f64, "%");
        report.measure(used_space.warn(input.warn_percent).crit(input.crit_percent))
    });
    Ok(report.map(|()| Output { file_systems: found }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn df_output(exit_code: i32, stdout: &str, truncated: bool) -> ProgramOutput {
        ProgramOutput {
            exit_code,
            stdout: stdout.as_bytes().to_vec(),
            stderr: b"df: /nowhere: No such file or directory\n".to_vec(),
            truncated,
            size_bytes: 0,
            produced_bytes: 0,
            digest: String::new(),
        }
    }

    fn input() -> Input {
        Input { paths: vec!["/".to_owned()], warn_percent: 80, crit_percent: 90 }
    }

    fn df_lines(percent: &[u64]) -> String {
        let lines = percent
            .iter()
            .enumerate()
            .map(|(index, percent)| format!("/dev/a 1000 900 100 {percent}% /mnt/{index}\n"));
        std::iter::once("Filesystem 1024-blocks Used Available Capacity Mounted on\n".to_owned())
            .chain(lines)
            .collect()
    }

    #[test]
    fn the_fullest_decides_and_a_limit_itself_is_allowed() {
        for (percent, outcome) in [
            (&[80][..], Outcome::Pass),
            (&[10, 81], Outcome::Warn),
            (&[90, 5], Outcome::Warn),
            (&[5, 91, 7], Outcome::Fail),
        ] {
            let report =
                report(&input(), &df_output(0, &df_lines(percent), false)).expect("lines of df");
            assert_eq!(report.outcome, outcome, "{percent:?}");
            assert_eq!(report.measurements.len(), percent.len());
        }
    }

    #[test]
    fn a_failed_or_truncated_df_is_a_fault() {
        assert!(
            report(&input(), &df_output(1, &df_lines(&[5]), false))
                .is_err_and(|fault| fault.message.contains("/nowhere"))
        );
        assert!(report(&input(), &df_output(0, &df_lines(&[5]), true)).is_err(), "a cut list");
        assert!(report(&input(), &df_output(0, &df_lines(&[]), false)).is_err(), "an empty list");
    }
}
