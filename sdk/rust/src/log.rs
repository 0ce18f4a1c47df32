//! Lines for the operator.

use crate::bindings::runbook::base::log;

pub use log::Level;

/// Adds a line of at most 4 KiB to the log of the call; the macros [`debug!`](crate::debug),
/// [`info!`](crate::info), [`warn!`](crate::warn) and [`error!`](crate::error) format one.
#[cfg(target_family = "wasm")]
pub fn write(level: Level, message: &str) {
    log::write(level, message);
}

/// Adds a line. In a native build it goes to stderr, so a test does not fail because it logs.
#[cfg(not(target_family = "wasm"))]
pub fn write(level: Level, message: &str) {
    eprintln!("{level:?}: {message}");
}

/// Logs the message of a panic, because the host only sees that the plugin stopped.
#[cfg(target_family = "wasm")]
pub(crate) fn catch_panics() {
    static HOOK: std::sync::Once = std::sync::Once::new();
    HOOK.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            write(Level::Error, &format!("the plugin panicked: {panic}"))
        }))
    });
}

/// Does nothing: a native test prints its panics itself.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn catch_panics() {}

/// Logs a line for the author of the plugin.
#[macro_export]
macro_rules! debug { ($($part:tt)*) => { $crate::log::write($crate::log::Level::Debug, &format!($($part)*)) }; }

/// Logs a line for the operator.
#[macro_export]
macro_rules! info { ($($part:tt)*) => { $crate::log::write($crate::log::Level::Info, &format!($($part)*)) }; }

/// Logs a line about something that somebody should look at.
#[macro_export]
macro_rules! warn { ($($part:tt)*) => { $crate::log::write($crate::log::Level::Warn, &format!($($part)*)) }; }

/// Logs a line about something that did not work.
#[macro_export]
macro_rules! error { ($($part:tt)*) => { $crate::log::write($crate::log::Level::Error, &format!($($part)*)) }; }
