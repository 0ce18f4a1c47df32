//! The capabilities: one file each. Every host function asks
//! [`Host::enter`](crate::host::Host::enter) before it touches anything.

pub(crate) mod clock;
#[cfg(test)]
mod cuts;
mod docker;
pub(crate) mod files;
mod http;
pub(crate) mod log;
mod net;
mod process;
mod secrets;
pub(crate) mod sql;
pub(crate) mod wasi;

pub use http::TokenCache;
pub use sql::{Foreseen, foresee};
#[cfg(test)]
mod without_effect;
