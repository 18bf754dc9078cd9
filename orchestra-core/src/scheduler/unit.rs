//! What is placed together.

use std::cmp::Reverse;
use std::sync::Arc;

use super::PodInfo;
use crate::model::{Pod, Timestamp};

/// Pods waiting to be placed: one, or a gang of which enough must be placed or none.
#[derive(Clone, Debug)]
pub struct Pending {
    pub(crate) pods: Vec<Arc<Pod>>,
    pub(crate) gang: Option<(Arc<str>, usize)>,
}

impl Pending {
    /// A gang: `least` of `pods` must be placed, or none is.
    #[must_use]
    pub fn gang(name: impl Into<Arc<str>>, pods: Vec<Arc<Pod>>, least: usize) -> Self {
        Self { pods, gang: Some((name.into(), least)) }
    }

    /// Its pods.
    #[must_use]
    pub fn into_pods(self) -> Vec<Arc<Pod>> {
        self.pods
    }

    /// The name of the scheduler that it asks for: that of its first pod.
    pub(crate) fn scheduler(&self) -> &str {
        self.pods.first().map_or("", |pod| &pod.spec.scheduler_name)
    }

    /// The place of a pending unit in the order of scheduling: that of its first pod.
    pub(crate) fn order(&self) -> Order<'_> {
        self.pods.iter().map(|pod| order(pod)).min().unwrap_or_default()
    }
}

impl From<Arc<Pod>> for Pending {
    fn from(pod: Arc<Pod>) -> Self {
        Self { pods: vec![pod], gang: None }
    }
}

pub(crate) type Order<'p> = (Reverse<i32>, Timestamp, &'p str, &'p str);

/// The highest priority first, then the oldest, then by namespace and name.
pub(crate) fn order(pod: &Pod) -> Order<'_> {
    let meta = &pod.metadata;
    let created = meta.creation_timestamp.unwrap_or_default();
    (Reverse(pod.spec.importance()), created, &meta.namespace, &meta.name)
}

/// The next thing to place: one pod, or the pods of a gang. A clone shares the pods.
#[derive(Clone, Debug)]
pub struct Unit {
    pub(crate) pods: Vec<PodInfo>,
    pub(crate) gang: Option<(Arc<str>, usize)>,
}

impl Unit {
    /// The pods of the unit: one, unless it is a gang.
    #[must_use]
    pub fn pods(&self) -> &[PodInfo] {
        &self.pods
    }

    /// The gang's name, where it is one.
    #[must_use]
    pub fn gang(&self) -> Option<&str> {
        self.gang.as_ref().map(|(name, _)| &**name)
    }

    /// How many of the pods must be placed, or none is.
    #[must_use]
    pub fn least(&self) -> usize {
        self.gang.as_ref().map_or(1, |(_, least)| *least)
    }
}
