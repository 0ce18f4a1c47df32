//! `nagios:check` and `nagios:run`

use crate::performance_data::Metric;
use crate::plugin_output::{PluginOutput, read};
use runbook_sdk::prelude::*;
use runbook_sdk::process::{Output as ProgramOutput, Program};

/// The call of the monitoring plugin.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Its arguments, such as `["-w", "5,4,3", "-c", "10,8,6"]`.
    #[serde(default)]
    arguments: Vec<String>,
}

/// The output of the monitoring plugin.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Output {
    /// The word for its exit code: `OK`, `WARNING`, `CRITICAL` or `UNKNOWN`.
    status: &'static str,
    /// What it wrote into its first line, without performance data.
    text: String,
    /// What it wrote below, without performance data.
    long_text: String,
    /// What it wrote to stderr. A healthy check writes nothing there.
    stderr: String,
    /// Its performance data.
    metrics: Vec<Metric>,
    /// Parts of its performance data that could not be read, as it wrote them.
    unreadable_metrics: Vec<String>,
    /// Whether its output is longer than the target's `max_output`, so that the end is missing.
    truncated: bool,
}

pub(crate) fn check(_job: &Job, input: Input) -> Result<Report<Output>> {
    Ok(report(&program(&input).inspect()?))
}

pub(crate) fn run(_job: &Job, input: Input) -> Result<Vec<Verdict>> {
    let start = clock::monotonic();
    let program_output = program(&input).run()?;
    let duration_ms = clock::ms_since(start);
    let (outcome, _, printed) = judge(&program_output);
    let verdict = Verdict {
        name: "monitoring plugin".to_owned(),
        outcome,
        detail: with_metrics(&printed),
        duration_ms,
    };
    // The prefix `cleanup: ` tells the engine that nothing is left behind, whatever the verdict is.
    let cleanup = Verdict {
        name: "cleanup: none".to_owned(),
        outcome: Outcome::Pass,
        detail: "a monitoring plugin looks, and makes nothing".to_owned(),
        duration_ms: 0,
    };
    Ok(vec![verdict, cleanup])
}

fn program(input: &Input) -> Program {
    input.arguments.iter().fold(Program::slot(slot!("program")), Program::argument)
}

/// The outcome, its word, and what was printed.
fn judge(program_output: &ProgramOutput) -> (Outcome, &'static str, PluginOutput) {
    let mut printed = read(program_output);
    let complaint = first_line(&program_output.stderr);
    let (outcome, word) = match program_output.exit_code {
        // Without a text, exit code 0 does not prove that all is well.
        0 if printed.text.is_empty() => (Outcome::Unknown, "UNKNOWN"),
        // A program that writes to stderr and ends with 0 may have been unable to check: a shell
        // script continues after a command that was refused.
        0 if complaint.is_some() => (Outcome::Warn, "OK"),
        0 => (Outcome::Pass, "OK"),
        1 => (Outcome::Warn, "WARNING"),
        2 => (Outcome::Fail, "CRITICAL"),
        _ => (Outcome::Unknown, "UNKNOWN"),
    };
    printed.text = text(program_output.exit_code, &printed.text, complaint.as_deref());
    (outcome, word, printed)
}

/// The text of the verdict: the first line of stdout, and the first line of stderr (`complaint`).
fn text(exit_code: i32, printed: &str, complaint: Option<&str>) -> String {
    match (exit_code, complaint) {
        (0..=3, Some(complaint)) if printed.is_empty() => {
            format!("it printed nothing, and to stderr: {complaint}")
        }
        (0..=3, None) if printed.is_empty() => "it printed nothing".to_owned(),
        (0..=3, Some(complaint)) => format!("{printed}; on stderr: {complaint}"),
        (0..=3, None) => printed.to_owned(),
        (_, complaint) => {
            let message = complaint.unwrap_or(printed);
            let colon = if message.is_empty() { "" } else { ": " };
            format!(
                "it ended with {exit_code}, which means nothing for a monitoring plugin{colon}{message}"
            )
        }
    }
}

fn first_line(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    text.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}

fn report(program_output: &ProgramOutput) -> Report<Output> {
    let (outcome, status, printed) = judge(program_output);
    let measurements = printed.metrics.iter().filter_map(Metric::measurement).collect();
    let mut summary = printed.text.clone();
    if !printed.unreadable.is_empty() {
        let number = printed.unreadable.len();
        let (noun, verb) = if number == 1 { ("part", "is") } else { ("parts", "are") };
        summary = format!("{summary} ({number} {noun} of its performance data {verb} unreadable)");
    }
    if program_output.truncated {
        summary.push_str(" (its output is longer than `max_output`; the end is missing)");
    }
    let output = Output {
        status,
        text: printed.text,
        long_text: printed.long_text,
        stderr: String::from_utf8_lossy(&program_output.stderr).into_owned(),
        metrics: printed.metrics,
        unreadable_metrics: printed.unreadable,
        truncated: program_output.truncated,
    };
    Report { outcome, summary, output, measurements }
}

/// The text, then the performance data as it was printed: a verdict has no field for numbers.
fn with_metrics(printed: &PluginOutput) -> String {
    if printed.performance_data.is_empty() {
        return printed.text.clone();
    }
    format!("{} | {}", printed.text, printed.performance_data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program_output(exit_code: i32, stdout: &str, stderr: &str) -> ProgramOutput {
        ProgramOutput {
            exit_code,
            stdout: stdout.as_bytes().to_vec(),
            stderr: stderr.as_bytes().to_vec(),
            truncated: false,
            size_bytes: 0,
            produced_bytes: 0,
            digest: String::new(),
        }
    }

    #[test]
    fn the_exit_code_decides_and_only_0_with_a_text_is_healthy() {
        for (exit_code, outcome, status) in [
            (0, Outcome::Pass, "OK"),
            (1, Outcome::Warn, "WARNING"),
            (2, Outcome::Fail, "CRITICAL"),
            (3, Outcome::Unknown, "UNKNOWN"),
            (4, Outcome::Unknown, "UNKNOWN"),
            (126, Outcome::Unknown, "UNKNOWN"),
            (127, Outcome::Unknown, "UNKNOWN"),
            (137, Outcome::Unknown, "UNKNOWN"),
            (-9, Outcome::Unknown, "UNKNOWN"),
        ] {
            let report = report(&program_output(exit_code, "OK - all is well\n", ""));
            assert_eq!((report.outcome, report.output.status), (outcome, status), "{exit_code}");
        }
        for silent in ["", "\n", " \n\n", "| a=1"] {
            let healthy = report(&program_output(0, silent, ""));
            assert_eq!((healthy.outcome, healthy.output.status), (Outcome::Unknown, "UNKNOWN"));
            assert_eq!(report(&program_output(2, silent, "")).outcome, Outcome::Fail);
        }
    }

    #[test]
    fn a_program_that_complains_is_not_healthy_whatever_it_prints() {
        for (exit_code, outcome) in
            [(0, Outcome::Warn), (1, Outcome::Warn), (2, Outcome::Fail), (3, Outcome::Unknown)]
        {
            let report =
                report(&program_output(exit_code, "OK - no errors", "\nmktemp: denied\nmore\n"));
            assert_eq!(report.outcome, outcome, "{exit_code}");
            assert_eq!(report.summary, "OK - no errors; on stderr: mktemp: denied");
        }
    }

    #[test]
    fn the_summary_has_the_first_line_of_the_output() {
        let summary_of = |exit_code, stdout: &str, stderr: &str| {
            report(&program_output(exit_code, stdout, stderr)).summary
        };
        assert_eq!(
            summary_of(0, "", "no such host\n"),
            "it printed nothing, and to stderr: no such host"
        );
        assert_eq!(
            summary_of(127, "", "sh: check_load: not found\n"),
            "it ended with 127, which means nothing for a monitoring plugin: sh: check_load: not \
             found"
        );
        assert_eq!(
            summary_of(9, "", ""),
            "it ended with 9, which means nothing for a monitoring plugin"
        );
        assert_eq!(
            summary_of(1, "LOAD WARNING | load1=a", ""),
            "LOAD WARNING (1 part of its performance data is unreadable)"
        );
    }

    #[test]
    fn a_probe_has_measurements_and_a_smoke_test_has_the_performance_data_in_its_text() {
        let program_output = program_output(0, "LOAD OK | load1=0.5;5;10;0;\nmore\n", "");
        let report = report(&program_output);
        assert_eq!(
            (report.summary.as_str(), report.output.long_text.as_str()),
            ("LOAD OK", "more")
        );
        let [measured] = &report.measurements[..] else { panic!("{:?}", report.measurements) };
        assert_eq!((measured.label.as_str(), measured.value), ("load1", 0.5));
        assert_eq!((measured.warn.as_deref(), measured.crit.as_deref()), (Some("5"), Some("10")));
        let (_, _, printed) = judge(&program_output);
        assert_eq!(with_metrics(&printed), "LOAD OK | load1=0.5;5;10;0;");
    }
}
