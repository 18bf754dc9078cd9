//! Active health checks: asking endpoints, instead of waiting for requests to fail.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use http::Request;
use http::uri::Scheme;
use orchestra_core::balance::EndpointId;
use orchestra_core::engine::Tasks;
use orchestra_core::node::check_grpc;
use tokio::time::{Instant, MissedTickBehavior};

use super::Upstream;
use crate::body::ProxyBody;
use crate::connection::{Connection, SendError, connect};
use crate::error::Cause;
use crate::http2::begin_http2;

/// What is asked of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Probe {
    /// It accepts a connection.
    Tcp,
    /// It answers a GET of this path with a status below 400.
    Http(String),
    /// Its gRPC health service (`grpc.health.v1.Health`) says that this service serves; empty: the whole server. Always asked
    /// over HTTP/2; over TLS where the endpoints speak that.
    Grpc(String),
}

/// How endpoints are asked whether they are well. A pod's readiness probe does this for endpoints that are
/// pods; this is for those that nobody else looks after.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HealthCheck {
    /// What is asked.
    pub probe: Probe,
    /// How often.
    pub period: Duration,
    /// How long an endpoint may take to answer.
    pub timeout: Duration,
    /// After how many failures in a row an endpoint is avoided.
    pub failures: u32,
    /// After how many successes in a row it is used again.
    pub successes: u32,
}

impl HealthCheck {
    /// A check every two seconds, with one second to answer; three failures and one success count.
    #[must_use]
    pub fn new(probe: Probe) -> Self {
        let (period, timeout) = (Duration::from_secs(2), Duration::from_secs(1));
        Self { probe, period, timeout, failures: 3, successes: 1 }
    }

    /// Sets how often endpoints are asked, and how long one may take.
    #[must_use]
    pub fn every(self, period: Duration, timeout: Duration) -> Self {
        Self { period: period.max(Duration::from_millis(1)), timeout, ..self }
    }

    /// Sets how many failures and successes in a row count.
    #[must_use]
    pub fn thresholds(self, failures: u32, successes: u32) -> Self {
        Self { failures: failures.max(1), successes: successes.max(1), ..self }
    }
}

impl Upstream {
    /// Checks the endpoints in `tasks` for as long as this service lives. An endpoint that fails the checks
    /// gets requests only where there is no other.
    pub fn check(self: &Arc<Self>, check: HealthCheck, tasks: &Tasks) {
        let upstream = Arc::downgrade(self);
        tasks.spawn("health", watch(upstream, check));
    }

    /// What a check says of an endpoint, or why it fails. Whether that is new; of one that has left meanwhile nothing is.
    fn verdict(&self, id: &EndpointId, check: Result<(), String>) -> bool {
        // Whoever leaves does so before this or after it, and is then forgotten.
        self.members
            .with_listed(|listed| listed.contains_key(id) && self.ejections.health(id, check, self.now()))
    }
}

async fn watch(upstream: Weak<Upstream>, check: HealthCheck) {
    let mut period = tokio::time::interval(check.period);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // How many results like the last one each had in a row: above zero successes, below it failures.
    let mut rows: BTreeMap<EndpointId, i64> = BTreeMap::new();
    loop {
        period.tick().await;
        let Some(upstream) = upstream.upgrade() else { return };
        let ids: Vec<EndpointId> = upstream.endpoints().into_iter().map(|endpoint| endpoint.id).collect();
        rows.retain(|id, _| ids.contains(id));
        let results = join_all(ids.iter().map(|id| ask(&upstream, id, &check))).await;
        for (id, result) in ids.into_iter().zip(results) {
            let row = rows.entry(id.clone()).or_default();
            let service = &upstream.name;
            match result {
                Ok(()) => {
                    *row = (*row).max(0) + 1;
                    if *row >= i64::from(check.successes) && upstream.verdict(&id, Ok(())) {
                        tracing::info!(%service, endpoint = ?id, "an endpoint is healthy again");
                        upstream.publish_avoided();
                    }
                }
                Err(why) => {
                    *row = (*row).min(0) - 1;
                    if *row <= -i64::from(check.failures) && upstream.verdict(&id, Err(why.to_string())) {
                        tracing::info!(%service, endpoint = ?id, why, "an endpoint fails its health check");
                        upstream.publish_avoided();
                    }
                }
            }
        }
    }
}

/// Asks an endpoint, with a connection of its own.
async fn ask(upstream: &Upstream, id: &EndpointId, check: &HealthCheck) -> Result<(), Cause> {
    let (address, limit) = (id.address, check.timeout);
    let asking = async {
        match &check.probe {
            Probe::Tcp => connect(address, limit).await.map(drop).map_err(Into::into),
            Probe::Http(path) => match get(upstream, id, path, limit).await?.as_u16() {
                ..400 => Ok(()),
                status => Err(format!("it answers with status {status}").into()),
            },
            Probe::Grpc(service) => {
                let stream = upstream.connect(address, limit, true).await?;
                let scheme = if stream.is_secure() { Scheme::HTTPS } else { Scheme::HTTP };
                Ok(check_grpc(stream, &scheme, address, service).await?)
            }
        }
    };
    let asked = tokio::time::timeout(limit, Box::pin(asking)).await;
    asked.map_err(|_elapsed| format!("no answer within {limit:?}"))?
}

async fn get(
    upstream: &Upstream,
    id: &EndpointId,
    path: &str,
    timeout: Duration,
) -> Result<http::StatusCode, Cause> {
    let mut request = Request::get(path)
        .header(http::header::HOST, id.address.to_string())
        .header(http::header::USER_AGENT, "orchestra-health")
        .body(ProxyBody::default())?;
    let options = **upstream.options();
    let http2 = options.http2;
    let stream = upstream.connect(id.address, timeout, http2).await?;
    let mut connection = match http2 {
        true => Connection::into(&begin_http2(stream, id.address, &options, &upstream.tasks).await?),
        false => Connection::over(stream).await?,
    };
    match connection.send(&mut request, Instant::now(), timeout).await {
        Ok(response) => Ok(response.status()),
        Err(SendError::NotSent(cause) | SendError::Refused(_, cause) | SendError::Broken(cause)) => {
            Err(cause)
        }
        Err(SendError::TimedOut | SendError::Client(_)) => Err("it is silent".into()),
    }
}
