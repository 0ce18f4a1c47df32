//! The bundled plugin `nagios`: runs a monitoring plugin, and reads its exit code, text and
//! performance data as the Monitoring Plugins Development Guidelines define them.

mod check;
mod performance_data;
mod plugin_output;

runbook_sdk::plugin! {
    probes: { "check" => check::check },
    smoke_tests: { "run" => check::run },
}
