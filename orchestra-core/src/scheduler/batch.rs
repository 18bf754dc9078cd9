//! A batch of pods to place, with the view that the decisions are made on.

use std::collections::VecDeque;
use std::fmt;

use super::unit::Unit;
use super::{AssignError, Explanation, NodeId, NodeView, Outcome, Pipeline, PodInfo, Room, View};

/// The pods to place, and the view with every decision so far already in it.
pub struct Batch<'v> {
    view: &'v mut View,
    units: VecDeque<Unit>,
    outcomes: Vec<Option<Outcome>>,
    /// Pods in the order in which they were decided, so that [`atomic`](Self::atomic) can take decisions back.
    decided: Vec<u32>,
    constraints: Option<Pipeline>,
}

impl<'v> Batch<'v> {
    pub(crate) fn new(view: &'v mut View, units: Vec<Unit>, outcomes: Vec<Option<Outcome>>) -> Self {
        Self { view, units: units.into(), outcomes, decided: Vec::new(), constraints: None }
    }

    pub(crate) fn into_outcomes(self) -> Vec<Option<Outcome>> {
        self.outcomes
    }

    /// Takes the next unit off the batch.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator would borrow the batch that decisions go to"
    )]
    pub fn next(&mut self) -> Option<Unit> {
        self.units.pop_front()
    }

    /// How many units have not been taken yet.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.units.len()
    }

    /// The view, with every decision so far in it.
    #[must_use]
    pub fn view(&self) -> &View {
        self.view
    }

    pub(crate) fn view_mut(&mut self) -> &mut View {
        self.view
    }

    /// All nodes of the view.
    pub fn nodes(&self) -> impl Iterator<Item = NodeView<'_>> {
        self.view.nodes()
    }

    /// The nodes that can take `pod` now by all of Kubernetes' hard constraints: room, selectors, affinity,
    /// taints, ports, spread. The answer for equal pods is kept and follows what changes.
    pub fn feasible(&mut self, pod: &PodInfo) -> impl Iterator<Item = NodeView<'_>> {
        let constraints = self.constraints.get_or_insert_with(Pipeline::constraints);
        let nodes = constraints.feasible(self.view, pod);
        nodes.into_iter().filter_map(|id| self.view.node(id))
    }

    /// Why the nodes that are not [`feasible`](Self::feasible) are not.
    pub fn explain(&mut self, pod: &PodInfo) -> Explanation {
        let constraints = self.constraints.get_or_insert_with(Pipeline::constraints);
        constraints.why_not(self.view, pod)
    }

    /// Gives `pod` to `node`. The view has it there from now on.
    ///
    /// # Errors
    /// Where the node is not there, has not enough left or one of the host ports taken, or where the batch has a
    /// decision about this pod already. Nothing has changed then. Other constraints are the scheduler's business.
    pub fn assign(&mut self, pod: &PodInfo, node: NodeId) -> Result<(), AssignError> {
        self.view.read_ahead(pod, node);
        self.assign_read(pod, node)
    }

    /// The same for a node whose memory was [read ahead](View::read_ahead).
    pub(super) fn assign_read(&mut self, pod: &PodInfo, node: NodeId) -> Result<(), AssignError> {
        let name = || format!("{}/{}", pod.namespace(), pod.name());
        if !self.is_waiting(pod) {
            return Err(AssignError::NotWaiting { pod: name() });
        }
        let Some(target) = self.view.node(node) else { return Err(AssignError::UnknownNode { pod: name() }) };
        let lacking = target.lacking(pod).map(|resource| format!("insufficient {resource}"));
        let lacking = lacking.or_else(|| target.port_taken(pod).then(|| "a host port is taken".to_owned()));
        if let Some(lacking) = lacking {
            return Err(AssignError::DoesNotFit { pod: name(), node: target.name().into(), lacking });
        }
        let name = self.view.assume(pod, node);
        self.decide(pod, Outcome::Assigned(name));
        Ok(())
    }

    /// Where pods of lower priority could leave for `pod`, at the least cost, by all of Kubernetes' hard constraints: none,
    /// where there is room as it is. `None` where that would not help either, would overdraw a disruption budget, or where
    /// the pod must not preempt.
    pub fn room_for(&mut self, pod: &PodInfo) -> Option<Room> {
        let constraints = self.constraints.get_or_insert_with(Pipeline::constraints);
        constraints.room_for(self.view, pod)
    }

    /// Has pods leave, so that `pod` can go to the node when they are gone. Until then the view has all of them there,
    /// so that nobody else gets what they leave. Where nobody has to leave, the pod is [assigned](Self::assign).
    ///
    /// # Errors
    /// Where a victim is not on the node or its priority is not lower, where the pod would not fit even without
    /// them, or where the batch has a decision about it already. Nothing has changed then.
    pub fn preempt(&mut self, pod: &PodInfo, room: &Room) -> Result<(), AssignError> {
        if room.victims.is_empty() {
            // Of nobody the end would ever be seen that it waits for.
            return self.assign(pod, room.node);
        }
        let named = |pod: &crate::model::Pod| format!("{}/{}", pod.metadata.namespace, pod.metadata.name);
        let name = || format!("{}/{}", pod.namespace(), pod.name());
        if !self.is_waiting(pod) {
            return Err(AssignError::NotWaiting { pod: name() });
        }
        let Some(target) = self.view.node(room.node) else {
            return Err(AssignError::UnknownNode { pod: name() });
        };
        let node: std::sync::Arc<str> = target.name().into();
        for victim in &room.victims {
            let why = if self.view.node_of(&victim.metadata.uid) != Some(&node) {
                "it is not there"
            } else if victim.spec.importance() >= pod.priority() {
                "its priority is not lower"
            } else {
                continue;
            };
            return Err(AssignError::NoVictim { pod: name(), node, victim: named(victim), why });
        }
        let victims: Vec<_> = room.victims.iter().map(|victim| victim.metadata.uid.clone()).collect();
        if !self.view.fits_without(pod, room.node, &victims) {
            let lacking = "not even without those that would leave".to_owned();
            return Err(AssignError::DoesNotFit { pod: name(), node, lacking });
        }
        victims.iter().for_each(|victim| self.view.set_preempted(victim, true));
        self.view.assume(pod, room.node);
        self.decide(pod, Outcome::Preempting { node, victims: room.victims.clone() });
        Ok(())
    }

    /// Leaves `pod` pending. Does nothing where the batch has a decision about the pod already.
    pub fn defer(&mut self, pod: &PodInfo, why: impl Into<Explanation>) {
        if self.is_waiting(pod) {
            self.decide(pod, Outcome::Pending(why.into()));
        }
    }

    /// Whether the batch has no decision about `pod` yet.
    #[must_use]
    pub fn is_waiting(&self, pod: &PodInfo) -> bool {
        matches!(self.outcomes.get(pod.slot as usize), Some(None))
    }

    /// Has every pod that was assigned since the `decided`th decision wait where others of them wait for pods to leave.
    pub(super) fn wait_together(&mut self, decided: usize) {
        let slots: Vec<usize> = self.decided[decided..].iter().map(|slot| *slot as usize).collect();
        let waits = |slot: &usize| matches!(self.outcomes[*slot], Some(Outcome::Preempting { .. }));
        if !slots.iter().any(waits) {
            return;
        }
        for slot in slots {
            if let Some(Outcome::Assigned(node)) = &self.outcomes[slot] {
                let node = std::sync::Arc::clone(node);
                self.outcomes[slot] = Some(Outcome::Preempting { node, victims: Vec::new() });
            }
        }
    }

    /// How many decisions there are.
    pub(super) fn decisions(&self) -> usize {
        self.decided.len()
    }

    fn decide(&mut self, pod: &PodInfo, outcome: Outcome) {
        self.outcomes[pod.slot as usize] = Some(outcome);
        self.decided.push(pod.slot);
    }

    /// Runs `decisions`; where it fails, none of the decisions made in it stands.
    ///
    /// # Errors
    /// What `decisions` failed with.
    pub fn atomic<R, E>(&mut self, decisions: impl FnOnce(&mut Self) -> Result<R, E>) -> Result<R, E> {
        let (mark, decided) = (self.view.mark(), self.decided.len());
        let result = decisions(self);
        if result.is_ok() {
            self.view.keep(mark);
        } else {
            self.view.roll_back(mark);
            for slot in self.decided.drain(decided..) {
                self.outcomes[slot as usize] = None;
            }
        }
        result
    }

    /// Decides about all pods of a unit. `choose` says where a pod goes, or why it waits. Of a gang enough pods
    /// are placed or none, in one domain where it asks for that; members beyond that wait without holding up the rest.
    ///
    /// Of a gang that must be [within](Unit::within) a domain, `choose` is given its pods with a node selector for the
    /// domain that is tried.
    pub fn place(
        &mut self,
        unit: &Unit,
        mut choose: impl FnMut(&mut Self, &PodInfo) -> Result<NodeId, Explanation>,
    ) {
        let mut put = |batch: &mut Self, pod: &PodInfo, seen: &PodInfo| {
            let node = choose(batch, seen)?;
            batch.assign(pod, node).map_err(Explanation::from)
        };
        let Some(gang) = &unit.gang else {
            for pod in &unit.pods {
                if let Err(why) = put(self, pod, pod) {
                    self.defer(pod, why);
                }
            }
            return;
        };
        if let Err(why) = self.place_gang(unit, gang, false, &mut put) {
            unit.pods.iter().for_each(|pod| self.defer(pod, why.clone()));
        }
    }
}

impl fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (remaining, decided) = (self.remaining(), self.decided.len());
        f.debug_struct("Batch")
            .field("remaining", &remaining)
            .field("decided", &decided)
            .finish_non_exhaustive()
    }
}
