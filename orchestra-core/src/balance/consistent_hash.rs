//! Equal keys to the same endpoint.

use std::time::Duration;

use super::endpoint::Lease;
use super::members::{Dice, Members, identity, mix};
use super::{Endpoint, EndpointId, LoadBalancer, RequestKey};

/// Sends requests of one key to one endpoint, and moves as few keys as can be when endpoints come and go.
///
/// Weighted rendezvous hashing (Thaler and Ravishankar, 1998; weights by Schindelhauer and Schomaker, 2005): each
/// endpoint draws a number from the key, and the highest one has it. When one leaves, only its keys move. A
/// pick costs one hash an endpoint. Requests without a key go to a random endpoint.
#[derive(Debug)]
pub struct ConsistentHash {
    pub(super) members: Members,
    dice: Dice,
}

impl ConsistentHash {
    /// A balancer without endpoints. The seed is for requests without a key.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { members: Members::default(), dice: Dice::new(seed) }
    }
}

#[allow(clippy::cast_precision_loss, reason = "53 bits of the hash are enough to tell endpoints apart")]
fn score(key: u64, endpoint: &Endpoint) -> f64 {
    let hash = mix(key ^ mix(identity(&endpoint.id)));
    let unit = ((hash >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    f64::from(endpoint.weight) / -unit.ln()
}

impl LoadBalancer for ConsistentHash {
    fn pick(&self, request: &RequestKey<'_>) -> Option<Lease> {
        let key = request.hash.unwrap_or_else(|| self.dice.roll());
        let slots = self.members.load();
        let allowed = slots.iter().filter(|slot| request.allows(&slot.endpoint.id));
        let best = allowed.max_by(|a, b| score(key, &a.endpoint).total_cmp(&score(key, &b.endpoint)))?;
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

impl Default for ConsistentHash {
    fn default() -> Self {
        Self::new(u64::try_from(Duration::ZERO.as_nanos()).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(balancer: &ConsistentHash, key: u64) -> String {
        balancer.pick(&RequestKey::at(Duration::ZERO).hash(key)).unwrap().id().pod.to_string()
    }

    #[test]
    fn only_the_keys_of_the_one_that_left_move() {
        let balancer = ConsistentHash::new(1);
        let endpoint = |i: u8| Endpoint::new(format!("pod-{i}"), ([127, 0, 0, i], 80));
        (1..=5).for_each(|i| balancer.insert(endpoint(i)));
        let before: Vec<String> = (0..1000).map(|key| owner(&balancer, key)).collect();
        balancer.remove(&endpoint(3).id);
        for (key, before) in before.iter().enumerate() {
            let after = owner(&balancer, key as u64);
            assert!(*before == after || before == "pod-3", "key {key} moved from {before} to {after}");
        }
        let third = before.iter().filter(|owner| *owner == "pod-3").count();
        assert!((120..280).contains(&third), "pod-3 had {third} of 1000 keys, a fifth is fair");
    }

    #[test]
    fn a_heavier_endpoint_has_more_keys() {
        let balancer = ConsistentHash::new(1);
        balancer.insert(Endpoint::new("light", ([127, 0, 0, 1], 80)));
        balancer.insert(Endpoint::new("heavy", ([127, 0, 0, 2], 80)).weight(3));
        let heavy = (0..4000).filter(|key| owner(&balancer, *key) == "heavy").count();
        assert!((2850..3150).contains(&heavy), "3 of 4 is fair, {heavy} of 4000 it was");
    }
}
