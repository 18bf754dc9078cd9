//! Taking up a node: what runs there is adopted, or removed; then the node is registered, and work begins.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use super::absorb_list::Found;
use super::agent::Shared;
use super::backoff::CALL_BACKOFF;
use super::error::chain;
use super::ops::{CALL_LIMIT, bounded};
use super::register;
use crate::runtime::{EventStream, RuntimeError, RuntimeEvent};

/// Tries until it works: without a runtime that answers nothing can be done.
async fn insist<R, F: Future<Output = Result<R, RuntimeError>>>(
    shared: &Shared,
    what: &'static str,
    call: impl Fn() -> F,
) -> R {
    let mut failures = 0;
    loop {
        match bounded(CALL_LIMIT, &shared.node, what, call()).await {
            Ok(result) => return result,
            Err(error) => {
                failures += 1;
                tracing::warn!(node = %shared.node, error = chain(&error), failures, "failed to {what}; tries again");
                tokio::time::sleep(CALL_BACKOFF.after(failures)).await;
            }
        }
    }
}

/// The life of an agent.
pub(super) async fn run(shared: Arc<Shared>) {
    shared.caches.synced().await;
    let info = insist(&shared, "ask the runtime what it is", || shared.runtime.info()).await;
    shared.turns.bound(info.starts);
    // Set once, here.
    let _first = shared.info.set(info);
    let events = insist(&shared, "listen to the runtime", || shared.runtime.events()).await;
    relist(&shared, true).await;
    remove_stray_files(&shared).await;
    shared.routes.join(&shared);
    shared.end_gone().await;
    register::register(&shared).await;
    shared.ready.send_replace(true);
    // A task of its own: it wakes for each probe, and what follows for hardly anything.
    shared.tasks.spawn("pods", Arc::clone(&shared).work());
    tokio::join!(follow(&shared, events), resync(&shared), register::keep_lease(&shared));
}

/// Follows what happens in the runtime. Where that may have been missed, everything is listed.
async fn follow(shared: &Arc<Shared>, mut events: EventStream) {
    loop {
        match events.next().await {
            Some(RuntimeEvent::PodChanged { pod_uid, sandbox }) => {
                shared.runtime_changed(&pod_uid, &sandbox, None)
            }
            Some(RuntimeEvent::ContainerChanged { pod_uid, sandbox, container, runs }) => {
                shared.runtime_changed(&pod_uid, &sandbox, Some((&*container, runs)));
            }
            Some(RuntimeEvent::Lost) => relist(shared, false).await,
            None => {
                tokio::time::sleep(CALL_BACKOFF.first).await;
                events = insist(shared, "listen to the runtime", || shared.runtime.events()).await;
                relist(shared, false).await;
            }
        }
    }
}

/// Up to so many pods are listed as often as the options say.
const LISTED_OFTEN: usize = 100;

async fn resync(shared: &Arc<Shared>) {
    loop {
        let pods = shared.lock().len().max(LISTED_OFTEN);
        tokio::time::sleep(shared.options.resync.mul_f64(pods as f64 / LISTED_OFTEN as f64)).await;
        relist(shared, false).await;
    }
}

/// Lists the runtime and compares. What belongs to no pod of the cluster is taken up to be stopped.
async fn relist(shared: &Arc<Shared>, boot: bool) {
    // Taken before the list: whatever is read later knows better.
    let serial = shared.next_serial();
    let list = insist(shared, "list the runtime", || shared.runtime.list()).await;
    let mut by_pod: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for sandbox in list {
        by_pod.entry(sandbox.pod_uid.clone()).or_default().push(sandbox);
    }
    if boot {
        for pod in shared.routes.pods_on(&shared.node) {
            let sandboxes = by_pod.remove(&pod.metadata.uid).unwrap_or_default();
            shared.adopt(Some(pod), sandboxes, serial);
        }
    } else {
        shared.compare(&mut by_pod, serial);
    }
    for (uid, sandboxes) in by_pod {
        match shared.find_owner(&uid, &sandboxes).await {
            Found::Here(pod) => shared.adopt(Some(pod), sandboxes, serial),
            Found::Gone => {
                tracing::info!(node = %shared.node, pod = %uid, "stops what is left of a pod that is gone");
                shared.adopt_orphan(&uid, sandboxes, serial);
            }
            // It belongs to another agent of this runtime; or the store can't say, and the next list asks again.
            Found::Elsewhere => {}
        }
    }
    if !boot {
        shared.end_gone().await;
    }
}

/// Removes the directories of pods that are not here any more.
async fn remove_stray_files(shared: &Arc<Shared>) {
    let known: Vec<_> = shared.lock().keys().cloned().collect();
    let strays = match shared.volumes.pods().await {
        Ok(pods) => pods.into_iter().filter(|uid| known.binary_search(uid).is_err()),
        Err(error) => {
            tracing::warn!(node = %shared.node, error = chain(&error), "can't list the directories of pods");
            return;
        }
    };
    for uid in strays {
        if let Err(error) = shared.volumes.remove(&uid).await {
            tracing::warn!(node = %shared.node, pod = %uid, error = chain(&error), "can't remove its directories");
        }
    }
}
