//! Orchestra's balancers pass the contract suite, and the suite finds the mistakes it is there for.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::clone_on_ref_ptr,
    reason = "a test fails by panicking, and may print"
)]

use std::sync::{Arc, Mutex};

use orchestra_core::balance::{
    ConsistentHash, Endpoint, EndpointId, Lease, LeastRequests, LoadBalancer, PeakEwma, PeakEwmaOptions,
    RequestKey, RoundRobin,
};
use orchestra_testkit::balance_contract::run;

#[test]
fn the_balancers_that_come_with_orchestra_pass() {
    run(|| Arc::new(RoundRobin::new()));
    run(|| Arc::new(LeastRequests::new()));
    run(|| Arc::new(PeakEwma::default()));
    run(|| Arc::new(PeakEwma::new(PeakEwmaOptions::default().with_probe_every(1))));
    run(|| Arc::new(ConsistentHash::new(3)));
}

/// Picks the first one, with one mistake.
#[derive(Debug)]
struct Mistaken {
    mistake: Mistake,
    endpoints: Mutex<Vec<Endpoint>>,
}

#[derive(Debug, PartialEq)]
enum Mistake {
    None,
    IgnoresExclusions,
    ForgetsToRemove,
    KeepsTwo,
    GivesUp,
}

impl LoadBalancer for Mistaken {
    fn pick(&self, request: &RequestKey<'_>) -> Option<Lease> {
        let endpoints = self.endpoints.lock().unwrap();
        let allowed =
            |e: &&Endpoint| self.mistake == Mistake::IgnoresExclusions || !request.exclude.contains(&e.id);
        let first = endpoints.iter().find(allowed)?;
        if self.mistake == Mistake::GivesUp && request.exclude.len() > 2 {
            return None;
        }
        Some(Lease::untracked(first.id.clone(), request.now))
    }

    fn insert(&self, endpoint: Endpoint) {
        let mut endpoints = self.endpoints.lock().unwrap();
        if self.mistake != Mistake::KeepsTwo {
            endpoints.retain(|other| other.id != endpoint.id);
        }
        endpoints.push(endpoint);
    }

    fn remove(&self, id: &EndpointId) {
        let mut endpoints = self.endpoints.lock().unwrap();
        if self.mistake != Mistake::ForgetsToRemove || endpoints.len() < 3 {
            endpoints.retain(|other| other.id != *id);
        }
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        self.endpoints.lock().unwrap().clone()
    }
}

fn passes(mistake: fn() -> Mistake) -> bool {
    let suite = || run(|| Arc::new(Mistaken { mistake: mistake(), endpoints: Mutex::default() }));
    std::panic::catch_unwind(suite).is_ok()
}

#[test]
fn the_suite_finds_mistakes() {
    assert!(passes(|| Mistake::None), "the plainest balancer is a right one");
    assert!(!passes(|| Mistake::IgnoresExclusions));
    assert!(!passes(|| Mistake::ForgetsToRemove));
    assert!(!passes(|| Mistake::KeepsTwo));
    assert!(!passes(|| Mistake::GivesUp));
}
