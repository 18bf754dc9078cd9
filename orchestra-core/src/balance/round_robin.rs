//! Each endpoint its share, in turn.

use std::sync::{Mutex, PoisonError};

use super::endpoint::Lease;
use super::members::Members;
use super::{Endpoint, EndpointId, LoadBalancer, RequestKey};

/// Picks endpoints in turn, each as often as its weight says.
///
/// Smooth weighted round robin, as nginx has it: with weights 5, 1, 1 the order is a a b a c a a, not five
/// times a in a row.
#[derive(Debug, Default)]
pub struct RoundRobin {
    pub(super) members: Members,
    /// How much each endpoint is owed.
    owed: Mutex<Vec<(EndpointId, i64)>>,
}

impl RoundRobin {
    /// A balancer without endpoints.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl LoadBalancer for RoundRobin {
    fn pick(&self, request: &RequestKey<'_>) -> Option<Lease> {
        let slots = self.members.load();
        let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        // Both are in the order the endpoints came, unless one came or went since.
        let same =
            owed.len() == slots.len() && owed.iter().zip(slots.iter()).all(|(o, s)| o.0 == s.endpoint.id);
        if !same {
            let known =
                |id: &EndpointId| owed.iter().find(|(other, _)| other == id).map_or(0, |(_, owed)| *owed);
            let renewed = slots.iter().map(|s| (s.endpoint.id.clone(), known(&s.endpoint.id))).collect();
            *owed = renewed;
        }
        let mut total = 0;
        let mut best: Option<usize> = None;
        for (i, slot) in slots.iter().enumerate() {
            if !request.allows(&slot.endpoint.id) {
                continue;
            }
            let weight = i64::from(slot.endpoint.weight);
            owed[i].1 += weight;
            total += weight;
            if best.is_none_or(|b| owed[i].1 > owed[b].1) {
                best = Some(i);
            }
        }
        let best = best?;
        owed[best].1 -= total;
        Some(Lease::new(&slots[best], request.now, None))
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
    fn shares_are_exact_and_smooth() {
        let balancer = RoundRobin::new();
        for (name, weight) in [("a", 5), ("b", 1), ("c", 1)] {
            balancer.insert(Endpoint::new(name, ([127, 0, 0, 1], 80)).weight(weight));
        }
        let order: String = (0..14)
            .map(|_| balancer.pick(&RequestKey::at(Duration::ZERO)).unwrap().id().pod.to_string())
            .collect();
        assert_eq!(order, "aabacaaaabacaa");
    }

    #[test]
    fn one_that_comes_or_goes_leaves_the_others_their_turn() {
        let balancer = RoundRobin::new();
        let pick = || balancer.pick(&RequestKey::at(Duration::ZERO)).unwrap().id().pod.to_string();
        for name in ["a", "b", "c"] {
            balancer.insert(Endpoint::new(name, ([127, 0, 0, 1], 80)));
        }
        assert_eq!(pick(), "a");
        balancer.remove(&Endpoint::new("c", ([127, 0, 0, 1], 80)).id);
        assert_eq!(pick(), "b", "it is b's turn, not a's again");
    }
}
