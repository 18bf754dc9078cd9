//! The nodes that a cluster runs in this process.

use std::path::PathBuf;
use std::sync::Arc;

use orchestra_core::model::{Labels, Quantity, ResourceList, Taint};
use orchestra_core::runtime::Runtime;

/// A node of this process: its name, what runs its containers, and what it says of itself.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NodeOptions {
    /// The node's name, unique in the cluster.
    pub name: String,
    /// What runs its containers.
    pub runtime: Arc<dyn Runtime>,
    /// Labels beside the usual ones.
    pub labels: Labels,
    /// Taints from the start.
    pub taints: Vec<Taint>,
    /// What it has, where it shall not be what the runtime says.
    pub capacity: ResourceList,
    /// Where volumes are kept; where `None`, a directory of its own below the system's temporary one, which
    /// [`Cluster::stop`](crate::Cluster::stop) removes. It is one node's alone.
    pub data_dir: Option<PathBuf>,
}

impl NodeOptions {
    /// A node called `name` whose containers `runtime` runs.
    #[must_use]
    pub fn new(name: impl Into<String>, runtime: impl Runtime) -> Self {
        Self::shared(name, Arc::new(runtime))
    }

    /// The same over a runtime that others use too.
    #[must_use]
    pub fn shared(name: impl Into<String>, runtime: Arc<dyn Runtime>) -> Self {
        Self {
            name: name.into(),
            runtime,
            labels: Labels::new(),
            taints: Vec::new(),
            capacity: ResourceList::new(),
            data_dir: None,
        }
    }

    /// Adds a label, which node selectors and affinities can ask for.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// Adds a taint.
    #[must_use]
    pub fn taint(mut self, taint: Taint) -> Self {
        self.taints.push(taint);
        self
    }

    /// Says how much of a resource the node has, instead of what its runtime says.
    #[must_use]
    pub fn capacity(mut self, resource: impl Into<String>, amount: Quantity) -> Self {
        self.capacity.insert(resource.into(), amount);
        self
    }

    /// Sets where volumes are kept.
    #[must_use]
    pub fn data_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(dir.into());
        self
    }
}
