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
mod execution_time;
mod frontier;
mod graph;
mod intent;
mod journal;
mod lease_watch;
mod lint;
pub mod model;
mod operate;
mod params;
mod parse;
mod partial_input;
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
pub use data_flow::input_steps;
pub use dry_run::{DryRun, DryRunResult, DryRunScope, DryStep};
pub use event::*;
pub use execute::*;
pub use execution_time::ExecutionTime;
pub use journal::{
    AcquireResult, Fence, FencedAppend, Holder, Journal, Lease, LeaseRequest, PidStatus,
    ProcessIdentity, RenewResult, RunHeader, RunSummary, StoredRun,
};
pub use lease_watch::LeaseWatch;
pub use lint::{ExpectedType, OutputRead, output_reads};
pub use model::{CallSite, Runbook};
pub use operate::*;
pub use params::{GivenParam, GivenValue, Params, check_param, resolve_params};
pub use parse::{
    Loader, TargetsAndSecrets, parse, parse_inputs, parse_leniently, parse_targets_file,
};
pub use partial_input::{Misfit, MisfitKind, PartialInput, sole_param};
pub use plan::*;
pub use range::Range;
pub use retry_run::{RetryError, earlier_run_ids, retry_of};
pub use runbook_contract::{
    Call, CallReturn, Case, Completion, DriftPolicy, Effect, ErrorClass, Fault, FaultEffect, Json,
    Kind, LogLevel, LogLine, Measurement, Mode, OperationFacts, Outcome, Phase, Proposal, Report,
    Response, RunId, StepId,
};
pub use state::*;
