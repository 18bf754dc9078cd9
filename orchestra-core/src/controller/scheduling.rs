//! Giving pods to nodes: the loop around a [`Scheduler`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::client::{Client, ClientError};
use crate::engine::{CacheChange, Caches, Recorder, Tasks};
use crate::model::{Condition, EventType, Namespace, Node, ObjectKey, Pod, Resource, Uid};
use crate::scheduler::{Change, Explanation, Outcome, PodQueue, Scheduler, View, schedule};

/// How many pods are decided about together. The commit of their placements is the unit of a conflict, and
/// changes that come in meanwhile wait for it: a few hundred keep both small.
const BATCH: usize = 512;

/// The schedulers of a cluster, by the name that pods ask for in `spec.schedulerName`.
pub type Schedulers = BTreeMap<String, Box<dyn Scheduler>>;

/// Feeds the changes of nodes and pods to the schedulers' view, lets them decide about pending pods in
/// batches, and commits what they decide.
///
/// All schedulers share one view, so what one has decided the next one sees.
pub struct SchedulingLoop {
    writer: Writer,
    inbox: Arc<Inbox>,
    view: View,
    queues: BTreeMap<String, (Box<dyn Scheduler>, PodQueue)>,
}

impl fmt::Debug for SchedulingLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SchedulingLoop").field("schedulers", &self.queues.keys()).finish_non_exhaustive()
    }
}

/// What changed since the loop last looked: the newest form of each object, so that it holds at most one
/// entry an object however long a decision takes.
#[derive(Debug, Default)]
struct Inbox {
    changes: Mutex<BTreeMap<ObjectKey, Vec<Input>>>,
    wake: Notify,
}

#[derive(Clone, Debug)]
enum Input {
    Node(Arc<Node>),
    NodeGone(String),
    Pod(Arc<Pod>),
    PodGone(Uid),
    Namespace(Arc<Namespace>),
    NamespaceGone(String),
}

impl Inbox {
    /// Follows a kind: `made` turns an object that is there into an input, `gone` one that was.
    fn follow<T: Resource>(
        self: &Arc<Self>,
        caches: &Caches,
        made: impl Fn(&Arc<T>) -> Input + Send + Sync + 'static,
        gone: impl Fn(&T) -> Input + Send + Sync + 'static,
    ) {
        let inbox = Arc::clone(self);
        caches.of::<T>().on_change(move |change: &CacheChange<'_, T>| {
            let mut inputs = Vec::new();
            // A pod of the same name is another pod: that the old one has gone must not be lost.
            if let Some(old) =
                change.old.filter(|old| change.new.is_none_or(|new| new.meta().uid != old.meta().uid))
            {
                inputs.push(gone(old));
            }
            let mut changes = inbox.changes.lock().unwrap_or_else(PoisonError::into_inner);
            let entry = changes.entry(change.key.clone()).or_default();
            if let Some(new) = change.new {
                inputs.push(made(new));
                if inputs.len() == 1 {
                    entry.retain(|input| matches!(input, Input::PodGone(_)));
                }
            }
            entry.extend(inputs);
            drop(changes);
            inbox.wake.notify_one();
        });
    }

    fn take(&self) -> Vec<Input> {
        let changes = std::mem::take(&mut *self.changes.lock().unwrap_or_else(PoisonError::into_inner));
        changes.into_values().flatten().collect()
    }
}

impl SchedulingLoop {
    /// Starts scheduling in `tasks`.
    pub fn start(
        schedulers: Schedulers,
        client: &Client,
        caches: &Caches,
        recorder: Recorder,
        tasks: &Tasks,
    ) {
        let inbox = Arc::<Inbox>::default();
        inbox.follow::<Namespace>(
            caches,
            |n| Input::Namespace(Arc::clone(n)),
            |n| Input::NamespaceGone(n.metadata.name.clone()),
        );
        inbox.follow::<Node>(
            caches,
            |n| Input::Node(Arc::clone(n)),
            |n| Input::NodeGone(n.metadata.name.clone()),
        );
        inbox.follow::<Pod>(
            caches,
            |p| Input::Pod(Arc::clone(p)),
            |p| Input::PodGone(p.metadata.uid.clone()),
        );
        let queues = schedulers.into_iter().map(|(name, s)| (name, (s, PodQueue::new()))).collect();
        let writer = Writer { client: client.clone(), recorder };
        let mut this = Self { writer, inbox, view: View::new(), queues };
        let caches = caches.clone();
        tasks.spawn("scheduling", async move {
            caches.synced().await;
            loop {
                this.run().await;
            }
        });
    }

    async fn run(&mut self) {
        let inbox = Arc::clone(&self.inbox);
        let inputs = inbox.take();
        let idle = inputs.is_empty();
        for input in inputs {
            self.apply(&input);
        }
        let mut decided = false;
        let names: Vec<String> = self.queues.keys().cloned().collect();
        for name in names {
            decided |= self.decide(&name).await;
        }
        if idle && !decided {
            inbox.wake.notified().await;
        }
    }

    fn apply(&mut self, input: &Input) {
        let change = match input {
            Input::Node(node) => self.view.node_changed(node),
            Input::NodeGone(name) => self.view.node_removed(name),
            Input::Pod(pod) => {
                if let Some((_, queue)) = self.queues.get_mut(&pod.spec.scheduler_name) {
                    queue.pod_changed(pod);
                }
                self.view.pod_changed(pod)
            }
            Input::PodGone(uid) => {
                self.queues.values_mut().for_each(|(_, queue)| queue.pod_removed(uid));
                self.view.pod_removed(uid)
            }
            Input::Namespace(namespace) => self.view.namespace_changed(namespace),
            Input::NamespaceGone(name) => self.view.namespace_removed(name),
        };
        self.wake(change);
    }

    fn wake(&mut self, change: Change) {
        if change != Change::NONE {
            for (_, queue) in self.queues.values_mut() {
                queue.wake(change);
            }
        }
    }

    /// Decides about some of the pods that wait for the scheduler `name`. Returns whether there were any.
    async fn decide(&mut self, name: &str) -> bool {
        let Some((scheduler, queue)) = self.queues.get_mut(name) else { return false };
        let pods = queue.take(BATCH);
        if pods.is_empty() {
            return false;
        }
        let span = tracing::debug_span!("schedule", scheduler = name, pods = pods.len());
        let decisions = span.in_scope(|| schedule(&mut **scheduler, &mut self.view, pods));
        queue.settle(&decisions);
        let (mut assigned, mut pending) = (Vec::new(), Vec::new());
        for decision in &decisions {
            match &decision.outcome {
                Outcome::Assigned(node) => assigned.push((&decision.pod, Arc::clone(node))),
                Outcome::Pending(why) => pending.push((&decision.pod, why)),
            }
        }
        metrics::counter!("orchestra_scheduled_total", "result" => "assigned")
            .increment(assigned.len() as u64);
        metrics::counter!("orchestra_scheduled_total", "result" => "pending").increment(pending.len() as u64);
        for uid in self.writer.bind(&assigned).await {
            let change = self.view.forget(&uid);
            if let Some((_, queue)) = self.queues.get_mut(name) {
                queue.retry(&uid);
            }
            self.wake(change);
        }
        for (pod, why) in pending {
            self.writer.explain(pod, why).await;
        }
        true
    }
}

/// Stores what was decided.
#[derive(Debug)]
struct Writer {
    client: Client,
    recorder: Recorder,
}

impl Writer {
    /// Commits placements; returns the pods whose placement was not stored.
    async fn bind(&self, assigned: &[(&Arc<Pod>, Arc<str>)]) -> Vec<Uid> {
        if assigned.is_empty() {
            return Vec::new();
        }
        let all =
            assigned.iter().fold(self.client.transaction(), |t, (pod, node)| t.bind(pod, Arc::clone(node)));
        if all.commit().await.is_ok() {
            return Vec::new();
        }
        // One of them can't be bound as it is: find out which, the others need not wait for it.
        let mut failed = Vec::new();
        for (pod, node) in assigned {
            match self.client.transaction().bind(pod, Arc::clone(node)).commit().await {
                Ok(_) => {}
                // It was bound after all, by the commit whose outcome was not known: its change will confirm it.
                Err(ClientError::Conflict { why, .. }) if why.contains(&**node) => {}
                Err(error) => {
                    tracing::debug!(pod = %pod.metadata.name, %error, "a placement was not stored");
                    failed.push(pod.metadata.uid.clone());
                }
            }
        }
        if !failed.is_empty() && failed.len() == assigned.len() {
            // Nothing could be stored: the store is in trouble, and does not get better by being asked at once.
            tokio::time::sleep(crate::engine::Backoff::default().after(5)).await;
        }
        failed
    }

    /// Writes to the pod, and tells in an event, why it waits; once for each reason.
    ///
    /// The pod is read afresh: the one that was decided about may be older than what was written to it since, not
    /// least by the explanation before this one. A parked pod is not tried again because its status changed, so an
    /// explanation that lost to another write would never be given.
    async fn explain(&self, pod: &Arc<Pod>, why: &Explanation) {
        let message = why.to_string();
        let now = self.client.clock().now();
        let client = self.client.namespace(pod.metadata.namespace.as_str());
        let mut news = false;
        let written = client.modify_status::<Pod>(&pod.metadata.name, |stored| {
            let waits = stored.metadata.uid == pod.metadata.uid && stored.node_name.is_none();
            news = waits && stored.condition("PodScheduled").is_none_or(|c| c.message != message);
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
