//! The ledger for programs.

use runbook_authority::access_report::AccessReport;

/// The ledger as JSON, in the order in which it was made.
pub(super) fn render(ledger: &AccessReport) -> String {
    crate::printed::json(ledger)
}
