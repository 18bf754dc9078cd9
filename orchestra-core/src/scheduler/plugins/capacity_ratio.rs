//! A score by how full a node would be, along a curve.

use crate::scheduler::{NodeView, PodInfo, Points, Reads, Score};

/// Prefers nodes by how full they would be of some resources, as a curve says: Kubernetes' `RequestedToCapacityRatio`.
///
/// The curve goes in straight lines through its points, and is level before the first and behind the last. A node gets the
/// weighted mean over the resources; one that has none of a resource counts as full of it.
///
/// ```
/// use orchestra_core::scheduler::{Pipeline, RequestedToCapacityRatio};
///
/// // Fill nodes with GPUs to the brim before the next one is begun.
/// let packed = RequestedToCapacityRatio::new([(0, 0), (100, 100)]).resource("nvidia.com/gpu", 3).resource("cpu", 1);
/// let scheduler = Pipeline::builder().with_score("NodeResourcesFit", 10, packed).build();
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct RequestedToCapacityRatio {
    /// Percent of a resource that would be requested, and points from 0 to 100 for it; rising in the first.
    curve: Vec<(f64, f64)>,
    resources: Vec<(String, u8)>,
}

impl RequestedToCapacityRatio {
    /// With a curve of pairs: how many percent of a resource would be requested, 0 to 100, and how many points, 0 to 100,
    /// that gives. Larger numbers are cut off; of two pairs with the same percentage the last counts. Without a pair every
    /// node gets no points.
    #[must_use]
    pub fn new(curve: impl IntoIterator<Item = (u8, u8)>) -> Self {
        let mut pairs = std::collections::BTreeMap::new();
        pairs.extend(curve.into_iter().map(|(percent, points)| (percent.min(100), points.min(100))));
        let curve = pairs.into_iter().map(|(percent, points)| (percent.into(), points.into())).collect();
        Self { curve, resources: Vec::new() }
    }

    /// Looks at this resource with this weight, 0 for not at all. Where none is named, at CPU and memory alike.
    #[must_use]
    pub fn resource(mut self, name: impl Into<String>, weight: u8) -> Self {
        self.resources.push((name.into(), weight));
        self
    }

    /// The points for so many percent.
    fn points(&self, percent: f64) -> f64 {
        let behind = self.curve.iter().position(|(at, _)| *at >= percent);
        match behind {
            None => self.curve.last().map_or(0.0, |(_, points)| *points),
            Some(0) => self.curve[0].1,
            Some(i) => {
                let ((from, low), (to, high)) = (self.curve[i - 1], self.curve[i]);
                low + (high - low) * (percent - from) / (to - from)
            }
        }
    }
}

impl Score for RequestedToCapacityRatio {
    fn score(&self, pod: &PodInfo, node: &NodeView<'_>) -> Points {
        let of = |resource: &str| self.points(100.0 * node.fraction_with(resource, pod).min(1.0));
        if self.resources.is_empty() {
            return Points::new(f64::midpoint(of("cpu"), of("memory")));
        }
        let sum: f64 = self.resources.iter().map(|(name, weight)| f64::from(*weight) * of(name)).sum();
        let weights: f64 = self.resources.iter().map(|(_, weight)| f64::from(*weight)).sum();
        Points::new(if weights > 0.0 { sum / weights } else { 0.0 })
    }

    fn reads(&self) -> Reads {
        Reads::NODE | Reads::USAGE
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::scheduler::Pipeline;
    use crate::scheduler::testing::{bound, node, pod, run, view};

    #[test]
    fn the_curve_goes_through_its_points_in_straight_lines() {
        let curve = RequestedToCapacityRatio::new([(80, 100), (20, 10), (200, 0)]);
        for (percent, points) in
            [(0.0, 10.0), (20.0, 10.0), (50.0, 55.0), (80.0, 100.0), (90.0, 50.0), (100.0, 0.0)]
        {
            assert!((curve.points(percent) - points).abs() < 1e-9, "{percent}");
        }
        assert!(RequestedToCapacityRatio::new([]).points(50.0).abs() < 1e-9);
    }

    #[test]
    fn nodes_are_chosen_by_the_resources_that_are_named() {
        let with_gpus = |name: &str| {
            let mut node = node(name, "a");
            node.status.allocatable.insert("example.com/gpu".into(), 4.into());
            node
        };
        let mut view = view([with_gpus("n0"), with_gpus("n1")]);
        let gpu = |name: &str, cpu: &str| {
            let mut pod = pod(name, "web", cpu);
            pod.spec_mut().containers[0].resources.requests.insert("example.com/gpu".into(), 1.into());
            pod
        };
        view.pod_changed(&bound(gpu("first", "2"), "n0"));
        let by = |resource: &str| {
            let packed = RequestedToCapacityRatio::new([(0, 0), (100, 100)]).resource(resource, 1);
            Pipeline::builder().with_score("NodeResourcesFit", 100, packed).build()
        };
        let node_of = |scheduler: &mut Pipeline, view: &mut crate::scheduler::View| {
            view.what_if(|view| run(scheduler, view, [Arc::new(gpu("second", "100m"))]).remove(0).1)
        };
        assert_eq!(node_of(&mut by("example.com/gpu"), &mut view), "n0");
        view.pod_changed(&bound(pod("other", "web", "3"), "n1"));
        assert_eq!(node_of(&mut by("cpu"), &mut view), "n1");
    }
}
