//! What a plugin's answer depends on, and what happened in the cluster: the two sides of "can this help?".

use std::fmt;
use std::ops::{BitAnd, BitOr, BitOrAssign};

macro_rules! bits {
    ($type:ident { $($name:ident = $text:literal),* $(,)? }) => {
        impl $type {
            /// Whether every bit of `other` is in `self`.
            #[must_use]
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }
            /// Whether `self` and `other` have a bit in common.
            #[must_use]
            pub const fn intersects(self, other: Self) -> bool {
                self.0 & other.0 != 0
            }
            /// Whether no bit is set.
            #[must_use]
            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }
            /// The bits of both.
            #[must_use]
            pub const fn union(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }
        }
        impl BitOr for $type {
            type Output = Self;
            fn bitor(self, rhs: Self) -> Self {
                self.union(rhs)
            }
        }
        impl BitOrAssign for $type {
            fn bitor_assign(&mut self, rhs: Self) {
                self.0 |= rhs.0;
            }
        }
        impl BitAnd for $type {
            type Output = Self;
            fn bitand(self, rhs: Self) -> Self {
                Self(self.0 & rhs.0)
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_set().entries([$((Self::$name, $text)),*].iter().filter(|(b, _)| self.contains(*b)).map(|(_, t)| t)).finish()
            }
        }
    };
}

/// What a [`Filter`](super::Filter) or [`Score`](super::Score) looks at beside the pod's template.
///
/// The pipeline keeps a plugin's answer for all equal pods (same namespace, labels, annotations, spec and
/// controller) and asks again for a node only when something that the plugin reads has changed there. That
/// holds for [`NODE`](Self::NODE), [`USAGE`](Self::USAGE) and [`PODS`](Self::PODS). A plugin that reads more,
/// or does not say what it reads, is asked for every pod and every node: slower, never wrong.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reads(u8);

impl Reads {
    /// Nothing but the pod's template.
    pub const NOTHING: Self = Self(0);
    /// The node object: name, labels, taints, allocatable resources, images.
    pub const NODE: Self = Self(1);
    /// What the pods of the node request: used and free resources.
    pub const USAGE: Self = Self(1 << 1);
    /// The pods on the node: their labels, ports, owners.
    pub const PODS: Self = Self(1 << 2);
    /// Other nodes and their pods.
    pub const CLUSTER: Self = Self(1 << 3);
    /// What tells equal pods apart: name, uid, creation time.
    pub const POD: Self = Self(1 << 4);
    /// Anything outside the view: shared state, prices, measurements.
    pub const OUTSIDE: Self = Self(1 << 5);
    /// Persistent volumes, claims on them and their classes. Answers are kept until the plugin's `version` says that they
    /// may be others.
    pub const VOLUMES: Self = Self(1 << 6);
    /// All of them: what a plugin is taken to read that does not say.
    pub const ANYTHING: Self = Self(0x7f);

    /// Whether answers can be kept per node for all equal pods.
    pub(crate) const fn is_cacheable(self) -> bool {
        Self::NODE.union(Self::USAGE).union(Self::PODS).union(Self::VOLUMES).contains(self)
    }

    /// The changes after which a plugin that reads this may answer otherwise than "no".
    pub(crate) fn helped_by(self) -> Change {
        let mut changes = Change::NODE;
        if self.intersects(Self::USAGE) {
            changes |= Change::FREED;
        }
        if self.intersects(Self::PODS) {
            changes |= Change::FREED | Change::PLACED;
        }
        if self.intersects(Self::VOLUMES) {
            changes |= Change::VOLUMES;
        }
        if self.intersects(Self::CLUSTER.union(Self::POD).union(Self::OUTSIDE)) {
            changes |= Change::ANY;
        }
        changes
    }
}

bits!(Reads { NODE = "node", USAGE = "usage", PODS = "pods", CLUSTER = "cluster", POD = "pod", OUTSIDE = "outside", VOLUMES = "volumes" });

/// What changed in a [`View`](super::View): decides which parked pods are tried again.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Change(u8);

impl Change {
    /// Nothing that a scheduler could see, such as a heartbeat.
    pub const NONE: Self = Self(0);
    /// A node came, or its labels, taints or allocatable resources changed.
    pub const NODE: Self = Self(1);
    /// A pod left a node: resources, ports, and whoever could not bear its company.
    pub const FREED: Self = Self(1 << 1);
    /// A pod came to a node: helps whoever wants its company.
    pub const PLACED: Self = Self(1 << 2);
    /// A namespace's labels changed, which namespace selectors read.
    pub const NAMESPACE: Self = Self(1 << 3);
    /// Volumes, claims on them or their classes changed.
    pub const VOLUMES: Self = Self(1 << 4);
    /// Anything: wakes every parked pod.
    pub const ANY: Self = Self(0x1f);
}

bits!(Change { NODE = "node", FREED = "freed", PLACED = "placed", NAMESPACE = "namespace", VOLUMES = "volumes" });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undeclared_reads_are_helped_by_anything() {
        assert_eq!(Reads::ANYTHING.helped_by(), Change::ANY);
        assert!(!Reads::ANYTHING.is_cacheable());
        assert!((Reads::NODE | Reads::USAGE).is_cacheable());
        assert!(!Reads::NODE.helped_by().intersects(Change::FREED));
        assert_eq!(format!("{:?}", Reads::NODE | Reads::PODS), r#"{"node", "pods"}"#);
    }
}
