//! The Rust side of the WIT contract, generated from `wit/`.
//!
//! Functions of a guest are called asynchronously, on a fiber. Host functions are asynchronous too,
//! except those that never wait.
#![allow(missing_docs, reason = "generated; the documentation is in the WIT files")]
#![allow(clippy::pedantic, clippy::unwrap_used, reason = "generated")]

wasmtime::component::bindgen!({
    path: [
        "../../wit/base",
        "../../wit/http",
        "../../wit/sql",
        "../../wit/docker",
        "../../wit/secrets",
        "../../wit/net",
        "../../wit/redis",
        "../../wit/objects",
        "../../wit/mail",
        "../../wit/files",
        "../../wit/process",
        "../../wit/system",
        "../../wit/state",
        "../../wit/plugin",
    ],
    world: "runbook:plugin/plugin",
    imports: {
        "runbook:base/log.write": trappable,
        "runbook:base/clock.now-ms": trappable,
        "runbook:base/clock.monotonic-ns": trappable,
        default: async,
    },
    exports: { default: async },
    require_store_data_send: true,
});
