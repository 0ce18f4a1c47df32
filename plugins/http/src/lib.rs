//! The bundled plugin `http`: asks an HTTP endpoint and compares the answer with what is expected.

mod body;
mod expectation;
mod get;
mod post;

runbook_sdk::plugin! { probes: { "get" => get::get, "head" => get::head }, steps: { "post" => post::Post } }
