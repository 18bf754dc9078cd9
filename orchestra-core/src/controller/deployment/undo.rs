//! Going back to an older version.

use std::sync::Arc;

use super::template::without_hash;
use crate::client::{Client, ClientError, ListOptions};
use crate::model::{Deployment, LabelSelector, ObjectKey, ReplicaSet};

/// The annotation that numbers the versions of a deployment: Kubernetes' own.
pub const REVISION: &str = "deployment.kubernetes.io/revision";

/// The annotation of a deployment that asks for going back: the revision, or 0 for the one before. It is taken away
/// when that is done.
pub const UNDO_TO: &str = "orchestra.dev/undo-to";

/// How often going back is tried again when the deployment changed meanwhile.
const TRIES: usize = 16;

/// The revision of a replica set; 0 where it has none.
pub(super) fn revision_of(set: &ReplicaSet) -> u64 {
    set.metadata.annotations.value(REVISION).and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// The deployment with the template that it had at `revision`; at the one before the last where that is 0. PURE.
///
/// # Errors
/// In words, where there is no such revision.
pub fn undo(deployment: &Deployment, sets: &[Arc<ReplicaSet>], revision: u64) -> Result<Deployment, String> {
    let mut kept: Vec<(u64, &Arc<ReplicaSet>)> = sets
        .iter()
        .filter(|set| set.metadata.controller().is_some_and(|owner| owner.uid == deployment.metadata.uid))
        .map(|set| (revision_of(set), set))
        .filter(|(revision, _)| *revision > 0)
        .collect();
    kept.sort_by_key(|(revision, _)| std::cmp::Reverse(*revision));
    let found = if revision == 0 {
        kept.get(1).ok_or_else(|| "there is no older revision to go back to".to_owned())?
    } else {
        kept.iter().find(|(number, _)| *number == revision).ok_or_else(|| {
            let numbers: Vec<String> = kept.iter().rev().map(|(number, _)| number.to_string()).collect();
            format!("there is no revision {revision}; those kept are {}", numbers.join(", "))
        })?
    };
    let mut undone = deployment.clone();
    undone.spec.template = without_hash(&found.1.spec.template);
    Ok(undone)
}

impl Client {
    /// Gives the deployment called `name` the template back that it had at `revision`, or, where that is 0, the one
    /// before the last. That starts a rollout like any other.
    ///
    /// # Errors
    /// [`ClientError::Denied`] where there is no such revision any more; else as [`update`](Self::update).
    pub async fn undo_rollout(&self, name: &str, revision: u64) -> Result<Arc<Deployment>, ClientError> {
        let mut tries = 0;
        loop {
            let deployment = self.get::<Deployment>(name).await?;
            let options = ListOptions { labels: LabelSelector::everything(), ..ListOptions::default() };
            let sets = self.list::<ReplicaSet>(&options).await?;
            let denied = |why| ClientError::Denied { key: ObjectKey::of(&*deployment), why };
            let undone = undo(&deployment, &sets.items, revision).map_err(denied)?;
            tries += 1;
            match self.update(undone).await {
                Err(error) if error.is_conflict() && tries < TRIES => {}
                result => return result,
            }
        }
    }
}
