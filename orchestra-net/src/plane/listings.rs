//! Which slices list which pods.

use std::collections::{BTreeMap, BTreeSet};

use orchestra_core::model::{EndpointSlice, Uid};

use crate::upstream::Drained;

/// A slice's namespace and name.
type SliceKey = (String, String);

/// The slices that list each pod, so that a drain touches only the services of its pod.
#[derive(Debug, Default)]
pub(super) struct Listings(BTreeMap<Uid, BTreeSet<SliceKey>>);

impl Listings {
    /// A slice changed. Tells `drained` of the pods that are now listed for the first time, and of those that are
    /// listed nowhere any more.
    pub(super) fn list(
        &mut self,
        slice: &SliceKey,
        old: Option<&EndpointSlice>,
        new: Option<&EndpointSlice>,
        drained: &mut Drained,
    ) {
        let (old, new) = (pods(old), pods(new));
        for pod in new.difference(&old) {
            self.0.entry((*pod).clone()).or_default().insert(slice.clone());
            drained.appeared(pod);
        }
        for pod in old.difference(&new) {
            if let Some(slices) = self.0.get_mut(*pod) {
                slices.remove(slice);
                if slices.is_empty() {
                    self.0.remove(*pod);
                    drained.disappeared(pod);
                }
            }
        }
    }

    /// The slices that list a pod.
    pub(super) fn slices(&self, pod: &Uid) -> BTreeSet<SliceKey> {
        self.0.get(pod).cloned().unwrap_or_default()
    }
}

fn pods(slice: Option<&EndpointSlice>) -> BTreeSet<&Uid> {
    let endpoints = slice.into_iter().flat_map(|slice| &slice.endpoints);
    let targets = endpoints.filter_map(|endpoint| endpoint.target_ref.as_ref());
    targets.map(|target| &target.uid).filter(|uid| !uid.is_empty()).collect()
}
