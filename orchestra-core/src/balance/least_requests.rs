//! The endpoint with the least to do.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::endpoint::Lease;
use super::members::Members;
use super::{Endpoint, EndpointId, LoadBalancer, RequestKey};

/// Picks the endpoint with the fewest requests in flight for its weight; among equals, in turn.
#[derive(Debug, Default)]
pub struct LeastRequests {
    pub(super) members: Members,
    turn: AtomicUsize,
}

impl LeastRequests {
    /// A balancer without endpoints.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl LoadBalancer for LeastRequests {
    fn pick(&self, request: &RequestKey<'_>) -> Option<Lease> {
        let slots = self.members.load();
        let start = self.turn.fetch_add(1, Ordering::Relaxed);
        let in_turn = (0..slots.len()).map(|i| &slots[start.wrapping_add(i) % slots.len()]);
        let allowed = in_turn.filter(|slot| request.allows(&slot.endpoint.id));
        // a/w < b/v is a*v < b*w; the first of equals stays.
        let best = allowed.reduce(|best, slot| {
            let load = |s: &super::endpoint::Slot| s.load.in_flight.load(Ordering::Relaxed) as u64;
            let (one, other) = (load(slot), load(best));
            let (w, v) = (u64::from(slot.endpoint.weight), u64::from(best.endpoint.weight));
            if (one + 1) * v < (other + 1) * w { slot } else { best }
        })?;
        Some(Lease::new(best, request.now, None))
    }

    fn insert(&self, endpoint: Endpoint) {
        self.members.insert(endpoint);
    }

    fn remove(&self, id: &EndpointId) {
        self.members.remove(id);
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        self.members.endpoints()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_idle_one_is_picked_and_a_lease_that_ends_frees_its_endpoint() {
        let balancer = LeastRequests::new();
        for name in ["a", "b"] {
            balancer.insert(Endpoint::new(name, ([127, 0, 0, 1], 80)));
        }
        let pick = || balancer.pick(&RequestKey::at(Duration::ZERO)).unwrap();
        let (one, two) = (pick(), pick());
        assert_ne!(one.id(), two.id());
        let freed = one.id().clone();
        drop(one);
        assert_eq!(*pick().id(), freed);
    }
}
