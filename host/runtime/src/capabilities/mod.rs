//! The host functions, by capability. Every host function calls
//! [`Host::enter`](crate::host::Host::enter) before it has any effect.

pub(crate) mod clock;
#[cfg(feature = "docker")]
mod docker;
pub(crate) mod files;
mod http;
pub(crate) mod log;
#[cfg(feature = "mail")]
mod mail;
mod net;
#[cfg(feature = "objects")]
mod objects;
mod process;
mod reachability;
#[cfg(feature = "redis")]
mod redis;
mod rotation;
mod secrets;
pub(crate) mod sql;
mod system;
#[cfg(all(feature = "docker", feature = "redis", feature = "system"))]
#[cfg(test)]
mod truncation_tests;
pub(crate) mod wasi;

pub use http::TokenCache;
pub(crate) use http::VaultAnswer;
pub use sql::{StatementProblem, check_statement};
#[cfg(all(feature = "docker", feature = "redis", feature = "system"))]
#[cfg(test)]
mod without_effect;
