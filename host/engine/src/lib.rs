//! Runbooks: model, plan, the state machine, execution, undo and recovery.
//!
//! The engine knows no wasm, no SQL and no terminal. It asks [`Operate`] to call operations, writes
//! what happens to a [`Journal`] before and after every effect, and reads time from a [`Clock`].

#![warn(clippy::missing_errors_doc)]

mod advance;
mod call_stop;
mod cancel;
mod clock;
mod data_flow;
mod digest;
mod dry_run;
mod evaluate;
mod event;
mod execute;
mod executed;
mod frontier;
mod graph;
mod intent;
mod journal;
mod known;
mod lease_watch;
mod lint;
pub mod model;
mod operate;
mod params;
mod parse;
mod plan;
mod range;
mod retry;
mod retry_run;
mod state;
mod template;
mod undo;

pub use call_stop::CallStop;
pub use cancel::{CancelLevel, CancelToken};
pub use clock::Clock;
pub use data_flow::inputs_from;
pub use dry_run::{AskedPlugins, DryFinding, DryRun, DryStep};
pub use event::*;
pub use execute::*;
pub use executed::Executed;
pub use journal::{
    Acquired, Fence, FencedAppend, Holder, Journal, Lease, LeaseRequest, ProcessIdentity,
    ProcessSighting, Renewed, RunHeader, RunSummary, StoredRun,
};
pub use known::{Known, Misfit, MisfitKind, param_of};
pub use lease_watch::LeaseWatch;
pub use lint::{ExpectedType, OutputRead, output_reads};
pub use model::{Runbook, UseSite};
pub use operate::*;
pub use params::{GivenParam, GivenValue, Params, check_param, resolve_params};
pub use parse::{Loader, Shared, parse, parse_inputs, parse_leniently, parse_shared};
pub use plan::*;
pub use range::Range;
pub use retry_run::{RetryError, retry_of, runs_relied_on};
pub use runbook_contract::{
    Call, CallReturn, Case, Completion, Drift, Effect, ErrorClass, Fault, FaultEffect, Json, Kind,
    LogLevel, LogLine, Measurement, Mode, OperationFacts, Outcome, Phase, Proposal, Report,
    Response, RunId, StepId,
};
pub use state::*;
