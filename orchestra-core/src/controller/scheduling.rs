//! Giving pods to nodes: the loop around a [`Scheduler`].

mod nominations;
mod questions;
mod writer;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, mpsc};

use crate::client::Client;
use crate::engine::{CacheChange, Caches, Recorder, Tasks};
use crate::model::{Namespace, Node, ObjectKey, Pod, PodDisruptionBudget, Resource, Uid};
use crate::scheduler::{Change, Explanation, Outcome, PodQueue, Scheduler, View, schedule};
use nominations::Nominations;
pub use questions::{AskError, SchedulingDesk};
use questions::{Desk, Question};
use writer::Writer;

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
    nominations: Nominations,
    /// Pods for which others left, by their scheduler: next.
    ready: Vec<(String, Uid)>,
    questions: mpsc::Receiver<Question>,
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
    Budget(Arc<PodDisruptionBudget>),
    /// Its namespace and name.
    BudgetGone(String, String),
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
    /// Starts scheduling in `tasks`. Answers where to ask the schedulers.
    pub fn start(
        schedulers: Schedulers,
        client: &Client,
        caches: &Caches,
        recorder: Recorder,
        tasks: &Tasks,
    ) -> SchedulingDesk {
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
        inbox.follow::<PodDisruptionBudget>(
            caches,
            |b| Input::Budget(Arc::clone(b)),
            |b| Input::BudgetGone(b.metadata.namespace.clone(), b.metadata.name.clone()),
        );
        inbox.follow::<Pod>(
            caches,
            |p| Input::Pod(Arc::clone(p)),
            |p| Input::PodGone(p.metadata.uid.clone()),
        );
        let queues = schedulers.into_iter().map(|(name, s)| (name, (s, PodQueue::new()))).collect();
        let writer = Writer { client: client.clone(), recorder };
        let (desk, questions) = SchedulingDesk::new(caches);
        let mut this = Self {
            writer,
            inbox,
            view: View::new(),
            queues,
            nominations: Nominations::default(),
            ready: Vec::new(),
            questions,
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
            self.answer(question);
        }
        let mut decided = !self.ready.is_empty();
        self.decide_ready().await;
        let names: Vec<String> = self.queues.keys().cloned().collect();
        for name in names {
            decided |= self.decide(&name).await;
        }
        if idle && !decided {
            tokio::select! {
                biased;
                () = inbox.wake.notified() => {}
                Some(question) = self.questions.recv() => self.answer(question),
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
    fn answer(&mut self, question: Question) {
        if self.catch_up() {
            // Decisions follow from that, after the answer.
            self.inbox.wake.notify_one();
        }
        question(&mut Desk { view: &mut self.view, queues: &mut self.queues });
    }

    fn apply(&mut self, input: &Input) {
        let change = match input {
            Input::Node(node) => self.view.node_changed(node),
            Input::NodeGone(name) => {
                self.nominations.on(name).iter().for_each(|pod| self.give_up(pod));
                self.view.node_removed(name)
            }
            Input::Pod(pod) => {
                let uid = &pod.metadata.uid;
                if pod.is_terminal() {
                    self.left(uid);
                }
                if pod.is_terminating() || pod.is_terminal() || pod.node_name.is_some() {
                    self.give_up(uid);
                }
                if let Some((_, queue)) = self.queues.get_mut(&pod.spec.scheduler_name) {
                    queue.pod_changed(pod);
                }
                self.view.pod_changed(pod)
            }
            Input::PodGone(uid) => {
                self.queues.values_mut().for_each(|(_, queue)| queue.pod_removed(uid));
                self.give_up(uid);
                let change = self.view.pod_removed(uid);
                self.left(uid);
                change
            }
            Input::Namespace(namespace) => self.view.namespace_changed(namespace),
            Input::NamespaceGone(name) => self.view.namespace_removed(name),
            Input::Budget(budget) => self.view.budget_changed(budget),
            Input::BudgetGone(namespace, name) => self.view.budget_removed(namespace, name),
        };
        self.wake(change);
    }

    /// A pod that others wait for is gone. Who waits for nobody any more comes next.
    fn left(&mut self, victim: &Uid) {
        for pod in self.nominations.left(victim) {
            if let Some((scheduler, _)) = self.nominations.remove(&pod) {
                self.ready.push((scheduler, pod));
            }
        }
    }

    /// Decides anew about the pods for which others left, each before anybody else could take its room: the nodes may
    /// have changed meanwhile.
    async fn decide_ready(&mut self) {
        for (name, uid) in std::mem::take(&mut self.ready) {
            let change = self.view.forget(&uid);
            self.wake(change);
            let pod = self.queues.get(&name).and_then(|(_, queue)| queue.taken(&uid)).cloned();
            self.decide_about(&name, pod.into_iter().collect()).await;
        }
    }

    /// Ends the wait of a pod for others. Those of them that were not made to leave yet stay.
    fn give_up(&mut self, pod: &Uid) {
        if let Some(queue) = self.take_back(pod) {
            queue.retry(pod);
        }
    }

    /// Takes back the decision that a pod waits for others, and answers with the queue that it is of.
    fn take_back(&mut self, pod: &Uid) -> Option<&mut PodQueue> {
        let (scheduler, victims) = self.nominations.remove(pod)?;
        victims.iter().for_each(|victim| self.view.spare(victim));
        let change = self.view.forget(pod);
        self.wake(change);
        self.queues.get_mut(&scheduler).map(|(_, queue)| queue)
    }

    /// Has pods leave a node for another, which waits for their end.
    async fn preempt(&mut self, name: &str, pod: &Arc<Pod>, node: &Arc<str>, victims: &[Arc<Pod>]) {
        let uid = &pod.metadata.uid;
        self.nominations.add(name, uid, node, victims);
        for victim in victims {
            if self.nominations.contains(&victim.metadata.uid) {
                // It only waited there itself.
                self.give_up(&victim.metadata.uid);
                self.left(&victim.metadata.uid);
            } else if !victim.is_terminating()
                && let Err(error) = self.writer.evict(victim, pod, node).await
            {
                let name = &victim.metadata.name;
                let why = format!("pod {name} on node {node} could not be made to leave: {error}");
                tracing::debug!(pod = %pod.metadata.name, %error, victim = %name, "could not preempt");
                self.settle_refused(pod, &Explanation::note(why)).await;
                return;
            }
        }
        if self.nominations.contains(uid) {
            self.writer.nominate(pod, node, victims.len()).await;
        }
    }

    /// A pod can't have the room it was to have.
    async fn settle_refused(&mut self, pod: &Arc<Pod>, why: &Explanation) {
        let uid = &pod.metadata.uid;
        if let Some(queue) = self.take_back(uid) {
            // It waits for another change: at once it would be refused again.
            queue.set_aside(uid, why);
        }
        self.writer.explain(pod, why).await;
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
        let pods = queue.take(BATCH);
        self.decide_about(name, pods).await
    }

    async fn decide_about(&mut self, name: &str, pods: Vec<Arc<Pod>>) -> bool {
        let Some((scheduler, queue)) = self.queues.get_mut(name).filter(|_| !pods.is_empty()) else {
            return false;
        };
        let span = tracing::debug_span!("schedule", scheduler = name, pods = pods.len());
        let decisions = span.in_scope(|| schedule(&mut **scheduler, &mut self.view, pods));
        queue.settle(&decisions);
        let (mut assigned, mut pending, mut preempting) = (Vec::new(), Vec::new(), Vec::new());
        for decision in &decisions {
            match &decision.outcome {
                Outcome::Assigned(node) => assigned.push((&decision.pod, Arc::clone(node))),
                Outcome::Pending(why) => pending.push((&decision.pod, why)),
                Outcome::Preempting { node, victims } => preempting.push((&decision.pod, node, victims)),
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
        for (pod, node, victims) in preempting {
            self.preempt(name, pod, node, victims).await;
        }
        for (pod, why) in pending {
            self.writer.explain(pod, why).await;
        }
        true
    }
}
