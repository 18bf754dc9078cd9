//! Requests in traces of an application's own, told by what such an application has: tracing-opentelemetry, and an exporter.

use http::HeaderMap;
use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{SpanId, SpanKind, TracerProvider as _};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use orchestra_net::{HttpOptions, Propagator, UpstreamOptions};
use tracing::subscriber::DefaultGuard;
use tracing::{Metadata, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::backend::Backend;
use crate::client::raw;
use crate::proxy::{bind, proxy};
use crate::until;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CLIENT: &str = "b7ad6b7169203331";

#[derive(Debug)]
struct OfOpenTelemetry;

impl Propagator for OfOpenTelemetry {
    fn extract(&self, headers: &HeaderMap, span: &Span) {
        let w3c = TraceContextPropagator::new();
        // Fails where another thread's test listens, and this one's not.
        drop(span.set_parent(w3c.extract_with_context(&Context::new(), &HeaderExtractor(headers))));
    }

    fn inject(&self, span: &Span, headers: &mut HeaderMap) {
        TraceContextPropagator::new().inject_context(&span.context(), &mut HeaderInjector(headers));
    }
}

/// What is exported while it lives, of this thread alone, which is all that a test's runtime has.
struct Exported {
    spans: InMemorySpanExporter,
    _provider: SdkTracerProvider,
    _listening_in: DefaultGuard,
}

impl Exported {
    /// Of the spans that pass.
    fn begin(passes: fn(&Metadata<'_>) -> bool) -> Self {
        let spans = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(spans.clone()).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let listening_in = tracing::subscriber::set_default(
            tracing_subscriber::registry().with(layer).with(filter_fn(passes)),
        );
        Self { spans, _provider: provider, _listening_in: listening_in }
    }

    fn requests(&self) -> Vec<SpanData> {
        let spans = self.spans.get_finished_spans().unwrap();
        spans.into_iter().filter(|span| span.name == "request").collect()
    }

    /// The span of a request that an endpoint got with this `traceparent`.
    async fn named_by(&self, traceparent: &str) -> SpanData {
        let is_it = |span: &SpanData| {
            let context = &span.span_context;
            format!("00-{}-{}-01", context.trace_id(), context.span_id()) == traceparent
        };
        until("its span is exported", || self.requests().iter().any(is_it)).await;
        self.requests().into_iter().find(is_it).unwrap()
    }
}

/// What an endpoint sees of a trace when requests with these headers are sent to it, on one connection: `traceparent` and `tracestate`.
async fn seen(requests: &[&str]) -> Vec<(String, String)> {
    let a = Backend::start("a").await;
    let (upstream, _listening) = proxy(&[&a], UpstreamOptions::default()).await;
    // Which it takes the place of, and not only in part.
    let options = HttpOptions::default().with_trace_context(true).with_propagator(&OfOpenTelemetry);
    let listening = bind(&upstream, options).await;
    let last = requests.len() - 1;
    let text = requests.iter().enumerate().map(|(i, headers)| {
        let end = if i == last { "connection: close\r\n" } else { "" };
        format!("GET /head HTTP/1.1\r\nhost: shop\r\n{headers}{end}\r\n")
    });
    let answers = raw(listening.address(), text.collect::<String>().as_bytes()).await;
    let answers: Vec<&str> = answers.split("GET /head ").skip(1).collect();
    assert_eq!(answers.len(), requests.len());
    let value = |answer: &str, name: &str| {
        let line = answer.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.unwrap_or_default().to_owned()
    };
    answers.into_iter().map(|answer| (value(answer, "traceparent"), value(answer, "tracestate"))).collect()
}

#[tokio::test]
async fn the_proxys_span_lies_between_those_of_client_and_endpoint() {
    let exported = Exported::begin(|_all| true);
    let headers = format!(
        "traceparent: 00-{TRACE}-{CLIENT}-01\r\ntracestate: a=b\r\nconnection: traceparent, tracestate\r\n"
    );
    let (traceparent, tracestate) = seen(&[&headers]).await.remove(0);
    let span = exported.named_by(&traceparent).await;
    assert_eq!(span.span_context.trace_id().to_string(), TRACE);
    assert_eq!((span.parent_span_id.to_string().as_str(), span.parent_span_is_remote), (CLIENT, true));
    assert_eq!((span.span_kind, tracestate.as_str()), (SpanKind::Server, "a=b"));
}

#[tokio::test]
async fn a_trace_that_is_not_sampled_stays_so() {
    let exported = Exported::begin(|_all| true);
    let of = |trace: &str, flags: &str| format!("traceparent: 00-{trace}-{CLIENT}-{flags}\r\n");
    let other = TRACE.replace('a', "b");
    let seen = seen(&[&of(TRACE, "00"), &of(&other, "01")]).await;
    let (unsampled, sampled) = (&seen[0].0, &seen[1].0);
    assert!(unsampled.starts_with(&format!("00-{TRACE}-")) && unsampled.ends_with("-00"), "{unsampled}");
    assert!(!unsampled.contains(CLIENT), "{unsampled}");
    exported.named_by(sampled).await;
    assert_eq!(exported.requests().len(), 1, "only the one that is sampled");
}

#[tokio::test]
async fn what_names_no_trace_begins_one_for_each_request() {
    let exported = Exported::begin(|_all| true);
    let twice = format!("traceparent: 00-{TRACE}-{CLIENT}-01\r\n").repeat(2);
    let malformed = format!("traceparent: 00-{}-{CLIENT}-01\r\ntracestate: a=b\r\n", TRACE.to_uppercase());
    let mut traces = Vec::new();
    for (traceparent, tracestate) in seen(&["", &twice, &malformed]).await {
        let span = exported.named_by(&traceparent).await;
        assert_eq!((span.parent_span_id, tracestate.as_str()), (SpanId::INVALID, ""));
        traces.push(span.span_context.trace_id().to_string());
    }
    traces.push(TRACE.to_owned());
    traces.sort_unstable();
    traces.dedup();
    assert_eq!(traces.len(), 4);
}

#[tokio::test]
async fn where_no_span_is_recorded_the_clients_is_the_parent() {
    let came = format!("00-{TRACE}-{CLIENT}-01");
    let headers = format!("traceparent: {came}\r\ntracestate: a=b\r\n");
    let expected = [(came, "a=b".to_owned()), Default::default()];
    assert_eq!(seen(&[&headers, "traceparent: none\r\n"]).await, expected);
    // The span that they are in then, that of the connection's task, is none of the trace's.
    let _exported = Exported::begin(|metadata| metadata.name() != "request");
    assert_eq!(seen(&[&headers, "traceparent: none\r\n"]).await, expected);
}
