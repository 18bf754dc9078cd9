//! From decisions to the store.

use std::sync::Arc;

use super::volumes::Binding;
use crate::client::{Client, ClientError, DeleteOptions};
use crate::engine::Recorder;
use crate::model::{Condition, EventType, Pod};
use crate::scheduler::Explanation;

/// Pods with their nodes, to be bound together: one, or those of a gang; and what becomes the volumes of their claims.
#[derive(Debug, Default)]
pub(super) struct Placements<'p> {
    pub(super) pods: Vec<(&'p Arc<Pod>, Arc<str>)>,
    pub(super) volumes: Vec<Binding>,
}

/// Whether a conflict says of the first pod that it is on its node already.
fn is_bound_so(placements: &Placements<'_>, why: &str) -> bool {
    placements.pods.first().is_some_and(|(_, node)| why.contains(&**node))
}

/// Whether a placement that was not stored is to be decided anew as things are, or will be at once. Else it is refused for
/// what it is.
pub(super) fn is_worth_another_try(error: &ClientError) -> bool {
    error.is_conflict() || error.is_transient() || error.is_not_found() || error.outcome_unknown()
}

/// Stores what was decided.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) client: Client,
    pub(super) recorder: Recorder,
}

impl Writer {
    /// Commits placements, those of a gang together; returns the numbers of those that were not stored, and why.
    pub(super) async fn bind(&self, assigned: &[Placements<'_>]) -> Vec<(usize, ClientError)> {
        if assigned.is_empty() || self.bind_all(assigned).await.is_ok() {
            return Vec::new();
        }
        // One of them can't be bound as it is: find out which, the others need not wait for it.
        let mut failed = Vec::new();
        for (number, placements) in assigned.iter().enumerate() {
            match self.bind_all(std::slice::from_ref(placements)).await {
                Ok(()) => {}
                // It was bound after all, by the commit whose outcome was not known, and with it all of its gang: their
                // changes will confirm it.
                Err(ClientError::Conflict { why, .. }) if is_bound_so(placements, &why) => {}
                Err(error) => {
                    let first = placements.pods.first().map(|(pod, _)| pod.metadata.name.as_str());
                    tracing::debug!(pod = first, %error, "a placement was not stored");
                    failed.push((number, error));
                }
            }
        }
        let to_be_tried = failed.iter().filter(|(_, error)| is_worth_another_try(error)).count();
        if to_be_tried > 0 && failed.len() == assigned.len() {
            // Nothing could be stored: the store is in trouble, or ahead of what is known, and that does not get better by
            // asking at once.
            tokio::time::sleep(crate::engine::Backoff::default().after(5)).await;
        }
        failed
    }

    async fn bind_all(&self, placements: &[Placements<'_>]) -> Result<(), ClientError> {
        let pods = placements.iter().flat_map(|placements| &placements.pods);
        let all = pods.fold(self.client.transaction(), |t, (pod, node)| t.bind(pod, Arc::clone(node)));
        let volumes = placements.iter().flat_map(|placements| &placements.volumes);
        volumes.fold(all, |transaction, binding| binding.write(transaction)).commit().await.map(drop)
    }

    /// Writes to the pod, and tells in an event, why it waits; once for each reason.
    ///
    /// The pod is read afresh: the one that was decided about may be older than what was written to it since, not
    /// least by the explanation before this one. A parked pod is not tried again because its status changed, so an
    /// explanation that lost to another write would never be given.
    pub(super) async fn explain(&self, pod: &Arc<Pod>, why: &Explanation) {
        self.tell_waits(pod, why.to_string(), "").await;
    }

    /// Has a pod leave for another. Tells it of its fate where it could be had so.
    ///
    /// # Errors
    /// Where its disruption budget forbids it, or the store refuses it.
    pub(super) async fn evict(&self, victim: &Arc<Pod>, pod: &Pod, node: &str) -> Result<(), ClientError> {
        let client = self.client.namespace(victim.metadata.namespace.as_str());
        let options = DeleteOptions::default().uid(victim.metadata.uid.clone());
        match client.evict(&victim.metadata.name, &options).await {
            Ok(()) => {}
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        }
        let (meta, priority) = (&pod.metadata, pod.spec.importance());
        let message = format!(
            "Preempted by pod {}/{} of priority {priority} on node {node}",
            meta.namespace, meta.name
        );
        let clock = &**self.client.clock();
        self.recorder.event(clock, &**victim, EventType::Normal, "Preempted", message);
        Ok(())
    }

    /// Writes to the pod, and tells in an event, that it waits for others to leave `node`.
    pub(super) async fn nominate(&self, pod: &Arc<Pod>, node: &str, victims: usize) {
        let message = match victims {
            0 => format!("waits on node {node} until there is room for the others of its group"),
            1 => format!("waits until 1 pod of lower priority left node {node}"),
            _ => format!("waits until {victims} pods of lower priority left node {node}"),
        };
        self.tell_waits(pod, message, node).await;
    }

    async fn tell_waits(&self, pod: &Arc<Pod>, message: String, nominated: &str) {
        let now = self.client.clock().now();
        let client = self.client.namespace(pod.metadata.namespace.as_str());
        let mut news = false;
        let written = client.modify_status::<Pod>(&pod.metadata.name, |stored| {
            let waits = stored.metadata.uid == pod.metadata.uid && stored.node_name.is_none();
            news = waits && stored.condition("PodScheduled").is_none_or(|c| c.message != message);
            if waits {
                nominated.clone_into(&mut stored.status.nominated_node_name);
            }
            if news {
                let condition = Condition::new("PodScheduled", false, now);
                stored.set_condition(condition.reason("Unschedulable").message(&message));
            }
        });
        match written.await {
            Ok(_) if news => {
                let clock = &**self.client.clock();
                self.recorder.event(clock, &**pod, EventType::Warning, "FailedScheduling", message);
            }
            Ok(_) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => {
                tracing::warn!(pod = %pod.metadata.name, %error, "why it waits was not stored");
            }
        }
    }
}
