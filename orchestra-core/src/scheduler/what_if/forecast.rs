//! What would happen.

use std::fmt;
use std::sync::Arc;

use crate::model::{Pod, Uid};
use crate::scheduler::{Diagnosis, Outcome};

/// Why a pod looks for a place.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// It waits in the cluster as it is.
    Pending,
    /// It is supposed to come.
    Added,
    /// Its node is supposed to be gone or drained.
    Displaced,
    /// It would be made to leave for the pod with this uid.
    Preempted(Uid),
}

/// What would become of one pod.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Placement {
    /// The pod.
    pub pod: Arc<Pod>,
    /// The node that it is on in the cluster as it is.
    pub from: Option<Arc<str>>,
    /// Why it looks for a place.
    pub cause: Cause,
    /// What would be decided about it. Whom it preempts has left by then.
    pub outcome: Outcome,
    /// Of a pod that would wait, where [asked for](super::WhatIf::explained): every node's report, and what would help.
    pub diagnosis: Option<Diagnosis>,
}

impl Placement {
    /// The node that the pod would go to.
    #[must_use]
    pub fn node(&self) -> Option<&Arc<str>> {
        match &self.outcome {
            Outcome::Assigned(node) | Outcome::Preempting { node, .. } => Some(node),
            Outcome::Pending(_) => None,
        }
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (meta, from) = (&self.pod.metadata, self.from.as_deref().unwrap_or("none"));
        write!(f, "{}/{}: {from} -> ", meta.namespace, meta.name)?;
        match &self.outcome {
            Outcome::Assigned(node) => f.write_str(node),
            Outcome::Preempting { node, victims } => {
                let names: Vec<_> = victims.iter().map(|victim| &*victim.metadata.name).collect();
                write!(f, "{node} in place of {}", names.join(", "))
            }
            Outcome::Pending(why) => write!(f, "none, {why}"),
        }
    }
}

/// What would happen. Displays as `3 placed, 1 pending`; each [`Placement`] as `default/web: old -> new`.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Forecast {
    pub(super) placements: Vec<Placement>,
}

impl Forecast {
    /// What would become of every pod that looks for a place, in the order of the last decisions about them.
    #[must_use]
    pub fn placements(&self) -> &[Placement] {
        &self.placements
    }

    /// The placement of a pod by namespace and name, where it looks for a place.
    #[must_use]
    pub fn of(&self, namespace: &str, name: &str) -> Option<&Placement> {
        let is = |p: &&Placement| p.pod.metadata.namespace == namespace && p.pod.metadata.name == name;
        self.placements.iter().find(is)
    }

    /// The pods that would be on a node.
    pub fn placed(&self) -> impl Iterator<Item = &Placement> {
        self.placements.iter().filter(|placement| placement.node().is_some())
    }

    /// The pods that would wait.
    pub fn pending(&self) -> impl Iterator<Item = &Placement> {
        self.placements.iter().filter(|placement| placement.node().is_none())
    }
}

impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} placed, {} pending", self.placed().count(), self.pending().count())
    }
}
