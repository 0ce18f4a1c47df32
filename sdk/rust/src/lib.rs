//! What plugin authors use.
//!
//! A plugin is a folder with a `plugin.toml` (what it needs, and why) and a crate that registers
//! its operations:
//!
//! ```
//! use runbook_sdk::prelude::*;
//!
//! /// What the runbook writes under `with`.
//! #[derive(Deserialize, JsonSchema)]
//! struct Input {
//!     /// Path below the slot's base address.
//!     path: String,
//! }
//!
//! #[derive(Serialize, JsonSchema)]
//! struct Output {
//!     status: u16,
//! }
//!
//! fn alive(_job: &Job, input: Input) -> Result<Report<Output>> {
//!     let response = http::Endpoint::slot(slot!("target")).get(&input.path)?;
//!     let output = Output { status: response.status };
//!     Ok(Report::pass_if(response.status == 200, format!("answered {}", response.status), output))
//! }
//!
//! runbook_sdk::plugin! { probes: { "alive" => alive } }
//! # fn main() {}
//! ```
//!
//! `runbook plugin build FOLDER` makes one component file of it.
#![deny(missing_docs)]
#![warn(clippy::missing_errors_doc)]

#[cfg(target_family = "wasm")]
mod arena;
pub mod assertion;
#[doc(hidden)]
pub mod bindings;
pub mod bounded_list;
pub mod clock;
pub mod docker;
pub mod duration;
mod fault;
pub mod files;
#[doc(hidden)]
pub mod guest;
pub mod http;
pub mod log;
pub mod mail;
mod native;
pub mod net;
pub mod objects;
pub mod operation;
pub mod process;
pub mod redis;
pub mod secrets;
pub mod size;
pub mod slot;
pub mod sql;
pub mod system;

pub use fault::{Fault, FaultClass, Result};
pub use operation::{
    Completion, Effect, Job, Measurement, Outcome, Proposal, Report, Step, Verdict,
};

/// Everything that a small plugin needs.
pub mod prelude {
    pub use crate::assertion::Assertions;
    pub use crate::bounded_list::BoundedList;
    pub use crate::duration::Span;
    pub use crate::operation::{
        Completion, Effect, Job, Measurement, Outcome, Proposal, Report, Step, Verdict,
        arguments_effect, effect, measurement, statement_effect,
    };
    pub use crate::size::Size;
    pub use crate::{
        Fault, FaultClass, Result, clock, debug, docker, error, files, http, info, mail, net,
        objects, params, process, redis, secrets, slot, sql, system, warn,
    };
    pub use schemars::{self, JsonSchema};
    pub use serde::{self, Deserialize, Serialize};
    pub use serde_json::{self, Value as Json, json};
}

#[doc(hidden)]
pub use {schemars, serde, serde_json, wit_bindgen};

/// Registers the operations of a plugin. Probes and smoke tests are functions, steps are types that
/// implement [`Step`](crate::Step). Names are those of `plugin.toml`.
///
/// ```text
/// runbook_sdk::plugin! {
///     probes: { "status" => status },
///     smoke_tests: { "run" => run },
///     steps: { "stop" => Stop, "start" => Start },
/// }
/// ```
#[macro_export]
macro_rules! plugin {
    (
        $(probes: { $($probe:literal => $check:path),* $(,)? } $(,)?)?
        $(smoke_tests: { $($smoke:literal => $run:path),* $(,)? } $(,)?)?
        $(steps: { $($step:literal => $step_type:ty),* $(,)? } $(,)?)?
    ) => {
        #[doc(hidden)]
        #[derive(Debug)]
        pub struct RunbookPlugin;

        const _: () = {
            use $crate::guest;

            impl guest::Info for RunbookPlugin {
                fn describe() -> String {
                    guest::describe(vec![
                        $($(guest::describe_probe($probe, $check),)*)?
                        $($(guest::describe_smoke_test($smoke, $run),)*)?
                        $($(guest::describe_step::<$step_type>($step),)*)?
                    ])
                }
            }

            impl guest::Probe for RunbookPlugin {
                fn check(operation: String, job: guest::RawJob) -> Result<guest::RawReport, $crate::Fault> {
                    match operation.as_str() {
                        $($($probe => guest::check($check, job),)*)?
                        _ => Err(guest::unknown_operation(&operation)),
                    }
                }
            }

            impl guest::SmokeTest for RunbookPlugin {
                fn run(operation: String, job: guest::RawJob) -> Result<Vec<guest::RawVerdict>, $crate::Fault> {
                    match operation.as_str() {
                        $($($smoke => guest::run($run, job),)*)?
                        _ => Err(guest::unknown_operation(&operation)),
                    }
                }
            }

            impl guest::StepExport for RunbookPlugin {
                fn plan(operation: String, job: guest::RawJob) -> Result<guest::RawProposal, $crate::Fault> {
                    match operation.as_str() {
                        $($($step => guest::plan::<$step_type>(job),)*)?
                        _ => Err(guest::unknown_operation(&operation)),
                    }
                }

                fn apply(operation: String, job: guest::RawJob, proposal: guest::RawProposal) -> Result<guest::RawCompletion, $crate::Fault> {
                    match operation.as_str() {
                        $($($step => guest::apply::<$step_type>(job, proposal),)*)?
                        _ => Err(guest::unknown_operation(&operation)),
                    }
                }

                fn observe(operation: String, job: guest::RawJob) -> Result<String, $crate::Fault> {
                    match operation.as_str() {
                        $($($step => guest::observe::<$step_type>(job),)*)?
                        _ => Err(guest::unknown_operation(&operation)),
                    }
                }

                fn undo(operation: String, job: guest::RawJob, before: String) -> Result<guest::RawCompletion, $crate::Fault> {
                    match operation.as_str() {
                        $($($step => guest::undo::<$step_type>(job, &before),)*)?
                        _ => Err(guest::unknown_operation(&operation)),
                    }
                }
            }
        };

        // The names of exports are no symbols that a native linker takes, and a native build is for
        // unit tests only.
        #[cfg(target_family = "wasm")]
        $crate::bindings::export!(RunbookPlugin with_types_in $crate::bindings);
    };
}

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
