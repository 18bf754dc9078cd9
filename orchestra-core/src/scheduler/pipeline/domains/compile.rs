//! From a pod's wishes, and those of the pods that are there, to rules.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::counter::{Counter, Evenness, Subject};
use super::rule::{Kind, Rule};
use super::{Concerned, DomainOptions, Domains};
use crate::model::{
    LabelOperator, LabelSelector, NodeInclusionPolicy, TaintEffect, TopologySpreadConstraint,
    UnsatisfiableAction,
};
use crate::scheduler::explain::Reasons;
use crate::scheduler::plugins::{chooses, chosen, untolerated};
use crate::scheduler::view::class::PodClass;
use crate::scheduler::view::slots::NodeId;
use crate::scheduler::view::terms::add_label_keys;
use crate::scheduler::view::topology::{Key, KeyId, NO_DOMAIN};
use crate::scheduler::{Change, NodeView, View};

/// The name of the affinity rules in explanations.
const AFFINITY: &str = "InterPodAffinity";
/// The name of the spread rules in explanations.
const SPREAD: &str = "PodTopologySpread";

/// A spread constraint, whether the pod's own or a default.
struct Constraint {
    key: String,
    skew: u32,
    hard: bool,
    least_domains: u32,
    subject: Subject,
    /// Whether the pod itself counts.
    own: bool,
    honor_affinity: bool,
    honor_taints: bool,
}

pub(super) struct Compiler<'a> {
    pub(super) view: &'a mut View,
    pub(super) reasons: &'a mut Reasons,
    pub(super) own: &'a Arc<PodClass>,
    pub(super) domains: Domains,
}

impl Compiler<'_> {
    pub(super) fn compile(mut self, options: &DomainOptions) -> Domains {
        let own = Arc::clone(self.own);
        if options.spread || options.spread_weight > 0 {
            self.spread(&own, options);
        }
        if options.affinity {
            self.required(&own);
        }
        if options.affinity_weight > 0 {
            self.preferred(&own, options.affinity_weight.into());
        }
        self.count();
        self.domains
    }

    fn reason(&mut self, plugin: &str, text: String, helped_by: Change) -> u16 {
        self.reasons.intern(
            &Arc::from(plugin),
            Cow::Owned(text),
            Change::NODE | Change::NAMESPACE | helped_by,
        )
    }

    fn rule(&mut self, key: &str, subject: Subject, kind: Kind, weight: u64) -> &mut Rule {
        let key = self.view.topology_key(key);
        let fine = self.view.key(key).is_fine();
        self.domains.counters.push(Counter::new(key, subject));
        let counter = self.domains.counters.len() - 1;
        self.domains.rules.push(Rule { counter, kind, weight, reason: 0, no_label: 0, fine });
        let last = self.domains.rules.len() - 1;
        &mut self.domains.rules[last]
    }

    fn demand(&mut self, key: &str, subject: Subject, kind: Kind, why: (&str, String, Change)) {
        let (plugin, text, helped_by) = why;
        let reason = self.reason(plugin, text, helped_by);
        let no_label = self.reason(plugin, format!("lack the label {key}"), Change::NODE);
        let rule = self.rule(key, subject, kind, 0);
        (rule.reason, rule.no_label) = (reason, no_label);
    }

    fn required(&mut self, own: &PodClass) {
        for term in &own.terms.affinity {
            let text = format!("have no pod that matches the affinity, by {}", term.key);
            self.demand(&term.key, Subject::AllTerms, Kind::Beside, (AFFINITY, text, Change::PLACED));
        }
        self.domains.matches_itself =
            !own.terms.affinity.is_empty() && own.terms.affinity_matches(own, self.view.namespaces());
        for term in &own.terms.anti_affinity {
            let text = format!("have a pod that matches the anti-affinity, by {}", term.key);
            self.demand(&term.key, Subject::Term(term.clone()), Kind::Apart, (AFFINITY, text, Change::FREED));
        }
        for key in self.keys_of_others(|other, found| found.unwelcome(other)) {
            let text = format!("have a pod whose anti-affinity matches, by {key}");
            let subject = Subject::Unwelcome(key.clone());
            self.demand(&key, subject, Kind::Apart, (AFFINITY, text, Change::FREED));
        }
    }

    fn preferred(&mut self, own: &PodClass, weight: u64) {
        let of = own.terms.preferred.iter().map(|(weight, _)| weight.unsigned_abs()).sum::<u64>().max(1);
        for (part, term) in &own.terms.preferred {
            let share = part.unsigned_abs();
            let kind = if *part > 0 {
                Kind::RatherBeside { weight: share, of }
            } else {
                Kind::RatherApart { weight: share, of }
            };
            self.rule(&term.key, Subject::Term(term.clone()), kind, weight);
        }
        for key in self.keys_of_others(|other, found| found.wanted(other)) {
            let subject = Subject::Wanted(key.clone());
            self.rule(&key, subject, Kind::Wanted, weight);
        }
    }

    /// The topology keys of those wishes of other pods that concern this one, in the order of their names.
    fn keys_of_others<'s>(
        &'s self,
        keys: impl Fn(&'s PodClass, &Concerned<'_>) -> Vec<&'s str>,
    ) -> Vec<String> {
        let concerned = Concerned { own: self.own, namespaces: self.view.namespaces() };
        let others = self.view.residents().iter().filter(|other| !other.class.terms.is_empty());
        let found: BTreeSet<&str> = others.flat_map(|other| keys(&other.class, &concerned)).collect();
        found.into_iter().map(str::to_owned).collect()
    }

    fn spread(&mut self, own: &Arc<PodClass>, options: &DomainOptions) {
        let constraints = constraints(own, options);
        for hard in [true, false] {
            let (all_keys, of) = {
                let alike = constraints.iter().filter(|c| c.hard == hard);
                (alike.clone().map(|c| c.key.clone()).collect::<Vec<_>>(), alike.count() as u64)
            };
            if (hard && !options.spread) || (!hard && options.spread_weight == 0) {
                continue;
            }
            for constraint in constraints.iter().filter(|c| c.hard == hard) {
                let (key, subject) = (&constraint.key, constraint.subject.clone());
                if hard {
                    let kind = Kind::Even {
                        skew: constraint.skew.into(),
                        least_domains: constraint.least_domains,
                        own: constraint.own.into(),
                    };
                    let text = format!("would break the spread over {key}");
                    self.demand(key, subject, kind, (SPREAD, text, Change::FREED | Change::PLACED));
                } else {
                    let kind = Kind::RatherEven { skew: constraint.skew.into(), of };
                    self.rule(key, subject, kind, options.spread_weight.into());
                }
                // Defaults are for any cluster, also one whose nodes have no zones.
                let defaults = matches!(constraint.subject, Subject::Controller(_));
                self.evenness(constraint, if defaults { &[] } else { &all_keys });
            }
        }
    }

    /// Works out which nodes count for the constraint of the counter added last.
    fn evenness(&mut self, constraint: &Constraint, all_keys: &[String]) {
        let spec = &self.own.spec;
        let all_keys: Vec<KeyId> = all_keys.iter().map(|key| self.view.topology_key(key)).collect();
        let keys: Vec<&Key> = all_keys.iter().map(|key| self.view.key(*key)).collect();
        // Most pods choose no nodes and most nodes have no taints: then neither object is looked at.
        let chooses = constraint.honor_affinity && chooses(spec);
        let taints = [TaintEffect::NoSchedule, TaintEffect::NoExecute];
        let counts = |id: NodeId| {
            let tainted = constraint.honor_taints && self.view.facts(id).tainted;
            let accepts = |node: NodeView<'_>| {
                (!chooses || chosen(spec, node.name(), node.labels()))
                    && (!tainted || untolerated(spec, node.node(), &taints).is_none())
            };
            keys.iter().all(|key| key.of(id.index()) != NO_DOMAIN)
                && (!(chooses || tainted) || self.view.node(id).is_some_and(accepts))
        };
        let mut counted = vec![false; self.view.slots().len()];
        let Some(counter) = self.domains.counters.last_mut() else { return };
        let key = self.view.key(counter.key);
        let (mut is_open, mut open) = (vec![false; key.domains()], Vec::new());
        for id in self.view.ids().filter(|id| counts(*id)) {
            counted[id.index()] = true;
            let domain = key.of(id.index());
            if domain != NO_DOMAIN && !std::mem::replace(&mut is_open[domain as usize], true) {
                open.push(domain);
            }
        }
        counter.evenness = Some(Evenness::over(counted));
        open.into_iter().for_each(|domain| counter.open(domain));
    }

    /// Counts the pods that are there.
    fn count(&mut self) {
        for counter in &mut self.domains.counters {
            let key = self.view.key(counter.key);
            for residents in self.view.residents().iter() {
                let value = counter.value(self.own, &residents.class, self.view.namespaces());
                if value != 0 {
                    for (node, pods) in residents.nodes.iter() {
                        counter.add(node.index(), key.of(node.index()), value * i64::from(pods));
                    }
                }
            }
        }
    }
}

/// The pod's own constraints, or the defaults for one that has a controller.
fn constraints(own: &PodClass, options: &DomainOptions) -> Vec<Constraint> {
    let given = &own.spec.topology_spread_constraints;
    if !given.is_empty() {
        return given.iter().map(|c| constraint(own, c)).collect();
    }
    let Some(controller) = &own.controller else { return Vec::new() };
    let default = |(key, skew): &(String, u32)| Constraint {
        key: key.clone(),
        skew: (*skew).max(1),
        hard: false,
        least_domains: 1,
        subject: Subject::Controller(controller.clone()),
        own: true,
        honor_affinity: true,
        honor_taints: false,
    };
    options.default_spread.iter().map(default).collect()
}

fn constraint(own: &PodClass, constraint: &TopologySpreadConstraint) -> Constraint {
    let mut selector: Option<LabelSelector> = constraint.label_selector.clone();
    if let Some(selector) = &mut selector {
        add_label_keys(selector, &own.labels, &constraint.match_label_keys, LabelOperator::In);
    }
    Constraint {
        key: constraint.topology_key.clone(),
        skew: constraint.max_skew.max(1),
        hard: constraint.when_unsatisfiable == UnsatisfiableAction::DoNotSchedule,
        least_domains: constraint.min_domains.unwrap_or(1),
        own: selector.as_ref().is_some_and(|s| s.matches(&own.labels)),
        subject: Subject::Labels(selector),
        honor_affinity: constraint.node_affinity_policy != Some(NodeInclusionPolicy::Ignore),
        honor_taints: constraint.node_taints_policy == Some(NodeInclusionPolicy::Honor),
    }
}
