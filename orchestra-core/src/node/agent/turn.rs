//! The turns of pods: what has changed becomes a plan, and the plan operations.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::shared::{Shared, Slot};
use crate::model::{Pod, Uid};
use crate::node::action::{Action, Done, OpKey, Seen};
use crate::node::apply::Judge;
use crate::node::memory::{Busy, Memory, Observed};
use crate::node::ops::{self, Job};
use crate::node::plan::{Ending, Plan, View, ending, plan};
use crate::node::status::{NodeFacts, is_important, status};

/// How long a change of status that nobody acts on waits for the next one: longer than a quick start takes, short
/// enough for people who watch.
const STATUS_LAG: Duration = Duration::from_millis(100);

/// Up to so many pods on a node, their probes come at the same moments, to wake the process less often.
const PROBED_TOGETHER: usize = 64;

impl Shared {
    /// Works off the queue. Never waits for anything but the next pod.
    pub(in crate::node) async fn work(self: Arc<Self>) {
        loop {
            let uid = self.queue.next().await;
            let span = tracing::debug_span!("plan", node = %self.node, pod = %uid);
            span.in_scope(|| self.sync(&uid));
            self.queue.done(&uid);
            if self.shutdown.load(Ordering::SeqCst) {
                self.moved.notify_waiters();
            }
        }
    }

    /// One turn for one pod.
    fn sync(self: &Arc<Self>, uid: &Uid) {
        let now = self.now();
        let mut slots = self.lock();
        let Some(slot) = slots.get_mut(uid) else { return };
        let pod = slot.latest();
        let view = View {
            pod: pod.as_deref(),
            memory: &slot.memory,
            shutdown: self.shutdown.load(Ordering::SeqCst),
            now,
            drain_limit: self.options.drain_timeout,
        };
        let ending = ending(&view);
        let mut plan = plan(&view, ending.as_ref());
        let report = pod.as_ref().and_then(|pod| self.report(&view, pod, ending.as_ref(), &mut plan));
        if plan.actions.contains(&Action::Forget) {
            slots.remove(uid);
            drop(slots);
            self.routes.set_interest(&self.node, uid, BTreeSet::new());
            return;
        }
        for key in &plan.cancel {
            if let Some(Busy { abort: Some(abort), .. }) = slot.memory.end(key) {
                abort.abort();
            }
            slot.memory.changed_serial = self.next_serial();
        }
        if !plan.cancel.is_empty() {
            // What was given up must be looked at before anything else is decided.
            self.queue.add(uid.clone());
        }
        for action in plan.actions {
            self.launch(uid, slot, pod.clone(), action, ending.is_some());
        }
        match report {
            Some(Report::Write(pod)) => self.write_status(uid, slot, pod),
            Some(Report::Settled) => slot.memory.status_since = None,
            Some(Report::Later) => _ = slot.memory.status_since.get_or_insert(now.instant),
            None => {}
        }
        if let Some(at) = plan.wake {
            self.queue.add_after(uid.clone(), at.saturating_duration_since(now.instant));
        }
    }

    /// Whether the pod's status is to be written now.
    fn report(
        &self,
        view: &View<'_>,
        pod: &Arc<Pod>,
        ending: Option<&Ending>,
        plan: &mut Plan,
    ) -> Option<Report> {
        let memory = view.memory;
        if matches!(memory.observed, Observed::Unknown) || memory.is_busy(&OpKey::Status) || memory.deleted {
            return None;
        }
        let runtime = self.info.get().map_or("", |info| info.name.as_str());
        let facts = NodeFacts { host_ip: self.options.address, runtime };
        let new = status(view, pod, ending, facts);
        if new == pod.status {
            return Some(Report::Settled);
        }
        let retry = memory.status_trouble.as_ref().and_then(|t| t.retry);
        let lag = memory.status_since.map_or(view.now.instant + STATUS_LAG, |since| since + STATUS_LAG);
        let due = if is_important(&pod.status, &new) { view.now.instant } else { lag };
        let due = retry.map_or(due, |retry| due.max(retry));
        if due > view.now.instant {
            plan.wake = Some(plan.wake.map_or(due, |wake| wake.min(due)));
            return Some(Report::Later);
        }
        let mut pod = (**pod).clone();
        pod.status = new;
        Some(Report::Write(Box::new(pod)))
    }

    fn launch(
        self: &Arc<Self>,
        uid: &Uid,
        slot: &mut Slot,
        pod: Option<Arc<Pod>>,
        action: Action,
        is_ending: bool,
    ) {
        let Some(key) = action.key() else { return };
        let memory = &mut slot.memory;
        let brings_up =
            matches!(action, Action::Start { .. } | Action::Probe { .. } | Action::RefreshVolumes);
        let mut deadline = None;
        match &action {
            Action::Start { container, attempt } => {
                memory.files = true;
                let container = memory.container_mut(container);
                container.config_changed = false;
                container.begun = Some((*attempt, tokio::time::Instant::now()));
            }
            Action::Stop { container, deadline: at, .. } => {
                deadline = Some(*at);
                if is_ending {
                    memory.stopping_since.get_or_insert_with(tokio::time::Instant::now);
                    let mut mains = pod.iter().flat_map(|pod| &pod.spec.containers);
                    memory.cut_short |= mains.any(|main| main.name == *container);
                }
            }
            Action::RefreshVolumes => memory.volumes_stale = false,
            _ => {}
        }
        tracing::debug!(node = %self.node, pod = %uid, ?action, "acts");
        let job = Job { uid: uid.clone(), pod, sandbox: memory.sandbox().cloned(), action };
        let serial = self.next_serial();
        let (shared, done_key) = (Arc::clone(self), key.clone());
        let task = self.tasks.spawn("pod", async move {
            let uid = job.uid.clone();
            let (done, seen) = ops::run(&shared, job).await;
            shared.complete(&uid, &done_key, serial, done, seen);
        });
        let abort = Some(task.abort_handle());
        memory.busy.insert(key, Busy { serial, brings_up, deadline, abort });
    }

    fn write_status(self: &Arc<Self>, uid: &Uid, slot: &mut Slot, pod: Box<Pod>) {
        let serial = self.next_serial();
        let (shared, uid) = (Arc::clone(self), uid.clone());
        let task = self.tasks.spawn("status", async move {
            let written = shared.client.update_status(*pod).await;
            if let Err(error) = &written {
                tracing::debug!(pod = %uid, %error, "the status was not written");
            }
            shared.complete(&uid, &OpKey::Status, serial, Done::StatusWritten(written), None);
        });
        let abort = Some(task.abort_handle());
        slot.memory.busy.insert(OpKey::Status, Busy { serial, brings_up: false, deadline: None, abort });
    }

    /// Takes note of what an operation came to, unless it was given up.
    fn complete(&self, uid: &Uid, key: &OpKey, serial: u64, done: Done, seen: Option<Seen>) {
        let now = self.now();
        let mut slots = self.lock();
        let together = slots.len() <= PROBED_TOGETHER;
        let Some(slot) = slots.get_mut(uid) else { return };
        if slot.memory.busy.get(key).is_none_or(|busy| busy.serial != serial) {
            return;
        }
        slot.memory.end(key);
        let pod = slot.latest();
        let is_ending =
            pod.as_ref().is_none_or(|p| p.is_terminating()) || self.shutdown.load(Ordering::SeqCst);
        let judge = Judge { pod: pod.as_deref(), now, rng: &self.rng, ending: is_ending, together };
        let memory = &mut slot.memory;
        // A new sandbox must be known as one before it is looked into; all else is judged by how things are now.
        let notes = if matches!(done, Done::SandboxRun(_)) {
            let notes = memory.apply(done, judge);
            see(memory, seen, judge);
            notes
        } else {
            see(memory, seen, judge);
            memory.apply(done, judge)
        };
        drop(slots);
        if let Some(pod) = pod {
            notes.iter().for_each(|note| self.tell(&pod, note));
        }
        self.queue.add(uid.clone());
    }
}

fn see(memory: &mut Memory, seen: Option<Seen>, judge: Judge<'_>) {
    if let Some(seen) = seen {
        memory.see(seen, judge.pod, judge.now, judge.rng);
    }
}

enum Report {
    /// Write it now.
    Write(Box<Pod>),
    /// There is a change that can wait.
    Later,
    /// There is nothing to write.
    Settled,
}
