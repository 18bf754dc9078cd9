//! The node agent: runs the pods that are bound to one node.
//!
//! ```text
//! store --Cache<Pod>--> Routes --> agent's queue --> sync(pod): absorb, plan, act, report
//!                                     ^                             |
//!        runtime events, timers ------+<---- a finished operation --+--> Runtime, gates, client
//! ```
//!
//! One loop takes pods off a queue and never waits: it *plans* (a pure function of the pod, of what the runtime
//! shows, and of what the agent remembers) and starts the operations that the plan asks for. Each is a task that
//! ends in a new turn for its pod. A pod for which nothing is to be done has no task and no timer.
//!
//! Which type do I want? [`NodeAgent::builder`] starts an agent. [`Routes`] is shared by the agents of one
//! process, so that a change of a pod costs the same with one node and with ten thousand. [`Prober`] and
//! [`VolumeFiles`] are the agent's two ways to the outside beside the runtime: a simulation replaces them.

mod absorb;
mod absorb_list;
mod access;
mod action;
mod agent;
mod apply;
mod backoff;
mod boot;
mod builder;
mod env;
mod error;
mod memory;
mod moment;
mod ops;
mod plan;
mod probe;
mod reclaim;
mod register;
mod registry_auth;
mod routes;
mod security;
mod sources;
mod spec;
mod status;
mod traced;
mod turns;
mod usage;
mod volumes;

pub use access::{NodeHandle, PodStats, PreviousRun};
pub use agent::NodeAgent;
pub use backoff::{CRASH_BACKOFF_MAX, CRASH_BACKOFF_RESET, restart_delay};
pub use builder::{NodeAgentBuilder, NodeOptions};
pub use env::ConfigError;
pub use error::NodeError;
#[cfg(feature = "http-probes")]
pub use probe::NetworkProber;
#[cfg(feature = "grpc-probes")]
pub use probe::check_grpc;
#[cfg(all(fuzzing, feature = "grpc-probes"))]
#[doc(hidden)]
pub use probe::read_answer;
pub use probe::{ProbeFailure, ProbeRequest, Prober};
pub use routes::Routes;
pub use usage::UsageMeter;
pub use volumes::{FileSet, HostVolumes, VolumeError, VolumeFile, VolumeFiles, remove_tree};
