//! Host calls in a native build, such as `cargo test`: there is no host, so each is a panic that
//! says what to do instead. What is generated would abort the whole process, and the results of all
//! other tests with it.

/// Asks the host. `$name` is the function as the contract calls it.
macro_rules! host {
    ($name:literal, $call:expr) => {{
        $crate::native::must_have_a_host($name);
        $call
    }};
}

pub(crate) use host;

/// Does nothing: inside of `runbook` there is a host.
#[cfg(target_family = "wasm")]
pub(crate) fn must_have_a_host(_name: &str) {}

/// Panics, because in a native build there is no host.
#[cfg(not(target_family = "wasm"))]
#[track_caller]
pub(crate) fn must_have_a_host(name: &str) {
    panic!(
        "host calls answer only inside `runbook`: `{name}` was called in a native build, such \
            as `cargo test`; keep what a plugin decides in functions that take what a host call \
            returned, and test those (\"Testing\" in the README of runbook-sdk)"
    );
}
