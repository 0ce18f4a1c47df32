//! The calls to a plugin and its responses: the types that engine and runtime share.
//!
//! The engine decides what is called and when, and the runtime makes the call. Neither depends on
//! the other; both depend on this crate. All its types are data: [`CallRecord`] writes a call and
//! its result, with the version of the format, so that they can be kept, replayed, or sent to
//! another host.

#![warn(clippy::missing_errors_doc)]

mod call;
mod fault;
mod ids;
mod operation;
mod record;
mod response;

pub use call::{Call, DriftPolicy, Mode, Phase};
pub use fault::{ErrorClass, Fault, FaultEffect, SECRET_WITHHELD};
pub use ids::{RunId, StepId};
pub use operation::{Kind, OperationFacts};
pub use record::{CallRecord, FORMAT, RecordError};
pub use response::{
    CallReturn, Case, Completion, Effect, LogLevel, LogLine, Measurement, Outcome, Proposal,
    Report, Response,
};

/// Any JSON value: an input, an output or a part of one.
pub type Json = serde_json::Value;
