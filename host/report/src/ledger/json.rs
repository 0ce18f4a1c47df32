//! The ledger for programs.

use runbook_authority::ledger::Ledger;

/// The ledger as JSON, in the order in which it was made.
pub(super) fn render(ledger: &Ledger) -> String {
    serde_json::to_string_pretty(ledger).expect("a ledger has string keys only, so it is always JSON")
}
