//! Checks as annotations of GitHub Actions.

use super::{Checks, Health, count_text};
use crate::phrases::pluralize;
use crate::single_line::{one_line, push_line};
use std::fmt::Write as _;

/// Workflow commands: an annotation for each check that is not healthy.
pub(super) fn render(checks: &Checks) -> String {
    let escape = |text: &str| one_line(text).replace('%', "%25");
    let property = |text: &str| escape(text).replace(':', "%3A").replace(',', "%2C");
    let mut text = String::new();
    for result in &checks.results {
        let command = match result.health {
            Health::Healthy | Health::Skipped => continue,
            Health::Warning => "warning",
            Health::Unknown | Health::Critical => "error",
        };
        let title = property(&format!("{} {}", result.check, result.health.word()));
        // `##[` is a command anywhere in a line.
        let summary = escape(&result.summary).replace("##", "# # ");
        push_line(
            &mut text,
            format_args!("::{command} title={}::{summary}", title.replace("##", "# # ")),
        );
    }
    let total = match checks.results.len() {
        0 => String::new(),
        all => format!(" of {}", pluralize(all, "check")),
    };
    let _ = writeln!(text, "{}{total}", count_text(checks));
    text
}
