//! What it costs to clear a node whose pods are all alike: arithmetic, without a look at who leaves.

use std::cmp::Reverse;

use smallvec::{SmallVec, smallvec};

use super::cost::{Cost, Loss};
use crate::model::Timestamp;
use crate::scheduler::view::columns::ResourceId;
use crate::scheduler::view::preempted::Occupant;
use crate::scheduler::{NodeView, PodInfo, View};

/// The pods that could leave a node, all of one class: equal but for the time since when they run.
pub(super) struct Equals<'v> {
    one: Occupant<'v>,
    started: SmallVec<[Timestamp; 16]>,
}

impl<'v> Equals<'v> {
    /// All pods of a node whose priority is lower than that of `pod`; `None` where there is none, or they are not alike.
    pub(super) fn who_could_leave(view: &'v View, pod: &PodInfo, node: &NodeView<'_>) -> Option<Self> {
        let priority = pod.priority();
        let mut lower = view.occupants(node.id()).filter(|occupant| occupant.class.priority < priority);
        let one = lower.next()?;
        let mut started: SmallVec<[Timestamp; 16]> = smallvec![one.started];
        for occupant in lower {
            if !std::ptr::eq(occupant.class, one.class) || occupant.goes != one.goes {
                return None;
            }
            started.push(occupant.started);
        }
        Some(Self { one, started })
    }

    /// What it costs that as few of them leave as it takes for what is missing; `None` where all of them are not enough.
    pub(super) fn cost(mut self, missing: &[(ResourceId, i64)]) -> Option<Cost> {
        let mut leaving = 0;
        for (resource, missing) in missing.iter().filter(|(_, missing)| *missing > 0) {
            let each = self.one.class.request(*resource);
            let rounded_up = (missing + each - 1).checked_div(each)?;
            leaving = leaving.max(usize::try_from(rounded_up).ok()?);
        }
        if leaving > self.started.len() {
            return None;
        }
        // The youngest leave.
        if let Some(last) = leaving.checked_sub(1) {
            self.started.select_nth_unstable_by_key(last, |started| Reverse(*started));
        }
        let (goes, priority) = (self.one.goes, self.one.class.priority);
        let leaving = self.started.into_iter().take(leaving);
        Some(Cost::of(leaving.map(|started| Loss { goes, priority, started })))
    }
}
