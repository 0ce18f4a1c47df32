//! Faults: how an operation reports that it did not work.

pub use crate::bindings::runbook::base::types::{Fault, FaultClass};

/// What operations and host functions return: a value or a [`Fault`].
pub type Result<T, E = Fault> = std::result::Result<T, E>;

macro_rules! constructors {
    ($($name:ident $class:ident $doc:literal;)*) => {
        impl Fault {
            $(#[doc = $doc]
            pub fn $name(code: impl Into<String>, message: impl Into<String>) -> Self {
                Self { class: FaultClass::$class, code: code.into(), message: message.into() }
            })*
        }
    };
}

constructors! {
    invalid Invalid "The input, or what was found, makes no sense. Running it again will not help.";
    not_found NotFound "Something that the operation needs does not exist.";
    conflict Conflict "The object exists in a state that forbids the operation.";
    transient Transient "The other side is away or overloaded; the same call may work in a moment.";
    timeout Timeout "No answer in time. A write may or may not have happened.";
    limit Limit "A limit was reached.";
    assertion Assertion "An answer came, and it is not the expected one.";
    unknown Unknown "It is unknown whether the effect happened. A person decides.";
}
