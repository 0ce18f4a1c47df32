//! The ledger for programs.

use runbook_authority::ledger::Ledger;

/// The ledger as JSON, in the order in which it was made.
pub(super) fn render(ledger: &Ledger) -> String {
    crate::printed::json(ledger)
}
