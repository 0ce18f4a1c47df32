//! Loads, verifies, links and calls plugin components, and implements the capabilities that they
//! import.
//!
//! The stages of one call: bytes → [`inspect`] → [`InspectedComponent`] → [`verify`] →
//! [`VerifiedComponent`] → [`Runtime::prepare`] → [`PreparedComponent`] → [`LinkedOperation::new`]
//! (with an operation and what it was granted) → [`LinkedOperation::call`] → [`CallOutcome`]. Each
//! stage takes the type that the stage before it returns, so a component is verified before it is
//! compiled, and granted before it is called.

#![warn(clippy::missing_errors_doc)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests"))]

mod bindings;
mod blocking;
mod cache;
mod call;
mod capabilities;
mod code;
mod compile;
mod compiler;
mod config;
mod engine_pool;
mod fault;
mod host;
mod inert_wasi;
mod inspect;
mod launcher;
mod limits;
mod linker;
mod log;
mod net;
mod outcome;
mod permit;
mod reachability;
mod response;
mod sanitizer;
mod secret_origin;
mod services;
mod storage;
mod symlinks;
#[cfg(test)]
mod testing;
mod value;
mod verify;

pub use cache::CacheProblem;
pub use call::{EarlierAttemptError, LinkedOperation};
pub use capabilities::{StatementProblem, TokenCache, check_statement};
pub use code::TooMuchCode;
pub use compile::bare_engine as engine;
pub use compile::{
    CodeOrigin, OnCompile, PrepareError, PreparedComponent, Runtime, RuntimeConfig, RuntimeError,
};
pub use compiler::{COMPILE_MODE, CompileLimits, Compiler, serve as serve_compiler};
pub use config::Allocation;
pub use host::HostCallCounts;
pub use inspect::{
    Import, InspectError, InspectedComponent, MAX_COMPONENT_SIZE, inspect, inspect_bundled,
};
pub use launcher::Launcher;
pub use limits::CallLimits;
pub use net::resolve::Resolver;
pub use net::tls::{certificates_digest, system_tls};
pub use outcome::CallOutcome;
pub use permit::{LeaseCheck, Permit};
pub use reachability::{ReachRequest, Unreachable, UnreachableReason, reach};
pub use secret_origin::{FetchedSecret, fetch_from_target};
pub use services::{
    AuditCall, AuditEvent, AuditRecord, AuditSink, AuditWriteError, BoxFuture, FetchAttempt,
    NoSecrets, RotationTurn, SecretFacts, SecretFetchError, SecretSource, Services, SharedScrubber,
};
pub use symlinks::resolve_symlinks;
pub use value::{Mismatch, SchemaError};
pub use verify::{VerifiedComponent, VerifyError, VerifyProblem, verify};
