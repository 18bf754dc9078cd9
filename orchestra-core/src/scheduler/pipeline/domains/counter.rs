//! Pods counted by topology domain.

use std::collections::BTreeMap;

use crate::model::{LabelSelector, Uid};
use crate::scheduler::view::class::PodClass;
use crate::scheduler::view::terms::{Namespaces, Term};
use crate::scheduler::view::topology::{KeyId, NO_DOMAIN};

/// What is counted.
#[derive(Clone, Debug)]
pub(super) enum Subject {
    /// Pods that the term speaks of.
    Term(Term),
    /// Pods that all terms of the own required affinity speak of.
    AllTerms,
    /// Pods of the own namespace with these labels.
    Labels(Option<LabelSelector>),
    /// Pods of the own namespace with this controller.
    Controller(Uid),
    /// Required anti-affinity terms with this key, of other pods, that speak of this one.
    Unwelcome(String),
    /// The weight of preferred terms with this key, of other pods, that speak of this one; what they require
    /// counts 1, as in Kubernetes.
    Wanted(String),
}

impl Subject {
    /// What one pod of class `other` counts for.
    fn value(&self, own: &PodClass, other: &PodClass, namespaces: &Namespaces) -> i64 {
        match self {
            Self::Term(term) => term.matches(other, namespaces).into(),
            Self::AllTerms => own.terms.affinity_matches(other, namespaces).into(),
            Self::Labels(selector) => {
                let alike = !other.terminating && own.namespace == other.namespace;
                (alike && selector.as_ref().is_some_and(|s| s.matches(&other.labels))).into()
            }
            Self::Controller(uid) => {
                let alike = !other.terminating && own.namespace == other.namespace;
                (alike && other.controller.as_ref() == Some(uid)).into()
            }
            Self::Unwelcome(key) => {
                let terms = other.terms.anti_affinity.iter().filter(|t| t.key == *key);
                i64::from(
                    u32::try_from(terms.filter(|t| t.matches(own, namespaces)).count()).unwrap_or(u32::MAX),
                )
            }
            Self::Wanted(key) => {
                let preferred = other.terms.preferred.iter().filter(|(_, t)| t.key == *key);
                let preferred =
                    preferred.filter(|(_, t)| t.matches(own, namespaces)).map(|(weight, _)| weight);
                let required = other.terms.affinity.iter().filter(|t| t.key == *key);
                let required = required.filter(|t| t.matches(own, namespaces)).map(|_| &1);
                preferred.chain(required).sum()
            }
        }
    }
}

/// Which nodes count for a spread constraint, and how evenly the domains are filled.
#[derive(Clone, Debug, Default)]
pub(super) struct Evenness {
    /// By node.
    pub(super) counts: Vec<bool>,
    /// How many domains with a node that counts there are.
    pub(super) domains: u32,
    /// How many of them hold so many pods.
    levels: BTreeMap<i64, u32>,
}

impl Evenness {
    /// With the nodes that count, and no domain yet.
    pub(super) fn over(counts: Vec<bool>) -> Self {
        Self { counts, ..Self::default() }
    }

    /// The number of pods in the emptiest domain.
    pub(super) fn least(&self) -> i64 {
        self.levels.first_key_value().map_or(0, |(count, _)| *count)
    }
}

/// The count for every domain of one topology key.
#[derive(Clone, Debug)]
pub(super) struct Counter {
    pub(super) key: KeyId,
    pub(super) subject: Subject,
    pub(super) evenness: Option<Evenness>,
    counts: Vec<i64>,
    /// Over all domains.
    pub(super) total: i64,
    /// The class that was asked about last, and what its pods count for.
    last: Option<(u64, i64)>,
}

impl Counter {
    pub(super) fn new(key: KeyId, subject: Subject) -> Self {
        Self { key, subject, evenness: None, counts: Vec::new(), total: 0, last: None }
    }

    /// The count in `domain`.
    pub(super) fn get(&self, domain: u32) -> i64 {
        self.counts.get(domain as usize).copied().unwrap_or(0)
    }

    /// What one pod of class `other` counts for.
    pub(super) fn value(&mut self, own: &PodClass, other: &PodClass, namespaces: &Namespaces) -> i64 {
        match self.last {
            Some((id, value)) if id == other.id => value,
            _ => {
                let value = self.subject.value(own, other, namespaces);
                self.last = Some((other.id, value));
                value
            }
        }
    }

    /// Makes a domain count for evenness, before anything is added to it.
    pub(super) fn open(&mut self, domain: u32) {
        if let Some(evenness) = &mut self.evenness {
            evenness.domains += 1;
            *evenness.levels.entry(0).or_insert(0) += 1;
        }
        debug_assert_eq!(self.get(domain), 0, "a domain is opened before it is filled");
    }

    /// Adds to the domain of `node`. Answers whether the count of the emptiest domain changed.
    pub(super) fn add(&mut self, node: usize, domain: u32, amount: i64) -> bool {
        if self.evenness.as_ref().is_some_and(|e| !e.counts.get(node).copied().unwrap_or(false)) {
            return false;
        }
        if domain == NO_DOMAIN {
            return false;
        }
        self.total += amount;
        let index = domain as usize;
        if self.counts.len() <= index {
            self.counts.resize((index + 1).next_power_of_two(), 0);
        }
        let old = self.counts[index];
        self.counts[index] += amount;
        let Some(evenness) = &mut self.evenness else { return false };
        let least = evenness.least();
        if let Some(domains) = evenness.levels.get_mut(&old) {
            *domains -= 1;
            if *domains == 0 {
                evenness.levels.remove(&old);
            }
        }
        *evenness.levels.entry(old + amount).or_insert(0) += 1;
        evenness.least() != least
    }
}
