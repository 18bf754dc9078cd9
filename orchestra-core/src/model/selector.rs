//! Choosing objects by their labels.

use serde::{Deserialize, Serialize};

use super::absent::is_default;
use super::{Extra, Labels};

/// Chooses objects by their labels: all of `match_labels` and of `match_expressions` must hold.
///
/// An empty selector chooses everything. Its text form, which `parse` reads and `Display` writes, is that of
/// `kubectl -l`: `app=web,tier!=cache,zone in (a,b),!legacy,owner`.
///
/// ```
/// # use orchestra_core::model::{LabelSelector, Labels};
/// let selector: LabelSelector = "app=web,tier notin (cache,db)".parse()?;
/// assert!(selector.matches(&Labels::from([("app", "web")])));
/// assert!(!selector.matches(&Labels::from([("app", "web"), ("tier", "db")])));
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    /// Labels that the object must have with exactly these values.
    #[serde(skip_serializing_if = "is_default")]
    pub match_labels: Labels,
    /// Requirements that the object's labels must meet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<LabelRequirement>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// One requirement on the label `key`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LabelRequirement {
    /// The label.
    pub key: String,
    /// What must hold for it.
    pub operator: LabelOperator,
    /// The values that `In` and `NotIn` speak of; empty for the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What a [`LabelRequirement`] demands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LabelOperator {
    /// The label is there, with one of the values.
    #[default]
    In,
    /// The label is absent, or has none of the values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

impl LabelSelector {
    /// The selector that chooses everything.
    #[must_use]
    pub fn everything() -> Self {
        Self::default()
    }

    /// A selector for objects with these labels.
    #[must_use]
    pub fn labels(labels: impl Into<Labels>) -> Self {
        Self { match_labels: labels.into(), ..Self::default() }
    }

    /// Adds a label that must be there with this value.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.match_labels.insert(key.into(), value.into());
        self
    }

    /// Adds a requirement. `values` is for `In` and `NotIn`.
    #[must_use]
    pub fn require<V: Into<String>>(
        mut self,
        key: impl Into<String>,
        operator: LabelOperator,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        self.match_expressions.push(LabelRequirement {
            key: key.into(),
            operator,
            values: values.into_iter().map(Into::into).collect(),
            extra: Extra::default(),
        });
        self
    }

    /// Whether the selector demands nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.match_labels.is_empty() && self.match_expressions.is_empty()
    }

    /// Whether an object with `labels` is chosen.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.value(key) == Some(value))
            && self.match_expressions.iter().all(|r| r.matches(labels))
    }
}

impl LabelRequirement {
    /// Whether `labels` meet the requirement.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match self.operator {
            LabelOperator::In => value.is_some_and(|v| self.values.contains(v)),
            LabelOperator::NotIn => !value.is_some_and(|v| self.values.contains(v)),
            LabelOperator::Exists => value.is_some(),
            LabelOperator::DoesNotExist => value.is_none(),
        }
    }
}
