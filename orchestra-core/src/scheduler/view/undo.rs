//! Trying things out: changes that are taken back, one by one.

use std::sync::Arc;

use super::View;
use super::class::PodClass;
use super::typical::Learnt;
use super::update::Known;
use crate::model::{Labels, Node, Pod, PodDisruptionBudget, Uid};

/// How one change is taken back: by setting what was before.
#[derive(Debug)]
pub(super) enum Undo {
    Node(Arc<str>, Option<Arc<Node>>),
    Pod(Uid, Option<Before>),
    Preempted(Uid, bool),
    Namespace(String, Option<Labels>),
    Budget((String, String), Option<Arc<PodDisruptionBudget>>),
    Learnt(Learnt),
}

/// What was known of a pod; its node by name, as the number may belong to another by then.
#[derive(Debug)]
pub(super) struct Before {
    pub(super) pod: Arc<Pod>,
    pub(super) class: Arc<PodClass>,
    pub(super) node: Arc<str>,
    pub(super) assumed: bool,
}

/// The changes since the outermost mark.
#[derive(Debug, Default)]
pub(super) struct Trail {
    steps: Vec<Undo>,
    marks: usize,
}

impl Trail {
    pub(super) fn is_on(&self) -> bool {
        self.marks > 0
    }

    pub(super) fn push(&mut self, step: Undo) {
        self.steps.push(step);
    }
}

/// A point to come back to.
#[derive(Debug)]
#[must_use]
pub(crate) struct Mark(usize);

impl View {
    /// Runs `try_out` on this view, and takes back every change that it makes, one by one: nothing is copied. What
    /// plugins have worked out and kept stays right: for them a change back is a change.
    pub fn what_if<R>(&mut self, try_out: impl FnOnce(&mut Self) -> R) -> R {
        let mark = self.mark();
        let result = try_out(self);
        self.roll_back(mark);
        result
    }

    /// Starts to remember changes. Marks nest; each must be kept or rolled back, the last first.
    pub(crate) fn mark(&mut self) -> Mark {
        self.trail.marks += 1;
        Mark(self.trail.steps.len())
    }

    /// Accepts what happened since the mark.
    pub(crate) fn keep(&mut self, _mark: Mark) {
        self.trail.marks -= 1;
        if self.trail.marks == 0 {
            self.trail.steps.clear();
        }
    }

    /// Takes back what happened since the mark.
    pub(crate) fn roll_back(&mut self, mark: Mark) {
        let steps = self.trail.steps.split_off(mark.0);
        let marks = std::mem::take(&mut self.trail.marks);
        for step in steps.into_iter().rev() {
            match step {
                Undo::Node(name, node) => {
                    self.set_node(&name, node.as_ref());
                }
                Undo::Pod(uid, before) => {
                    let known = before.map(|Before { pod, class, node, assumed }| Known {
                        pod,
                        class,
                        node: self.slots.ensure(&node),
                        assumed,
                    });
                    self.set_pod(&uid, known);
                }
                Undo::Preempted(uid, before) => self.set_preempted(&uid, before),
                Undo::Namespace(name, before) => {
                    self.set_namespace(&name, before);
                }
                Undo::Learnt(before) => self.unlearn(before),
                Undo::Budget(key, before) => {
                    self.set_budget(key, before.as_ref());
                }
            }
        }
        self.trail.marks = marks;
        self.keep(mark);
    }
}
