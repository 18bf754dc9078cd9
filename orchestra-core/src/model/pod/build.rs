//! Building pods in code.
//!
//! Every setter takes `self` and gives it back changed. Where a field holds a list or map, its setter adds to it.

use std::sync::Arc;

use super::{Affinity, Container, Pod, PodSpec, RestartPolicy, TopologySpreadConstraint, Volume};
use crate::model::{ObjectMeta, PodSchedulingGroup, Toleration};

/// The name of the container that `Pod::image` and the like speak of.
pub(crate) const MAIN_CONTAINER: &str = "main";

impl Pod {
    /// A pod without containers. [`image`](Self::image) or [`container`](Self::container) adds the first.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { metadata: ObjectMeta::named(name), ..Self::default() }
    }

    /// Sets the namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.metadata.namespace = namespace.into();
        self
    }

    /// Adds a label.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.labels.insert(key.into(), value.into());
        self
    }

    /// Adds an annotation.
    #[must_use]
    pub fn annotation(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.annotations.insert(key.into(), value.into());
        self
    }

    /// Sets the spec.
    #[must_use]
    pub fn spec(mut self, spec: PodSpec) -> Self {
        self.spec = spec.into();
        self
    }

    /// Sets the image of the first container; adds one called `main` where there is none.
    #[must_use]
    pub fn image(mut self, image: impl Into<String>) -> Self {
        self.spec_mut().main_container().image = image.into();
        self
    }

    /// Adds a container.
    #[must_use]
    pub fn container(mut self, container: Container) -> Self {
        self.spec_mut().containers.push(container);
        self
    }

    /// Binds the pod to a node.
    #[must_use]
    pub fn node(mut self, name: impl Into<Arc<str>>) -> Self {
        self.node_name = Some(name.into());
        self
    }
}

impl PodSpec {
    /// A spec with one container.
    #[must_use]
    pub fn new(container: Container) -> Self {
        Self { containers: vec![container], ..Self::default() }
    }

    /// The first container; one called `main` is added where there is none.
    pub fn main_container(&mut self) -> &mut Container {
        if self.containers.is_empty() {
            self.containers.push(Container { name: MAIN_CONTAINER.to_owned(), ..Container::default() });
        }
        &mut self.containers[0]
    }

    /// Adds a container.
    #[must_use]
    pub fn with_container(mut self, container: Container) -> Self {
        self.containers.push(container);
        self
    }

    /// Adds an init container.
    #[must_use]
    pub fn init_container(mut self, container: Container) -> Self {
        self.init_containers.push(container);
        self
    }

    /// Adds an init container that goes on running beside the others.
    #[must_use]
    pub fn sidecar(mut self, mut container: Container) -> Self {
        container.restart_policy = Some(RestartPolicy::Always);
        self.init_containers.push(container);
        self
    }

    /// Adds a volume.
    #[must_use]
    pub fn volume(mut self, volume: Volume) -> Self {
        self.volumes.push(volume);
        self
    }

    /// Sets whether containers that end are started again.
    #[must_use]
    pub fn restart_policy(mut self, policy: RestartPolicy) -> Self {
        self.restart_policy = policy;
        self
    }

    /// Sets the seconds from the stop signal to the kill.
    #[must_use]
    pub fn grace_period(mut self, seconds: u64) -> Self {
        self.termination_grace_period_seconds = seconds;
        self
    }

    /// Adds a label that the pod's node must have.
    #[must_use]
    pub fn on_nodes_with(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.node_selector.insert(key.into(), value.into());
        self
    }

    /// Adds a toleration.
    #[must_use]
    pub fn toleration(mut self, toleration: Toleration) -> Self {
        self.tolerations.push(toleration);
        self
    }

    /// Sets where the pod wants to be.
    #[must_use]
    pub fn affinity(mut self, affinity: Affinity) -> Self {
        self.affinity = Some(affinity);
        self
    }

    /// Adds a constraint on how the pod's like are spread.
    #[must_use]
    pub fn spread(mut self, constraint: TopologySpreadConstraint) -> Self {
        self.topology_spread_constraints.push(constraint);
        self
    }

    /// Has the pods be placed with those of the [`PodGroup`](crate::model::PodGroup) of this name.
    #[must_use]
    pub fn scheduling_group(mut self, name: impl Into<String>) -> Self {
        let group = PodSchedulingGroup { pod_group_name: name.into(), ..PodSchedulingGroup::default() };
        self.scheduling_group = Some(group);
        self
    }

    /// Sets the PriorityClass.
    #[must_use]
    pub fn priority_class(mut self, name: impl Into<String>) -> Self {
        self.priority_class_name = name.into();
        self
    }
}
