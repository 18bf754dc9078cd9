//! What every [`LoadBalancer`] must do, as a test to run on yours.
//!
//! The suite lets endpoints come and go at random, picks with random keys and exclusions, ends requests in every way,
//! and compares with a plain list of the members; then it does the same from several threads at once.
//!
//! ```
//! use std::sync::Arc;
//! use orchestra_core::balance::RoundRobin;
//! use orchestra_testkit::balance_contract;
//!
//! balance_contract::run(|| Arc::new(RoundRobin::new()));
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use orchestra_core::balance::{Endpoint, EndpointId, Lease, LoadBalancer, Outcome, RequestKey};
use orchestra_core::rng::Rng;

/// How many random histories are run, and how long each is. Enough that a balancer which forgets one removal, or one
/// exclusion, is caught every time; the suite takes less than a second in a debug build.
const SEEDS: u64 = 30;
const STEPS: usize = 400;

/// How many endpoints a history knows. Few, so that all of them are out now and then.
const ENDPOINTS: u64 = 6;

/// How many threads pick at once, and how often each.
const THREADS: usize = 4;
const PICKS: usize = 2_000;

/// Runs the whole suite on balancers made by `make`.
///
/// # Panics
/// Where the balancer breaks the contract: the message says which part of it, and the seed.
pub fn run(make: impl Fn() -> Arc<dyn LoadBalancer>) {
    an_empty_one_picks_nobody(&*make());
    an_insertion_again_changes_the_endpoint(&*make());
    a_lease_outlives_its_endpoint(&*make());
    whoever_alone_is_allowed_is_picked(&*make());
    for seed in 0..SEEDS {
        only_members_are_picked(&*make(), seed);
    }
    many_threads_pick_while_endpoints_come_and_go(&make());
}

fn endpoint(i: u64) -> Endpoint {
    let last = u8::try_from(i % 250).unwrap_or(0) + 1;
    Endpoint::new(format!("pod-{i}"), ([127, 0, 0, last], 8080))
}

fn key(millis: u64) -> RequestKey<'static> {
    RequestKey::at(Duration::from_millis(millis))
}

fn an_empty_one_picks_nobody(balancer: &dyn LoadBalancer) {
    assert!(balancer.pick(&key(0)).is_none(), "a balancer without endpoints picked one");
    assert!(balancer.endpoints().is_empty(), "a balancer without endpoints lists some");
    balancer.remove(&endpoint(0).id);
    balancer.insert(endpoint(0));
    balancer.remove(&endpoint(0).id);
    assert!(balancer.pick(&key(0)).is_none(), "the only endpoint was removed, and picked");
}

fn an_insertion_again_changes_the_endpoint(balancer: &dyn LoadBalancer) {
    balancer.insert(endpoint(0));
    balancer.insert(endpoint(1));
    balancer.insert(endpoint(0).weight(7));
    let mut listed = balancer.endpoints();
    listed.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(listed, [endpoint(0).weight(7), endpoint(1)], "inserting an endpoint again changes it");
}

fn a_lease_outlives_its_endpoint(balancer: &dyn LoadBalancer) {
    balancer.insert(endpoint(0));
    let pick = || balancer.pick(&key(1)).unwrap_or_else(|| panic!("the only endpoint is not picked"));
    let (one, two, three) = (pick(), pick(), pick());
    assert_eq!(one.id(), &endpoint(0).id, "a lease names its endpoint");
    assert_eq!(one.started(), Duration::from_millis(1), "a lease begins when its request was picked for");
    balancer.remove(&endpoint(0).id);
    one.complete(Outcome::Success, Duration::from_millis(2));
    two.complete(Outcome::Failure, Duration::from_millis(2));
    drop(three);
    assert!(balancer.pick(&key(3)).is_none(), "the end of a request brought its endpoint back");
    balancer.insert(endpoint(0));
    assert!(balancer.pick(&key(4)).is_some(), "an endpoint that came back is not picked");
}

fn whoever_alone_is_allowed_is_picked(balancer: &dyn LoadBalancer) {
    (0..ENDPOINTS).for_each(|i| balancer.insert(endpoint(i)));
    for i in 0..ENDPOINTS {
        let others: Vec<EndpointId> = (0..ENDPOINTS).filter(|j| *j != i).map(|j| endpoint(j).id).collect();
        for hash in [None, Some(i), Some(u64::MAX)] {
            // Also where it fails again and again: there is no other.
            for millis in 0..20 {
                let mut request = key(millis);
                request.hash = hash;
                let lease = balancer.pick(&request.exclude(&others));
                let lease = lease.unwrap_or_else(|| panic!("None, although {:?} is allowed", endpoint(i).id));
                assert_eq!(lease.id(), &endpoint(i).id, "an excluded endpoint was picked");
                lease.complete(Outcome::Failure, Duration::from_millis(millis + 1));
            }
        }
    }
}

fn only_members_are_picked(balancer: &dyn LoadBalancer, seed: u64) {
    let rng = Rng::seeded(seed);
    let mut members: BTreeMap<EndpointId, Endpoint> = BTreeMap::new();
    let mut leases: Vec<Lease> = Vec::new();
    for step in 0..STEPS {
        let now = Duration::from_millis(step as u64);
        match rng.below(10) {
            0 => {
                let endpoint =
                    endpoint(rng.below(ENDPOINTS)).weight(u32::try_from(rng.below(5)).unwrap_or(1));
                members.insert(endpoint.id.clone(), endpoint.clone());
                balancer.insert(endpoint);
            }
            1 => {
                let id = endpoint(rng.below(ENDPOINTS)).id;
                members.remove(&id);
                balancer.remove(&id);
            }
            2 if !leases.is_empty() => {
                let index = usize::try_from(rng.below(leases.len() as u64)).unwrap_or(0);
                end(leases.swap_remove(index), now, &rng);
            }
            _ => {
                let exclude: Vec<EndpointId> =
                    (0..ENDPOINTS).filter(|_| rng.chance(0.3)).map(|i| endpoint(i).id).collect();
                let mut request = RequestKey::at(now).exclude(&exclude);
                request.hash = rng.chance(0.5).then(|| rng.next());
                let allowed = members.keys().any(|id| !exclude.contains(id));
                match balancer.pick(&request) {
                    Some(lease) => {
                        let member = members.contains_key(lease.id());
                        assert!(
                            member,
                            "seed {seed}, step {step}: picked {:?}, which is no member",
                            lease.id()
                        );
                        let excluded = exclude.contains(lease.id());
                        assert!(
                            !excluded,
                            "seed {seed}, step {step}: picked {:?}, which is excluded",
                            lease.id()
                        );
                        leases.push(lease);
                    }
                    None => assert!(
                        !allowed,
                        "seed {seed}, step {step}: None, although there are allowed members"
                    ),
                }
            }
        }
        let mut listed = balancer.endpoints();
        listed.sort_by(|a, b| a.id.cmp(&b.id));
        let expected: Vec<Endpoint> = members.values().cloned().collect();
        assert_eq!(listed, expected, "seed {seed}, step {step}: the endpoints that are listed");
    }
}

fn end(lease: Lease, now: Duration, rng: &Rng) {
    match rng.below(3) {
        0 => lease.complete(Outcome::Success, now),
        1 => lease.complete(Outcome::Failure, now),
        _ => drop(lease),
    }
}

fn many_threads_pick_while_endpoints_come_and_go(balancer: &Arc<dyn LoadBalancer>) {
    // One stays, so that there is always somebody.
    balancer.insert(endpoint(0));
    let picking = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn(move || {
                    let rng = Rng::seeded(thread as u64);
                    for i in 0..PICKS {
                        let now = Duration::from_millis(i as u64);
                        let mut request = RequestKey::at(now);
                        request.hash = rng.chance(0.5).then(|| rng.next());
                        let lease = balancer.pick(&request);
                        let lease =
                            lease.unwrap_or_else(|| panic!("None, although an endpoint stayed all the time"));
                        end(lease, now + Duration::from_millis(1), &rng);
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            let rng = Rng::seeded(u64::MAX);
            while picking.load(Ordering::Relaxed) {
                let other = endpoint(1 + rng.below(ENDPOINTS));
                if rng.chance(0.5) { balancer.insert(other) } else { balancer.remove(&other.id) }
            }
        });
        let results: Vec<_> = threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        picking.store(false, Ordering::Relaxed);
        if let Some(panic) = results.into_iter().find_map(Result::err) {
            std::panic::resume_unwind(panic);
        }
    });
    (1..=ENDPOINTS).for_each(|i| balancer.remove(&endpoint(i).id));
    assert_eq!(balancer.endpoints(), [endpoint(0)], "what the threads left behind");
}
