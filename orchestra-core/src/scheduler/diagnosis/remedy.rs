//! What could be done for a pod that waits.

use std::fmt;
use std::sync::Arc;

use crate::model::{
    Container, LabelSelector, Labels, PodSpec, Quantity, Taint, Toleration, UnsatisfiableAction,
};

/// The key of the taint of cordoned nodes.
pub(super) const CORDON: &str = "node.kubernetes.io/unschedulable";

/// A resource of which nodes have less than a pod requests.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shortage {
    /// The resource.
    pub resource: Arc<str>,
    /// How much the pod requests.
    pub requested: Quantity,
    /// How much the node has that has most of it.
    pub largest: Quantity,
}

/// One change that helps a pod that waits, of the cluster or of the pod.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Remedy {
    /// This much more of these resources were free on the node.
    Free(Vec<(Arc<str>, Quantity)>),
    /// There were a node that is large enough; none is, even empty.
    LargerNode(Vec<Shortage>),
    /// There were one more node like this one, empty.
    NodeLike(Arc<str>),
    /// The node were not cordoned.
    Uncordon,
    /// The pod tolerated these taints.
    Tolerate(Vec<Taint>),
    /// The pod's node selector did not name these labels.
    WithoutSelector(Labels),
    /// The pod had no required node affinity.
    WithoutNodeAffinity,
    /// The pod had no required pod affinity.
    WithoutPodAffinity,
    /// The pod had no required pod anti-affinity.
    WithoutPodAntiAffinity,
    /// The pod had no hard spread constraint over this topology key.
    WithoutSpread(String),
    /// The pod took no ports of its node.
    WithoutHostPorts,
}

impl Remedy {
    /// The filters that it can satisfy.
    pub(super) fn answers(&self) -> &'static [&'static str] {
        match self {
            Self::Free(_) | Self::LargerNode(_) | Self::NodeLike(_) => &[FIT],
            // Cordoned nodes may have the taint too.
            Self::Uncordon => &["NodeUnschedulable", "TaintToleration"],
            Self::Tolerate(_) => &["TaintToleration"],
            Self::WithoutSelector(_) | Self::WithoutNodeAffinity => &["NodeAffinity"],
            Self::WithoutPodAffinity | Self::WithoutPodAntiAffinity => &["InterPodAffinity"],
            Self::WithoutSpread(_) => &["PodTopologySpread"],
            Self::WithoutHostPorts => &["NodePorts"],
        }
    }

    /// Changes the pod as if it were done. What is not about the pod changes nothing here.
    pub(super) fn apply(&self, spec: &mut PodSpec) {
        match self {
            Self::Free(_) | Self::LargerNode(_) | Self::NodeLike(_) => {}
            Self::Uncordon => spec.tolerations.push(Toleration::exists(CORDON)),
            Self::Tolerate(taints) => {
                let tolerate = |t: &Taint| Toleration::equal(&*t.key, &*t.value).effect(t.effect);
                spec.tolerations.extend(taints.iter().map(tolerate));
            }
            Self::WithoutSelector(labels) => {
                labels.keys().for_each(|key| drop(spec.node_selector.remove(key)));
            }
            Self::WithoutNodeAffinity => {
                let affinity = spec.affinity.as_mut().and_then(|a| a.node_affinity.as_mut());
                if let Some(affinity) = affinity {
                    affinity.required = None;
                }
            }
            Self::WithoutPodAffinity => {
                let affinity = spec.affinity.as_mut().and_then(|a| a.pod_affinity.as_mut());
                affinity.into_iter().for_each(|affinity| affinity.required.clear());
            }
            Self::WithoutPodAntiAffinity => {
                let affinity = spec.affinity.as_mut().and_then(|a| a.pod_anti_affinity.as_mut());
                affinity.into_iter().for_each(|affinity| affinity.required.clear());
            }
            Self::WithoutSpread(key) => spec.topology_spread_constraints.retain(|constraint| {
                constraint.topology_key != *key
                    || constraint.when_unsatisfiable != UnsatisfiableAction::DoNotSchedule
            }),
            Self::WithoutHostPorts => {
                let containers = spec.containers.iter_mut().chain(&mut spec.init_containers);
                containers.for_each(|container: &mut Container| container.ports.clear());
            }
        }
    }
}

/// The name of the filter that asks for room.
pub(super) const FIT: &str = "NodeResourcesFit";

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Free(resources) => {
                let all = resources.iter().map(|(resource, amount)| match &**resource {
                    "pods" => "room for one more pod".to_owned(),
                    resource => format!("{amount} more {resource}"),
                });
                write!(f, "if {} were free", all.collect::<Vec<_>>().join(" and "))
            }
            Self::LargerNode(short) => {
                let all = short.iter().map(|s| {
                    format!("{} {} is requested, the largest has {}", s.requested, s.resource, s.largest)
                });
                write!(f, "no node is large enough: {}", all.collect::<Vec<_>>().join(", "))
            }
            Self::NodeLike(node) => write!(f, "a new node like {node} would fit"),
            Self::Uncordon => f.write_str("if uncordoned"),
            Self::Tolerate(taints) => {
                let all: Vec<_> = taints.iter().map(Taint::to_string).collect();
                write!(f, "with a toleration for {}", all.join(" and "))
            }
            Self::WithoutSelector(labels) => {
                write!(f, "without the node selector {}", LabelSelector::labels(labels.clone()))
            }
            Self::WithoutNodeAffinity => f.write_str("without the required node affinity"),
            Self::WithoutPodAffinity => f.write_str("without the required pod affinity"),
            Self::WithoutPodAntiAffinity => f.write_str("without the required pod anti-affinity"),
            Self::WithoutSpread(key) => write!(f, "without the hard spread over {key}"),
            Self::WithoutHostPorts => f.write_str("without host ports"),
        }
    }
}

/// Changes that together help a pod that waits. Displays as `2 nodes would fit with a toleration for gpu=:NoSchedule`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Help {
    /// The changes; one, unless no single one helps.
    pub remedies: Vec<Remedy>,
    /// The nodes that could take the pod then; none where the change is a new node.
    pub nodes: Vec<Arc<str>>,
}

impl fmt::Display for Help {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.nodes.len() {
            0 => {}
            1 => f.write_str("1 node would fit ")?,
            nodes => write!(f, "{nodes} nodes would fit ")?,
        }
        for (i, remedy) in self.remedies.iter().enumerate() {
            write!(f, "{}{remedy}", if i == 0 { "" } else { ", and " })?;
        }
        Ok(())
    }
}
