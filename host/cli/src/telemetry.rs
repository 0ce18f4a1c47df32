//! Sends the trace of a run that has ended by OTLP over HTTP to the endpoint of the standard
//! `OTEL_…` variables. An error is only a warning.

#[cfg(feature = "telemetry")]
mod export;

use crate::ui;
use runbook_report::Summary;
use runbook_report::trace::{TraceSpan, trace};
use std::time::Duration;

/// The time limit for sending a trace.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The variables for the endpoint. One of them is enough.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// Sends the trace of a run, if the run has ended and an endpoint is set.
pub async fn send(summary: &Summary) {
    if !is_configured() {
        return;
    }
    let Some(spans) = trace(summary) else { return };
    let result = match tokio::time::timeout(TIMEOUT, export(&summary.run, &spans)).await {
        Ok(result) => result,
        Err(_) => Err(format!("the collector did not answer within {} s", TIMEOUT.as_secs())),
    };
    if let Err(error) = result {
        ui::warning(&format!("the trace of the run could not be sent: {error}"));
    }
}

fn is_configured() -> bool {
    let is_set = |name: &str| std::env::var(name).is_ok_and(|value| !value.trim().is_empty());
    let equals = |name: &str, word: &str| {
        std::env::var(name).is_ok_and(|value| value.trim().eq_ignore_ascii_case(word))
    };
    ENDPOINTS.into_iter().any(is_set)
        && !equals("OTEL_SDK_DISABLED", "true")
        && !equals("OTEL_TRACES_EXPORTER", "none")
}

#[cfg(feature = "telemetry")]
async fn export(run: &str, spans: &[TraceSpan]) -> Result<(), String> {
    export::export_spans(run, spans).await.map_err(|error| error.to_string())
}

#[cfg(not(feature = "telemetry"))]
#[expect(clippy::unused_async, reason = "with the feature it waits for the collector")]
async fn export(_: &str, _: &[TraceSpan]) -> Result<(), String> {
    Err("this program was built without the feature `telemetry`".to_owned())
}
