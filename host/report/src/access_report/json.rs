//! The access report for programs.

use runbook_authority::access_report::AccessReport;

/// The access report as JSON, in the order in which it was made.
pub(super) fn render(report: &AccessReport) -> String {
    crate::printed::json(report)
}
