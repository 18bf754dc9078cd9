//! How requests to a service are treated.

use std::time::Duration;

use crate::setters::setters;

/// How requests to a service are treated.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct UpstreamOptions {
    /// Whether endpoints speak HTTP/2 from the first byte on, without TLS (h2c with prior knowledge). Else HTTP/1.1, which
    /// requests that change their protocol need. Requests of one thread share a connection: as many at once as the endpoint
    /// allows, 100 at most; with more, another connection is opened.
    pub http2: bool,
    /// For how long nothing may come over an HTTP/2 connection that has requests under way before the endpoint is pinged; `None`:
    /// for ever. One that does not answer within 20 s is gone, and so are its requests. gRPC's servers end connections that ping
    /// for the fourth time before five minutes have passed and anything was sent: 75 s or more go well with the default
    /// [`body_timeout`](Self::body_timeout), more than 300 s with any.
    pub http2_ping: Option<Duration>,
    /// How long a connection may take to be made; over HTTP/2 the endpoint has to say its settings within as long again.
    pub connect_timeout: Duration,
    /// How long an endpoint may be silent: no answer begun, and none of the request's body taken.
    pub response_timeout: Duration,
    /// How long an endpoint may be silent in the middle of an answer's body, while the client waits for more; `None`:
    /// for ever. It then counts as failed, and the answer breaks off. Time in which the client takes nothing does not
    /// count, and connections that changed their protocol have no such bound.
    pub body_timeout: Option<Duration>,
    /// How long a request waits in all where no endpoint takes it.
    pub endpoint_wait: Duration,
    /// How many requests may wait for an endpoint at once. More are refused.
    pub max_waiting: usize,
    /// How many requests an endpoint may have at once; `None`: any. Where all have as many, the next ones wait, as where there is
    /// none: [`max_waiting`](Self::max_waiting) at most, for [`endpoint_wait`](Self::endpoint_wait).
    pub max_in_flight: Option<usize>,
    /// How many endpoints a request is tried on in a row, and how often it is sent at most.
    pub attempts: usize,
    /// How many failures in a row eject an endpoint; 0 turns ejection off.
    pub eject_after: u32,
    /// How long an endpoint stays ejected the first time; each time in a row it is that much longer.
    pub eject_for: Duration,
    /// The share of endpoints that may be out at once, in percent, rounded down.
    pub eject_percent: usize,
    /// The share of requests that may be sent again after they were sent, 0.0 to 1.0. Ten a second are free.
    pub retry_share: f32,
}

impl Default for UpstreamOptions {
    fn default() -> Self {
        Self {
            http2: false,
            // Before the fourth one, a stream in which nothing came is over by `body_timeout`.
            http2_ping: Some(Duration::from_secs(90)),
            // A host that lives answers in microseconds; a lost first SYN is sent again after one second.
            connect_timeout: Duration::from_secs(2),
            response_timeout: Duration::from_secs(30),
            // Streams of events send something more often than that: half a minute is usual.
            body_timeout: Some(Duration::from_secs(300)),
            // A container that died is back, and probed ready, within this time; a client waits longer.
            endpoint_wait: Duration::from_secs(5),
            // At 1,000 requests a second: one second's worth. Each costs about 4 KB.
            max_waiting: 1024,
            max_in_flight: None,
            attempts: 4,
            eject_after: 5,
            eject_for: Duration::from_secs(5),
            eject_percent: 50,
            retry_share: 0.2,
        }
    }
}

impl UpstreamOptions {
    setters! {
        with_http2: http2: bool;
        with_http2_ping: http2_ping: Option<Duration>;
        with_connect_timeout: connect_timeout: Duration;
        with_response_timeout: response_timeout: Duration;
        with_body_timeout: body_timeout: Option<Duration>;
        with_endpoint_wait: endpoint_wait: Duration;
        with_max_waiting: max_waiting: usize;
    }

    /// Sets [`max_in_flight`](Self::max_in_flight), to 1 at least.
    #[must_use]
    pub fn with_max_in_flight(self, max_in_flight: Option<usize>) -> Self {
        Self { max_in_flight: max_in_flight.map(|most| most.max(1)), ..self }
    }

    /// Sets [`eject_after`](Self::eject_after), [`eject_for`](Self::eject_for) and
    /// [`eject_percent`](Self::eject_percent).
    #[must_use]
    pub fn with_ejection(self, eject_after: u32, eject_for: Duration, eject_percent: usize) -> Self {
        Self { eject_after, eject_for, eject_percent, ..self }
    }

    /// Sets [`retry_share`](Self::retry_share), within 0.0 and 1.0.
    #[must_use]
    pub fn with_retry_share(self, retry_share: f32) -> Self {
        Self { retry_share: retry_share.clamp(0.0, 1.0), ..self }
    }
}
