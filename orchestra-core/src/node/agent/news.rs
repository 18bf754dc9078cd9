//! What the agent hears of its pods, and of what they use.

use std::sync::Arc;

use super::shared::{Shared, Slot};
use crate::model::{Pod, Uid};
use crate::node::env::references;
use crate::node::memory::{Memory, Observed};
use crate::runtime::SandboxId;

impl Shared {
    /// The pod is new, or has changed.
    pub(in crate::node) fn pod_changed(&self, pod: &Arc<Pod>) {
        let uid = pod.metadata.uid.clone();
        let mut slots = self.lock();
        let is_new = !slots.contains_key(&uid);
        let slot = slots.entry(uid.clone()).or_insert_with(|| Slot {
            memory: Memory { observed: Observed::Absent, ..Memory::default() },
            ..Slot::default()
        });
        if let Some(known) = &slot.pod {
            if known.metadata.resource_version >= pod.metadata.resource_version {
                return;
            }
            let (old, new) = (&known.metadata, &pod.metadata);
            slot.memory.volumes_stale |= old.labels != new.labels || old.annotations != new.annotations;
        }
        slot.pod = Some(Arc::clone(pod));
        drop(slots);
        if is_new {
            self.routes.set_interest(&self.node, &uid, references(pod));
        }
        self.queue.add(uid);
    }

    /// The pod is gone from the store.
    pub(in crate::node) fn pod_gone(&self, uid: &Uid) {
        if let Some(slot) = self.lock().get_mut(uid) {
            slot.pod = None;
        }
        self.queue.add(uid.clone());
    }

    /// A config map or secret that the pod names has changed.
    pub(in crate::node) fn config_changed(&self, uid: &Uid) {
        if let Some(slot) = self.lock().get_mut(uid) {
            slot.memory.volumes_stale = true;
            for container in slot.memory.containers.values_mut() {
                container.config_changed = true;
                container.trouble.take_if(|t| t.retry.is_none());
            }
        }
        self.queue.add(uid.clone());
    }

    /// The runtime says that something about a sandbox of the pod has changed: where it says so, that a container runs, or
    /// does not.
    pub(in crate::node) fn runtime_changed(
        &self,
        uid: &Uid,
        sandbox: &SandboxId,
        container: Option<(&str, bool)>,
    ) {
        let (serial, now) = (self.next_serial(), self.now());
        if let Some(slot) = self.lock().get_mut(uid)
            && slot.memory.removed.as_ref() != Some(sandbox)
            && !container.is_some_and(|(name, runs)| slot.memory.expects(name, runs))
        {
            if !slot.memory.is_stale() {
                slot.memory.changed_at = Some(now.instant);
            }
            slot.memory.changed_serial = serial;
            self.queue.add(uid.clone());
        }
    }
}
