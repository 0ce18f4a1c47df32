//! Sends spans by OTLP over HTTP, as the `OTEL_…` variables say.

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{HOST, HeaderValue};
use hyper::rt::{Read, Write};
use hyper_util::rt::TokioIo;
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use runbook_report::trace::TraceSpan;
use rustls::pki_types::ServerName;
use std::error::Error;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The limit for the response of a collector, in bytes.
const MAX_RESPONSE_BYTES: usize = 1 << 20;

/// Sends the spans of a run.
///
/// # Errors
/// The endpoint is invalid, does not answer, or refuses the spans.
pub async fn export_spans(
    run: &str,
    spans: &[TraceSpan],
) -> Result<(), Box<dyn Error + Send + Sync>> {
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

/// The HTTP client of the exporter: one connection for each request. It follows no redirect and uses
/// no proxy, so that traces are sent only to the configured endpoint. The program ignores
/// `HTTPS_PROXY` everywhere.
struct Client {
    tls: TlsConnector,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    /// # Errors
    /// This machine has no certificate authorities.
    fn new() -> Result<Self, Box<dyn Error + Send + Sync>> {
        // The same certificate authorities as for requests of plugins.
        Ok(Self { tls: TlsConnector::from(Arc::new(runbook_runtime::system_tls()?)) })
    }

    /// Sends a request over a new connection.
    async fn exchange(&self, request: Request<Bytes>) -> Result<Response<Incoming>, HttpError> {
        let uri = request.uri();
        let host = uri.host().ok_or("the endpoint has no host")?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        match uri.scheme_str() {
            Some("https") => {
                let tcp =
                    TcpStream::connect((host.as_str(), uri.port_u16().unwrap_or(443))).await?;
                let tls = self.tls.connect(ServerName::try_from(host)?, tcp).await?;
                exchange_on(TokioIo::new(tls), request).await
            }
            Some("http") => {
                let tcp = TcpStream::connect((host.as_str(), uri.port_u16().unwrap_or(80))).await?;
                exchange_on(TokioIo::new(tcp), request).await
            }
            Some(_) | None => Err("the endpoint is neither `http://` nor `https://`".into()),
        }
    }
}

/// Sends a request over a connection that is not used again.
async fn exchange_on(
    io: impl Read + Write + Unpin + Send + 'static,
    mut request: Request<Bytes>,
) -> Result<Response<Incoming>, HttpError> {
    let authority = request.uri().authority().ok_or("the endpoint has no host")?.as_str();
    // A password of the endpoint's address is no part of `Host`.
    let host = authority.rsplit('@').next().unwrap_or(authority);
    let host = HeaderValue::from_str(host)?;
    request.headers_mut().entry(HOST).or_insert(host);
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
    tokio::spawn(connection);
    Ok(sender.send_request(request.map(Full::new)).await?)
}

#[async_trait::async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = self.exchange(request).await?.into_parts();
        let body = Limited::new(body, MAX_RESPONSE_BYTES).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                format!("the collector answered with more than {MAX_RESPONSE_BYTES} bytes").into()
            } else {
                error
            }
        })?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }
}
