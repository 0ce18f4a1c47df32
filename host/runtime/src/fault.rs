//! Faults of host functions, in the types of the WIT contract.

pub(crate) use crate::bindings::runbook::base::types::{Fault, FaultClass};

/// The fault code of a denial. The plugin does not get the reason; the operator does.
pub(crate) const DENIED_CODE: &str = "denied";

impl Fault {
    /// A fault. `code` is stable: the capability, a dot, and words in kebab case (`sql.syntax`).
    /// `message` is one line, lowercase, without a final period, and without secrets.
    pub(crate) fn new(class: FaultClass, code: &str, message: impl Into<String>) -> Self {
        Self { class, code: code.to_owned(), message: message.into() }
    }

    /// The fault for every call that is not granted.
    pub(crate) fn denied() -> Self {
        Self::new(FaultClass::Denied, DENIED_CODE, "not granted")
    }
}
