//! Comparing a list of the runtime with the pods of the node.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::action::Seen;
use super::agent::{Shared, Slot};
use super::env::references;
use crate::model::{ObjectKey, Pod, Uid};
use crate::runtime::SandboxStatus;

/// Where the pod of a sandbox is.
#[derive(Debug)]
pub(super) enum Found {
    /// Bound to this node.
    Here(Arc<Pod>),
    /// Bound to another node, or the store can't be asked.
    Elsewhere,
    /// Nowhere in the cluster.
    Gone,
}

impl Shared {
    /// Takes up a pod with the sandboxes it has.
    pub(super) fn adopt(&self, pod: Option<Arc<Pod>>, sandboxes: Vec<SandboxStatus>, serial: u64) {
        let uid = pod.as_ref().map(|p| p.metadata.uid.clone());
        let Some(uid) = uid.or_else(|| sandboxes.first().map(|s| s.pod_uid.clone())) else { return };
        if let Some(pod) = &pod {
            self.routes.set_interest(&self.node, &uid, references(pod));
        }
        let now = self.now();
        let mut slot = Slot { pod, ..Slot::default() };
        slot.memory.adopt(slot.pod.as_deref(), sandboxes, serial, now, &self.rng);
        slot.memory.volumes_stale = slot.pod.is_some();
        self.lock().entry(uid.clone()).or_insert(slot);
        self.queue.add(uid);
    }

    /// Takes up what is left of a pod, to end it. Files of it may be left too.
    pub(super) fn adopt_orphan(&self, uid: &Uid, sandboxes: Vec<SandboxStatus>, serial: u64) {
        debug_assert!(sandboxes.iter().all(|s| s.pod_uid == *uid));
        self.adopt(None, sandboxes, serial);
    }

    /// Tells every pod what the list shows of it, and takes those out of the list.
    pub(super) fn compare(&self, list: &mut BTreeMap<Uid, Vec<SandboxStatus>>, serial: u64) {
        let (now, until) = (self.now(), self.next_serial());
        for (uid, slot) in self.lock().iter_mut() {
            let mut sandboxes = list.remove(uid).unwrap_or_default();
            sandboxes.sort_by_key(|s| s.attempt);
            let present = sandboxes.pop();
            if serial > slot.memory.observed_until {
                slot.memory.leftovers = sandboxes.into_iter().map(|s| s.id).collect();
            }
            let seen = Seen { serial, until, result: Ok(present) };
            slot.memory.see(seen, slot.pod.as_deref(), now, &self.rng);
            self.queue.add(uid.clone());
        }
    }

    /// Ends the pods that are gone and of which nobody told: one may go while it is taken up. Only the store may say so.
    pub(super) async fn end_gone(&self) {
        let known: Vec<Arc<Pod>> = self.lock().values().filter_map(|slot| slot.pod.clone()).collect();
        for pod in known {
            if let Found::Gone = self.find(&ObjectKey::of(&*pod), &pod.metadata.uid).await {
                self.pod_gone(&pod.metadata.uid);
            }
        }
    }

    /// Finds the pod of a sandbox that no pod of this node claims. Only the store may say that it is gone.
    pub(super) async fn find_owner(&self, uid: &Uid, sandboxes: &[SandboxStatus]) -> Found {
        let Some(sandbox) = sandboxes.first() else { return Found::Elsewhere };
        let key = ObjectKey::new::<Pod>(Arc::clone(&sandbox.namespace), Arc::clone(&sandbox.pod_name));
        self.find(&key, uid).await
    }

    /// Finds a pod in the cache, or in the store.
    async fn find(&self, key: &ObjectKey, uid: &Uid) -> Found {
        let judge = |pod: Arc<Pod>| {
            if pod.node_name.as_ref() == Some(&self.node) { Found::Here(pod) } else { Found::Elsewhere }
        };
        if let Some(pod) = self.routes.pod(key).filter(|p| p.metadata.uid == *uid) {
            return judge(pod);
        }
        match self.client.namespace(Arc::clone(&key.namespace)).find::<Pod>(&key.name).await {
            Ok(Some(pod)) if pod.metadata.uid == *uid => judge(pod),
            Ok(_) => Found::Gone,
            Err(error) => {
                tracing::warn!(node = %self.node, %key, %error, "can't tell whether a pod is gone");
                Found::Elsewhere
            }
        }
    }
}
