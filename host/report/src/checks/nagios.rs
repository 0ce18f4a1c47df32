//! Checks as a plugin of Nagios prints them.

use super::{CheckResult, Checks, counts};
use crate::printed::{one_line, push_line};
use runbook_engine::{Measurement, Range};

/// One line with performance data, then one for each check, as the guidelines for Nagios plugins
/// want it; `|` begins the performance data.
pub(super) fn render(checks: &Checks) -> String {
    let (_, _, _, state) = checks.worst().row();
    let measured = checks.results.iter().flat_map(|result| {
        result.measurements.iter().map(|measured| performance(result, measured))
    });
    let performance: Vec<_> = measured.collect();
    let data = if performance.is_empty() {
        String::new()
    } else {
        format!(" | {}", performance.join(" "))
    };
    let mut text = format!("{state} - {}{data}\n", counts(checks));
    for result in &checks.results {
        let said = format!("{} {}: {}", result.health.row().3, result.check, result.summary)
            .replace('|', " ");
        push_line(&mut text, format_args!("{said}"));
    }
    runbook_text::printed(&text).into_owned()
}

/// `'check/label'=value unit;warn;crit`. A unit or threshold that the grammar does not allow is
/// left out.
fn performance(result: &CheckResult, measured: &Measurement) -> String {
    let name = one_line(&format!("{}/{}", result.check, measured.label))
        .replace(['\'', '=', '|', '"'], "_");
    let value =
        if measured.value.is_finite() { measured.value.to_string() } else { "U".to_owned() };
    let is_unit = measured.unit.len() <= 8
        && measured.unit.chars().all(|c| c.is_ascii_alphabetic() || c == '%');
    let unit = if is_unit && measured.value.is_finite() { measured.unit.as_str() } else { "" };
    let range = |text: &Option<String>| {
        let found = text.as_deref().map(str::trim).filter(|text| Range::parse(text).is_some());
        found.unwrap_or_default().to_owned()
    };
    format!("'{name}'={value}{unit};{};{}", range(&measured.warn), range(&measured.crit))
}
