//! The bundled plugin `disk`: reads how full file systems are.

mod df;
mod space;

runbook_sdk::plugin! { probes: { "space" => space::space } }
