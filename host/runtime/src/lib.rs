//! Loads, verifies, links and calls plugin components; the capabilities behind their imports.
//!
//! The way of one call: bytes → [`inspect`] → [`Inspected`] → [`verify`] → [`Verified`] →
//! [`Runtime::prepare`] → [`PreparedComponent`] → [`Linked::new`] (with an operation and what it was
//! granted) → [`Linked::call`] → [`CallOutcome`]. Each is the only argument of the next, so nothing
//! can be compiled before it was verified, nor called before it was granted.

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
mod kept;
mod launcher;
mod limits;
mod link;
mod links;
mod log;
mod net;
mod outcome;
mod outgoing;
mod permit;
mod response;
mod services;
#[cfg(test)]
mod testing;
mod value;
mod verify;

pub use cache::CacheProblem;
pub use call::{Linked, Unfinished};
pub use capabilities::{Foreseen, TokenCache, foresee};
pub use code::TooMuchCode;
pub use compile::bare_engine as engine;
pub use compile::{
    CodeOrigin, OnCompile, PrepareError, PreparedComponent, Runtime, RuntimeConfig, RuntimeError,
};
pub use compiler::{COMPILE_MODE, CompileLimits, Compiler, serve as serve_compiler};
pub use config::Allocation;
pub use host::HostCalls;
pub use inspect::{Import, InspectError, Inspected, MAX_SIZE, inspect, inspect_built_in};
pub use launcher::Launcher;
pub use limits::CallLimits;
pub use links::follow_links;
pub use net::resolve::Resolver;
pub use net::tls::{certificates_digest, system_tls};
pub use outcome::CallOutcome;
pub use permit::{Permit, PermitCheck};
pub use services::{
    AuditCall, AuditEvent, AuditRecord, AuditSink, AuditUnavailable, BoxFuture, NoSecrets,
    SecretFacts, SecretSource, SecretUnavailable, Services, SharedScrubber,
};
pub use value::{Mismatch, SchemaError};
pub use verify::{Verified, VerifyError, VerifyProblem, verify};
