//! The guest side of the WIT contract, generated from `wit/`.
#![allow(missing_docs, reason = "generated; the documentation is in the WIT files")]
#![allow(
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::allow_attributes_without_reason,
    unsafe_code,
    reason = "generated"
)]

wit_bindgen::generate!({
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
    generate_all,
    pub_export_macro: true,
    default_bindings_module: "runbook_sdk::bindings",
});
