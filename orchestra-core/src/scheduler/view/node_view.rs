//! One node as a plugin sees it.

use std::fmt;
use std::sync::Arc;

use super::columns::{Facts, ResourceId, Weight};
use super::gpus::Devices;
use super::slots::{NodeId, Slot};
use super::{PodInfo, View};
use crate::model::{GpuRequest, Labels, Node, Pod, WHOLE_GPU};

/// A node in a [`View`], with the pods that are on it or were given to it, decisions of the running batch
/// included. Cheap to copy.
///
/// Amounts are in thousandths of a CPU for `cpu`, bytes for memory and storage, pieces for all else. Of
/// `orchestra.dev/gpu-milli` a node has 1000 for each of its `nvidia.com/gpu`, whatever it says, and a pod with whole GPUs
/// uses 1000 for each.
#[derive(Clone, Copy)]
pub struct NodeView<'v> {
    view: &'v View,
    id: NodeId,
    slot: &'v Slot,
    object: &'v Arc<Node>,
}

impl<'v> NodeView<'v> {
    #[inline]
    pub(crate) fn new(view: &'v View, id: NodeId) -> Option<Self> {
        let slot = view.slots.get(id)?;
        Some(Self { view, id, slot, object: slot.object.as_ref()? })
    }

    /// The node's number.
    #[must_use]
    #[inline]
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The node's name.
    #[must_use]
    pub fn name(&self) -> &'v str {
        &self.slot.name
    }

    /// The node object.
    #[must_use]
    pub fn node(&self) -> &'v Arc<Node> {
        self.object
    }

    /// The node's labels.
    #[must_use]
    pub fn labels(&self) -> &'v Labels {
        &self.object.metadata.labels
    }

    /// The value of one of the node's labels.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&'v str> {
        self.labels().value(key)
    }

    /// How much of `resource` pods can have on this node in all. 0 for a resource it has not.
    #[must_use]
    pub fn allocatable(&self, resource: &str) -> i64 {
        self.view.resources.get(resource).map_or(0, |r| self.allocatable_of(r))
    }

    /// How much of `resource` the node's pods request.
    #[must_use]
    pub fn used(&self, resource: &str) -> i64 {
        self.view.resources.get(resource).map_or(0, |r| self.used_of(r))
    }

    /// How much of `resource` is left. Negative on an overcommitted node.
    #[must_use]
    pub fn free(&self, resource: &str) -> i64 {
        self.allocatable(resource) - self.used(resource)
    }

    /// How much of `resource` would be in use with `pod` on the node, as a part of what it has: 0.0 to 1.0, or
    /// above where it doesn't fit; 1.0 where the node has none. Pods without a request for CPU or memory count
    /// as requesting a little.
    #[must_use]
    pub fn fraction_with(&self, resource: &str, pod: &PodInfo) -> f64 {
        let Some(resource) = self.view.resources.get(resource) else { return 1.0 };
        let (used, more) = self.usage_of(resource, pod);
        fraction(used + more, self.allocatable_of(resource))
    }

    /// What is left of each of the node's GPUs, in thousandths: 1000 for one that nobody has. Their number is the
    /// allocatable `nvidia.com/gpu`, up to 1024.
    pub fn gpus(&self) -> impl ExactSizeIterator<Item = u16> + use<'v> {
        static NONE: Devices = Devices::none();
        self.view.gpus().of(self.id).unwrap_or(&NONE).free()
    }

    /// The pods here, in no particular but a repeatable order.
    pub fn pods(&self) -> impl ExactSizeIterator<Item = &'v Arc<Pod>> + use<'v> {
        let view = self.view;
        self.slot.pods.iter().map(move |resident| &view.pods.get(resident.number).pod)
    }

    /// Whether what `pod` requests is left: every resource, the number of pods, host ports. No other
    /// constraint is looked at; see [`Batch::feasible`](crate::scheduler::Batch::feasible).
    #[must_use]
    pub fn fits(&self, pod: &PodInfo) -> bool {
        self.lacking(pod).is_none() && !self.port_taken(pod)
    }

    /// The view that the node is in.
    #[must_use]
    pub fn view(&self) -> &'v View {
        self.view
    }

    #[inline]
    pub(crate) fn facts(&self) -> Facts {
        self.view.columns.facts(self.id.index())
    }

    #[inline]
    pub(crate) fn allocatable_of(&self, resource: ResourceId) -> i64 {
        self.view.columns.allocatable(resource, self.id.index())
    }

    #[inline]
    pub(crate) fn used_of(&self, resource: ResourceId) -> i64 {
        self.view.columns.used(resource, self.id.index())
    }

    /// What is in use here and what `pod` would add, for scoring.
    #[inline]
    pub(crate) fn usage_of(&self, resource: ResourceId, pod: &PodInfo) -> (i64, i64) {
        let (on_node, class) = (self.weight(), pod.class());
        match resource {
            ResourceId::CPU => (on_node.cpu, class.weight.cpu),
            ResourceId::MEMORY => (on_node.memory, class.weight.memory),
            other => (self.used_of(other), class.request(other)),
        }
    }

    #[inline]
    pub(crate) fn weight(&self) -> Weight {
        self.view.columns.weight(self.id.index())
    }

    pub(crate) fn lacking(&self, pod: &PodInfo) -> Option<&'v str> {
        let class = pod.class();
        let lacking = match self.view.columns.lacking(self.id.index(), &class.requests) {
            None if class.gpus == GpuRequest::None || self.has_gpus(class.gpus) => return None,
            None | Some(ResourceId::GPU_MILLI) if matches!(class.gpus, GpuRequest::Whole(_)) => {
                ResourceId::GPU
            }
            lacking => lacking.unwrap_or(ResourceId::GPU_MILLI),
        };
        Some(self.view.resources.name(lacking))
    }

    fn has_gpus(&self, request: GpuRequest) -> bool {
        self.view.gpus().of(self.id).is_some_and(|devices| devices.fits(request))
    }

    /// How much the node lacks of what GPUs `pod` asks for: whole ones that nobody has, or thousandths on one device.
    pub(crate) fn missing_gpus(&self, pod: &PodInfo) -> Option<(ResourceId, i64)> {
        let (resource, missing) = match pod.class().gpus {
            GpuRequest::None => return None,
            GpuRequest::Whole(devices) => {
                let whole = self.gpus().filter(|free| *free == WHOLE_GPU).count();
                (ResourceId::GPU, i64::from(devices) - i64::try_from(whole).unwrap_or(0))
            }
            GpuRequest::Share(milli) => {
                let most = self.gpus().max().unwrap_or(0);
                (ResourceId::GPU_MILLI, i64::from(milli) - i64::from(most))
            }
            GpuRequest::Impossible => (ResourceId::GPU_MILLI, pod.class().request(ResourceId::GPU_MILLI)),
        };
        (missing > 0).then_some((resource, missing))
    }

    pub(crate) fn port_taken(&self, pod: &PodInfo) -> bool {
        let ports = &pod.class().ports;
        !ports.is_empty()
            && self.slot.ports.iter().any(|(used, _)| ports.iter().any(|p| p.conflicts_with(used)))
    }
}

/// A part of a whole, 1.0 where the whole is nothing.
#[allow(
    clippy::cast_precision_loss,
    reason = "amounts are below 2^53 but for overcommitted nodes, where it is all the same"
)]
fn fraction(part: i64, whole: i64) -> f64 {
    if whole <= 0 { 1.0 } else { part as f64 / whole as f64 }
}

/// How full a node would be, 0.0 to 1.0, of which `used` is taken, with `more`; `inverse` is that of what it has. For one
/// node, and for many side by side.
#[inline(always)]
pub(crate) fn fullness(used: f32, more: f32, inverse: f32) -> f32 {
    let full = (used + more) * inverse;
    if full < 1.0 { full } else { 1.0 }
}

/// One part of `allocatable`; infinite where there is nothing, so that any use makes it full.
#[allow(clippy::cast_precision_loss, reason = "scores need no more digits")]
#[inline]
pub(crate) fn inverse(allocatable: i64) -> f32 {
    1.0 / allocatable as f32
}

impl fmt::Debug for NodeView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeView")
            .field("id", &self.id)
            .field("name", &self.slot.name)
            .finish_non_exhaustive()
    }
}
