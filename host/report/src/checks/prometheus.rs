//! Checks in the text exposition format of Prometheus, for the textfile collector of the node
//! exporter.

use super::{CheckResult, Checks, HEALTHS, Health};
use crate::single_line::one_line;
use runbook_engine::Measurement;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

/// The metrics of all checks: health, state, duration, measurements and time.
pub(super) fn render(checks: &Checks) -> String {
    let mut text = String::new();
    let labels = |result: &CheckResult| {
        format!(
            "suite=\"{}\",check=\"{}\"",
            escape_label(&result.suite),
            escape_label(&result.check)
        )
    };
    push_header(
        &mut text,
        "runbook_check_healthy",
        "1 if the check is healthy, 0 if it is not; absent if it is unknown.",
    );
    for result in &checks.results {
        let value = match result.health {
            Health::Healthy => 1,
            Health::Warning | Health::Critical => 0,
            // Without data it is neither healthy nor unhealthy.
            Health::Unknown | Health::Skipped => continue,
        };
        let _ = writeln!(text, "runbook_check_healthy{{{}}} {value}", labels(result));
    }
    push_header(
        &mut text,
        "runbook_check_state",
        "The state of the check: 1 for the state that it is in, 0 for the others.",
    );
    for result in &checks.results {
        for (health, word, ..) in HEALTHS {
            let value = u8::from(*health == result.health);
            let _ = writeln!(
                text,
                "runbook_check_state{{{},state=\"{word}\"}} {value}",
                labels(result)
            );
        }
    }
    push_header(&mut text, "runbook_check_duration_seconds", "How long the check took.");
    for result in &checks.results {
        let seconds = Duration::from_millis(result.duration_ms).as_secs_f64();
        let _ = writeln!(text, "runbook_check_duration_seconds{{{}}} {seconds}", labels(result));
    }
    push_measurements(&mut text, checks, labels);
    let at =
        Duration::from_millis(u64::try_from(checks.at.as_millisecond()).unwrap_or(0)).as_secs_f64();
    push_header(&mut text, "runbook_check_last_run_timestamp_seconds", "When the checks ran.");
    let _ = writeln!(text, "runbook_check_last_run_timestamp_seconds {at:.3}");
    text
}

/// Writes the measurements of all checks. The name of a measurement is a label and not part of the
/// metric's name, because plugins choose it; the unit is a label too, as the plugin gives it.
fn push_measurements(text: &mut String, checks: &Checks, labels: impl Fn(&CheckResult) -> String) {
    push_header(
        text,
        "runbook_check_measurement",
        "What the check measured, in the unit given by the label `unit`.",
    );
    let mut written_series = BTreeSet::new();
    for result in &checks.results {
        for Measurement { label: name, value, unit, .. } in &result.measurements {
            let series = format!(
                "{},measurement=\"{}\",unit=\"{}\"",
                labels(result),
                escape_label(name),
                escape_label(unit)
            );
            // Each series is written once, and has a value.
            if value.is_finite() && written_series.insert(series.clone()) {
                let _ = writeln!(text, "runbook_check_measurement{{{series}}} {value}");
            }
        }
    }
}

fn push_header(text: &mut String, metric: &str, help: &str) {
    let _ = writeln!(text, "# HELP {metric} {help}\n# TYPE {metric} gauge");
}

/// A label's value in the exposition format.
fn escape_label(text: &str) -> String {
    one_line(text).replace('\\', "\\\\").replace('"', "\\\"")
}
