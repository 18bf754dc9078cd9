//! Rules about whole topology domains: pod affinity and anti-affinity, and spread.
//!
//! Each rule counts pods by domain of one topology key and judges a node by the count of its domain alone. Where
//! a key divides the nodes into single ones (host names), its rules belong to the node; all other keys together
//! divide the nodes into *cells*, and a rule's answer is the same for all nodes of a cell.

mod compile;
mod counter;
mod rule;

use std::sync::Arc;

use compile::Compiler;
use counter::{Counter, Subject};
use rule::{Kind, Rule};

use super::set::DomainOptions;
use crate::scheduler::explain::Reasons;
use crate::scheduler::view::class::PodClass;
use crate::scheduler::view::slots::NodeId;
use crate::scheduler::view::terms::Namespaces;
use crate::scheduler::view::topology::KeyId;
use crate::scheduler::{PodInfo, View};

/// Finds the wishes of other pods that speak of those of class `own`.
struct Concerned<'a> {
    own: &'a PodClass,
    namespaces: &'a Namespaces,
}

impl Concerned<'_> {
    /// The keys of the required anti-affinity terms of `other` that do.
    fn unwelcome<'o>(&self, other: &'o PodClass) -> Vec<&'o str> {
        let terms = other.terms.anti_affinity.iter();
        terms.filter(|t| t.matches(self.own, self.namespaces)).map(|t| t.key.as_str()).collect()
    }

    /// The keys of the preferred terms and the required affinity terms of `other` that do.
    fn wanted<'o>(&self, other: &'o PodClass) -> Vec<&'o str> {
        let terms = other.terms.preferred.iter().map(|(_, t)| t).chain(&other.terms.affinity);
        terms.filter(|t| t.matches(self.own, self.namespaces)).map(|t| t.key.as_str()).collect()
    }
}

/// Whether a rule about domains concerns pods of class `own`: by their own wishes or those of pods that are there.
pub(super) fn is_concerned(options: &DomainOptions, view: &View, own: &PodClass) -> bool {
    let spreads = options.spread || options.spread_weight > 0;
    let defaults =
        options.spread_weight > 0 && own.controller.is_some() && !options.default_spread.is_empty();
    let concerned = Concerned { own, namespaces: view.namespaces() };
    !own.terms.is_empty()
        || (spreads && !own.spec.topology_spread_constraints.is_empty())
        || defaults
        || view
            .residents()
            .wishing()
            .any(|other| !concerned.unwelcome(other).is_empty() || !concerned.wanted(other).is_empty())
}

/// What must be judged again after changes.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    /// Domains, by key, whose cells must be; may repeat.
    pub(super) domains: Vec<(KeyId, u32)>,
    /// All cells must be.
    pub(super) cells: bool,
    /// All nodes must be.
    pub(super) nodes: bool,
    /// The rules themselves are out of date.
    pub(super) rules: bool,
}

/// The rules of one class of pods, and their counts.
#[derive(Debug)]
pub(super) struct Domains {
    counters: Vec<Counter>,
    rules: Vec<Rule>,
    /// Whether the pod matches its own required affinity.
    matches_itself: bool,
    /// Generations of the keys, which number their domains.
    generations: u64,
    /// The class that was last found to bring no new rules.
    known: Option<u64>,
    options: (bool, bool),
    pub(super) dirty: Dirty,
}

impl Domains {
    pub(super) fn new(
        options: &DomainOptions,
        view: &mut View,
        pod: &PodInfo,
        reasons: &mut Reasons,
    ) -> Self {
        let domains = Self {
            counters: Vec::new(),
            rules: Vec::new(),
            matches_itself: false,
            generations: 0,
            known: None,
            options: (options.affinity, options.affinity_weight > 0),
            dirty: Dirty::default(),
        };
        let mut domains = Compiler { view: &mut *view, reasons, own: pod.class(), domains }.compile(options);
        domains.generations = domains.generations_in(view);
        domains
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    fn generations_in(&self, view: &View) -> u64 {
        self.counters.iter().map(|c| view.key(c.key).generation()).sum()
    }

    /// Whether the domains were numbered anew since the counts were made.
    pub(super) fn is_renumbered(&self, view: &View) -> bool {
        self.generations != self.generations_in(view)
    }

    /// The keys that divide the nodes into cells.
    pub(super) fn coarse_keys(&self) -> Vec<KeyId> {
        let mut keys: Vec<KeyId> =
            self.rules.iter().filter(|r| !r.fine).map(|r| self.counters[r.counter].key).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// Pods of class `other` came to a node (`amount` above 0) or left it.
    pub(super) fn count(
        &mut self,
        view: &View,
        own: &PodClass,
        node: NodeId,
        other: &Arc<PodClass>,
        amount: i64,
    ) {
        if amount > 0 && !other.terms.is_empty() && self.known != Some(other.id) {
            let concerned = Concerned { own, namespaces: view.namespaces() };
            self.dirty.rules |= self.brings_rules(&concerned, other);
            self.known = Some(other.id);
        }
        let before = self.is_first();
        for (number, counter) in self.counters.iter_mut().enumerate() {
            let value = counter.value(own, other, view.namespaces());
            if value == 0 {
                continue;
            }
            let domain = view.key(counter.key).of(node.index());
            let moved = counter.add(node.index(), domain, value * amount);
            let Some(rule) = self.rules.get(number) else { continue };
            if moved && rule.follows_least() {
                self.dirty.cells |= !rule.fine;
                self.dirty.nodes |= rule.fine;
            } else if !rule.fine {
                self.dirty.domains.push((counter.key, domain));
            }
        }
        if before != self.is_first() {
            (self.dirty.cells, self.dirty.nodes) = (true, true);
        }
    }

    /// Whether pods of class `other` have wishes about these under a key that has no rule yet.
    fn brings_rules(&self, concerned: &Concerned<'_>, other: &PodClass) -> bool {
        let (required, preferred) = self.options;
        let unwelcome = |key: &str| {
            self.counters.iter().any(|c| matches!(&c.subject, Subject::Unwelcome(known) if known == key))
        };
        let wanted = |key: &str| {
            self.counters.iter().any(|c| matches!(&c.subject, Subject::Wanted(known) if known == key))
        };
        (required && !concerned.unwelcome(other).into_iter().all(unwelcome))
            || (preferred && !concerned.wanted(other).into_iter().all(wanted))
    }

    /// Whether the pod would be the first of those that its required affinity asks for.
    fn is_first(&self) -> bool {
        let wanted = |r: &&Rule| matches!(r.kind, Kind::Beside);
        self.matches_itself && self.rules.iter().filter(wanted).all(|r| self.counters[r.counter].total == 0)
    }

    /// The weighted points of a node by the rules about single nodes, or the number of the reason against it.
    pub(super) fn judge_node(&self, view: &View, node: NodeId) -> Result<u32, u16> {
        self.judge(view, node, |rule| rule.fine)
    }

    /// The same by all rules but those about single nodes, for any node of a cell.
    pub(super) fn judge_cell(&self, view: &View, node: NodeId) -> Result<u32, u16> {
        self.judge(view, node, |rule| !rule.fine)
    }

    /// What every rule says of a node: the numbers of the reasons against it, of rules about single nodes first; and the
    /// weighted points by affinity and by spread, in thousandths.
    pub(super) fn report(&self, view: &View, node: NodeId) -> (Vec<u16>, u64, u64) {
        let (first, mut against, mut affinity, mut spread) = (self.is_first(), Vec::new(), 0, 0);
        let in_order = self.rules.iter().filter(|r| r.fine).chain(self.rules.iter().filter(|r| !r.fine));
        for rule in in_order {
            let counter = &self.counters[rule.counter];
            match rule.judge(counter, view.key(counter.key).of(node.index()), first) {
                Ok(points) if rule.follows_least() => spread += u64::from(points),
                Ok(points) => affinity += u64::from(points),
                Err(reason) => against.push(reason),
            }
        }
        (against, affinity, spread)
    }

    fn judge(&self, view: &View, node: NodeId, which: impl Fn(&Rule) -> bool) -> Result<u32, u16> {
        if self.rules.is_empty() {
            return Ok(0);
        }
        let (first, mut points) = (self.is_first(), 0_u32);
        for rule in self.rules.iter().filter(|r| which(r)) {
            let counter = &self.counters[rule.counter];
            let domain = view.key(counter.key).of(node.index());
            points = points.saturating_add(rule.judge(counter, domain, first)?);
        }
        Ok(points)
    }
}
