//! What is true at a moment: all objects, and what really runs where.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use orchestra_core::controller::TRAFFIC_LABEL;
use orchestra_core::model::{
    AnyObject, AnyObjectExt, Deployment, EndpointSlice, GroupKind, ObjectKey, ObjectMeta, Pod, ReplicaSet,
    Resource, Revision, Service, Timestamp, Uid,
};

use super::event::{Committed, ExitCause, Ground};
use super::{Options, process::Actor};

/// All objects as of the last commit.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    kinds: BTreeMap<GroupKind, BTreeMap<ObjectKey, AnyObject>>,
    keys: BTreeMap<Uid, ObjectKey>,
    /// Pods by the uid of their controller.
    pods_of: BTreeMap<Uid, BTreeMap<ObjectKey, Arc<Pod>>>,
    /// When the removal of a pod's object was committed.
    removed: BTreeMap<Uid, Duration>,
}

impl Objects {
    pub(super) fn apply(&mut self, seen: &Committed) {
        for change in seen.changes.iter() {
            if let Some(old) = &change.previous {
                self.keys.remove(&old.meta().uid);
                if let (Some(pod), Some(owner)) = (old.as_resource::<Pod>(), old.meta().controller())
                    && let Some(pods) = self.pods_of.get_mut(&owner.uid)
                {
                    pods.remove(&change.key);
                    self.removed.insert(pod.metadata.uid.clone(), seen.at);
                }
            }
            let kind = self.kinds.entry(change.key.kind.clone()).or_default();
            let Some(new) = &change.object else {
                kind.remove(&change.key);
                if let Some(old) = &change.previous {
                    self.removed.insert(old.meta().uid.clone(), seen.at);
                }
                continue;
            };
            self.removed.remove(&new.meta().uid);
            kind.insert(change.key.clone(), Arc::clone(new));
            self.keys.insert(new.meta().uid.clone(), change.key.clone());
            if let Some(pod) = Arc::clone(new).downcast::<Pod>()
                && let Some(owner) = new.meta().controller()
            {
                self.pods_of.entry(owner.uid.clone()).or_default().insert(change.key.clone(), pod);
            }
        }
    }

    pub(crate) fn get(&self, key: &ObjectKey) -> Option<&AnyObject> {
        self.kinds.get(&key.kind)?.get(key)
    }

    pub(crate) fn by_uid(&self, uid: &Uid) -> Option<&AnyObject> {
        self.get(self.keys.get(uid)?)
    }

    pub(crate) fn pod(&self, uid: &Uid) -> Option<&Pod> {
        self.by_uid(uid)?.as_resource()
    }

    /// All objects of one kind, ordered by key.
    pub(crate) fn of<T: Resource>(&self) -> impl Iterator<Item = &T> {
        let kind = self.kinds.get(&GroupKind::of::<T>());
        kind.into_iter().flat_map(BTreeMap::values).filter_map(AnyObjectExt::as_resource)
    }

    /// All objects.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&ObjectKey, &AnyObject)> {
        self.kinds.values().flatten()
    }

    /// The pods that an owner manages.
    pub(crate) fn pods_of(&self, owner: &Uid) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods_of.get(owner).into_iter().flat_map(BTreeMap::values)
    }

    /// The replica sets of a deployment.
    pub(crate) fn sets_of(&self, deployment: &Uid) -> impl Iterator<Item = &ReplicaSet> {
        self.of::<ReplicaSet>()
            .filter(move |set| set.metadata.controller().is_some_and(|o| o.uid == *deployment))
    }

    /// All pods of a deployment.
    pub(crate) fn pods_of_deployment(&self, deployment: &Uid) -> impl Iterator<Item = &Arc<Pod>> {
        self.sets_of(deployment).flat_map(|set| self.pods_of(&set.metadata.uid))
    }

    /// The deployment that a pod belongs to by way of its replica set.
    pub(crate) fn deployment_of(&self, pod: &ObjectMeta) -> Option<&Deployment> {
        let set: &ReplicaSet = self.by_uid(&pod.controller()?.uid)?.as_resource()?;
        self.by_uid(&set.metadata.controller()?.uid)?.as_resource()
    }

    /// When the object with this identity was removed.
    pub(crate) fn removed_at(&self, uid: &Uid) -> Option<Duration> {
        self.removed.get(uid).copied()
    }

    /// Whether the pod counts as available: ready for long enough, and listed by each service that selects it.
    pub(crate) fn is_available(&self, pod: &Pod, min_ready: u32, now: Timestamp) -> bool {
        let Some(since) = pod.ready_since() else { return false };
        if pod.is_terminating() || pod.is_terminal() || now < since + Duration::from_secs(min_ready.into()) {
            return false;
        }
        let off = pod.metadata.labels.value(TRAFFIC_LABEL) == Some("off");
        !off && self.of::<Service>().filter(|s| selects(s, pod)).all(|s| self.lists(s, pod))
    }

    fn lists(&self, service: &Service, pod: &Pod) -> bool {
        let mut slices = self.of::<EndpointSlice>().filter(|slice| {
            slice.metadata.namespace == service.metadata.namespace
                && slice.service_name() == Some(service.metadata.name.as_str())
        });
        slices.any(|slice| {
            slice.endpoints.iter().any(|e| e.conditions.is_ready() && is_of(e, &pod.metadata.uid))
        })
    }
}

fn is_of(endpoint: &orchestra_core::model::Endpoint, uid: &Uid) -> bool {
    endpoint.target_ref.as_ref().is_some_and(|target| target.uid == *uid)
}

/// Whether a service that is to stay selects the pod.
pub(crate) fn selects(service: &Service, pod: &Pod) -> bool {
    let selector = &service.spec.selector;
    service.metadata.namespace == pod.metadata.namespace
        && !service.metadata.is_deleting()
        && !selector.is_empty()
        && selector.iter().all(|(k, v)| pod.metadata.labels.get(k) == Some(v))
}

/// A process that runs.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub(crate) host: usize,
    pub(crate) pod: Uid,
    pub(crate) container: String,
    pub(crate) attempt: u32,
    /// Since when.
    pub(crate) since: Duration,
    /// When the agent asked that it be stopped.
    pub(crate) stopping: Option<Duration>,
}

/// What really runs, on all hosts.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    /// By host, pod, container, attempt.
    pub(crate) live: BTreeMap<(usize, Uid, String, u32), Live>,
    /// What there is of sandboxes, with their pod.
    pub(crate) sandboxes: BTreeMap<(usize, String), Uid>,
    /// Whether each host has power, and whether its agent runs.
    pub(crate) power: Vec<bool>,
    pub(crate) agent: Vec<bool>,
}

impl Truth {
    pub(super) fn apply(&mut self, at: Duration, host: usize, pod: &Uid, what: &Ground) {
        let key = |container: &str, attempt| (host, pod.clone(), container.to_owned(), attempt);
        match what {
            Ground::SandboxUp { sandbox, .. } => {
                self.sandboxes.insert((host, sandbox.clone()), pod.clone());
            }
            Ground::SandboxDown { .. } => {}
            Ground::SandboxGone { sandbox } => {
                self.sandboxes.remove(&(host, sandbox.clone()));
            }
            Ground::Started { container, attempt, .. } => {
                let live = Live {
                    host,
                    pod: pod.clone(),
                    container: container.clone(),
                    attempt: *attempt,
                    since: at,
                    stopping: None,
                };
                self.live.insert(key(container, *attempt), live);
            }
            Ground::Exited { container, attempt, .. } => {
                self.live.remove(&key(container, *attempt));
            }
            Ground::StopAsked { container, attempt, .. } => {
                if let Some(live) = self.live.get_mut(&key(container, *attempt)) {
                    live.stopping.get_or_insert(at);
                }
            }
        }
    }

    /// The processes of a pod, on whatever host.
    pub(crate) fn of_pod<'a>(&'a self, pod: &'a Uid) -> impl Iterator<Item = &'a Live> {
        self.live.values().filter(move |live| live.pod == *pod)
    }

    /// Whether all containers of the pod run, and none is being stopped.
    pub(crate) fn serves(&self, pod: &Pod) -> bool {
        let runs = |name: &str| {
            self.of_pod(&pod.metadata.uid).any(|live| live.container == name && live.stopping.is_none())
        };
        pod.spec.containers.iter().all(|c| runs(&c.name))
    }
}

impl ExitCause {
    /// Whether the agent brought it about.
    pub(crate) fn by_agent(self) -> bool {
        matches!(self, Self::Stopped | Self::Killed)
    }
}

/// What is true at a moment.
#[derive(Debug)]
pub(crate) struct View<'a> {
    #[allow(dead_code, reason = "what a check may depend on")]
    pub(crate) options: &'a Options,
    pub(crate) objects: &'a Objects,
    pub(crate) truth: &'a Truth,
    /// Since the start.
    pub(crate) at: Duration,
    /// On the wall clock of the control plane.
    pub(crate) now: Timestamp,
    /// Whether users and faults are at work, or have stopped less than a settling time ago.
    pub(crate) calm: bool,
    /// How far the watch of pods has been delivered to whom, and since when.
    pub(crate) told: &'a BTreeMap<Actor, Vec<(Revision, Duration)>>,
}
