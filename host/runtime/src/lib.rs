//! Loads, verifies, links and calls plugin components; the capabilities behind their imports.

mod bindings;
mod blocking;
mod capabilities;
mod fault;
mod host;
mod limits;
mod link;
mod services;

pub use capabilities::log::{LogLevel, LogLine};
pub use host::HostCalls;
pub use limits::Limits;
pub use services::{AuditRecord, AuditSink, BoxFuture, NoSecrets, SecretFacts, SecretSource, SecretUnavailable, Services, SharedScrubber};
