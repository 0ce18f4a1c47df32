//! Checks in the output format of Nagios plugins.

use super::{CheckResult, Checks, count_text};
use crate::single_line::{one_line, push_line};
use runbook_engine::{Measurement, Range};

/// One line with performance data, then one for each check, as the guidelines for Nagios plugins
/// want it; `|` begins the performance data.
pub(super) fn render(checks: &Checks) -> String {
    let state = checks.worst().nagios_state();
    let items = checks.results.iter().flat_map(|result| {
        result.measurements.iter().map(|measurement| performance(result, measurement))
    });
    let performance: Vec<_> = items.collect();
    let data = if performance.is_empty() {
        String::new()
    } else {
        format!(" | {}", performance.join(" "))
    };
    let mut text = format!("{state} - {}{data}\n", count_text(checks));
    for result in &checks.results {
        let line = format!("{} {}: {}", result.health.nagios_state(), result.check, result.summary)
            .replace('|', " ");
        push_line(&mut text, format_args!("{line}"));
    }
    runbook_text::for_terminal(&text).into_owned()
}

/// One item of performance data: `'check/label'=value unit;warn;crit`, where the value `U` means
/// unknown. A unit or threshold that the grammar does not allow is left out.
fn performance(result: &CheckResult, measurement: &Measurement) -> String {
    let name = one_line(&format!("{}/{}", result.check, measurement.label))
        .replace(['\'', '=', '|', '"'], "_");
    let value =
        if measurement.value.is_finite() { measurement.value.to_string() } else { "U".to_owned() };
    let is_unit = measurement.unit.len() <= 8
        && measurement.unit.chars().all(|c| c.is_ascii_alphabetic() || c == '%');
    let unit =
        if is_unit && measurement.value.is_finite() { measurement.unit.as_str() } else { "" };
    let range = |text: &Option<String>| {
        let found = text.as_deref().map(str::trim).filter(|text| Range::parse(text).is_some());
        found.unwrap_or_default().to_owned()
    };
    format!("'{name}'={value}{unit};{};{}", range(&measurement.warn), range(&measurement.crit))
}
