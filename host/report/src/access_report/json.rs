//! The access report for programs.

use runbook_authority::access_report::AccessReport;

/// The access report as indented JSON.
pub(super) fn render(report: &AccessReport) -> String {
    crate::single_line::json(report)
}
