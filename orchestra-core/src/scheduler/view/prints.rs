//! Fingerprints of nodes, by parts: what tells that a node changed, without a look at how it was.

use std::hash::{BuildHasher, Hash, Hasher};

use hashbrown::DefaultHashBuilder;

use super::log::NodeDiff;
use crate::model::{Node, ResourceList};

/// In place of a fingerprint: there are no images.
const NO_IMAGES: u64 = 0;

/// The fingerprints of one node's parts.
///
/// Equal parts have equal ones. Parts that differ have different ones but in one of some 2^63 cases, which nobody can
/// choose: the hash has a seed that is drawn at random and shown nowhere. In such a case the scheduler would not see the change
/// until the part changes once more.
#[derive(Clone, Copy, Debug)]
struct Print {
    labels: u64,
    taints: u64,
    resources: u64,
    images: u64,
    rest: u64,
}

/// The fingerprints of all nodes.
#[derive(Debug, Default)]
pub(super) struct Prints {
    hasher: DefaultHashBuilder,
    /// By number.
    of: Vec<Option<Print>>,
}

impl Prints {
    /// Takes in that a node is now as `new`, or gone. Answers in what it differs from before.
    pub(super) fn set(&mut self, node: usize, new: Option<&Node>) -> NodeDiff {
        if self.of.len() <= node {
            self.of.resize((node + 1).next_power_of_two(), None);
        }
        let print = new.map(|new| self.print(new));
        let old = std::mem::replace(&mut self.of[node], print);
        let mut diff = NodeDiff::NONE;
        match (old, print) {
            (None, None) => {}
            (Some(old), Some(new)) => {
                diff.add(NodeDiff::LABELS, old.labels != new.labels);
                diff.add(NodeDiff::TAINTS, old.taints != new.taints);
                diff.add(NodeDiff::RESOURCES, old.resources != new.resources);
                diff.add(NodeDiff::IMAGES, old.images != new.images);
                diff.add(NodeDiff::REST, old.rest != new.rest);
            }
            (old, new) => {
                diff.add(NodeDiff::PRESENCE, true);
                diff.add(NodeDiff::RESOURCES, true);
                diff.add(NodeDiff::IMAGES, old.or(new).is_some_and(|print| print.images != NO_IMAGES));
            }
        }
        diff
    }

    fn print(&self, node: &Node) -> Print {
        let Node { metadata, spec, status, .. } = node;
        let images = &status.images;
        Print {
            labels: self.hasher.hash_one(&metadata.labels),
            taints: self.hasher.hash_one((spec.unschedulable, &spec.taints)),
            resources: self.hasher.hash_one(allocatable(node)),
            images: if images.is_empty() { NO_IMAGES } else { self.hasher.hash_one(images) },
            rest: self.rest(node),
        }
    }

    /// Of what else a plugin could see. Times of heartbeats are not in it.
    fn rest(&self, node: &Node) -> u64 {
        let Node { metadata, status, .. } = node;
        let mut hasher = self.hasher.build_hasher();
        metadata.annotations.hash(&mut hasher);
        status.capacity.hash(&mut hasher);
        status.addresses.hash(&mut hasher);
        status.node_info.hash(&mut hasher);
        for condition in &status.conditions {
            (&condition.type_, condition.status).hash(&mut hasher);
        }
        hasher.finish()
    }
}

/// What pods can have of a node: what it says is allocatable, or all it has.
pub(super) fn allocatable(node: &Node) -> &ResourceList {
    let status = &node.status;
    if status.allocatable.is_empty() { &status.capacity } else { &status.allocatable }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Condition, ContainerImage, NodeAddress, Taint, TaintEffect, Timestamp};

    #[test]
    fn each_part_has_its_own_fingerprint() {
        let mut prints = Prints::default();
        let mut node = Node::new("a").capacity("cpu", "4");
        let all = [NodeDiff::LABELS, NodeDiff::TAINTS, NodeDiff::RESOURCES, NodeDiff::IMAGES, NodeDiff::REST];
        let is_only = |diff: NodeDiff, part: NodeDiff| {
            all.iter().all(|other| diff.intersects(*other) == (*other == part)) && diff != NodeDiff::NONE
        };
        let came = prints.set(3, Some(&node));
        assert!(came.intersects(NodeDiff::PRESENCE) && !came.intersects(NodeDiff::IMAGES), "{came:?}");
        assert_eq!(prints.set(3, Some(&node)), NodeDiff::NONE);
        let ready = |at: i64| Condition::new("Ready", true, Timestamp::from_micros(at));
        let image = ContainerImage { names: vec!["shop".into()], ..ContainerImage::default() };
        type Edit = Box<dyn Fn(&mut Node)>;
        let edits: Vec<(Edit, NodeDiff)> = vec![
            (Box::new(|n| _ = n.metadata.labels.insert("a".into(), "b".into())), NodeDiff::LABELS),
            (Box::new(|n| _ = n.metadata.labels.insert("a".into(), "c".into())), NodeDiff::LABELS),
            (Box::new(|n| n.spec.unschedulable = true), NodeDiff::TAINTS),
            (
                Box::new(|n| n.spec.taints = vec![Taint::new("a", "", TaintEffect::NoExecute)]),
                NodeDiff::TAINTS,
            ),
            (
                Box::new(|n| _ = n.status.allocatable.insert("cpu".into(), "3".parse().unwrap())),
                NodeDiff::RESOURCES,
            ),
            (Box::new(move |n| n.status.images = vec![image.clone()]), NodeDiff::IMAGES),
            (Box::new(|n| n.status.images[0].size_bytes = 1), NodeDiff::IMAGES),
            (Box::new(|n| _ = n.metadata.annotations.insert("a".into(), "b".into())), NodeDiff::REST),
            (Box::new(move |n| n.status.conditions = vec![ready(1)]), NodeDiff::REST),
            (Box::new(|n| n.status.node_info.architecture = "arm64".into()), NodeDiff::REST),
            (Box::new(|n| n.status.addresses.push(NodeAddress::default())), NodeDiff::REST),
            (Box::new(|n| _ = n.status.capacity.insert("cpu".into(), "5".parse().unwrap())), NodeDiff::REST),
        ];
        for (i, (edit, part)) in edits.iter().enumerate() {
            edit(&mut node);
            let diff = prints.set(3, Some(&node));
            assert!(is_only(diff, *part), "edit {i}: {diff:?}");
        }
        node.status.conditions[0].last_transition_time = Some(Timestamp::from_micros(2));
        node.metadata.resource_version = Default::default();
        assert_eq!(prints.set(3, Some(&node.clone())), NodeDiff::NONE, "a heartbeat");
        let gone = prints.set(3, None);
        assert!(gone.intersects(NodeDiff::PRESENCE) && gone.intersects(NodeDiff::IMAGES), "{gone:?}");
        assert_eq!(prints.set(3, None), NodeDiff::NONE);
    }
}
