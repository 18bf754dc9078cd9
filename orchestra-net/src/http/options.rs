//! How a proxy treats its clients.

use std::time::Duration;

use super::{Propagator, RateLimit};
use crate::setters::setters;

/// The least [`HttpOptions::max_header_bytes`]: what the parser takes as its least.
const LEAST_HEADER_BYTES: usize = 8 * 1024;

/// How an [`HttpProxy`](super::HttpProxy) treats its clients.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct HttpOptions {
    /// How long a client may take for the head of a request; also how long a connection waits for one.
    pub header_timeout: Duration,
    /// How long a client may send nothing of a request's body while more of it is waited for: then it is answered with 408.
    pub body_timeout: Duration,
    /// How long a client may take nothing of what waits for it, before its connection is cut off, or, where it speaks HTTP/2 and opens
    /// no window for an answer, that answer.
    pub write_timeout: Duration,
    /// The longest head of a request, in bytes: a longer one is answered with 431. As many are kept for each connection
    /// until its head has been looked at.
    pub max_header_bytes: usize,
    /// The longest body of a request, in bytes: a longer one is answered with 413, or, where the answer has begun, cut
    /// off. `None`: any. Bodies pass through in pieces, whatever their length.
    pub max_body: Option<u64>,
    /// Whether each connection begins with a header of the PROXY protocol, of either version, that says who the client is.
    /// Only for listeners that nobody but such a proxy reaches: a connection without one is closed.
    pub proxy_protocol: bool,
    /// How many requests one client address may send; more are answered with 429. `None`: any.
    pub rate_limit: Option<RateLimit>,
    /// Whether each request bears an `X-Request-Id`: the client's own where clients are
    /// [trusted](Self::trust_forwarded), else a new one. It is in the request's span and in the access log.
    pub request_ids: bool,
    /// Whether the proxy is a part of W3C traces: each request bears a `traceparent` of the proxy's own, in the client's
    /// trace, or in a new one that is not sampled. What it is called is in the request's span. No exporter knows that span: for
    /// exported traces there is [`propagator`](Self::propagator).
    pub trace_context: bool,
    /// What takes requests into traces of the application's own, in place of [`trace_context`](Self::trace_context).
    pub propagator: Option<&'static dyn Propagator>,
    /// Whether each request is told as an event of the target `orchestra_net::access`, at the level `INFO`, when its
    /// answer has ended.
    pub access_log: bool,
    /// Whether a request bears `Forwarded` (RFC 7239) besides `X-Forwarded-*`.
    pub forwarded: bool,
    /// How long a connection that is kept, or has just been made, waits for a request when the proxy shuts down: one that is on its
    /// way is answered, and told that the connection ends. Without it such a connection is closed at once, which a client
    /// may take for a failure just when it sends. Clients that send nothing make the shutdown take as long.
    pub idle_grace: Duration,
    /// How long requests in flight may take when the proxy shuts down.
    pub shutdown_grace: Duration,
    /// How long a connection that has changed its protocol (WebSocket) may go on without a byte of either side before it is closed, up to
    /// twice as long in fact, as it is not looked at more often. `None`: for ever. A side that has vanished without a word is
    /// found out by the kernel after two minutes (keep-alive), whatever this says.
    pub upgraded_idle_timeout: Option<Duration>,
    /// How many connections there may be, those that have changed their protocol among them. More wait in the kernel until one has ended.
    pub max_connections: usize,
    /// Whether clients are believed what they say in `X-Forwarded-*`: only where they are proxies of ours.
    pub trust_forwarded: bool,
    /// Whether requests of one client address go to one endpoint. Counts where the balancer is one that looks
    /// at it.
    pub hash_client_address: bool,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            // Lost packets are sent again for about as long before a network counts as gone.
            write_timeout: Duration::from_secs(60),
            max_header_bytes: 64 * 1024,
            max_body: None,
            proxy_protocol: false,
            rate_limit: None,
            request_ids: false,
            trace_context: false,
            propagator: None,
            access_log: false,
            forwarded: false,
            idle_grace: Duration::ZERO,
            shutdown_grace: Duration::from_secs(10),
            // As HAProxy's examples and Envoy have it. Most that keep a WebSocket open say something every minute.
            upgraded_idle_timeout: Some(Duration::from_secs(3600)),
            // At about 20 KB a connection: 330 MB at the worst.
            max_connections: 16 * 1024,
            trust_forwarded: false,
            hash_client_address: false,
        }
    }
}

impl HttpOptions {
    setters! {
        with_header_timeout: header_timeout: Duration;
        with_body_timeout: body_timeout: Duration;
        with_write_timeout: write_timeout: Duration;
        with_max_body: max_body: Option<u64>;
        with_proxy_protocol: proxy_protocol: bool;
        with_rate_limit: rate_limit: Option<RateLimit>;
        with_request_ids: request_ids: bool;
        with_trace_context: trace_context: bool;
        with_access_log: access_log: bool;
        with_forwarded: forwarded: bool;
        with_idle_grace: idle_grace: Duration;
        with_shutdown_grace: shutdown_grace: Duration;
        with_upgraded_idle_timeout: upgraded_idle_timeout: Option<Duration>;
        with_max_connections: max_connections: usize;
        with_trust_forwarded: trust_forwarded: bool;
        with_hash_client_address: hash_client_address: bool;
    }

    /// Sets [`propagator`](Self::propagator).
    #[must_use]
    pub fn with_propagator(self, propagator: &'static dyn Propagator) -> Self {
        Self { propagator: Some(propagator), ..self }
    }

    /// Sets [`max_header_bytes`](Self::max_header_bytes): 8 KB at least.
    #[must_use]
    pub fn with_max_header_bytes(self, max_header_bytes: usize) -> Self {
        Self { max_header_bytes: max_header_bytes.max(LEAST_HEADER_BYTES), ..self }
    }
}
