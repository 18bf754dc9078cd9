//! What is left on a node, and how much of it is of no use.

use crate::model::{GpuRequest, WHOLE_GPU};
use crate::scheduler::view::typical::Shape;
use crate::scheduler::{NodeView, PodInfo, TypicalPods, View};

/// What is left on a node.
#[derive(Clone, Debug)]
pub(super) struct Room {
    /// Of each resource of the typical pods.
    pub(super) free: Vec<i64>,
    /// Of each GPU, in thousandths, the fullest first.
    pub(super) gpus: Vec<u16>,
}

impl Room {
    pub(super) fn of(node: &NodeView<'_>, typical: &TypicalPods) -> Self {
        let left = |(name, id): &(std::sync::Arc<str>, Option<_>)| match id {
            Some(id) => node.allocatable_of(*id) - node.used_of(*id),
            None => node.free(name),
        };
        let mut gpus: Vec<u16> = node.gpus().collect();
        gpus.sort_unstable();
        Self { free: typical.resources().iter().map(left).collect(), gpus }
    }

    /// What would be left with `pod` there, on the devices that the view would choose.
    pub(super) fn without(&self, pod: &PodInfo, view: &View, typical: &TypicalPods) -> Self {
        let mut after = self.clone();
        for ((name, id), free) in typical.resources().iter().zip(&mut after.free) {
            *free -= id.or_else(|| view.resource_id(name)).map_or(0, |id| pod.class().request(id));
        }
        let request = pod.class().gpus;
        let from = after.gpus.partition_point(|free| *free < request.of_each());
        for free in after.gpus.iter_mut().skip(from).take(request.devices()) {
            *free -= request.of_each();
        }
        after.gpus.sort_unstable();
        after
    }

    fn holds(&self, shape: &Shape) -> bool {
        shape.amounts.iter().zip(&self.free).all(|(amount, free)| amount <= free)
            && match shape.gpus {
                GpuRequest::None => true,
                GpuRequest::Impossible => false,
                gpus => self.gpus.len() - self.enough_from(gpus) >= gpus.devices(),
            }
    }

    /// From which GPU on each has enough left for one device of `request`.
    fn enough_from(&self, request: GpuRequest) -> usize {
        self.gpus.partition_point(|free| *free < request.of_each())
    }

    /// The thousandths of GPUs that typical pods can't use, on average.
    pub(super) fn gpu_fragments(&self, shapes: &[Shape]) -> f64 {
        let sum = |gpus: &[u16]| gpus.iter().map(|free| u32::from(*free)).sum::<u32>();
        let all = sum(&self.gpus);
        let useless = |shape: &Shape| match shape.gpus {
            GpuRequest::None | GpuRequest::Impossible => all,
            _ if !self.holds(shape) => all,
            gpus => sum(&self.gpus[..self.enough_from(gpus)]),
        };
        shapes.iter().map(|shape| shape.popularity * f64::from(useless(shape))).sum()
    }

    /// The thousandths of a node's resource, of which it has `all` and which stands at place `at` in the amounts, that
    /// typical pods can't use, on average.
    #[allow(clippy::cast_precision_loss, reason = "scores need no more digits")]
    pub(super) fn fragments(&self, shapes: &[Shape], at: usize, all: i64) -> f64 {
        let free = self.free[at].max(0) as f64 * f64::from(WHOLE_GPU) / all.max(1) as f64;
        let useless = shapes.iter().filter(|shape| shape.amounts[at] == 0 || !self.holds(shape));
        useless.map(|shape| shape.popularity).sum::<f64>() * free
    }
}
