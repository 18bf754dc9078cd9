//! L1, L3, L5, L6: when users and faults have stopped, everything comes to be as desired, rollouts complete, and what was
//! deleted is gone. S14: endpoints are what the pods make of them.

use std::collections::BTreeSet;

use orchestra_core::model::{AnyObjectExt, Condition, Deployment, EndpointSlice, Node, Pod, Service, Uid};

use super::{Check, Found};
use crate::sim::event::Event;
use crate::sim::view::{View, selects};

/// Checks L1, L3, L5 and L6.
#[derive(Debug, Default)]
pub(super) struct Desired;

impl Check for Desired {
    fn on(&mut self, event: &Event<'_>, view: &View<'_>, found: &mut Found) {
        let Event::Settled = event else { return };
        for (key, object) in view.objects.all() {
            if object.meta().is_deleting() {
                found.add("L6", format!("{key} was deleted and is still there"));
            }
            // Owners that are gone take their parts with them.
            for owner in &object.meta().owner_references {
                if view.objects.by_uid(&owner.uid).is_none() {
                    found.add("L6", format!("{key} outlives its owner {}", owner.name));
                }
            }
        }
        view.objects.of::<Deployment>().for_each(|deployment| deployed(deployment, view, found));
        view.objects.of::<Pod>().for_each(|pod| pod_is_well(pod, found));
        view.objects.of::<Service>().for_each(|service| endpoints(service, view, found));
        for node in view.objects.of::<Node>().filter(|node| !node.is_ready() || !node.spec.taints.is_empty())
        {
            let taints: Vec<_> = node.spec.taints.iter().map(|t| &t.key).collect();
            found.add("L1", format!("{} has not recovered: its taints are {taints:?}", node.metadata.name));
        }
    }
}

fn deployed(deployment: &Deployment, view: &View<'_>, found: &mut Found) {
    let (name, status) = (&deployment.metadata.name, &deployment.status);
    let want = deployment.spec.replicas;
    if status.observed_generation != deployment.metadata.generation {
        found.add("L1", format!("deployment {name} was not looked at since it changed"));
    }
    let pods: Vec<_> = view.objects.pods_of_deployment(&deployment.metadata.uid).collect();
    let alive = pods.iter().filter(|pod| !pod.is_terminal()).count();
    let ready = pods.iter().filter(|pod| pod.is_ready()).count();
    if [alive, ready].iter().any(|n| *n != usize::try_from(want).unwrap_or(usize::MAX)) {
        found.add("L1", format!("deployment {name} wants {want} pods, has {alive}, of them {ready} ready"));
    }
    let numbers = [status.replicas, status.ready_replicas, status.available_replicas];
    if numbers.iter().any(|n| *n != want) {
        found.add("S29", format!("deployment {name} says {numbers:?} of {want}"));
    }
    if deployment.spec.paused {
        return;
    }
    let progressing = Condition::find(&status.conditions, "Progressing");
    let complete = progressing.is_some_and(|c| c.is_true() && c.reason == "NewReplicaSetAvailable");
    if !complete || status.updated_replicas != want {
        let reason = progressing.map_or("", |c| c.reason.as_str());
        let updated = status.updated_replicas;
        found.add("L5", format!("the rollout of {name} has not completed: {reason}, {updated} of {want}"));
    }
    let sizes: Vec<u32> =
        view.objects.sets_of(&deployment.metadata.uid).map(|set| set.spec.replicas).collect();
    if sizes.iter().sum::<u32>() != want || sizes.iter().filter(|n| **n > 0).count() > 1 {
        found.add("L5", format!("the replica sets of {name} have the sizes {sizes:?}"));
    }
}

fn pod_is_well(pod: &Pod, found: &mut Found) {
    let name = &pod.metadata.name;
    if pod.is_terminal() {
        return;
    }
    if pod.node_name.is_none() {
        let why = pod.condition("PodScheduled").map_or("", |c| c.message.as_str());
        found.add("L3", format!("pod {name} was not bound: {why}"));
    } else if !pod.is_ready() {
        found.add("L1", format!("pod {name} is {:?} and not ready", pod.status.phase));
    }
}

fn endpoints(service: &Service, view: &View<'_>, found: &mut Found) {
    let pods = view.objects.of::<Pod>().filter(|pod| selects(service, pod));
    let wanted: BTreeSet<&Uid> =
        pods.filter(|pod| pod.is_ready() && !pod.is_terminating()).map(|pod| &pod.metadata.uid).collect();
    let slices =
        view.objects.all().filter_map(|(_, object)| object.as_resource::<EndpointSlice>()).filter(|slice| {
            slice.service_name() == Some(service.metadata.name.as_str())
                && slice.metadata.namespace == service.metadata.namespace
        });
    let listed: Vec<&Uid> = slices
        .flat_map(|slice| &slice.endpoints)
        .filter(|endpoint| endpoint.conditions.is_ready())
        .filter_map(|endpoint| endpoint.target_ref.as_ref().map(|target| &target.uid))
        .collect();
    if listed.len() != wanted.len() || listed.iter().any(|uid| !wanted.contains(uid)) {
        let name = &service.metadata.name;
        found.add(
            "S14",
            format!("service {name} lists {} endpoints, {} pods are ready", listed.len(), wanted.len()),
        );
    }
}
