//! The replica sets of a fleet, and their pods.

use orchestra_core::rollout::ReplicaSetView;

/// How a pod stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pod {
    Starting,
    /// Available, and not settled yet.
    Young,
    /// Available and settled.
    Ready,
    Unready,
    Ending,
}

/// A replica set: one version, and its pods.
#[derive(Clone, Debug)]
pub(super) struct Set {
    pub(super) name: String,
    pub(super) version: u64,
    pub(super) revision: u64,
    /// Whether its pods can become ready.
    pub(super) good: bool,
    /// Whether its pods end soon after they became ready.
    pub(super) crashes: bool,
    pub(super) exists: bool,
    pub(super) size: u32,
    pub(super) sized_for: Option<u32>,
    pub(super) held_back: bool,
    pub(super) completed: bool,
    pub(super) pods: Vec<Pod>,
}

impl Set {
    pub(super) fn count(&self, state: Pod) -> u32 {
        u32::try_from(self.pods.iter().filter(|pod| **pod == state).count()).unwrap_or(u32::MAX)
    }

    pub(super) fn alive(&self) -> u32 {
        u32::try_from(self.pods.len()).unwrap_or(u32::MAX) - self.count(Pod::Ending)
    }

    pub(super) fn available(&self) -> u32 {
        self.count(Pod::Young) + self.count(Pod::Ready)
    }

    pub(super) fn serving(&self) -> u32 {
        if self.held_back { 0 } else { self.available() }
    }

    pub(super) fn settled(&self) -> u32 {
        if self.held_back { 0 } else { self.count(Pod::Ready) }
    }

    pub(super) fn view(&self) -> ReplicaSetView<'_> {
        let mut view = ReplicaSetView::new(&self.name, self.revision);
        view.exists = self.exists;
        view.hash = &self.name;
        view.size = self.size;
        view.pods = self.alive();
        view.ready = self.available();
        view.available = view.ready;
        view.settling = self.count(Pod::Young);
        view.terminating = self.count(Pod::Ending);
        view.sized_for = self.sized_for;
        view.held_back = self.held_back;
        view.completed = self.completed;
        view
    }
}
