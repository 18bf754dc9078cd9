//! Properties of all balancers, over random histories.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use proptest::prelude::*;

use super::endpoint::{Lease, Outcome, Slot};
use super::members::Members;
use super::{
    ConsistentHash, Endpoint, LeastRequests, LoadBalancer, Maglev, MaglevOptions, PeakEwma, RequestKey,
    RoundRobin, SlowStart, ZoneAware, ZoneOptions,
};

#[derive(Clone, Debug)]
enum Step {
    Insert(u8, u32),
    Remove(u8),
    Pick(u64),
    End(prop::sample::Index, u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..5u8, 1..4u32).prop_map(|(i, weight)| Step::Insert(i, weight)),
        1 => (0..5u8).prop_map(Step::Remove),
        8 => any::<u64>().prop_map(Step::Pick),
        6 => (any::<prop::sample::Index>(), 0..3u8).prop_map(|(which, how)| Step::End(which, how)),
    ]
}

fn endpoint(i: u8) -> Endpoint {
    Endpoint::new(format!("pod-{i}"), ([127, 0, 0, i + 1], 80))
}

fn pick(balancer: &dyn LoadBalancer, hash: u64) -> Option<Lease> {
    balancer.pick(&RequestKey::at(Duration::from_secs(1)).hash(hash))
}

/// Each endpoint's requests in flight equal the leases on it, also when it was inserted again in between.
fn counts_are_true(balancer: &dyn LoadBalancer, members: &Members, steps: Vec<Step>) {
    let mut leases: Vec<(Lease, u64)> = Vec::new();
    // An endpoint that was removed and came back is another one: its count begins anew.
    let mut lives: BTreeMap<u8, u64> = BTreeMap::new();
    let mut next_life = 0;
    for step in steps {
        match step {
            Step::Insert(i, weight) => {
                lives.entry(i).or_insert_with(|| {
                    next_life += 1;
                    next_life
                });
                balancer.insert(endpoint(i).weight(weight));
            }
            Step::Remove(i) => {
                lives.remove(&i);
                balancer.remove(&endpoint(i).id);
            }
            Step::Pick(hash) => {
                let picked = pick(balancer, hash);
                assert_eq!(picked.is_some(), !lives.is_empty());
                if let Some(lease) = picked {
                    let i = (0..5).find(|i| endpoint(*i).id == *lease.id()).unwrap();
                    leases.push((lease, lives[&i]));
                }
            }
            Step::End(which, how) if !leases.is_empty() => {
                let (lease, _) = leases.swap_remove(which.index(leases.len()));
                match how {
                    0 => lease.complete(Outcome::Success, Duration::from_secs(2)),
                    1 => lease.complete(Outcome::Failure, Duration::from_secs(2)),
                    _ => drop(lease),
                }
            }
            Step::End(..) => {}
        }
        for slot in members.load().iter() {
            let i = (0..5).find(|i| endpoint(*i).id == slot.endpoint.id).unwrap();
            assert_eq!(in_flight(slot), leases.iter().filter(|(_, life)| *life == lives[&i]).count());
        }
    }
    leases.clear();
    assert!(members.load().iter().all(|slot| in_flight(slot) == 0));
}

fn in_flight(slot: &Slot) -> usize {
    slot.load.in_flight.load(Ordering::Relaxed)
}

/// Which endpoint each of a thousand keys belongs to.
fn owners(balancer: &dyn LoadBalancer) -> Vec<String> {
    (0..1000).map(|key| pick(balancer, key).unwrap().id().pod.to_string()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn requests_in_flight_are_counted_right_and_return_to_zero(steps in prop::collection::vec(step(), 1..120)) {
        let balancer = RoundRobin::new();
        counts_are_true(&balancer, &balancer.members, steps.clone());
        let balancer = LeastRequests::new();
        counts_are_true(&balancer, &balancer.members, steps.clone());
        let balancer = PeakEwma::default();
        counts_are_true(&balancer, &balancer.members, steps.clone());
        let balancer = ConsistentHash::new(1);
        counts_are_true(&balancer, &balancer.members, steps.clone());
        let balancer = Maglev::new(MaglevOptions::default().with_table_size(251));
        counts_are_true(&balancer, &balancer.members, steps);
    }

    /// Only members are picked, and only allowed ones, and one always where there is any: also by those that go around others.
    #[test]
    fn only_allowed_members_are_picked_and_always_one_of_them(
        steps in prop::collection::vec(step(), 1..60), out in prop::collection::vec(0..5u8, 0..4), only in prop::option::of(0..5u8),
    ) {
        let round_robin = || Box::<RoundRobin>::default() as Box<dyn LoadBalancer>;
        let balancers: [Box<dyn LoadBalancer>; 7] = [
            round_robin(),
            Box::<LeastRequests>::default(),
            Box::<PeakEwma>::default(),
            Box::<ConsistentHash>::default(),
            Box::new(Maglev::new(MaglevOptions::default().with_table_size(13))),
            Box::new(ZoneAware::new("1", ZoneOptions::default(), round_robin)),
            Box::new(SlowStart::new(round_robin(), Duration::from_secs(1000), 1)),
        ];
        let out: Vec<_> = out.into_iter().map(|i| endpoint(i).id).collect();
        let only = only.map(|i| endpoint(i).id);
        for balancer in &balancers {
            let mut members = std::collections::BTreeSet::new();
            for step in &steps {
                match step {
                    Step::Insert(i, weight) => {
                        members.insert(*i);
                        balancer.insert(endpoint(*i).weight(*weight).zone(weight.to_string()));
                    }
                    Step::Remove(i) => {
                        members.remove(i);
                        balancer.remove(&endpoint(*i).id);
                    }
                    Step::Pick(hash) => {
                        let mut request = RequestKey::at(Duration::from_secs(1)).hash(*hash).exclude(&out);
                        request.only = only.as_ref();
                        let fits = |i: &u8| request.allows(&endpoint(*i).id);
                        let picked = balancer.pick(&request).map(|lease| lease.id().clone());
                        let among = |id| members.iter().any(|i| fits(i) && endpoint(*i).id == id);
                        prop_assert_eq!(picked.is_some(), members.iter().any(fits), "{:?}", balancer);
                        prop_assert!(picked.is_none_or(among), "{balancer:?}");
                    }
                    Step::End(..) => {}
                }
            }
            let mut listed: Vec<_> = balancer.endpoints().into_iter().map(|endpoint| endpoint.id).collect();
            listed.sort();
            prop_assert_eq!(listed, members.iter().map(|i| endpoint(*i).id).collect::<Vec<_>>());
        }
    }

    /// Who comes takes keys, who goes leaves them; of the others' keys only some few move.
    #[test]
    fn maglev_moves_few_keys_of_others(n in 2..9u8, who in any::<prop::sample::Index>(), weight in 1..4u32) {
        let balancer = Maglev::new(MaglevOptions::default().with_table_size(10_007));
        (0..n).for_each(|i| balancer.insert(endpoint(i)));
        let changed = endpoint(u8::try_from(who.index(n.into())).unwrap()).weight(weight);
        balancer.insert(changed.clone());
        let with = owners(&balancer);
        balancer.remove(&changed.id);
        let without = owners(&balancer);
        let name = changed.id.pod.to_string();
        let moved = with.iter().zip(&without).filter(|(with, without)| *with != &name && with != without).count();
        prop_assert!(moved <= 60, "{moved} of 1000 keys moved that need not");
        balancer.insert(changed);
        prop_assert_eq!(owners(&balancer), with, "an endpoint that comes back gets its keys back");
    }

    /// Smooth weighted round robin: after one round all shares are exact, and at no time is one off by more than one
    /// turn for each endpoint that there is.
    #[test]
    fn round_robin_honours_weights_at_every_moment(weights in prop::collection::vec(1..20u32, 1..8)) {
        let balancer = RoundRobin::new();
        for (i, weight) in weights.iter().enumerate() {
            balancer.insert(endpoint(u8::try_from(i).unwrap()).weight(*weight));
        }
        let total: u32 = weights.iter().sum();
        let mut counts = vec![0u32; weights.len()];
        for turn in 1..=total * 2 {
            let id = pick(&balancer, 0).unwrap().id().clone();
            let i = (0..weights.len()).find(|i| endpoint(u8::try_from(*i).unwrap()).id == id).unwrap();
            counts[i] += 1;
            for (count, weight) in counts.iter().zip(&weights) {
                let fair = f64::from(turn) * f64::from(*weight) / f64::from(total);
                prop_assert!((f64::from(*count) - fair).abs() <= weights.len() as f64, "{counts:?} of {weights:?}");
            }
            if turn % total == 0 {
                let exact: Vec<u32> = weights.iter().map(|weight| weight * turn / total).collect();
                prop_assert_eq!(&counts, &exact);
            }
        }
    }

    #[test]
    fn least_requests_keeps_loads_by_weight_within_one(weights in prop::collection::vec(1..6u32, 1..6), n in 1..200usize) {
        let balancer = LeastRequests::new();
        for (i, weight) in weights.iter().enumerate() {
            balancer.insert(endpoint(u8::try_from(i).unwrap()).weight(*weight));
        }
        let leases: Vec<Lease> = (0..n).map(|_| pick(&balancer, 0).unwrap()).collect();
        let loads: Vec<f64> = balancer.members.load().iter()
            .map(|slot| in_flight(slot) as f64 / f64::from(slot.endpoint.weight)).collect();
        let (least, most) = loads.iter().fold((f64::MAX, 0f64), |(low, high), load| (low.min(*load), high.max(*load)));
        prop_assert!(most - least <= 1.0, "{loads:?}");
        drop(leases);
    }

    /// Whoever comes takes keys, whoever goes leaves them; nobody else's keys move.
    #[test]
    fn consistent_hash_moves_only_the_keys_of_who_comes_or_goes(n in 2..9u8, who in any::<prop::sample::Index>(), weight in 1..5u32) {
        let balancer = ConsistentHash::new(1);
        (0..n).for_each(|i| balancer.insert(endpoint(i)));
        let changed = endpoint(u8::try_from(who.index(n.into())).unwrap()).weight(weight);
        balancer.insert(changed.clone());
        let with = owners(&balancer);
        balancer.remove(&changed.id);
        let without = owners(&balancer);
        let name = changed.id.pod.to_string();
        for (with, without) in with.iter().zip(&without) {
            prop_assert!(with == without || *with == name);
        }
        balancer.insert(changed);
        prop_assert_eq!(owners(&balancer), with, "an endpoint that comes back gets its keys back");
    }
}
