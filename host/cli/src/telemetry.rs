//! Sends the trace of a run that has ended by OTLP over HTTP to the endpoint of the standard
//! `OTEL_…` variables. An error is only a warning.

use crate::ui;
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use runbook_report::Summary;
use runbook_report::trace::{TraceSpan, trace};
use std::error::Error;
use std::time::{Duration, SystemTime};

/// The time limit for sending a trace.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The limit for the response of a collector, in bytes.
const MAX_RESPONSE_BYTES: usize = 1 << 20;

/// The variables for the endpoint. One of them is enough.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// Sends the trace of a run, if the run has ended and an endpoint is set.
pub async fn send(summary: &Summary) {
    if !is_configured() {
        return;
    }
    let Some(spans) = trace(summary) else { return };
    let result = match tokio::time::timeout(TIMEOUT, export_spans(&summary.run, &spans)).await {
        Ok(result) => result.map_err(|error| error.to_string()),
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

async fn export_spans(run: &str, spans: &[TraceSpan]) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut exporter =
        SpanExporter::builder().with_http().with_http_client(Client::new()?).build()?;
    let builder = Resource::builder();
    // The builder reads `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`, which have priority.
    let has_service_name = std::env::var_os("OTEL_SERVICE_NAME").is_some();
    let builder = if has_service_name { builder } else { builder.with_service_name("runbook") };
    exporter.set_resource(
        &builder
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build(),
    );
    let trace_id = uuid::Uuid::parse_str(run)?.as_u128();
    let batch: Vec<SpanData> = spans.iter().map(|span| span_data(trace_id, span)).collect();
    Ok(exporter.export(batch).await?)
}

fn span_data(trace_id: u128, span: &TraceSpan) -> SpanData {
    let (trace, id) = (TraceId::from(trace_id), SpanId::from(span.id));
    SpanData {
        span_context: SpanContext::new(trace, id, TraceFlags::SAMPLED, false, TraceState::NONE),
        parent_span_id: span.parent.map_or(SpanId::INVALID, SpanId::from),
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: span.name.clone().into(),
        start_time: SystemTime::from(span.from),
        end_time: SystemTime::from(span.to),
        attributes: span
            .attributes
            .iter()
            .map(|(name, value)| KeyValue::new(*name, value.clone()))
            .collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: span.error.as_ref().map_or(Status::Unset, |error| Status::error(error.clone())),
        instrumentation_scope: InstrumentationScope::builder("runbook")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build(),
    }
}

/// The HTTP client of the exporter. It follows no redirect and uses no proxy, so that traces are
/// sent only to the configured endpoint. The program ignores `HTTPS_PROXY` everywhere.
#[derive(Debug)]
struct Client(reqwest::Client);

impl Client {
    /// # Errors
    /// This machine has no certificate authorities.
    fn new() -> Result<Self, Box<dyn Error + Send + Sync>> {
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            // The same certificate authorities as for requests of plugins.
            .tls_backend_preconfigured(runbook_runtime::system_tls()?);
        Ok(Self(client.build()?))
    }
}

#[async_trait::async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let mut answer = self.0.execute(request.try_into()?).await?;
        let mut response = Response::builder().status(answer.status());
        if let Some(headers) = response.headers_mut() {
            headers.clone_from(answer.headers());
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            if body.len() + chunk.len() > MAX_RESPONSE_BYTES {
                return Err(format!(
                    "the collector answered with more than {MAX_RESPONSE_BYTES} bytes"
                )
                .into());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(response.body(Bytes::from(body))?)
    }
}
