//! Defects that can be switched on, to prove that the checks find them.

/// A defect. Each is one that an orchestrator really had, and each must fail a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mutant {
    /// Watches now and then lose that an object was removed (etcd#18089).
    LosesDeletes,
    /// Watches now and then deliver an event twice (etcd#15271).
    RepeatsEvents,
    /// A commit to a changed object is let through although a condition of it does not hold.
    IgnoresConditions,
    /// The balancer says that a pod is drained before it is (kubernetes#43576).
    DrainsTooEarly,
    /// The balancer goes on picking pods that it said were drained.
    PicksDrained,
    /// A start whose reply is lost is carried out a second time under another name (nomad#6762).
    StartsTwice,
    /// A container that was removed goes on running (moby#29638).
    LeavesBehind,
    /// An agent that comes back stops what it finds running (swarmkit#907).
    StopsAtBoot,
    /// A status is written again and again.
    WritesForEver,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::LosesDeletes,
        Self::RepeatsEvents,
        Self::IgnoresConditions,
        Self::DrainsTooEarly,
        Self::PicksDrained,
        Self::StartsTwice,
        Self::LeavesBehind,
        Self::StopsAtBoot,
        Self::WritesForEver,
    ];
}
