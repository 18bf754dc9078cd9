//! A pod's wishes about other pods, ready to be compared with them.

use std::collections::BTreeMap;

use super::class::PodClass;
use crate::model::{LabelOperator, LabelSelector, Labels, ObjectMeta, PodAffinity, PodAffinityTerm, PodSpec};

/// Labels of namespaces by name.
pub(crate) type Namespaces = BTreeMap<String, Labels>;

/// The label that every namespace has, with its name.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Which other pods, and what being beside them means.
#[derive(Clone, Debug)]
pub(crate) struct Term {
    /// The topology key.
    pub(crate) key: String,
    selector: Option<LabelSelector>,
    namespaces: Vec<String>,
    namespace_selector: Option<LabelSelector>,
}

impl Term {
    fn new(meta: &ObjectMeta, term: &PodAffinityTerm) -> Self {
        let mut selector = term.label_selector.clone();
        if let Some(selector) = &mut selector {
            add_label_keys(selector, &meta.labels, &term.match_label_keys, LabelOperator::In);
            add_label_keys(selector, &meta.labels, &term.mismatch_label_keys, LabelOperator::NotIn);
        }
        let mut namespaces = term.namespaces.clone();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.push(meta.namespace.clone());
        }
        Self {
            key: term.topology_key.clone(),
            selector,
            namespaces,
            namespace_selector: term.namespace_selector.clone(),
        }
    }

    /// Whether the term speaks of the pods of `class`.
    pub(crate) fn matches(&self, class: &PodClass, namespaces: &Namespaces) -> bool {
        self.selector.as_ref().is_some_and(|s| s.matches(&class.labels))
            && (self.namespaces.contains(&class.namespace)
                || self.namespace_selector.as_ref().is_some_and(|s| selects(s, &class.namespace, namespaces)))
    }
}

fn selects(selector: &LabelSelector, namespace: &str, namespaces: &Namespaces) -> bool {
    if selector.is_empty() {
        return true;
    }
    let labels = namespaces.get(namespace).cloned().unwrap_or_default();
    if labels.contains_key(NAME_LABEL) {
        return selector.matches(&labels);
    }
    selector.matches(&labels.with(NAME_LABEL, namespace))
}

/// Adds, for each of `keys` that the pod has a label for, a requirement on its value.
pub(crate) fn add_label_keys(
    selector: &mut LabelSelector,
    labels: &Labels,
    keys: &[String],
    operator: LabelOperator,
) {
    for key in keys {
        if let Some(value) = labels.value(key) {
            *selector = std::mem::take(selector).require(key.as_str(), operator, [value]);
        }
    }
}

/// All wishes of a pod about other pods.
#[derive(Clone, Debug, Default)]
pub(crate) struct PodTerms {
    /// It must be beside pods that match all of these.
    pub(crate) affinity: Vec<Term>,
    /// It must not be beside any that match one of these.
    pub(crate) anti_affinity: Vec<Term>,
    /// It would rather be beside these (weight above 0), or away from them (below).
    pub(crate) preferred: Vec<(i64, Term)>,
}

impl PodTerms {
    pub(crate) fn new(meta: &ObjectMeta, spec: &PodSpec) -> Self {
        let Some(affinity) = &spec.affinity else { return Self::default() };
        let required = |side: &Option<PodAffinity>| -> Vec<Term> {
            side.iter().flat_map(|s| &s.required).map(|term| Term::new(meta, term)).collect()
        };
        let preferred = |side: &Option<PodAffinity>, sign: i64| -> Vec<(i64, Term)> {
            let terms = side.iter().flat_map(|s| &s.preferred).filter(|t| t.weight > 0);
            terms.map(|t| (sign * i64::from(t.weight), Term::new(meta, &t.pod_affinity_term))).collect()
        };
        let mut all = Self {
            affinity: required(&affinity.pod_affinity),
            anti_affinity: required(&affinity.pod_anti_affinity),
            preferred: preferred(&affinity.pod_affinity, 1),
        };
        all.preferred.append(&mut preferred(&affinity.pod_anti_affinity, -1));
        all
    }

    /// Whether pods that come later are judged by these terms.
    pub(crate) fn is_empty(&self) -> bool {
        self.affinity.is_empty() && self.anti_affinity.is_empty() && self.preferred.is_empty()
    }

    /// Whether all terms of the required affinity speak of the pods of `class`.
    pub(crate) fn affinity_matches(&self, class: &PodClass, namespaces: &Namespaces) -> bool {
        self.affinity.iter().all(|term| term.matches(class, namespaces))
    }
}
