//! Noticing that a node is silent, and moving its pods.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::client::{Client, DeleteOptions};
use crate::engine::{Cache, Caches, Controller, Index, Next, ReconcileError, Reconciler, Recorder, Tasks};
use crate::model::{
    Condition, ConditionStatus, EventType, Lease, Node, ObjectKey, Pod, Taint, TaintEffect, Timestamp,
};
use crate::rng::Rng;

/// The namespace of the nodes' leases: Kubernetes' own.
pub const NODE_LEASE_NAMESPACE: &str = "kube-node-lease";

/// The taint on a node that does not answer.
pub const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// The taint on a node that says it is not ready.
pub const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// How silent nodes are judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NodeLifecycleOptions {
    /// How long a node may be silent where its lease does not say: Kubernetes' 40 s.
    pub grace: Duration,
    /// How many pods are evicted from silent nodes in a second, over all nodes. A burst of as many is
    /// allowed. Bounds how fast a mistake can do damage.
    pub evictions_per_second: u32,
    /// Above this share of silent nodes nothing is evicted: then it is likelier that we are cut off.
    /// Kubernetes' 0.55.
    pub unhealthy_share: f64,
}

impl Default for NodeLifecycleOptions {
    fn default() -> Self {
        Self { grace: Duration::from_secs(40), evictions_per_second: 100, unhealthy_share: 0.55 }
    }
}

/// Marks nodes that stay silent, taints them, and evicts their pods so that they are made anew elsewhere.
///
/// A lease is judged by the length that its holder declared, on this process's monotonic clock: a step of
/// the wall clock, here or there, makes no node silent.
#[derive(Debug)]
pub struct NodeLifecycleController {
    options: NodeLifecycleOptions,
    nodes: Arc<Cache<Node>>,
    leases: Arc<Cache<Lease>>,
    pods_on: Index<Pod, Arc<str>>,
    recorder: Recorder,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When each lease was last seen to change, and what it said.
    renewals: BTreeMap<String, (Option<Timestamp>, Instant)>,
    /// Since when a node that has pods is not there.
    gone: BTreeMap<String, Instant>,
    /// How many evictions are free now, and since when.
    tokens: f64,
    refilled: Instant,
}

impl NodeLifecycleController {
    /// Starts the controller in `tasks`.
    pub fn start(
        options: NodeLifecycleOptions,
        client: &Client,
        caches: &Caches,
        recorder: Recorder,
        rng: &Rng,
        tasks: &Tasks,
    ) {
        let tokens = f64::from(options.evictions_per_second);
        let state =
            State { renewals: BTreeMap::new(), gone: BTreeMap::new(), tokens, refilled: Instant::now() };
        let reconciler = Self {
            options,
            nodes: caches.of(),
            leases: caches.of(),
            pods_on: caches.pods_on_nodes(),
            recorder,
            state: Mutex::new(state),
        };
        Controller::new("node-lifecycle", client, caches, rng)
            .on::<Node>()
            .maps::<Lease>(|change, add| {
                if &*change.key.namespace == NODE_LEASE_NAMESPACE {
                    add(ObjectKey::new::<Node>("", Arc::clone(&change.key.name)));
                }
            })
            .maps::<Pod>(|change, add| {
                // Only a pod that comes to a node can be one that must leave it.
                if let Some(new) = change.new.filter(|_| change.old.is_none_or(|old| old.node_name.is_none()))
                    && let Some(node) = &new.node_name
                {
                    add(ObjectKey::new::<Node>("", Arc::clone(node)));
                }
            })
            .start(reconciler, tasks);
    }

    /// How long the node may still be silent; zero: it has been too long.
    fn patience(&self, node: &Node) -> Duration {
        let name = &node.metadata.name;
        let lease = self.leases.get(&ObjectKey::new::<Lease>(NODE_LEASE_NAMESPACE, name.as_str()));
        let renewed = lease.as_ref().and_then(|l| l.spec.renew_time);
        let declared = lease.as_ref().and_then(|l| l.spec.lease_duration_seconds);
        let grace = declared.map_or(self.options.grace, |s| Duration::from_secs(u64::from(s)));
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = state.renewals.entry(name.clone()).or_insert((renewed, Instant::now()));
        if seen.0 != renewed {
            *seen = (renewed, Instant::now());
        }
        grace.saturating_sub(seen.1.elapsed())
    }

    /// Whether the store has not heard of a silent node either: the cache may lag behind it, where this process was held up.
    async fn confirmed(&self, node: &Node, client: &Client) -> Result<bool, ReconcileError> {
        let name = &node.metadata.name;
        let lease = client.namespace(NODE_LEASE_NAMESPACE).find::<Lease>(name).await?;
        let renewed = lease.and_then(|lease| lease.spec.renew_time);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = state.renewals.get(name).is_some_and(|seen| seen.0 == renewed);
        if !is_known {
            state.renewals.insert(name.clone(), (renewed, Instant::now()));
        }
        Ok(is_known)
    }

    /// There is no such node: nobody will ever end the pods that are bound to it, so their objects go. Not at
    /// once, since a node may be about to register.
    async fn gone(&self, name: &str, client: &Client) -> Result<Next, ReconcileError> {
        let pods = self.pods_on.get(name);
        let waited = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.renewals.remove(name);
            if pods.is_empty() {
                state.gone.remove(name);
                return Ok(Next::OnChange);
            }
            state.gone.entry(name.to_owned()).or_insert_with(Instant::now).elapsed()
        };
        if waited < self.options.grace {
            return Ok(Next::After(self.options.grace.saturating_sub(waited)));
        }
        if client.find::<Node>(name).await?.is_some() {
            return Ok(Next::OnChange);
        }
        let granted = self.take(pods.len());
        for pod in pods.iter().take(granted) {
            let options = DeleteOptions::default().uid(pod.metadata.uid.clone()).grace_period(0);
            let client = client.namespace(pod.metadata.namespace.as_str());
            match client.delete::<Pod>(&pod.metadata.name, &options).await {
                Err(error) if !error.is_not_found() && !error.is_conflict() => return Err(error),
                _ => {}
            }
        }
        Ok(if granted < pods.len() { Next::After(Duration::from_secs(1)) } else { Next::OnChange })
    }

    /// Takes up to `wanted` from the eviction budget.
    fn take(&self, wanted: usize) -> usize {
        let rate = f64::from(self.options.evictions_per_second);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let refill = state.refilled.elapsed().as_secs_f64() * rate;
        state.tokens = (state.tokens + refill).min(rate);
        state.refilled = Instant::now();
        let mut taken = 0;
        while taken < wanted && state.tokens >= 1.0 {
            state.tokens -= 1.0;
            taken += 1;
        }
        taken
    }

    /// Whether so many nodes are silent that it is likelier that we are cut off from them.
    fn cut_off(&self) -> bool {
        let nodes = self.nodes.list();
        let silent = nodes.iter().filter(|n| self.patience(n).is_zero()).count();
        #[allow(clippy::cast_precision_loss, reason = "numbers of nodes are far below 2^52")]
        let share = silent as f64 / nodes.len().max(1) as f64;
        silent > 1 && share > self.options.unhealthy_share || silent == nodes.len()
    }

    async fn mark(&self, node: &Node, silent: bool, client: &Client) -> Result<(), ReconcileError> {
        let says_ready = node.status.conditions.iter().find(|c| c.type_ == "Ready").map(|c| c.status);
        if silent && says_ready != Some(ConditionStatus::Unknown) {
            let now = client.clock().now();
            let mut marked = node.clone();
            Condition::new("Ready", ConditionStatus::Unknown, now)
                .reason("NodeStatusUnknown")
                .message("The node stopped renewing its lease.")
                .set_in(&mut marked.status.conditions);
            client.update_status(marked).await?;
            let message =
                format!("Node {} is silent: its pods are no longer counted as ready", node.metadata.name);
            self.recorder.event(&**client.clock(), node, EventType::Warning, "NodeNotReady", message);
        }
        let mut tainted = client.get::<Node>(&node.metadata.name).await?.as_ref().clone();
        set_taint(&mut tainted, UNREACHABLE, silent, client.clock().now());
        set_taint(
            &mut tainted,
            NOT_READY,
            !silent && says_ready == Some(ConditionStatus::False),
            client.clock().now(),
        );
        client.update(tainted).await?;
        Ok(())
    }

    /// The pods of a silent node serve nobody: they leave the balancers now, whenever they are moved.
    async fn mark_pods(&self, node: &Node, client: &Client) -> Result<(), ReconcileError> {
        for pod in self.pods_on.get(node.metadata.name.as_str()) {
            if !pod.is_ready() {
                continue;
            }
            let mut marked = (*pod).clone();
            let not_ready = Condition::new("Ready", false, client.clock().now());
            marked.set_condition(not_ready.reason("NodeNotReady").message("The pod's node is silent."));
            let client = client.namespace(pod.metadata.namespace.as_str());
            match client.update_status(marked).await {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Deletes the pods that do not tolerate the node's taints. Returns when to look again.
    async fn evict(&self, node: &Node, client: &Client) -> Result<Option<Duration>, ReconcileError> {
        let now = client.clock().now();
        let mut due = Vec::new();
        let mut next: Option<Duration> = None;
        for pod in self.pods_on.get(node.metadata.name.as_str()) {
            if pod.metadata.is_deleting() || pod.is_terminal() {
                continue;
            }
            match tolerated_for(node, &pod, now) {
                None => {}
                Some(wait) if wait.is_zero() => due.push(pod),
                Some(wait) => next = Some(next.map_or(wait, |n: Duration| n.min(wait))),
            }
        }
        let granted = self.take(due.len());
        if granted < due.len() {
            next = Some(Duration::from_secs(1).min(next.unwrap_or(Duration::MAX)));
        }
        for pod in due.into_iter().take(granted) {
            let options = DeleteOptions::default().uid(pod.metadata.uid.clone());
            let client = client.namespace(pod.metadata.namespace.as_str());
            match client.delete::<Pod>(&pod.metadata.name, &options).await {
                Err(error) if !error.is_not_found() && !error.is_conflict() => return Err(error),
                _ => {}
            }
            let message = format!("Evicted from node {}", node.metadata.name);
            self.recorder.event(&**client.clock(), &*pod, EventType::Normal, "TaintManagerEviction", message);
        }
        Ok(next)
    }
}

fn set_taint(node: &mut Node, key: &str, on: bool, now: Timestamp) {
    if !on {
        node.spec.taints.retain(|t| t.key != key);
        return;
    }
    for effect in [TaintEffect::NoSchedule, TaintEffect::NoExecute] {
        if !node.spec.taints.iter().any(|t| t.key == key && t.effect == effect) {
            let time_added = (effect == TaintEffect::NoExecute).then_some(now);
            node.spec.taints.push(Taint { key: key.to_owned(), effect, time_added, ..Taint::default() });
        }
    }
}

/// How long the pod may still stay on the node; `None`: for ever.
fn tolerated_for(node: &Node, pod: &Pod, now: Timestamp) -> Option<Duration> {
    let mut stay: Option<Duration> = None;
    for taint in node.spec.taints.iter().filter(|t| t.effect == TaintEffect::NoExecute) {
        let tolerating: Vec<_> = pod.spec.tolerations.iter().filter(|t| t.tolerates(taint)).collect();
        if tolerating.is_empty() {
            return Some(Duration::ZERO);
        }
        let since = taint.time_added.map_or(Duration::ZERO, |added| now.since(added));
        let seconds = tolerating.iter().filter_map(|t| t.toleration_seconds).min();
        if let Some(seconds) = seconds {
            let allowed = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
            let left = allowed.saturating_sub(since);
            stay = Some(stay.map_or(left, |s| s.min(left)));
        }
    }
    stay
}

#[async_trait]
impl Reconciler for NodeLifecycleController {
    async fn reconcile(&self, key: &ObjectKey, client: &Client) -> Result<Next, ReconcileError> {
        let Some(node) = self.nodes.get(key) else { return self.gone(&key.name, client).await };
        self.state.lock().unwrap_or_else(PoisonError::into_inner).gone.remove(&*key.name);
        let mut patience = self.patience(&node);
        if patience.is_zero() && !self.confirmed(&node, client).await? {
            patience = self.patience(&node);
        }
        let silent = patience.is_zero();
        if silent && self.cut_off() {
            tracing::warn!(node = %key.name, "most nodes are silent at once: nothing is evicted, we may be cut off");
            return Ok(Next::After(self.options.grace));
        }
        self.mark(&node, silent, client).await?;
        if silent {
            self.mark_pods(&node, client).await?;
        }
        let node = client.get::<Node>(&key.name).await?;
        let again = self.evict(&node, client).await?;
        let wait = if silent { again } else { Some(again.map_or(patience, |a| a.min(patience))) };
        Ok(wait.map_or(Next::OnChange, Next::After))
    }
}
