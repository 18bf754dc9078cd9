//! What checks are told of, as it happens.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use orchestra_core::model::{Revision, Uid};
use orchestra_core::store::{Change, Precondition};

use super::process::Actor;

/// A commit that happened.
#[derive(Debug)]
pub(crate) struct Committed {
    pub(crate) revision: Revision,
    /// When, since the start.
    pub(crate) at: Duration,
    pub(crate) actor: Actor,
    pub(crate) changes: Arc<[Change]>,
    #[allow(dead_code, reason = "a commit is shown whole, also where no check reads all of it")]
    pub(crate) preconditions: Vec<Precondition>,
}

/// What a runtime did, or was asked to do: the ground truth.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ground {
    /// A sandbox stands.
    SandboxUp { sandbox: String, ip: Option<IpAddr> },
    /// A sandbox is about to fall, with what runs in it.
    SandboxDown { sandbox: String },
    /// Nothing is left of a sandbox.
    SandboxGone { sandbox: String },
    /// A process runs.
    Started { sandbox: String, container: String, attempt: u32 },
    /// A process has ended.
    Exited { container: String, attempt: u32, code: i32, cause: ExitCause },
    /// The agent asks that a process be stopped.
    StopAsked { container: String, attempt: u32, grace: Duration },
}

/// Why a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExitCause {
    /// Of itself, or by a fault.
    Itself,
    /// The agent had it stopped, and it obeyed.
    Stopped,
    /// The agent had it stopped, and it was killed after its grace.
    Killed,
    /// The host lost its power, or the sandbox was torn down.
    TornDown,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// It was sent to this pod.
    Sent { pod: Uid },
    /// It was answered.
    Answered { pod: Uid },
    /// The pod did not take it, or died over it.
    Failed { pod: Uid, began: bool },
    /// No endpoint was known for a service.
    NoEndpoint { service: String },
    /// The balancer told an agent that the pod is drained.
    Drained { pod: Uid },
}

/// One thing that happened.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    Commit(&'a Committed),
    /// On a host, to a pod.
    Ground {
        host: usize,
        pod: &'a Uid,
        what: &'a Ground,
    },
    Request(&'a Request),
    /// A process of a pod hangs: it runs, and answers nobody.
    Hung {
        pod: &'a Uid,
    },
    /// An agent called its runtime, to change something.
    Called {
        host: usize,
        call: &'static str,
    },
    /// An agent was started, or died.
    #[allow(dead_code, reason = "shown in the trace")]
    Agent {
        host: usize,
        up: bool,
    },
    /// A host has power, or lost it.
    #[allow(dead_code, reason = "shown in the trace")]
    Power {
        host: usize,
        up: bool,
    },
    /// The control plane was started anew.
    ControlStarted,
    /// Users and faults have stopped, and time enough has passed: everything must be as desired.
    Settled,
    /// The quiet time after that is over.
    End,
}
