//! Placing pods together or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::unit::{Gang, Unit};
use super::{Batch, Change, Explanation, NodeView, PodInfo, View};
use crate::model::{Pod, PodSpec};

/// Gives a pod to a node. The first is the pod; the second is what it is looked at as: the same with a node selector for
/// the domain that is tried.
pub(super) type Put<'p, 'v> = dyn FnMut(&mut Batch<'v>, &PodInfo, &PodInfo) -> Result<(), Explanation> + 'p;

/// Why a gang was not placed.
struct Short {
    /// How many of it could be.
    placed: usize,
    /// Why the first that could not be could not.
    why: Option<Explanation>,
    helped_by: Change,
    /// How the place is called where they had to be together.
    place: String,
}

/// The value of a topology key.
type Domain<'d> = (&'d str, &'d str);

impl<'v> Batch<'v> {
    /// Places enough pods of the gang or none. With `by_force` also domains are tried that have no room left.
    pub(super) fn place_gang(
        &mut self,
        unit: &Unit,
        gang: &Gang,
        by_force: bool,
        put: &mut Put<'_, 'v>,
    ) -> Result<(), Explanation> {
        let placed = match &gang.within {
            None => self.try_gang(&unit.pods, &unit.pods, gang.least, None, put).map(drop),
            Some(key) => self.try_domains(&unit.pods, gang, key, by_force, put),
        };
        let Err(short) = placed else { return Ok(()) };
        let Short { placed, why, helped_by, place } = short;
        let (name, least) = (&gang.name, gang.least);
        let note = format!("gang {name} needs {least} pods placed together{place}, {placed} can be");
        Err(match why {
            Some(why) if !why.reasons().is_empty() => why.with_note(note).with_helped_by(helped_by),
            _ => Explanation::note(note),
        })
    }

    /// Tries the domains of `key`, one after the other, for the first that holds all of the gang; failing that, takes the one
    /// that holds most.
    fn try_domains(
        &mut self,
        pods: &[PodInfo],
        gang: &Gang,
        key: &str,
        by_force: bool,
        put: &mut Put<'_, 'v>,
    ) -> Result<(), Short> {
        let mut best: Option<(usize, String)> = None;
        let place = format!(" in one domain of {key}, of which there is none");
        let mut nearest = Short { placed: 0, why: None, helped_by: Change::NODE, place };
        for (i, domain) in domains(self.view(), pods, gang, key, by_force).into_iter().enumerate() {
            let seen = self.in_domain(pods, key, &domain);
            let least = best.as_ref().map_or(gang.least, |(placed, _)| placed + 1);
            let tried =
                self.atomic(|batch| match batch.try_gang(pods, &seen, least, Some((key, &domain)), put) {
                    Ok(placed) if placed == pods.len() => Ok(()),
                    other => Err(other),
                });
            match tried {
                Ok(()) => return Ok(()),
                Err(Ok(placed)) => best = Some((placed, domain)),
                Err(Err(short)) => {
                    let helped_by = nearest.helped_by | short.helped_by;
                    if i == 0 || nearest.placed < short.placed {
                        nearest =
                            Short { place: format!(" in one domain of {key}, such as {domain}"), ..short };
                    }
                    nearest.helped_by = helped_by;
                }
            }
        }
        let Some((placed, domain)) = best else { return Err(nearest) };
        let seen = self.in_domain(pods, key, &domain);
        self.try_gang(pods, &seen, placed, Some((key, &domain)), put).map(drop)
    }

    /// Places at least so many of the pods, or none. Answers how many.
    fn try_gang(
        &mut self,
        pods: &[PodInfo],
        seen: &[PodInfo],
        least: usize,
        domain: Option<Domain<'_>>,
        put: &mut Put<'_, 'v>,
    ) -> Result<usize, Short> {
        let decided = self.decisions();
        let placed = self.atomic(|batch| {
            let mut short = Short { placed: 0, why: None, helped_by: Change::NONE, place: String::new() };
            for (pod, seen) in pods.iter().zip(seen) {
                let result = match domain {
                    None => put(batch, pod, seen),
                    Some(domain) => batch.put_in(domain, pod, seen, put),
                };
                match result {
                    Ok(()) => short.placed += 1,
                    Err(why) => {
                        short.helped_by |= why.helped_by();
                        batch.defer(pod, why.clone());
                        short.why.get_or_insert(why);
                    }
                }
            }
            if short.placed >= least { Ok(short.placed) } else { Err(short) }
        })?;
        self.wait_together(decided);
        Ok(placed)
    }

    /// Places a pod, and sees that it came into the domain: a scheduler need not ask for selectors.
    fn put_in(
        &mut self,
        (key, domain): Domain<'_>,
        pod: &PodInfo,
        seen: &PodInfo,
        put: &mut Put<'_, 'v>,
    ) -> Result<(), Explanation> {
        self.atomic(|batch| {
            put(batch, pod, seen)?;
            let view = batch.view();
            let node = view.node_of(&pod.pod().metadata.uid).and_then(|name| view.node_named(name));
            match node {
                Some(node) if node.label(key) == Some(domain) => Ok(()),
                _ => {
                    Err(format!("was not placed where {key} is {domain}, with the others of its gang").into())
                }
            }
        })
    }

    /// The pods with a node selector for the domain.
    fn in_domain(&mut self, pods: &[PodInfo], key: &str, domain: &str) -> Vec<PodInfo> {
        let mut last: Option<(Arc<PodSpec>, Arc<PodSpec>)> = None;
        let seen = |pod: &PodInfo| {
            let of = &pod.pod().spec;
            let spec = match &last {
                Some((known, spec)) if Arc::ptr_eq(known, of) => Arc::clone(spec),
                _ => {
                    let mut spec = PodSpec::clone(of);
                    spec.node_selector.insert(key.to_owned(), domain.to_owned());
                    let spec = Arc::new(spec);
                    last = Some((Arc::clone(of), Arc::clone(&spec)));
                    spec
                }
            };
            let pod_there = Arc::new(Pod { spec, ..Pod::clone(pod.pod()) });
            let mut info = self.view_mut().pod_info(&pod_there);
            info.slot = pod.slot;
            info
        };
        pods.iter().map(seen).collect()
    }
}

/// The domains of `key` to try: first those with room for all pods, the fullest first, then those with most room; of
/// equal ones the first by name. Room is that for pods like the first. Unless `by_force`, domains without room for equal
/// pods are left out, but for the last hope.
fn domains(view: &View, pods: &[PodInfo], gang: &Gang, key: &str, by_force: bool) -> Vec<String> {
    let selected = |value: &str| {
        pods.iter().all(|pod| pod.spec().node_selector.value(key).is_none_or(|wanted| wanted == value))
    };
    let label = |node: NodeView<'_>| Some(node.label(key)?.to_owned());
    // Nodes that are gone say nothing: of the others only those that have ended can be on such.
    let mut beside = gang.beside.iter().filter_map(|name| view.node_named(name)).peekable();
    if beside.peek().is_some() {
        let known = beside.find_map(label);
        return known.into_iter().filter(|value| selected(value)).collect();
    }
    let Some(first) = pods.first() else { return Vec::new() };
    let equal = pods.iter().all(|pod| pod.class().id == first.class().id);
    let mut room: BTreeMap<String, i64> = BTreeMap::new();
    for node in view.nodes() {
        if let Some(value) = label(node).filter(|value| selected(value)) {
            *room.entry(value).or_insert(0) += places(&node, first);
        }
    }
    let (all, least) = (count(pods.len()), count(gang.least));
    let mut ranked: Vec<(String, i64)> = room.into_iter().collect();
    ranked.sort_by_key(|(_, places)| if *places >= all { (0, *places) } else { (1, -*places) });
    let hopeless = |places: i64| equal && !by_force && places < least;
    let kept = ranked.into_iter().enumerate().filter(|(i, (_, places))| *i == 0 || !hopeless(*places));
    kept.map(|(_, (value, _))| value).collect()
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// For how many pods like this one a node has resources.
fn places(node: &NodeView<'_>, pod: &PodInfo) -> i64 {
    let free = |resource| node.allocatable_of(resource) - node.used_of(resource);
    pod.class()
        .requests
        .iter()
        .map(|(resource, amount)| free(*resource) / amount.max(&1))
        .min()
        .unwrap_or(0)
        .max(0)
}

#[cfg(test)]
mod tests;
