//! A score for nodes that have the pod's images already.

use std::borrow::Cow;

use crate::model::PodSpec;
use crate::scheduler::view::slots::scatter;
use crate::scheduler::{NodeView, PodInfo, Points, Reads, Score, View};

/// Images smaller than this in all, in bytes, aren't worth a point: Kubernetes' 23 MB.
const LEAST_BYTES: f64 = 23.0 * 1024.0 * 1024.0;
/// From this size on, in bytes for each container, a node gets all points: Kubernetes' 1000 MB.
const MOST_BYTES: f64 = 1000.0 * 1024.0 * 1024.0;

/// Prefers nodes that have the pod's images, the more so the bigger they are.
///
/// As in Kubernetes an image counts for the part of the nodes that have it: else all pods of a new image would
/// pile up on the first node that has pulled it.
#[derive(Clone, Copy, Debug, Default)]
pub struct ImageLocality;

/// The images of a pod's containers, as the pod spells them.
fn spelled(spec: &PodSpec) -> impl Iterator<Item = &str> {
    spec.init_containers.iter().chain(&spec.containers).map(|c| c.image.as_str()).filter(|i| !i.is_empty())
}

/// The images of a pod's containers, as nodes call them: with a tag.
fn images(spec: &PodSpec) -> impl Iterator<Item = Cow<'_, str>> {
    spelled(spec).map(|image| {
        let name = image.rsplit('/').next().unwrap_or_default();
        if name.contains([':', '@']) { Cow::Borrowed(image) } else { format!("{image}:latest").into() }
    })
}

/// Whether any node has one of the pod's images.
pub(crate) fn has_images_somewhere(pod: &PodInfo, view: &View) -> bool {
    let (spec, known) = (pod.spec(), view.images());
    !known.is_empty() && images(spec).zip(spelled(spec)).any(|(a, b)| known.nodes(&a) + known.nodes(b) > 0)
}

#[allow(clippy::cast_precision_loss, reason = "a size or a count for a score needs no more digits")]
fn bytes(node: &NodeView<'_>, image: &str, spelled: &str) -> f64 {
    let known = |i: &&crate::model::ContainerImage| i.names.iter().any(|n| n == image || n == spelled);
    let Some(found) = node.node().status.images.iter().find(known) else { return 0.0 };
    let spread = node.view().images();
    let nodes = spread.nodes(image).max(spread.nodes(spelled));
    found.size_bytes as f64 * f64::from(nodes) / node.view().len().max(1) as f64
}

impl Score for ImageLocality {
    #[allow(clippy::cast_precision_loss, reason = "the number of containers is small")]
    fn score(&self, pod: &PodInfo, node: &NodeView<'_>) -> Points {
        if !node.facts().images {
            return Points::ZERO;
        }
        let (spec, mut sum) = (pod.spec(), 0.0);
        for (image, spelled) in images(spec).zip(spelled(spec)) {
            sum += bytes(node, &image, spelled);
        }
        let most = MOST_BYTES * (spec.init_containers.len() + spec.containers.len()).max(1) as f64;
        Points::fraction((sum - LEAST_BYTES) / (most - LEAST_BYTES))
    }

    fn reads(&self) -> Reads {
        Reads::NODE
    }

    fn same(&self, a: &PodInfo, b: &PodInfo) -> bool {
        let containers = |spec: &PodSpec| spec.init_containers.len() + spec.containers.len();
        containers(a.spec()) == containers(b.spec()) && spelled(a.spec()).eq(spelled(b.spec()))
    }

    /// Follows on how many nodes the images are.
    fn version(&self, pod: &PodInfo, view: &View) -> u64 {
        let known = view.images();
        if known.is_empty() {
            return 0;
        }
        let stamps = images(pod.spec()).map(|i| known.stamp(&i));
        let spelled =
            pod.spec().containers.iter().chain(&pod.spec().init_containers).map(|c| known.stamp(&c.image));
        let all =
            stamps.chain(spelled).fold(0, |all, stamp| if stamp == 0 { all } else { scatter(all ^ stamp) });
        if all == 0 { 0 } else { all ^ view.len() as u64 }
    }
}
