//! `nagios:check` and `nagios:run`

use crate::performance_data::Metric;
use crate::printed::{Printed, read};
use runbook_sdk::prelude::*;
use runbook_sdk::process::{Output as Ended, Program};

/// How the monitoring plugin is called.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Its arguments, such as `["-w", "5,4,3", "-c", "10,8,6"]`.
    #[serde(default)]
    arguments: Vec<String>,
}

/// What the monitoring plugin said.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Output {
    /// The word for its exit code: `OK`, `WARNING`, `CRITICAL` or `UNKNOWN`.
    status: &'static str,
    /// What it wrote into its first line, without performance data.
    text: String,
    /// What it wrote below, without performance data.
    long_text: String,
    /// What it wrote to stderr. Programs that find all well write nothing there.
    stderr: String,
    /// Its performance data.
    metrics: Vec<Metric>,
    /// Parts of its performance data that are none, as it wrote them.
    unreadable_metrics: Vec<String>,
    /// Whether its output is longer than the target's `max_output`, so that the end is missing.
    truncated: bool,
}

pub(crate) fn check(_job: &Job, input: Input) -> Result<Report<Output>> {
    Ok(report(&program(&input).inspect()?))
}

pub(crate) fn run(_job: &Job, input: Input) -> Result<Vec<Verdict>> {
    let start = clock::monotonic();
    let ended = program(&input).run()?;
    let duration_ms = clock::ms_since(start);
    let (outcome, _, printed) = judged(&ended);
    let looked = Verdict {
        name: "monitoring plugin".to_owned(),
        outcome,
        detail: with_metrics(&printed),
        duration_ms,
    };
    // By this word the engine knows what shows that nothing is left, whatever the verdict is.
    let cleanup = Verdict {
        name: "cleanup: none".to_owned(),
        outcome: Outcome::Pass,
        detail: "a monitoring plugin looks, and makes nothing".to_owned(),
        duration_ms: 0,
    };
    Ok(vec![looked, cleanup])
}

fn program(input: &Input) -> Program {
    input.arguments.iter().fold(Program::slot(slot!("program")), Program::argument)
}

/// The outcome, its word, and what was printed.
fn judged(ended: &Ended) -> (Outcome, &'static str, Printed) {
    let mut printed = read(ended);
    let complaint = first_line(&ended.stderr);
    let (outcome, word) = match ended.exit_code {
        // A text that is missing is no sign that all is well.
        0 if printed.text.is_empty() => (Outcome::Unknown, "UNKNOWN"),
        // A program that complains and ends with 0 may have been unable to look: a shell script
        // goes on after a command that was refused.
        0 if complaint.is_some() => (Outcome::Warn, "OK"),
        0 => (Outcome::Pass, "OK"),
        1 => (Outcome::Warn, "WARNING"),
        2 => (Outcome::Fail, "CRITICAL"),
        _ => (Outcome::Unknown, "UNKNOWN"),
    };
    printed.text = text(ended.exit_code, &printed.text, complaint.as_deref());
    (outcome, word, printed)
}

/// What is told of a program that printed this and complained of that.
fn text(exit_code: i32, printed: &str, complaint: Option<&str>) -> String {
    match (exit_code, complaint) {
        (0..=3, Some(complaint)) if printed.is_empty() => {
            format!("it printed nothing, and to stderr: {complaint}")
        }
        (0..=3, None) if printed.is_empty() => "it printed nothing".to_owned(),
        (0..=3, Some(complaint)) => format!("{printed}; on stderr: {complaint}"),
        (0..=3, None) => printed.to_owned(),
        (_, complaint) => {
            let said = complaint.unwrap_or(printed);
            let colon = if said.is_empty() { "" } else { ": " };
            format!(
                "it ended with {exit_code}, which means nothing for a monitoring plugin{colon}{said}"
            )
        }
    }
}

fn first_line(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    text.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}

fn report(ended: &Ended) -> Report<Output> {
    let (outcome, status, printed) = judged(ended);
    let measured = printed.metrics.iter().filter_map(Metric::measurement).collect();
    let mut summary = printed.text.clone();
    if !printed.unreadable.is_empty() {
        let number = printed.unreadable.len();
        let (noun, is) = if number == 1 { ("part", "is") } else { ("parts", "are") };
        summary = format!("{summary} ({number} {noun} of its performance data {is} unreadable)");
    }
    if ended.truncated {
        summary.push_str(" (its output is longer than `max_output`; the end is missing)");
    }
    let output = Output {
        status,
        text: printed.text,
        long_text: printed.long_text,
        stderr: String::from_utf8_lossy(&ended.stderr).into_owned(),
        metrics: printed.metrics,
        unreadable_metrics: printed.unreadable,
        truncated: ended.truncated,
    };
    Report { outcome, summary, output, measurements: measured }
}

/// A verdict has no numbers of its own, so they follow the text, as they were printed.
fn with_metrics(printed: &Printed) -> String {
    if printed.performance_data.is_empty() {
        return printed.text.clone();
    }
    format!("{} | {}", printed.text, printed.performance_data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(exit_code: i32, stdout: &str, stderr: &str) -> Ended {
        Ended {
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
            let report = report(&ended(exit_code, "OK - all is well\n", ""));
            assert_eq!((report.outcome, report.output.status), (outcome, status), "{exit_code}");
        }
        for silent in ["", "\n", " \n\n", "| a=1"] {
            let healthy = report(&ended(0, silent, ""));
            assert_eq!((healthy.outcome, healthy.output.status), (Outcome::Unknown, "UNKNOWN"));
            assert_eq!(report(&ended(2, silent, "")).outcome, Outcome::Fail);
        }
    }

    #[test]
    fn a_program_that_complains_is_not_healthy_whatever_it_prints() {
        for (exit_code, outcome) in
            [(0, Outcome::Warn), (1, Outcome::Warn), (2, Outcome::Fail), (3, Outcome::Unknown)]
        {
            let report = report(&ended(exit_code, "OK - no errors", "\nmktemp: denied\nmore\n"));
            assert_eq!(report.outcome, outcome, "{exit_code}");
            assert_eq!(report.summary, "OK - no errors; on stderr: mktemp: denied");
        }
    }

    #[test]
    fn what_went_wrong_is_said_by_the_first_line_that_there_is() {
        let said = |exit_code, stdout: &str, stderr: &str| {
            report(&ended(exit_code, stdout, stderr)).summary
        };
        assert_eq!(
            said(0, "", "no such host\n"),
            "it printed nothing, and to stderr: no such host"
        );
        assert_eq!(
            said(127, "", "sh: check_load: not found\n"),
            "it ended with 127, which means nothing for a monitoring plugin: sh: check_load: not \
             found"
        );
        assert_eq!(said(9, "", ""), "it ended with 9, which means nothing for a monitoring plugin");
        assert_eq!(
            said(1, "LOAD WARNING | load1=a", ""),
            "LOAD WARNING (1 part of its performance data is unreadable)"
        );
    }

    #[test]
    fn the_numbers_of_a_probe_are_measured_and_those_of_a_smoke_test_follow_the_text() {
        let ended = ended(0, "LOAD OK | load1=0.5;5;10;0;\nmore\n", "");
        let report = report(&ended);
        assert_eq!(
            (report.summary.as_str(), report.output.long_text.as_str()),
            ("LOAD OK", "more")
        );
        let [measured] = &report.measurements[..] else { panic!("{:?}", report.measurements) };
        assert_eq!((measured.label.as_str(), measured.value), ("load1", 0.5));
        assert_eq!((measured.warn.as_deref(), measured.crit.as_deref()), (Some("5"), Some("10")));
        let (_, _, printed) = judged(&ended);
        assert_eq!(with_metrics(&printed), "LOAD OK | load1=0.5;5;10;0;");
    }
}
