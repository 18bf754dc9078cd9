//! Who the endpoints are: changed one at a time, read without a lock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use orchestra_core::balance::{Endpoint, EndpointId};
use orchestra_core::model::Uid;

use super::backend::Backend;
use super::drained::Drained;

type Backends = BTreeMap<EndpointId, Arc<Backend>>;

/// The endpoints: those that can be picked, and those that left and still answer something.
#[derive(Debug, Default)]
pub(super) struct Members {
    backends: ArcSwap<Backends>,
    writer: Mutex<Writer>,
}

#[derive(Debug, Default)]
struct Writer {
    listed: BTreeMap<EndpointId, Endpoint>,
    drained: Drained,
}

/// Lets requests in to an endpoint: to a new one, or to one that was leaving.
fn open(backends: &mut Backends, id: &EndpointId) {
    backends.entry(id.clone()).or_insert_with(|| Arc::new(Backend::new(id.clone()))).open();
}

/// What an update does to the balancer.
pub(super) enum Change<'a> {
    Added(&'a Endpoint),
    Removed(&'a EndpointId),
}

/// What an update did.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) added: bool,
    pub(super) removed: Vec<EndpointId>,
    /// Those of them that still answer something.
    pub(super) leaving: Vec<Arc<Backend>>,
}

impl Members {
    pub(super) fn load(&self) -> arc_swap::Guard<Arc<Backends>> {
        self.backends.load()
    }

    pub(super) fn load_full(&self) -> Arc<Backends> {
        self.backends.load_full()
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().listed.is_empty()
    }

    pub(super) fn apply(
        &self,
        endpoints: impl IntoIterator<Item = Endpoint>,
        mut tell: impl FnMut(Change<'_>),
    ) -> Changes {
        let mut wanted: BTreeMap<EndpointId, Endpoint> =
            endpoints.into_iter().map(|endpoint| (endpoint.id.clone(), endpoint)).collect();
        let mut writer = self.lock();
        writer.drained.observe(&wanted.keys().map(|id| &id.pod).collect::<BTreeSet<_>>());
        wanted.retain(|id, _| !writer.drained.contains(&id.pod));
        let mut backends = Backends::clone(&self.backends.load());
        let mut changes = Changes::default();
        for id in writer.listed.keys().filter(|id| !wanted.contains_key(*id)) {
            tell(Change::Removed(id));
            if let Some(backend) = backends.get(id) {
                backend.close();
                changes.leaving.extend((backend.in_flight() > 0).then(|| Arc::clone(backend)));
            }
            changes.removed.push(id.clone());
        }
        backends.retain(|id, backend| wanted.contains_key(id) || backend.in_flight() > 0);
        let differs = |id, endpoint| writer.listed.get(id) != Some(endpoint);
        let news: Vec<&Endpoint> = wanted.iter().filter(|(id, e)| differs(id, e)).map(|(_, e)| e).collect();
        news.iter().for_each(|endpoint| open(&mut backends, &endpoint.id));
        // A balancer picks only whom a request then finds here.
        self.backends.store(Arc::new(backends));
        changes.added = !news.is_empty();
        news.into_iter().for_each(|endpoint| tell(Change::Added(endpoint)));
        writer.listed = wanted;
        changes
    }

    /// Adds these, or changes their weights. Pods that were drained stay out.
    pub(super) fn insert(
        &self,
        endpoints: impl IntoIterator<Item = Endpoint>,
        mut tell: impl FnMut(&Endpoint),
    ) {
        let mut writer = self.lock();
        let mut backends = Backends::clone(&self.backends.load());
        let mut news = Vec::new();
        for endpoint in endpoints.into_iter().filter(|e| !writer.drained.contains(&e.id.pod)) {
            open(&mut backends, &endpoint.id);
            news.push(endpoint);
        }
        self.backends.store(Arc::new(backends));
        for endpoint in news {
            tell(&endpoint);
            writer.listed.insert(endpoint.id.clone(), endpoint);
        }
    }

    /// Takes these out. Returns those that may still have requests.
    pub(super) fn remove(&self, ids: &[EndpointId], mut tell: impl FnMut(&EndpointId)) -> Vec<Arc<Backend>> {
        let mut writer = self.lock();
        for id in ids.iter().filter(|id| writer.listed.contains_key(*id)) {
            tell(id);
        }
        writer.listed.retain(|id, _| !ids.contains(id));
        let mut backends = Backends::clone(&self.backends.load());
        let leaving: Vec<_> = ids.iter().filter_map(|id| backends.get(id)).cloned().collect();
        leaving.iter().for_each(|backend| backend.close());
        backends.retain(|id, backend| writer.listed.contains_key(id) || backend.in_flight() > 0);
        self.backends.store(Arc::new(backends));
        leaving
    }

    /// Has a pod stay out that is drained now, whoever lists it.
    pub(super) fn remember(&self, pod: &Uid) {
        let mut writer = self.lock();
        let listed = writer.listed.keys().any(|id| id.pod == *pod);
        writer.drained.insert(pod, listed);
    }

    /// Takes a pod's endpoints out. Returns all that may still have requests, and those that are taken out now.
    pub(super) fn drain(
        &self,
        pod: &Uid,
        mut tell: impl FnMut(&EndpointId),
    ) -> (Vec<Arc<Backend>>, Vec<EndpointId>) {
        let mut writer = self.lock();
        let ids: Vec<EndpointId> = writer.listed.keys().filter(|id| id.pod == *pod).cloned().collect();
        let leaving: Vec<_> =
            self.load().values().filter(|backend| backend.id.pod == *pod).cloned().collect();
        for id in &ids {
            tell(id);
            writer.listed.remove(id);
        }
        leaving.iter().for_each(|backend| backend.close());
        (leaving, ids)
    }

    /// Calls `f` with those that can be picked, while nobody changes them.
    pub(super) fn with_listed<R>(&self, f: impl FnOnce(&BTreeMap<EndpointId, Endpoint>) -> R) -> R {
        f(&self.lock().listed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drained_pod_is_remembered_only_where_nobody_else_does() {
        let (table, hand) = (Uid::from("by-a-table"), Uid::from("by-hand"));
        let members = Members::default();
        members.remember(&hand);
        for pod in [&table, &hand] {
            let (leaving, removed) = members.drain(pod, |_id| {});
            assert!(leaving.is_empty() && removed.is_empty(), "its service has left it out before");
        }
        let writer = members.lock();
        assert!(writer.drained.contains(&hand) && !writer.drained.contains(&table));
    }
}
