//! What an autoscaler scales.

use std::sync::Arc;

use crate::client::{Client, ClientError};
use crate::controller::workload::WorkloadIndexes;
use crate::model::{CrossVersionObjectReference, Deployment, ObjectKey, Pod, ReplicaSet, Resource};

/// What an autoscaler scales, as it was seen.
#[derive(Debug)]
pub(super) enum Target {
    Deployment(Arc<Deployment>),
    ReplicaSet(Arc<ReplicaSet>),
}

impl Target {
    /// What `reference` names in `namespace`.
    pub(super) fn find(
        indexes: &WorkloadIndexes,
        namespace: &str,
        reference: &CrossVersionObjectReference,
    ) -> Result<Self, String> {
        let (kind, name) = (reference.kind.as_str(), reference.name.as_str());
        let missing = || format!("{kind} {namespace}/{name} does not exist");
        if kind == Deployment::INFO.kind {
            let key = ObjectKey::new::<Deployment>(namespace, name);
            indexes.deployments.get(&key).map(Self::Deployment).ok_or_else(missing)
        } else if kind == ReplicaSet::INFO.kind {
            let key = ObjectKey::new::<ReplicaSet>(namespace, name);
            indexes.replica_sets.get(&key).map(Self::ReplicaSet).ok_or_else(missing)
        } else {
            Err(format!("a {kind} can't be scaled; name a Deployment or a ReplicaSet"))
        }
    }

    pub(super) fn replicas(&self) -> u32 {
        match self {
            Self::Deployment(d) => d.spec.replicas,
            Self::ReplicaSet(s) => s.spec.replicas,
        }
    }

    /// How many pods it has.
    pub(super) fn observed(&self) -> u32 {
        match self {
            Self::Deployment(d) => d.status.replicas,
            Self::ReplicaSet(s) => s.status.replicas,
        }
    }

    /// Its pods, of all versions.
    pub(super) fn pods(&self, indexes: &WorkloadIndexes) -> Vec<Arc<Pod>> {
        match self {
            Self::ReplicaSet(set) => indexes.rosters.pods(&set.metadata.uid),
            Self::Deployment(deployment) => {
                let sets = indexes.sets_of.get(&deployment.metadata.uid);
                sets.iter().flat_map(|set| indexes.rosters.pods(&set.metadata.uid)).collect()
            }
        }
    }

    /// Sets how many replicas are desired, unless it changed since it was seen.
    pub(super) async fn scale(&self, client: &Client, replicas: u32) -> Result<(), ClientError> {
        match self {
            Self::Deployment(deployment) => {
                let mut deployment = (**deployment).clone();
                deployment.spec.replicas = replicas;
                client.update(deployment).await.map(|_| ())
            }
            Self::ReplicaSet(set) => {
                let mut set = (**set).clone();
                set.spec.replicas = replicas;
                client.update(set).await.map(|_| ())
            }
        }
    }
}
