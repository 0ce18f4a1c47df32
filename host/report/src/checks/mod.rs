//! The results of a suite of checks, for people, CI and monitoring. This file has what the formats
//! share; each format is a module of its own.

mod github;
mod json;
mod jsonl;
mod junit;
mod markdown;
mod nagios;
mod prometheus;
mod table;
mod tap;

use crate::junit::CaseResult;
pub use crate::junit::WarningPolicy;
use crate::summary::{StepStatus, StepSummary};
use jiff::Timestamp;
use runbook_document::format_duration;
use runbook_engine::model::Criticality;
use runbook_engine::{Case, Measurement, Outcome};
use serde::Serialize;
use std::time::Duration;

/// The state of what a check looked at. The order is from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// The check passed.
    Healthy,
    /// It did not run: its `when` is false, or a check that it depends on is not healthy.
    Skipped,
    /// A warning threshold was crossed, or a check failed whose `criticality` is minor.
    Warning,
    /// Unknown: no answer or no data. No data is never healthy.
    Unknown,
    /// The check failed.
    Critical,
}

/// Each health with its word, the sign before the word, and the name that Nagios uses.
pub(crate) const HEALTHS: &[(Health, &str, &str, &str)] = &[
    (Health::Healthy, "healthy", "✓", "OK"),
    (Health::Skipped, "skipped", "-", "SKIPPED"),
    (Health::Warning, "warning", "!", "WARNING"),
    (Health::Unknown, "unknown", "?", "UNKNOWN"),
    (Health::Critical, "critical", "✗", "CRITICAL"),
];

impl Health {
    fn row(self) -> &'static (Health, &'static str, &'static str, &'static str) {
        HEALTHS
            .iter()
            .find(|(health, ..)| *health == self)
            .expect("every health has a row: checked by a test")
    }

    /// The word in reports.
    pub fn word(self) -> &'static str {
        self.row().1
    }

    /// The name that Nagios uses for it.
    fn nagios_state(self) -> &'static str {
        self.row().3
    }
}

/// The result of one check of a suite.
#[derive(Debug, Clone, Serialize)]
pub struct CheckResult {
    /// The name of the suite.
    pub suite: String,
    /// The id of the check.
    pub check: String,
    /// The state of what the check looked at.
    pub health: Health,
    /// One line: what was seen.
    pub summary: String,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Numbers that it measured; may be empty.
    pub measurements: Vec<Measurement>,
    /// The cases of a smoke test.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cases: Vec<Case>,
}

impl CheckResult {
    /// The result of a check, from the summary of its step.
    pub fn of(suite: &str, check: &str, step: &StepSummary, criticality: Criticality) -> Self {
        let failed = match criticality {
            Criticality::Critical => Health::Critical,
            Criticality::Minor => Health::Warning,
        };
        let health = match step.state {
            StepStatus::Succeeded => Health::Healthy,
            StepStatus::Warned => Health::Warning,
            StepStatus::Skipped => Health::Skipped,
            // It got a wrong answer, or no answer.
            StepStatus::Failed if step.outcome == Some(Outcome::Fail) => failed,
            StepStatus::Failed
            | StepStatus::Pending
            | StepStatus::Running
            | StepStatus::WaitingForPerson
            | StepStatus::UnknownOutcome
            | StepStatus::Undoing
            | StepStatus::Undone
            | StepStatus::UndoFailed => Health::Unknown,
        };
        Self {
            suite: suite.to_owned(),
            check: check.to_owned(),
            health,
            summary: step.summary.clone(),
            duration_ms: step.duration_ms,
            measurements: step.measurements.clone(),
            cases: step.cases.clone(),
        }
    }

    /// The result of a check that is waived until a date.
    pub fn waived(suite: &str, check: &str, reason: &str, until: &str) -> Self {
        Self {
            suite: suite.to_owned(),
            check: check.to_owned(),
            health: Health::Skipped,
            summary: format!("waived until {until}: {reason}"),
            duration_ms: 0,
            measurements: Vec::new(),
            cases: Vec::new(),
        }
    }
}

/// The results of all checks of a suite.
#[derive(Debug, Clone)]
pub struct Checks {
    /// When the checks ran.
    pub at: Timestamp,
    /// The result of each check, in file order.
    pub results: Vec<CheckResult>,
    /// What a warning counts as in formats that know only passed and failed.
    pub warnings: WarningPolicy,
}

impl Checks {
    /// The worst health; `Unknown` if no check ran.
    pub fn worst(&self) -> Health {
        let healths = self
            .results
            .iter()
            .map(|result| result.health)
            .filter(|health| *health != Health::Skipped);
        healths.max().unwrap_or(Health::Unknown)
    }
}

/// A format for the results of checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckFormat {
    /// For a person's terminal.
    Table,
    /// One JSON object: the time, how many checks have which health, and every check.
    Json,
    /// One JSON object on each line.
    JsonLines,
    /// JUnit XML, which CI servers read.
    Junit,
    /// The Test Anything Protocol, version 13.
    Tap,
    /// For the textfile collector of the node exporter.
    Prometheus,
    /// One line with performance data, as a Nagios plugin prints it.
    Nagios,
    /// To paste into an incident.
    Markdown,
    /// Annotations of GitHub Actions.
    Github,
}

/// Every format and its name.
pub const CHECK_FORMATS: &[(CheckFormat, &str)] = &[
    (CheckFormat::Table, "table"),
    (CheckFormat::Json, "json"),
    (CheckFormat::JsonLines, "jsonl"),
    (CheckFormat::Junit, "junit"),
    (CheckFormat::Tap, "tap"),
    (CheckFormat::Prometheus, "prometheus"),
    (CheckFormat::Nagios, "nagios"),
    (CheckFormat::Markdown, "markdown"),
    (CheckFormat::Github, "github"),
];

impl CheckFormat {
    /// The format called `name`.
    pub fn find(name: &str) -> Option<Self> {
        CHECK_FORMATS.iter().find(|(_, known)| *known == name).map(|(format, _)| *format)
    }

    /// The checks in this format.
    pub fn render(self, checks: &Checks) -> String {
        match self {
            Self::Table => table::render(checks),
            Self::Json => json::render(checks),
            Self::JsonLines => jsonl::render(checks),
            Self::Junit => junit::render(checks),
            Self::Tap => tap::render(checks),
            Self::Prometheus => {
                runbook_text::for_terminal(&prometheus::render(checks)).into_owned()
            }
            Self::Nagios => nagios::render(checks),
            Self::Markdown => markdown::render(checks),
            Self::Github => github::render(checks),
        }
    }
}

fn duration_text(result: &CheckResult) -> String {
    format_duration(Duration::from_millis(result.duration_ms))
}

/// `3 healthy, 1 critical`.
fn count_text(checks: &Checks) -> String {
    let count = |health| checks.results.iter().filter(|result| result.health == health).count();
    let parts: Vec<_> = HEALTHS
        .iter()
        .map(|(health, word, ..)| (count(*health), word))
        .filter(|(n, _)| *n > 0)
        .map(|(n, word)| format!("{n} {word}"))
        .collect();
    if parts.is_empty() { "no check was made".to_owned() } else { parts.join(", ") }
}

/// The result of a check in formats that know only passed and failed.
fn case_result(result: &CheckResult, warnings: WarningPolicy) -> CaseResult {
    let why = format!("{}: {}", result.health.word(), result.summary);
    let with_outcome = |outcome| CaseResult::of(outcome, &why, warnings);
    match result.health {
        Health::Healthy => with_outcome(Outcome::Pass),
        Health::Skipped => CaseResult::Skipped(result.summary.clone()),
        Health::Warning => with_outcome(Outcome::Warn),
        Health::Critical => with_outcome(Outcome::Fail),
        Health::Unknown => with_outcome(Outcome::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(check: &str, health: Health, summary: &str) -> CheckResult {
        let measurements = vec![Measurement {
            label: "lag".to_owned(),
            value: 1.5,
            unit: "s".to_owned(),
            warn: Some("1".to_owned()),
            crit: None,
        }];
        let summary = summary.to_owned();
        CheckResult {
            suite: "s".to_owned(),
            check: check.to_owned(),
            health,
            summary,
            duration_ms: 1_250,
            measurements,
            cases: Vec::new(),
        }
    }

    fn checks(results: Vec<CheckResult>) -> Checks {
        Checks {
            at: "2026-01-02T03:04:05Z".parse().expect("a time"),
            results,
            warnings: WarningPolicy::Fail,
        }
    }

    fn hostile() -> Checks {
        checks(vec![
            result("a", Health::Healthy, "fine"),
            result("b", Health::Critical, "<b> | \"x\" # 100%\n::error::no"),
            result("c", Health::Unknown, "no answer"),
        ])
    }

    #[test]
    fn every_health_has_a_row() {
        for health in
            [Health::Healthy, Health::Skipped, Health::Warning, Health::Unknown, Health::Critical]
        {
            assert!(!health.word().is_empty());
        }
    }

    #[test]
    fn the_worst_health_of_checks_decides_and_no_checks_are_unknown() {
        assert_eq!(hostile().worst(), Health::Critical);
        assert_eq!(checks(Vec::new()).worst(), Health::Unknown);
        assert_eq!(checks(vec![result("a", Health::Skipped, "")]).worst(), Health::Unknown);
        let warning_and_unknown =
            checks(vec![result("a", Health::Warning, ""), result("b", Health::Unknown, "")]);
        assert_eq!(warning_and_unknown.worst(), Health::Unknown, "no data is worse than a warning");
    }

    /// A line of Nagios output has a word for each state: a check that did not run is not `OK`.
    #[test]
    fn each_health_has_a_word_of_its_own() {
        let columns: [Vec<&str>; 2] =
            [HEALTHS.iter().map(|row| row.1).collect(), HEALTHS.iter().map(|row| row.3).collect()];
        for words in columns {
            let distinct: std::collections::BTreeSet<_> = words.iter().collect();
            assert_eq!(distinct.len(), HEALTHS.len(), "{words:?}");
        }
    }

    #[test]
    fn nagios_output_has_a_line_with_the_performance_data_and_a_line_for_each_check() {
        let text = CheckFormat::Nagios.render(&hostile());
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[0],
            "CRITICAL - 1 healthy, 1 unknown, 1 critical | 'a/lag'=1.5s;1; 'b/lag'=1.5s;1; \
             'c/lag'=1.5s;1;"
        );
        assert_eq!(lines.len(), 4);
        assert!(!lines[2].contains('|'), "{text}");
    }

    #[test]
    fn formats_with_only_passed_and_failed_treat_a_warning_as_the_exit_code_does() {
        for (warnings, tap, failures) in
            [(WarningPolicy::Fail, "not ok 1 - ", 2), (WarningPolicy::Pass, "ok 1 - ", 0)]
        {
            let mut warning_result = result("a", Health::Warning, "slow");
            let case = Case {
                name: "pay".to_owned(),
                outcome: Outcome::Warn,
                detail: "slow".to_owned(),
                duration_ms: 5,
            };
            warning_result.cases = vec![case];
            let found = Checks { warnings, ..checks(vec![warning_result]) };
            let text = CheckFormat::Tap.render(&found);
            assert_eq!(text.lines().nth(2).map(|line| line.starts_with(tap)), Some(true), "{text}");
            let junit = CheckFormat::Junit.render(&found);
            assert!(
                junit.contains(&format!(
                    "tests=\"2\" skipped=\"0\" errors=\"0\" failures=\"{failures}\""
                )),
                "{junit}"
            );
            assert!(
                junit.contains("name=\"pay\" classname=\"s.a\""),
                "each case of a smoke test is a test case: {junit}"
            );
        }
    }

    #[test]
    fn a_check_without_data_has_no_value_in_prometheus() {
        let text = CheckFormat::Prometheus.render(&hostile());
        assert!(text.contains("runbook_check_healthy{suite=\"s\",check=\"a\"} 1\n"), "{text}");
        assert!(text.contains("runbook_check_healthy{suite=\"s\",check=\"b\"} 0\n"), "{text}");
        assert!(!text.contains("runbook_check_healthy{suite=\"s\",check=\"c\"}"), "{text}");
        assert!(
            text.contains("runbook_check_state{suite=\"s\",check=\"c\",state=\"unknown\"} 1\n"),
            "{text}"
        );
        assert!(
            text.contains("runbook_check_duration_seconds{suite=\"s\",check=\"a\"} 1.25\n"),
            "{text}"
        );
    }

    #[test]
    fn no_text_breaks_out_of_its_format() {
        let checks = hostile();
        let junit = CheckFormat::Junit.render(&checks);
        assert!(
            junit.contains("skipped=\"0\" errors=\"1\" failures=\"1\"") && !junit.contains("<b>"),
            "{junit}"
        );
        let github = CheckFormat::Github.render(&checks);
        assert_eq!(
            github.lines().filter(|line| line.starts_with("::error")).count(),
            2,
            "{github}"
        );
        let markdown = CheckFormat::Markdown.render(&checks);
        assert_eq!(markdown.lines().filter(|line| line.starts_with("| ")).count(), 5, "{markdown}");
        let tap = CheckFormat::Tap.render(&checks);
        assert!(
            tap.starts_with("TAP version 13\n1..3\nok 1 - s/a: healthy, fine\nnot ok 2 - "),
            "{tap}"
        );
        let lines = CheckFormat::JsonLines.render(&checks);
        assert!(
            lines.lines().count() == 3
                && lines
                    .lines()
                    .all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok())
        );
    }
}
