//! Choosing nodes by their labels and name.

use serde::{Deserialize, Serialize};

use super::{Extra, Labels};

/// Chooses nodes: those that one of the terms matches. Without terms it chooses none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSelector {
    /// Alternatives.
    pub node_selector_terms: Vec<NodeSelectorTerm>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Chooses the nodes that meet all its requirements. Without any it chooses none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSelectorTerm {
    /// Requirements on the node's labels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<NodeSelectorRequirement>,
    /// Requirements on the node's fields; the only one is `metadata.name`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub match_fields: Vec<NodeSelectorRequirement>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// One requirement on a label or field of a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeSelectorRequirement {
    /// The label or field.
    pub key: String,
    /// What must hold for it.
    pub operator: NodeSelectorOperator,
    /// The values that the operator speaks of: any number for `In` and `NotIn`, one whole number for `Gt` and
    /// `Lt`, none for the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What a [`NodeSelectorRequirement`] demands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NodeSelectorOperator {
    /// It is there, with one of the values.
    #[default]
    In,
    /// It is absent, or has none of the values.
    NotIn,
    /// It is there.
    Exists,
    /// It is absent.
    DoesNotExist,
    /// It is a whole number above the value.
    Gt,
    /// It is a whole number below the value.
    Lt,
}

impl NodeSelector {
    /// Whether the node called `name` with `labels` is chosen.
    #[must_use]
    pub fn matches(&self, name: &str, labels: &Labels) -> bool {
        self.node_selector_terms.iter().any(|term| term.matches(name, labels))
    }

    /// The names of which one must be that of a chosen node; `None` where some term asks for no name.
    pub(crate) fn names(&self) -> Option<Vec<&str>> {
        let mut names = Vec::new();
        for term in &self.node_selector_terms {
            let by_name = |r: &&NodeSelectorRequirement| {
                r.key == "metadata.name" && r.operator == NodeSelectorOperator::In
            };
            names.extend(term.match_fields.iter().find(by_name)?.values.iter().map(String::as_str));
        }
        Some(names)
    }
}

impl NodeSelectorTerm {
    /// Whether the node called `name` with `labels` is chosen.
    #[must_use]
    pub fn matches(&self, name: &str, labels: &Labels) -> bool {
        let field = |key: &str| (key == "metadata.name").then_some(name);
        !(self.match_expressions.is_empty() && self.match_fields.is_empty())
            && self.match_expressions.iter().all(|r| r.holds_for(labels.value(&r.key)))
            && self.match_fields.iter().all(|r| r.holds_for(field(&r.key)))
    }
}

impl NodeSelectorRequirement {
    /// Whether the requirement holds for `value`, that of its label or field where there is one.
    #[must_use]
    pub fn holds_for(&self, value: Option<&str>) -> bool {
        let among = || value.is_some_and(|v| self.values.iter().any(|w| w == v));
        match self.operator {
            NodeSelectorOperator::In => among(),
            NodeSelectorOperator::NotIn => !among(),
            NodeSelectorOperator::Exists => value.is_some(),
            NodeSelectorOperator::DoesNotExist => value.is_none(),
            NodeSelectorOperator::Gt => self.numbers(value).is_some_and(|(value, bound)| value > bound),
            NodeSelectorOperator::Lt => self.numbers(value).is_some_and(|(value, bound)| value < bound),
        }
    }

    fn numbers(&self, value: Option<&str>) -> Option<(i64, i64)> {
        Some((value?.parse().ok()?, self.values.first()?.parse().ok()?))
    }
}
