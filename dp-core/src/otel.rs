//! Spans for OpenTelemetry: exported by OTLP, as the standard variables of the environment say.

use std::time::Duration;
use std::{env, fmt};

use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState, TracerProvider as _,
};
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use thiserror::Error;
use tracing::{Level, Metadata, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use crate::logs::CALL;
use crate::trace::{self, TraceContext};

/// How long the last spans may take to be exported when a program ends.
const LAST: Duration = Duration::from_secs(5);
/// How long one export may take, where `OTEL_EXPORTER_OTLP_TIMEOUT` does not say.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Exports spans until it is dropped, which waits for the last of them, 5 s at the most.
///
/// The programs of dp-server and dp-client have it. A program with a subscriber of its own keeps one, and
/// adds its [`layer`](Self::layer):
///
/// ```no_run
/// use dp_core::engine::otel::Telemetry;
/// use tracing_subscriber::layer::SubscriberExt as _;
/// use tracing_subscriber::util::SubscriberInitExt as _;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let telemetry = Telemetry::from_env("my-program")?;
/// tracing_subscriber::registry().with(telemetry.as_ref().map(Telemetry::layer)).init();
/// # Ok(())
/// # }
/// ```
pub struct Telemetry(SdkTracerProvider);

impl Telemetry {
    /// Begins to export the spans of this process; `None` unless the environment asks for it, by
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` or
    /// `OTEL_TRACES_EXPORTER=otlp`. The protocol is OTLP over HTTP with protobuf; the other
    /// variables of OpenTelemetry count, too, such as `OTEL_EXPORTER_OTLP_HEADERS`,
    /// `OTEL_TRACES_SAMPLER`, `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME`, for which `service`
    /// is the default.
    ///
    /// # Errors
    /// [`TelemetryError`] where the environment asks for what there is not.
    pub fn from_env(service: &str) -> Result<Option<Self>, TelemetryError> {
        let set = |name: &str| env::var(name).ok().filter(|value| !value.trim().is_empty());
        if set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let endpoint = set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
            .or_else(|| set("OTEL_EXPORTER_OTLP_ENDPOINT"));
        match set("OTEL_TRACES_EXPORTER").as_deref() {
            Some("otlp") => {}
            None if endpoint.is_some() => {}
            None | Some("none") => return Ok(None),
            Some(other) => return Err(TelemetryError::Exporter { exporter: other.to_owned() }),
        }
        if let Some(endpoint) = endpoint.filter(|endpoint| !endpoint.starts_with("http://")) {
            return Err(TelemetryError::NotHttp { endpoint });
        }
        let timeout = set("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT")
            .or_else(|| set("OTEL_EXPORTER_OTLP_TIMEOUT"))
            .and_then(|millis| millis.parse().ok())
            .map_or(TIMEOUT, Duration::from_millis);
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_http_client(OnIoThread(HyperClient::with_default_connector(timeout, None)))
            .build()
            .map_err(|error| TelemetryError::Settings { message: error.to_string() })?;
        let resource = match set("OTEL_SERVICE_NAME") {
            Some(_) => Resource::builder(),
            None => Resource::builder().with_service_name(service.to_owned()),
        };
        let provider = SdkTracerProvider::builder()
            .with_resource(resource.build())
            .with_batch_exporter(exporter)
            .build();
        trace::install(Places);
        Ok(Some(Self(provider)))
    }

    /// The layer that makes spans of OpenTelemetry of those of `tracing`: of runs and calls, and of
    /// whatever else is a span at the info level or above, with its events.
    pub fn layer<S>(&self) -> impl Layer<S> + Send + Sync + 'static + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let of_calls = |metadata: &Metadata<'_>| metadata.is_span() && metadata.target() == CALL;
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer("dp"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(move |metadata| {
                *metadata.level() <= Level::INFO || of_calls(metadata)
            }))
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown_with_timeout(LAST) {
            tracing::warn!("not all spans were exported: {error}");
        }
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Telemetry")
    }
}

/// What the environment asks for, and there is not.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// Another exporter than OTLP.
    #[error("OTEL_TRACES_EXPORTER={exporter}: there is only `otlp`, or `none`")]
    Exporter {
        /// The one that was asked for.
        exporter: String,
    },
    /// A collector that is not reached by plain HTTP.
    #[error(
        "spans cannot be exported to {endpoint}: the endpoint is to begin with http://; for TLS, run \
         a collector on this machine that passes them on"
    )]
    NotHttp {
        /// The endpoint.
        endpoint: String,
    },
    /// Another setting that makes no sense.
    #[error("spans cannot be exported: {message}")]
    Settings {
        /// What is wrong.
        message: String,
    },
}

/// Sends what is exported from the I/O thread, since the exporter's own thread has no runtime.
#[derive(Debug)]
struct OnIoThread(HyperClient);

#[async_trait]
impl HttpClient for OnIoThread {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.0.clone();
        crate::engine::io().spawn(async move { client.send_bytes(request).await }).await?
    }
}

/// Where spans stand in traces of OpenTelemetry.
struct Places;

impl trace::Tracer for Places {
    fn begin(
        &self,
        span: &Span,
        name: &str,
        parent: Option<&TraceContext>,
    ) -> Option<TraceContext> {
        // Before its context is looked at, which begins it.
        span.record("otel.name", name);
        if let Some(parent) = parent {
            let flags = TraceFlags::new(u8::from(parent.is_sampled()));
            let (trace, of) = (parent.trace_id().into(), parent.span_id().into());
            let remote = SpanContext::new(trace, of, flags, true, TraceState::default());
            // Where no layer collects it there is nothing to set.
            let _ = span.set_parent(opentelemetry::Context::new().with_remote_span_context(remote));
        }
        place(span)
    }

    fn current(&self) -> Option<TraceContext> {
        place(&Span::current())
    }
}

fn place(span: &Span) -> Option<TraceContext> {
    let context = span.context();
    let span = context.span();
    let context = span.span_context();
    let (trace, span): (TraceId, SpanId) = (context.trace_id(), context.span_id());
    TraceContext::new(
        u128::from_be_bytes(trace.to_bytes()),
        u64::from_be_bytes(span.to_bytes()),
        context.is_sampled(),
    )
}
