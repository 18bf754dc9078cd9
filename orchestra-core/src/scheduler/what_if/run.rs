//! Trying suppositions out.

use std::sync::Arc;

use indexmap::IndexMap;

use super::{Cause, Forecast, MAX_DIAGNOSED, Placement, Supposition, WhatIf, WhatIfError};
use crate::model::{Pod, PodStatus, Uid};
use crate::scheduler::{
    Decision, Diagnosis, NodeId, NodeReport, Outcome, Pending, PodInfo, Scheduler, View, explain, schedule,
};

/// How often those that were preempted are tried again. Each time their priorities are lower than those of who took their
/// place, so that a cluster has as many rounds as priorities; one with more is cut short here.
const MAX_ROUNDS: usize = 64;
/// Of a pod that was preempted in the last round.
const TOO_MANY_ROUNDS: &str = "would be preempted after more rounds than are followed";

/// Who decides.
pub(crate) trait Decider {
    fn schedule(&mut self, view: &mut View, pods: Vec<Pending>) -> Vec<Decision>;
    fn explain(&mut self, view: &mut View, pod: &Arc<Pod>) -> Option<Diagnosis>;
    /// What the pod's scheduler makes of every node; nothing where there is no such scheduler.
    fn report(&mut self, view: &mut View, pod: &PodInfo) -> Vec<NodeReport>;
}

/// One scheduler for all pods.
pub(in crate::scheduler) struct One<'s>(pub(in crate::scheduler) &'s mut dyn Scheduler);

impl Decider for One<'_> {
    fn schedule(&mut self, view: &mut View, pods: Vec<Pending>) -> Vec<Decision> {
        schedule(self.0, view, pods)
    }

    fn explain(&mut self, view: &mut View, pod: &Arc<Pod>) -> Option<Diagnosis> {
        Some(explain(self.0, view, pod))
    }

    fn report(&mut self, view: &mut View, pod: &PodInfo) -> Vec<NodeReport> {
        self.0.explain(view, pod)
    }
}

impl WhatIf {
    /// What `decider` would do, and what `look` then sees.
    pub(crate) fn decided_by<R>(
        &self,
        decider: &mut dyn Decider,
        view: &mut View,
        look: impl FnOnce(&View, &Forecast) -> R,
    ) -> Result<(Forecast, R), WhatIfError> {
        view.what_if(|view| {
            let mut run = Run { view, waiting: Vec::new(), stories: IndexMap::new() };
            for unit in &self.pending {
                run.wait(unit.clone(), &Cause::Pending);
            }
            for supposition in &self.suppositions {
                run.suppose(supposition)?;
            }
            run.decide(decider);
            let mut forecast = Forecast { placements: run.into_placements() };
            if self.explained {
                let pending = forecast.placements.iter_mut().filter(|placement| placement.node().is_none());
                for placement in pending.take(MAX_DIAGNOSED) {
                    placement.diagnosis = decider.explain(view, &placement.pod);
                }
            }
            let seen = look(view, &forecast);
            Ok((forecast, seen))
        })
    }
}

/// What is known of a pod that looks for a place.
struct Story {
    pod: Arc<Pod>,
    from: Option<Arc<str>>,
    cause: Cause,
    decided: Option<Outcome>,
}

struct Run<'v> {
    view: &'v mut View,
    waiting: Vec<Pending>,
    stories: IndexMap<Uid, Story>,
}

impl Run<'_> {
    fn suppose(&mut self, supposition: &Supposition) -> Result<(), WhatIfError> {
        match supposition {
            Supposition::Node(node) => {
                self.view.node_changed(node);
            }
            Supposition::NodeGone(name) => {
                let id = self.node(name)?;
                self.view.node_removed(name);
                self.displace(id);
            }
            Supposition::Cordon { node, cordoned } => {
                let id = self.node(node)?;
                self.cordon(id, *cordoned);
            }
            Supposition::Drain(name) => {
                let id = self.node(name)?;
                self.cordon(id, true);
                self.displace(id);
            }
            Supposition::Pods(unit) => self.come(unit)?,
            Supposition::PodGone(namespace, name) => self.go(namespace, name)?,
        }
        Ok(())
    }

    fn node(&self, name: &str) -> Result<NodeId, WhatIfError> {
        let no_node = || WhatIfError::NoNode { node: name.to_owned() };
        self.view.node_named(name).map(|node| node.id()).ok_or_else(no_node)
    }

    fn cordon(&mut self, node: NodeId, cordoned: bool) {
        let Some(old) = self.view.node(node).map(|node| Arc::clone(node.node())) else { return };
        let mut new = crate::model::Node::clone(&old);
        new.spec.unschedulable = cordoned;
        self.view.node_changed(&Arc::new(new));
    }

    /// Has the pods of a node look for another place.
    fn displace(&mut self, node: NodeId) {
        let pods: Vec<Arc<Pod>> = self.view.residents_of(node).map(|(pod, _)| Arc::clone(pod)).collect();
        for pod in pods {
            self.leave(&pod, Cause::Displaced);
        }
    }

    /// Takes a pod from its node. It looks for another place, unless it is on its way out.
    fn leave(&mut self, pod: &Arc<Pod>, cause: Cause) {
        let uid = &pod.metadata.uid;
        let from = self.view.node_of(uid).cloned();
        let leaves_anyway = pod.is_terminating() || self.view.is_preempted(uid);
        self.view.take_out(uid);
        if leaves_anyway {
            return;
        }
        let mut again = Pod::clone(pod);
        (again.node_name, again.status) = (None, PodStatus::default());
        let pod = Arc::new(again);
        // Who is moved on comes from where it was at first.
        let story = Story { pod: Arc::clone(&pod), from, cause, decided: None };
        self.stories.entry(uid.clone()).or_insert(story).decided = None;
        self.waiting.push(pod.into());
    }

    fn come(&mut self, unit: &Pending) -> Result<(), WhatIfError> {
        for pod in &unit.pods {
            if let Some(node) = self.view.node_of(&pod.metadata.uid) {
                let pod = format!("{}/{}", pod.metadata.namespace, pod.metadata.name);
                return Err(WhatIfError::PodExists { pod, node: Arc::clone(node) });
            }
        }
        match unit.pods.as_slice() {
            [pod] if pod.node_name.is_some() => {
                self.view.pod_changed(pod);
            }
            _ => self.wait(unit.clone(), &Cause::Added),
        }
        Ok(())
    }

    fn wait(&mut self, unit: Pending, cause: &Cause) {
        for pod in &unit.pods {
            let story = Story { pod: Arc::clone(pod), from: None, cause: cause.clone(), decided: None };
            self.stories.insert(pod.metadata.uid.clone(), story);
        }
        self.waiting.push(unit);
    }

    fn go(&mut self, namespace: &str, name: &str) -> Result<(), WhatIfError> {
        let is = |pod: &Pod| pod.metadata.namespace == namespace && pod.metadata.name == name;
        let on_node = self.view.pods().find(|(pod, _)| is(pod)).map(|(pod, _)| pod.metadata.uid.clone());
        if let Some(uid) = on_node {
            self.view.take_out(&uid);
            return Ok(());
        }
        let mut gone = None;
        for unit in &mut self.waiting {
            if let Some(place) = unit.pods.iter().position(|pod| is(pod)) {
                gone = Some(unit.pods.remove(place).metadata.uid.clone());
            }
        }
        self.waiting.retain(|unit| !unit.pods.is_empty());
        let no_pod = || WhatIfError::NoPod { pod: format!("{namespace}/{name}") };
        self.stories.shift_remove(&gone.ok_or_else(no_pod)?);
        Ok(())
    }

    /// Has all that wait decided about. Whoever is preempted leaves and waits too.
    fn decide(&mut self, decider: &mut dyn Decider) {
        for _ in 0..MAX_ROUNDS {
            let units = std::mem::take(&mut self.waiting);
            let decisions = decider.schedule(self.view, units.clone());
            let mut preempted = Vec::new();
            for Decision { pod, outcome, .. } in decisions {
                if let Outcome::Preempting { victims, .. } = &outcome {
                    preempted
                        .extend(victims.iter().map(|victim| (Arc::clone(victim), pod.metadata.uid.clone())));
                }
                if let Some(story) = self.stories.get_mut(&pod.metadata.uid) {
                    story.decided = Some(outcome);
                }
            }
            if preempted.is_empty() {
                return;
            }
            for (victim, by) in preempted {
                // It goes because of this pod, whatever else has it go.
                self.view.spare(&victim.metadata.uid);
                self.leave(&victim, Cause::Preempted(by));
            }
            // Who found no room may find some that was left over.
            let again: Vec<Pending> = units.into_iter().filter_map(|unit| self.rest_of(unit)).collect();
            self.waiting.extend(again);
        }
    }

    /// What of a unit still waits.
    fn rest_of(&self, mut unit: Pending) -> Option<Pending> {
        let all = unit.pods.len();
        unit.pods.retain(|pod| {
            let decided = self.stories.get(&pod.metadata.uid).and_then(|story| story.decided.as_ref());
            matches!(decided, Some(Outcome::Pending(_)))
        });
        let placed = all - unit.pods.len();
        if let Some(gang) = &mut unit.gang {
            gang.least = gang.least.saturating_sub(placed);
        }
        (!unit.pods.is_empty()).then_some(unit)
    }

    fn into_placements(self) -> Vec<Placement> {
        let placement = |Story { pod, from, cause, decided }| {
            let outcome = decided.unwrap_or_else(|| Outcome::Pending(TOO_MANY_ROUNDS.into()));
            Placement { pod, from, cause, outcome, diagnosis: None }
        };
        self.stories.into_values().map(placement).collect()
    }
}
