//! The bundled plugin `http`: sends a request to an HTTP endpoint and compares the answer with the
//! expected one.

mod body;
mod expectation;
mod get;
mod post;

runbook_sdk::plugin! { probes: { "get" => get::get, "head" => get::head }, steps: { "post" => post::Post } }
