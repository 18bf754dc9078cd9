//! What takes a proxy's requests into an application's traces.

use std::fmt::Debug;

use http::HeaderMap;
use tracing::Span;

/// Takes a proxy's requests into traces of the application's own: it knows the library that these are kept by, and the proxy does not.
/// `docs/observability.md` has one for OpenTelemetry, which is ten lines.
///
/// # Contract
/// - Both methods are on the road of every request: they do not block.
/// - **Extract**, then inject. A request's span is given its parent once, before anything happens in it, and only where somebody
///   listens to such spans, which are of the level `DEBUG`. Of a request that goes to a service, what endpoints are to know is
///   written once: all tries, hedges and copies for mirrors bear the same.
/// - **Only one parent.** A `traceparent` that is none, or one of two, is gone before, and `tracestate` with it. A valid one is there
///   whoever sends it, as with [`HttpOptions::trace_context`](super::HttpOptions::trace_context): who may begin traces, and have
///   them sampled, is for the application to say.
pub trait Propagator: Debug + Send + Sync {
    /// Makes what the headers of a request tell of a trace the parent of its span. Nothing is to be done for a proxy that stands in a
    /// server of the application's own, whose spans are the parents.
    fn extract(&self, headers: &HeaderMap, span: &Span);
    /// Puts a span into the headers that an endpoint gets. Where it writes nothing, those of the client are passed on.
    fn inject(&self, span: &Span, headers: &mut HeaderMap);
}

/// Whether both are the same one.
impl PartialEq for dyn Propagator {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::addr_eq(self, other)
    }
}
