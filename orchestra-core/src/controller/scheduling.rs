//! Giving pods to nodes: the loop around a [`Scheduler`].

mod inbox;
mod nominations;
mod questions;
mod recovery;
mod volumes;
mod writer;

use std::collections::BTreeMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::sync::mpsc;

use crate::client::{Client, ClientError};
use crate::engine::{Caches, Queue, Recorder, Tasks};
use crate::model::{Pod, Uid};
use crate::panics;
use crate::rng::Rng;
use crate::scheduler::plugins::keeps_away;
use crate::scheduler::{
    Change, Decision, Explanation, Outcome, Pending, PodQueue, Scheduler, View, schedule,
};
use inbox::{Inbox, Input};
use nominations::{Nomination, Nominations};
pub use questions::{AskError, SchedulingDesk};
use questions::{Desk, Question};
use writer::{Placements, Writer, is_worth_another_try};

/// How many pods are decided about together. The commit of their placements is the unit of a conflict, and
/// changes that come in meanwhile wait for it: a few hundred keep both small.
const BATCH: usize = 512;

/// A pod, the node it is to have, and those that must leave that for it.
type Waiting<'d> = (&'d Arc<Pod>, &'d Arc<str>, &'d [Arc<Pod>]);

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
    nominations: Nominations,
    /// Pods for which others left: next.
    ready: Vec<Nomination>,
    /// Pods that are held back for their group, and why: to be told.
    held_back: BTreeMap<Uid, (Arc<Pod>, Explanation)>,
    questions: mpsc::Receiver<Question>,
    caches: Caches,
    /// Pods that no change of the cluster helps, to be tried again by time.
    retries: Queue<Uid>,
    /// How many units are yet decided about one by one: at one of them a scheduler panicked.
    careful: usize,
}

impl fmt::Debug for SchedulingLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SchedulingLoop").field("schedulers", &self.queues.keys()).finish_non_exhaustive()
    }
}

impl SchedulingLoop {
    /// Starts scheduling in `tasks`. Answers where to ask the schedulers.
    pub fn start(
        schedulers: Schedulers,
        client: &Client,
        caches: &Caches,
        recorder: Recorder,
        tasks: &Tasks,
    ) -> SchedulingDesk {
        let inbox = Inbox::following(caches);
        let queues = schedulers.into_iter().map(|(name, s)| (name, (s, PodQueue::new()))).collect();
        let view = recovery::empty_view();
        let writer = Writer { client: client.clone(), recorder };
        let (desk, questions) = SchedulingDesk::new(caches);
        let mut this = Self {
            writer,
            inbox,
            view,
            queues,
            nominations: Nominations::default(),
            ready: Vec::new(),
            held_back: BTreeMap::new(),
            questions,
            caches: caches.clone(),
            retries: Queue::new(recovery::BACKOFF, Rng::seeded(0)),
            careful: 0,
        };
        let caches = caches.clone();
        tasks.spawn("scheduling", async move {
            caches.synced().await;
            loop {
                this.run().await;
            }
        });
        desk
    }

    async fn run(&mut self) {
        let inbox = Arc::clone(&self.inbox);
        let idle = !self.catch_up();
        // One a round, so that who asks without end does not keep pods from being placed.
        if let Ok(question) = self.questions.try_recv() {
            self.answer(question).await;
        }
        if let Some(pod) = self.retries.next().now_or_never() {
            self.revive(&pod);
        }
        let mut decided = !self.ready.is_empty();
        self.decide_ready().await;
        for (_, (pod, why)) in std::mem::take(&mut self.held_back) {
            self.writer.explain(&pod, &why).await;
        }
        let names: Vec<String> = self.queues.keys().cloned().collect();
        for name in names {
            decided |= self.decide(&name).await;
        }
        if idle && !decided {
            tokio::select! {
                biased;
                () = inbox.wake.notified() => {}
                Some(question) = self.questions.recv() => self.answer(question).await,
                pod = self.retries.next() => self.revive(&pod),
            }
        }
    }

    /// Takes in what changed. Answers whether anything did.
    fn catch_up(&mut self) -> bool {
        let inputs = self.inbox.take();
        inputs.iter().for_each(|input| self.apply(input));
        !inputs.is_empty()
    }

    /// Answers a question by what is known when it is asked.
    async fn answer(&mut self, question: Question) {
        if self.catch_up() {
            // Decisions follow from that, after the answer.
            self.inbox.wake.notify_one();
        }
        let mut desk = Desk { view: &mut self.view, queues: &mut self.queues };
        let answered = std::panic::catch_unwind(AssertUnwindSafe(|| question(&mut desk)));
        if let Err(why) = answered.map_err(|panic| panics::message(&*panic)) {
            tracing::error!(why, "a question to a scheduler has no answer");
            self.start_over().await;
        }
    }

    fn apply(&mut self, input: &Input) {
        let change = match input {
            Input::Node(node) => {
                // Taints are how a silent node is marked: whoever is to leave it would never be seen to have gone.
                self.give_up_on(&node.metadata.name, |pod| keeps_away(&pod.spec, node));
                self.view.node_changed(node)
            }
            Input::NodeGone(name) => {
                self.give_up_on(name, |_| true);
                self.view.node_removed(name)
            }
            Input::Pod(pod) => {
                let uid = &pod.metadata.uid;
                if pod.is_terminal() {
                    self.left(uid);
                }
                if pod.is_terminating() || pod.is_terminal() || pod.node_name.is_some() {
                    self.give_up(uid);
                    self.retries.done(uid);
                }
                if let Some((_, queue)) = self.queues.get_mut(&pod.spec.scheduler_name) {
                    queue.pod_changed(pod);
                    let told = pod.condition("PodScheduled").map(|condition| &condition.message);
                    if let Some(why) = queue.held_back(uid).filter(|why| told != Some(&why.to_string())) {
                        self.held_back.insert(uid.clone(), (Arc::clone(pod), why));
                    }
                }
                self.view.pod_changed(pod)
            }
            Input::PodGone(uid) => {
                self.queues.values_mut().for_each(|(_, queue)| queue.pod_removed(uid));
                self.give_up(uid);
                self.retries.done(uid);
                let change = self.view.pod_removed(uid);
                self.left(uid);
                change
            }
            Input::Namespace(namespace) => self.view.namespace_changed(namespace),
            Input::NamespaceGone(name) => self.view.namespace_removed(name),
            Input::Budget(budget) => self.view.budget_changed(budget),
            Input::BudgetGone(namespace, name) => self.view.budget_removed(namespace, name),
            Input::Claim(claim) => self.view.claim_changed(claim),
            Input::ClaimGone(namespace, name) => self.view.claim_removed(namespace, name),
            Input::Volume(volume) => self.view.volume_changed(volume),
            Input::VolumeGone(name) => self.view.volume_removed(name),
            Input::StorageClass(class) => self.view.storage_class_changed(class),
            Input::StorageClassGone(name) => self.view.storage_class_removed(name),
            Input::Group(group) => {
                self.queues.values_mut().for_each(|(_, queue)| queue.group_changed(group));
                self.hold_back(&group.metadata.namespace, &group.metadata.name);
                Change::NONE
            }
            Input::GroupGone(namespace, name) => {
                self.queues.values_mut().for_each(|(_, queue)| queue.group_removed(namespace, name));
                self.hold_back(namespace, name);
                Change::NONE
            }
        };
        self.wake(change);
    }

    /// Has told why the pods of a group are held back.
    fn hold_back(&mut self, namespace: &str, name: &str) {
        let held = self.queues.values().flat_map(|(_, queue)| queue.held_back_for(namespace, name));
        self.held_back.extend(held.map(|(pod, why)| (pod.metadata.uid.clone(), (pod, why))));
    }

    /// A pod that others wait for is gone. Who waits for nobody any more comes next.
    fn left(&mut self, victim: &Uid) {
        self.ready.extend(self.nominations.left(victim));
    }

    /// Decides anew about the pods for which others left, each before anybody else could take its room: the nodes may
    /// have changed meanwhile.
    async fn decide_ready(&mut self) {
        for nomination in std::mem::take(&mut self.ready) {
            let pods = nomination.pods();
            for pod in &pods {
                let change = self.view.forget(pod);
                self.wake(change);
            }
            let queue = self.queues.get(&nomination.scheduler);
            let units = queue.map(|(_, queue)| queue.taken_together(&pods)).unwrap_or_default();
            self.decide_about(&nomination.scheduler, units).await;
        }
    }

    /// Ends the wait of those pods that wait on a node and can't have it any more.
    fn give_up_on(&mut self, node: &str, lost: impl Fn(&Pod) -> bool) {
        let pods = self.nominations.on(node).filter(|pod| lost(pod)).map(|pod| pod.metadata.uid.clone());
        pods.collect::<Vec<_>>().iter().for_each(|pod| self.give_up(pod));
    }

    /// Ends the wait of a pod for others, and of all that wait with it. Those of the others that were not made to leave yet
    /// stay.
    fn give_up(&mut self, pod: &Uid) {
        let Some(nomination) = self.take_back(pod) else { return };
        if let Some((_, queue)) = self.queues.get_mut(&nomination.scheduler) {
            nomination.pods().iter().for_each(|pod| queue.retry(pod));
        }
    }

    /// Takes back the decision that a pod, and those with it, wait for others.
    fn take_back(&mut self, pod: &Uid) -> Option<Nomination> {
        let (nomination, victims) = self.nominations.remove(pod)?;
        victims.iter().for_each(|victim| self.view.spare(victim));
        for pod in nomination.pods() {
            let change = self.view.forget(&pod);
            self.wake(change);
        }
        Some(nomination)
    }

    /// Has pods leave for a pod, or for those of a gang, which wait for their end.
    async fn preempt(&mut self, name: &str, unit: &[Waiting<'_>]) {
        let waiting = unit.iter().map(|(pod, node, _)| (Arc::clone(pod), Arc::clone(node))).collect();
        let victims: Vec<Arc<Pod>> = unit.iter().flat_map(|(.., victims)| victims.iter().cloned()).collect();
        self.nominations.add(Nomination::new(name, waiting, &victims));
        for (pod, node, victims) in unit {
            for victim in *victims {
                let uid = &victim.metadata.uid;
                if self.nominations.contains(uid) {
                    // It only waited there itself, perhaps with others elsewhere.
                    self.give_up(uid);
                    self.left(uid);
                } else if !victim.is_terminating()
                    && let Err(error) = self.writer.evict(victim, pod, node).await
                {
                    let name = &victim.metadata.name;
                    let why = format!("pod {name} on node {node} could not be made to leave: {error}");
                    tracing::debug!(pod = %pod.metadata.name, %error, victim = %name, "could not preempt");
                    self.settle_refused(unit, &Explanation::note(why)).await;
                    return;
                }
            }
        }
        for (pod, node, victims) in unit {
            if self.nominations.contains(&pod.metadata.uid) {
                self.writer.nominate(pod, node, victims.len()).await;
            }
        }
    }

    /// Pods can't have the room they were to have.
    async fn settle_refused(&mut self, unit: &[Waiting<'_>], why: &Explanation) {
        let Some((first, ..)) = unit.first() else { return };
        if let Some(nomination) = self.take_back(&first.metadata.uid)
            && let Some((_, queue)) = self.queues.get_mut(&nomination.scheduler)
        {
            // They wait for another change: at once they would be refused again.
            nomination.pods().iter().for_each(|pod| queue.set_aside(pod, why));
        }
        for (pod, ..) in unit {
            self.writer.explain(pod, why).await;
        }
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
        let Some((_, queue)) = self.queues.get_mut(name) else { return false };
        let units = queue.take(if self.careful > 0 { 1 } else { BATCH });
        self.decide_about(name, units).await
    }

    async fn decide_about(&mut self, name: &str, units: Vec<Pending>) -> bool {
        let Some((scheduler, queue)) = self.queues.get_mut(name).filter(|_| !units.is_empty()) else {
            return false;
        };
        let span = tracing::debug_span!("schedule", scheduler = name, units = units.len());
        let count = units.len();
        let decide = || span.in_scope(|| schedule(&mut **scheduler, &mut self.view, units));
        let decisions = match std::panic::catch_unwind(AssertUnwindSafe(decide)) {
            Ok(decisions) => decisions,
            Err(panic) => {
                self.panicked(name, count, panics::message(&*panic)).await;
                return true;
            }
        };
        self.careful = self.careful.saturating_sub(count);
        queue.settle(&decisions);
        let (mut assigned, mut pending, mut preempting) = (Vec::new(), Vec::new(), Vec::new());
        for unit in decisions.chunk_by(|a, b| a.gang.is_some() && a.gang == b.gang) {
            let (mut placements, mut waiting) = (Vec::new(), Vec::new());
            for Decision { pod, outcome, .. } in unit {
                match outcome {
                    Outcome::Assigned(node) => placements.push((pod, Arc::clone(node))),
                    Outcome::Pending(why) => pending.push((pod, why)),
                    Outcome::Preempting { node, victims } => waiting.push((pod, node, victims.as_slice())),
                }
            }
            assigned.extend(Some(placements).filter(|placements| !placements.is_empty()));
            preempting.extend(Some(waiting).filter(|waiting| !waiting.is_empty()));
        }
        let (assigned, refused) = self.choose_volumes(name, assigned);
        pending.extend(refused.iter().map(|(pod, why)| (*pod, why)));
        let placed = assigned.iter().map(|placements| placements.pods.len()).sum::<usize>();
        metrics::counter!("orchestra_scheduled_total", "result" => "assigned").increment(placed as u64);
        metrics::counter!("orchestra_scheduled_total", "result" => "pending").increment(pending.len() as u64);
        for (number, error) in self.writer.bind(&assigned).await {
            self.take_off(name, &assigned[number], &error).await;
        }
        for unit in preempting {
            self.preempt(name, &unit).await;
        }
        for (pod, why) in pending {
            self.writer.explain(pod, why).await;
        }
        true
    }

    /// Takes pods off the nodes that they could not be bound to.
    async fn take_off(&mut self, name: &str, placements: &Placements<'_>, error: &ClientError) {
        let Placements { pods, volumes } = placements;
        let mut change = volumes::forget(&mut self.view, volumes);
        for (pod, _) in pods {
            change |= self.view.forget(&pod.metadata.uid);
        }
        self.wake(change);
        if !is_worth_another_try(error) {
            let why = Explanation::note(format!("its placement was refused: {error}"));
            self.hold(name, pods.iter().map(|(pod, _)| *pod), &why).await;
        } else if let Some((_, queue)) = self.queues.get_mut(name) {
            pods.iter().for_each(|(pod, _)| queue.retry(&pod.metadata.uid));
        }
    }

    /// Chooses the volumes of pods that were placed. Those that have none on their node after all are taken off it, and wait
    /// for a change: another pod of the batch took the volume, or their scheduler does not look at volumes.
    fn choose_volumes<'d>(
        &mut self,
        name: &str,
        assigned: Vec<Vec<(&'d Arc<Pod>, Arc<str>)>>,
    ) -> (Vec<Placements<'d>>, Vec<(&'d Arc<Pod>, Explanation)>) {
        let (mut chosen, mut refused) = (Vec::with_capacity(assigned.len()), Vec::new());
        for pods in assigned {
            match volumes::choose(&mut self.view, &pods) {
                Ok(volumes) => chosen.push(Placements { pods, volumes }),
                Err(why) => {
                    let why = Explanation::note(why).with_helped_by(Change::VOLUMES | Change::NODE);
                    let change = pods
                        .iter()
                        .fold(Change::NONE, |change, (pod, _)| change | self.view.forget(&pod.metadata.uid));
                    self.wake(change);
                    refused.extend(pods.into_iter().map(|(pod, _)| (pod, why.clone())));
                }
            }
        }
        if let Some((_, queue)) = self.queues.get_mut(name) {
            // After the waking, which is due to themselves.
            refused.iter().for_each(|(pod, why)| queue.set_aside(&pod.metadata.uid, why));
        }
        (chosen, refused)
    }
}
