//! S39: no request goes to a pod that was never ready, or that was drained; and none is lost to a stop.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use orchestra_core::model::{AnyObjectExt, Pod, Uid};

use super::{Check, Found};
use crate::sim::event::{Event, Ground, Request};
use crate::sim::image::runs_any;
use crate::sim::view::View;

/// How long an agent waits for balancers.
const DRAIN: Duration = Duration::from_secs(5);

/// Checks S39.
#[derive(Debug, Default)]
pub(super) struct Drains {
    /// Pods that were ever ready.
    ready: BTreeSet<Uid>,
    /// Those whose program ends by itself.
    crashing: BTreeSet<Uid>,
    drained: BTreeSet<Uid>,
    /// How many requests are under way.
    open: BTreeMap<Uid, u32>,
    /// When pods were deleted.
    deleted: BTreeMap<Uid, Duration>,
}

impl Check for Drains {
    fn on(&mut self, event: &Event<'_>, view: &View<'_>, found: &mut Found) {
        match event {
            Event::Commit(seen) => {
                for pod in seen.changes.iter().filter_map(|c| c.object.as_ref()?.as_resource::<Pod>()) {
                    if pod.is_ready() {
                        self.ready.insert(pod.metadata.uid.clone());
                    }
                    // Remembered: a request of its may be heard of when the pod is gone.
                    if crashes(pod) {
                        self.crashing.insert(pod.metadata.uid.clone());
                    }
                    if pod.is_terminating() {
                        self.deleted.entry(pod.metadata.uid.clone()).or_insert(seen.at);
                    }
                }
            }
            Event::Request(request) => self.request(request, view, found),
            Event::Ground { pod, what: Ground::StopAsked { container, .. }, .. } => {
                let open = self.open.get(*pod).copied().unwrap_or(0);
                let Some(deleted) = self.deleted.get(*pod).filter(|_| open > 0) else { return };
                if view.calm || view.at < *deleted + DRAIN {
                    found
                        .add("S39", format!("{container} of pod {pod} is stopped with {open} requests open"));
                }
            }
            _ => {}
        }
    }
}

/// Whether it is what a pod's program does: to end by itself.
fn crashes(pod: &Pod) -> bool {
    runs_any(&pod.spec, |image| image.ends.is_some())
}

impl Drains {
    fn request(&mut self, request: &Request, view: &View<'_>, found: &mut Found) {
        match request {
            Request::Sent { pod } => {
                if self.drained.contains(pod) {
                    found.add("S39", format!("a request was sent to pod {pod} after it was drained"));
                }
                if !self.ready.contains(pod) {
                    found.add("S39", format!("a request was sent to pod {pod}, which was never ready"));
                }
                *self.open.entry(pod.clone()).or_default() += 1;
            }
            Request::Answered { pod } | Request::Failed { pod, .. } => {
                if let Some(open) = self.open.get_mut(pod) {
                    *open = open.saturating_sub(1);
                }
                if let (Request::Failed { began, .. }, true) =
                    (request, view.calm && !self.crashing.contains(pod))
                {
                    let how = if *began { "died over a request" } else { "took no request" };
                    found.add("S39", format!("pod {pod} {how}, though nothing went wrong"));
                }
            }
            Request::Drained { pod } => {
                let open = self.open.get(pod).copied().unwrap_or(0);
                if open > 0 {
                    found.add("S39", format!("pod {pod} is said to be drained with {open} requests open"));
                }
                self.drained.insert(pod.clone());
            }
            Request::NoEndpoint { .. } => {}
        }
    }
}
