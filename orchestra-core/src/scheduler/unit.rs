//! What is placed together.

use std::cmp::Reverse;
use std::hint::black_box;
use std::ops::BitXor;
use std::sync::Arc;

use smallvec::{SmallVec, smallvec};

use super::PodInfo;
use crate::model::{Pod, Timestamp};

/// What makes a gang of some pods.
#[derive(Clone, Debug)]
pub(crate) struct Gang {
    pub(crate) name: Arc<str>,
    /// How many of its pods must be placed, or none is.
    pub(crate) least: usize,
    /// The topology key of which all its pods must be in one domain.
    pub(crate) within: Option<String>,
    /// The nodes that others of it are on already.
    pub(crate) beside: Vec<Arc<str>>,
}

/// Pods waiting to be placed: one, or a gang of which enough must be placed or none.
#[derive(Clone, Debug)]
pub struct Pending {
    pub(crate) pods: SmallVec<[Arc<Pod>; 1]>,
    pub(crate) gang: Option<Box<Gang>>,
}

impl Pending {
    /// A gang: `least` of `pods` must be placed, or none is.
    #[must_use]
    pub fn gang(name: impl Into<Arc<str>>, pods: Vec<Arc<Pod>>, least: usize) -> Self {
        let gang = Gang { name: name.into(), least, within: None, beside: Vec::new() };
        Self { pods: pods.into(), gang: Some(Box::new(gang)) }
    }

    /// All pods of the gang must be in one domain of this topology key: on nodes with the same value of the label. Does
    /// nothing to what is no gang.
    #[must_use]
    pub fn within(mut self, key: impl Into<String>) -> Self {
        if let Some(gang) = &mut self.gang {
            gang.within = Some(key.into());
        }
        self
    }

    /// Others of the gang are on these nodes already, which says in which domain the rest must be.
    #[must_use]
    pub fn beside(mut self, nodes: impl IntoIterator<Item = Arc<str>>) -> Self {
        if let Some(gang) = &mut self.gang {
            gang.beside.extend(nodes);
        }
        self
    }

    /// Its pods.
    #[must_use]
    pub fn into_pods(self) -> Vec<Arc<Pod>> {
        self.pods.into_vec()
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
        Self { pods: smallvec![pod], gang: None }
    }
}

pub(crate) type Order<'p> = (Reverse<i32>, Timestamp, &'p str, &'p str);

/// The highest priority first, then the oldest, then by namespace and name.
pub(crate) fn order(pod: &Pod) -> Order<'_> {
    let meta = &pod.metadata;
    let created = meta.creation_timestamp.unwrap_or_default();
    (Reverse(pod.spec.importance()), created, &meta.namespace, &meta.name)
}

/// Reads what a decision is going to read of pods, which nobody may have looked at for long: of many at once, so that
/// memory is waited for once and not for each.
pub(super) fn read_ahead(units: &[Pending]) {
    let pods = || units.iter().flat_map(|unit| &unit.pods);
    let object = |pod: &Arc<Pod>| {
        let meta = &pod.metadata;
        usize::from(meta.deletion_timestamp.is_some())
            ^ meta.owner_references.len()
            ^ usize::from(meta.labels.is_empty())
            ^ usize::from(pod.node_name.is_some())
            ^ pod.status.phase as usize
            ^ Arc::as_ptr(&pod.spec).addr()
            ^ Arc::strong_count(pod)
    };
    let texts = |pod: &Arc<Pod>| {
        let first = |text: &str| usize::from(text.as_bytes().first().copied().unwrap_or_default());
        first(&pod.metadata.namespace) ^ first(&pod.metadata.uid.0)
    };
    // The second needs what the first has read.
    black_box(pods().map(object).fold(0, BitXor::bitxor));
    black_box(pods().map(texts).fold(0, BitXor::bitxor));
}

/// The next thing to place: one pod, or the pods of a gang. A clone shares the pods.
#[derive(Clone, Debug)]
pub struct Unit {
    pub(crate) pods: SmallVec<[PodInfo; 1]>,
    pub(crate) gang: Option<Box<Gang>>,
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
        self.gang.as_ref().map(|gang| &*gang.name)
    }

    /// The topology key of which all pods of the gang must be in one domain, where there is one.
    /// [`Batch::place`](super::Batch::place) sees to it.
    #[must_use]
    pub fn within(&self) -> Option<&str> {
        self.gang.as_ref()?.within.as_deref()
    }

    /// How many of the pods must be placed, or none is.
    #[must_use]
    pub fn least(&self) -> usize {
        self.gang.as_ref().map_or(1, |gang| gang.least)
    }
}
