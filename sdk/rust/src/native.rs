//! Host calls in a native build, such as `cargo test`. There is no host, so each call panics and
//! says what to do instead. The generated bindings would abort the whole process, so the results of
//! all other tests would be lost.

/// Calls a host function. `$name` is its name in the contract.
macro_rules! host {
    ($name:literal, $call:expr) => {{
        $crate::native::panic_if_native($name);
        $call
    }};
}

pub(crate) use host;

/// Does nothing: inside of `runbook` there is a host.
#[cfg(target_family = "wasm")]
pub(crate) fn panic_if_native(_name: &str) {}

/// Panics, because in a native build there is no host.
#[cfg(not(target_family = "wasm"))]
#[track_caller]
pub(crate) fn panic_if_native(name: &str) {
    panic!(
        "host calls answer only inside `runbook`: `{name}` was called in a native build, such \
            as `cargo test`; keep what a plugin decides in functions that take what a host call \
            returned, and test those (\"Testing\" in the README of runbook-sdk)"
    );
}
