//! The oracle's rules about topology domains.

use orchestra_core::model::{
    Node, NodeInclusionPolicy, Pod, PodAffinityTerm, Taint, TaintEffect, TopologySpreadConstraint,
    UnsatisfiableAction,
};

use super::cluster::{HOSTNAME, ZONE};
use super::naive::{Place, World, node_chosen, speaks_of};

fn domain<'n>(node: &'n Node, key: &str) -> Option<&'n str> {
    node.metadata.labels.value(key)
}

/// The pods in the domain of `node` by `key`, each with its node.
fn pods_beside<'w>(world: &'w World<'_>, node: &Node, key: &str) -> Vec<&'w Pod> {
    let Some(here) = domain(node, key) else { return Vec::new() };
    let nodes = world.nodes.iter().filter(|p| domain(p.node, key) == Some(here));
    nodes.flat_map(|p| p.pods.iter().copied()).collect()
}

fn required(pod: &Pod, anti: bool) -> Vec<&PodAffinityTerm> {
    let affinity = pod.spec.affinity.iter();
    let side =
        affinity.filter_map(|a| if anti { a.pod_anti_affinity.as_ref() } else { a.pod_affinity.as_ref() });
    side.flat_map(|s| &s.required).collect()
}

fn preferred(pod: &Pod) -> Vec<(i64, &PodAffinityTerm)> {
    let mut terms = Vec::new();
    if let Some(affinity) = &pod.spec.affinity {
        for term in affinity.pod_affinity.iter().flat_map(|s| &s.preferred) {
            terms.push((i64::from(term.weight), &term.pod_affinity_term));
        }
        for term in affinity.pod_anti_affinity.iter().flat_map(|s| &s.preferred) {
            terms.push((-i64::from(term.weight), &term.pod_affinity_term));
        }
    }
    terms.retain(|(weight, _)| *weight != 0);
    terms
}

/// Required affinity and anti-affinity, also of the pods that are there.
pub(super) fn affinity_allows(world: &World<'_>, pod: &Pod, node: &Node) -> bool {
    let apart = |owner: &Pod, other: &Pod, term: &PodAffinityTerm| speaks_of(world, owner, term, other);
    for term in required(pod, true) {
        if pods_beside(world, node, &term.topology_key).iter().any(|other| apart(pod, other, term)) {
            return false;
        }
    }
    for place in &world.nodes {
        for owner in &place.pods {
            for term in required(owner, true) {
                let here = domain(node, &term.topology_key);
                if here.is_some() && here == domain(place.node, &term.topology_key) && apart(owner, pod, term)
                {
                    return false;
                }
            }
        }
    }
    let terms = required(pod, false);
    let matches_all = |other: &Pod| terms.iter().all(|t| speaks_of(world, pod, t, other));
    if !terms.iter().all(|t| domain(node, &t.topology_key).is_some()) {
        return false;
    }
    let beside_all =
        terms.iter().all(|t| pods_beside(world, node, &t.topology_key).iter().any(|o| matches_all(o)));
    let anywhere = world.nodes.iter().any(|place| {
        let counts = terms.iter().any(|t| domain(place.node, &t.topology_key).is_some());
        counts && place.pods.iter().any(|o| matches_all(o))
    });
    beside_all || (!anywhere && matches_all(pod))
}

/// The points of preferred affinity, of the pod and of those that are there, in thousandths.
pub(super) fn affinity_points(world: &World<'_>, pod: &Pod, node: &Node) -> u64 {
    let own = preferred(pod);
    let of = own.iter().map(|(weight, _)| weight.unsigned_abs()).sum::<u64>().max(1);
    let mut points = 0;
    for (weight, term) in &own {
        let beside = pods_beside(world, node, &term.topology_key);
        let count = beside.iter().filter(|other| speaks_of(world, pod, term, other)).count() as u64;
        let all = 100_000 * weight.unsigned_abs() / of;
        points += if *weight > 0 { all * (3 * count) / (3 * count + 1) } else { all / (3 * count + 1) };
    }
    // Keys under which somebody has a wish about this pod, and the sum of the wishes in this node's domain.
    let mut wishes: std::collections::BTreeMap<&str, i64> = std::collections::BTreeMap::new();
    for place in &world.nodes {
        for owner in &place.pods {
            let required = required(owner, false).into_iter().map(|t| (1, t));
            for (weight, term) in preferred(owner).into_iter().chain(required) {
                if speaks_of(world, owner, term, pod) {
                    let key = term.topology_key.as_str();
                    let here = domain(node, key);
                    let applies = here.is_some() && here == domain(place.node, key);
                    *wishes.entry(key).or_insert(0) += if applies { weight } else { 0 };
                }
            }
        }
    }
    let wanted = wishes.values().map(|sum| 50_000 + 50_000 * sum / (sum.abs() + 33));
    points + wanted.sum::<i64>().unsigned_abs()
}

/// A spread constraint with what decides whom it counts.
struct Spread<'a> {
    key: &'a str,
    skew: i64,
    least_domains: usize,
    constraint: Option<&'a TopologySpreadConstraint>,
}

fn spreads(pod: &Pod, hard: bool) -> Vec<Spread<'_>> {
    let given = &pod.spec.topology_spread_constraints;
    if given.is_empty() {
        let default = |key, skew| Spread { key, skew, least_domains: 1, constraint: None };
        let defaults = !hard && pod.metadata.controller().is_some();
        return if defaults { vec![default(HOSTNAME, 3), default(ZONE, 5)] } else { Vec::new() };
    }
    let alike = given.iter().filter(|c| (c.when_unsatisfiable == UnsatisfiableAction::DoNotSchedule) == hard);
    alike
        .map(|c| Spread {
            key: &c.topology_key,
            skew: i64::from(c.max_skew.max(1)),
            least_domains: c.min_domains.unwrap_or(1) as usize,
            constraint: Some(c),
        })
        .collect()
}

impl Spread<'_> {
    fn counts_pod(&self, pod: &Pod, other: &Pod) -> bool {
        if other.metadata.namespace != pod.metadata.namespace || other.metadata.deletion_timestamp.is_some() {
            return false;
        }
        let Some(constraint) = self.constraint else {
            let controller = |p: &Pod| p.metadata.controller().map(|o| o.uid.clone());
            return controller(pod) == controller(other);
        };
        let label = |key: &String| pod.metadata.labels.value(key);
        let alike = |key: &String| label(key).is_none_or(|v| other.metadata.labels.value(key) == Some(v));
        constraint.label_selector.as_ref().is_some_and(|s| s.matches(&other.metadata.labels))
            && constraint.match_label_keys.iter().all(alike)
    }

    fn counts_node(&self, pod: &Pod, node: &Node, all: &[Spread<'_>]) -> bool {
        let Some(constraint) = self.constraint else { return node_chosen(pod, node) };
        let hard = |taint: &&Taint| taint.effect != TaintEffect::PreferNoSchedule;
        let tolerated = |taint: &Taint| pod.spec.tolerations.iter().any(|t| t.tolerates(taint));
        all.iter().all(|s| domain(node, s.key).is_some())
            && (constraint.node_affinity_policy == Some(NodeInclusionPolicy::Ignore)
                || node_chosen(pod, node))
            && (constraint.node_taints_policy != Some(NodeInclusionPolicy::Honor)
                || node.spec.taints.iter().filter(hard).all(tolerated))
    }

    /// The pods that count in each domain that counts.
    fn domains<'w>(
        &self,
        world: &'w World<'_>,
        pod: &Pod,
        all: &[Spread<'_>],
    ) -> std::collections::BTreeMap<&'w str, i64> {
        let mut domains = std::collections::BTreeMap::new();
        for Place { node, pods, .. } in &world.nodes {
            if let (Some(domain), true) = (domain(node, self.key), self.counts_node(pod, node, all)) {
                let count = pods.iter().filter(|other| self.counts_pod(pod, other)).count() as i64;
                *domains.entry(domain).or_insert(0) += count;
            }
        }
        domains
    }
}

/// Spread constraints that must hold.
pub(super) fn spread_allows(world: &World<'_>, pod: &Pod, node: &Node) -> bool {
    let all = spreads(pod, true);
    all.iter().all(|spread| {
        let Some(here) = domain(node, spread.key) else { return false };
        let domains = spread.domains(world, pod, &all);
        let few = domains.len() < spread.least_domains;
        let least = if few { 0 } else { domains.values().min().copied().unwrap_or(0) };
        let own = i64::from(spread.counts_pod(pod, pod));
        domains.get(here).copied().unwrap_or(0) + own - least <= spread.skew
    })
}

/// The points of soft spread constraints, in thousandths.
pub(super) fn spread_points(world: &World<'_>, pod: &Pod, node: &Node) -> u64 {
    let all = spreads(pod, false);
    let points = all.iter().map(|spread| {
        let Some(here) = domain(node, spread.key) else { return 0 };
        let domains = spread.domains(world, pod, &all);
        let least = domains.values().min().copied().unwrap_or(0);
        let above = (domains.get(here).copied().unwrap_or(0) - least).max(0).unsigned_abs();
        let skew = spread.skew.unsigned_abs();
        100_000 * skew / (skew + above) / all.len() as u64
    });
    points.sum()
}
