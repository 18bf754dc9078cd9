//! Taking a pod out of traffic before it is stopped.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_trait::async_trait;
use futures_util::future::join_all;

use crate::model::{Revision, Uid};

/// A balancer, as the node agents see it: something that may still be sending requests to a pod.
///
/// # Contract
/// - `drain` returns when the balancer has applied every endpoint change up to `revision`, will not pick the
///   pod again, and has no request in flight to it. An endpoint update that is under way does not bring the
///   pod back.
/// - Idempotent, cancel-safe (a drain that was begun goes on excluding the pod), callable for pods it has
///   never heard of. The caller bounds the wait.
#[async_trait]
pub trait DrainGate: Debug + Send + Sync + 'static {
    /// Drains `pod`.
    async fn drain(&self, pod: &Uid, revision: Revision);
}

const _: fn(&dyn DrainGate) = |_| {};

/// The balancers of a cluster. Clones share one list.
#[derive(Clone, Debug, Default)]
pub struct Gates(Arc<Mutex<Registry>>);

#[derive(Debug, Default)]
struct Registry {
    gates: BTreeMap<u64, Arc<dyn DrainGate>>,
    next: u64,
}

impl Gates {
    /// No balancers: nothing to wait for.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a balancer, for as long as the registration lives.
    #[must_use = "dropping the registration takes the balancer out again"]
    pub fn register(&self, gate: Arc<dyn DrainGate>) -> GateRegistration {
        let mut registry = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let id = registry.next;
        registry.next += 1;
        registry.gates.insert(id, gate);
        GateRegistration { registry: Arc::downgrade(&self.0), id }
    }

    /// Waits until every balancer has drained `pod`. Bound it with a timeout: what was begun goes on.
    pub async fn drain_all(&self, pod: &Uid, revision: Revision) {
        let gates: Vec<_> =
            self.0.lock().unwrap_or_else(PoisonError::into_inner).gates.values().cloned().collect();
        join_all(gates.iter().map(|gate| gate.drain(pod, revision))).await;
    }
}

/// A balancer's place among the [`Gates`]; ends when dropped.
#[derive(Debug)]
pub struct GateRegistration {
    registry: Weak<Mutex<Registry>>,
    id: u64,
}

impl Drop for GateRegistration {
    fn drop(&mut self) {
        if let Some(registry) = self.registry.upgrade() {
            registry.lock().unwrap_or_else(PoisonError::into_inner).gates.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Recording(Mutex<Vec<String>>);

    #[async_trait]
    impl DrainGate for Recording {
        async fn drain(&self, pod: &Uid, revision: Revision) {
            self.0.lock().unwrap().push(format!("{pod} {revision}"));
        }
    }

    #[tokio::test]
    async fn every_registered_balancer_is_asked_and_none_that_has_left() {
        let gates = Gates::new();
        let gate = Arc::new(Recording(Mutex::default()));
        let one = gates.register(Arc::<Recording>::clone(&gate));
        let two = gates.register(Arc::<Recording>::clone(&gate));
        gates.drain_all(&Uid::from("pod"), Revision(7)).await;
        assert_eq!(*gate.0.lock().unwrap(), ["pod 7", "pod 7"]);
        drop((one, two));
        gates.drain_all(&Uid::from("pod"), Revision(8)).await;
        assert_eq!(gate.0.lock().unwrap().len(), 2);
    }
}
