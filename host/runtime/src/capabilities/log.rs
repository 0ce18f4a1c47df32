//! The log, which every plugin may write.

use crate::bindings::runbook::base::log::{self as wit, Level};
use crate::host::HostCall;
use runbook_contract::LogLevel;

impl wit::Host for HostCall<'_> {
    fn write(&mut self, level: Level, message: String) -> wasmtime::Result<()> {
        let level = match level {
            Level::Debug => LogLevel::Debug,
            Level::Info => LogLevel::Info,
            Level::Warn => LogLevel::Warn,
            Level::Error => LogLevel::Error,
        };
        self.log.add(level, message);
        Ok(())
    }
}
