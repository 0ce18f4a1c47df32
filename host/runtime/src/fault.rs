//! Faults of host functions, in the terms of the WIT contract.

pub(crate) use crate::bindings::runbook::base::types::{Fault, FaultClass};

/// All that a plugin learns about a denial; only the operator is told the reason.
pub(crate) const DENIED: &str = "denied";

impl Fault {
    /// A fault. `code` is stable and in kebab case after its capability (`sql.syntax`); `message`
    /// is one line, lowercase, without a final period, and never shows a secret.
    pub(crate) fn new(class: FaultClass, code: &str, message: impl Into<String>) -> Self {
        Self { class, code: code.to_owned(), message: message.into() }
    }

    /// The one answer to everything that is not granted.
    pub(crate) fn denied() -> Self {
        Self::new(FaultClass::Denied, DENIED, "not granted")
    }
}
