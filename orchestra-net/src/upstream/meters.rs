//! What is counted of a service. The handles are looked up once.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};

/// Handles of the metrics of one service.
pub(crate) struct Meters {
    succeeded: Counter,
    failed: Counter,
    seconds: Histogram,
    pub(crate) broken: Counter,
    pub(crate) resent: Counter,
    pub(crate) redirected: Counter,
    pub(crate) hedged: Counter,
    pub(crate) mirrors_lost: Counter,
    pub(crate) ejections: Counter,
    pub(crate) connections: Counter,
    pub(crate) waiting: Gauge,
}

impl Meters {
    pub(crate) fn new(service: &Arc<str>) -> Self {
        let name = || service.to_string();
        Self {
            succeeded: metrics::counter!("orchestra_upstream_requests_total", "service" => name(), "outcome" => "success"),
            failed: metrics::counter!("orchestra_upstream_requests_total", "service" => name(), "outcome" => "failure"),
            seconds: metrics::histogram!("orchestra_upstream_first_byte_seconds", "service" => name()),
            broken: metrics::counter!("orchestra_upstream_broken_total", "service" => name()),
            resent: metrics::counter!("orchestra_upstream_retries_total", "service" => name(), "reason" => "broken"),
            redirected: metrics::counter!("orchestra_upstream_retries_total", "service" => name(), "reason" => "not_sent"),
            hedged: metrics::counter!("orchestra_upstream_hedged_total", "service" => name()),
            mirrors_lost: metrics::counter!("orchestra_upstream_mirrors_lost_total", "service" => name()),
            ejections: metrics::counter!("orchestra_upstream_ejections_total", "service" => name()),
            connections: metrics::counter!("orchestra_upstream_connections_total", "service" => name()),
            waiting: metrics::gauge!("orchestra_upstream_waiting_requests", "service" => name()),
        }
    }

    pub(crate) fn ended(&self, success: bool, took: Duration) {
        if success { &self.succeeded } else { &self.failed }.increment(1);
        self.seconds.record(took.as_secs_f64());
    }
}
