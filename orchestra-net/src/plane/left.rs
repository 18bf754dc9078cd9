//! Endpoints that left while they answered something.

use std::collections::BTreeMap;
use std::sync::Arc;

use orchestra_core::model::Uid;

use crate::upstream::Backend;

/// Endpoints that their services list no longer, while they answer something: a pod that its Service does not select any more, and
/// that is drained then, has requests all the same.
#[derive(Debug, Default)]
pub(super) struct Left(BTreeMap<Uid, Vec<Arc<Backend>>>);

impl Left {
    pub(super) fn add(&mut self, leaving: Vec<Arc<Backend>>) {
        if leaving.is_empty() {
            return;
        }
        // As few as there are such, those that are done are found when others come.
        self.0.retain(|_, backends| {
            backends.retain(|backend| backend.in_flight() > 0);
            !backends.is_empty()
        });
        for backend in leaving {
            self.0.entry(backend.id.pod.clone()).or_default().push(backend);
        }
    }

    /// Those of a pod. They stay here until they are done: a drain may be asked for again.
    pub(super) fn of(&self, pod: &Uid) -> Vec<Arc<Backend>> {
        self.0.get(pod).cloned().unwrap_or_default()
    }
}
