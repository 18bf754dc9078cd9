//! How a service and its endpoints are doing, to be shown.

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use orchestra_core::balance::{EndpointId, LoadBalancer};
use serde::{Serialize, Serializer};

use super::Upstream;

/// What an endpoint of an [`Upstream`] is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub enum EndpointState {
    /// It gets requests.
    Ready,
    /// Its requests failed: it gets some only where there is no other, until its time is over.
    Ejected,
    /// It fails its [health check](super::HealthCheck): it gets requests only where there is no other.
    Unhealthy,
    /// It gets no new requests; some are still in flight.
    Draining,
}

/// An endpoint of an [`Upstream`], as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct EndpointStatus {
    /// Which one. As JSON it is two fields of the endpoint's own, `pod` and `address`.
    #[serde(flatten)]
    pub id: EndpointId,
    /// Where it is; empty where that is not known, and of one that is draining.
    pub zone: Arc<str>,
    /// Its share beside the others; 0 of one that is draining.
    pub weight: u32,
    /// What it is doing.
    pub state: EndpointState,
    /// Why it is ejected or unhealthy, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// For how long it has been ejected, unhealthy or draining. As JSON in seconds, with fractions: `inStateSeconds`.
    #[serde(rename = "inStateSeconds", serialize_with = "seconds", skip_serializing_if = "Option::is_none")]
    pub in_state: Option<Duration>,
    /// Requests that it has not answered to the end.
    pub in_flight: usize,
    /// Connections that wait for a request.
    pub idle_connections: usize,
}

/// A service and its endpoints, as they are now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct UpstreamStatus {
    /// What the service is called: of a cluster's, `namespace/name:port`.
    pub name: Arc<str>,
    /// The type of its balancer, such as `PeakEwma`, as far as its `Debug` begins with that.
    pub balancer: String,
    /// Requests that wait for an endpoint.
    pub waiting: usize,
    /// Its endpoints: also those that only finish what they have.
    pub endpoints: Vec<EndpointStatus>,
}

/// Services and their endpoints, as they are now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ServicesStatus {
    /// The services, in the order they were given in; those of a cluster by namespace, name and port.
    pub services: Vec<UpstreamStatus>,
}

impl ServicesStatus {
    /// How these are doing.
    #[must_use]
    pub fn of<'u>(services: impl IntoIterator<Item = &'u Arc<Upstream>>) -> Self {
        Self { services: services.into_iter().map(|upstream| upstream.describe()).collect() }
    }
}

impl Upstream {
    /// Every endpoint, with what it is doing: also those that only finish what they have.
    #[must_use]
    pub fn status(&self) -> Vec<EndpointStatus> {
        let now = self.now();
        let mut avoided = self.ejections.avoided(now);
        self.members.with_listed(|listed| {
            let all = self.members.load();
            let shown = all.values().filter(|backend| !backend.is_closed() || backend.in_flight() > 0);
            let status = shown.map(|backend| {
                let endpoint = listed.get(&backend.id);
                let (state, reason, in_state) = match (backend.leaving(), avoided.remove(&backend.id)) {
                    (Some(since), _) => (EndpointState::Draining, None, Some(since.elapsed())),
                    (None, Some(why)) => (why.state, Some(why.why), Some(now.saturating_sub(why.since))),
                    (None, None) => (EndpointState::Ready, None, None),
                };
                EndpointStatus {
                    id: backend.id.clone(),
                    zone: endpoint.map(|endpoint| Arc::clone(&endpoint.zone)).unwrap_or_default(),
                    weight: endpoint.map_or(0, |endpoint| endpoint.weight),
                    state,
                    reason,
                    in_state,
                    in_flight: backend.in_flight(),
                    idle_connections: backend.idle(),
                }
            });
            status.collect()
        })
    }

    /// The service with every endpoint, to be shown.
    #[must_use]
    pub fn describe(&self) -> UpstreamStatus {
        UpstreamStatus {
            name: Arc::clone(&self.name),
            balancer: type_of(&***self.balancer.load()),
            waiting: self.waiting.load(Ordering::Relaxed),
            endpoints: self.status(),
        }
    }
}

#[allow(clippy::ref_option, reason = "as serde calls it")]
fn seconds<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs_f64()).serialize(serializer)
}

/// The first word of what `Debug` says of a balancer, and nothing of the rest, which may be long.
fn type_of(balancer: &dyn LoadBalancer) -> String {
    struct FirstWord(String);
    impl fmt::Write for FirstWord {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let word = text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
            self.0.push_str(word);
            if word.len() == text.len() { Ok(()) } else { Err(fmt::Error) }
        }
    }
    let mut first = FirstWord(String::new());
    // Stopped after the word.
    let _stopped = write!(first, "{balancer:?}");
    first.0
}

#[cfg(test)]
mod tests {
    use orchestra_core::balance::{Maglev, RoundRobin, SlowStart};

    use super::*;

    #[test]
    fn a_balancer_is_called_by_its_type() {
        assert_eq!(type_of(&RoundRobin::new()), "RoundRobin");
        assert_eq!(type_of(&Maglev::default()), "Maglev");
        let inner = Box::new(RoundRobin::new());
        assert_eq!(type_of(&SlowStart::new(inner, Duration::from_secs(1), 0)), "SlowStart");
    }
}
