//! Taints keep pods away from nodes; tolerations let them in all the same.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::absent::is_default;
use super::{Extra, Timestamp};

/// Keeps pods that don't tolerate it away from a node.
#[derive(Clone, Debug, Default, PartialEq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Taint {
    /// The key.
    pub key: String,
    /// The value; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// What it does to pods that don't tolerate it.
    pub effect: TaintEffect,
    /// Since when it is there; set for `NoExecute` when it is written, unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_added: Option<Timestamp>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Taint {
    /// A taint.
    #[must_use]
    pub fn new(key: impl Into<String>, value: impl Into<String>, effect: TaintEffect) -> Self {
        Self { key: key.into(), value: value.into(), effect, ..Self::default() }
    }
}

/// Notes of each `NoExecute` taint since when it is there: pods stay in spite of it for a time from then on. One that was
/// among `old` keeps its time, however often it is written.
pub(crate) fn note_when_added(taints: &mut [Taint], old: &[Taint], now: Timestamp) {
    for taint in taints.iter_mut().filter(|t| t.effect == TaintEffect::NoExecute && t.time_added.is_none()) {
        let before = old.iter().find(|o| o.key == taint.key && o.effect == taint.effect);
        taint.time_added = before.and_then(|old| old.time_added).or(Some(now));
    }
}

impl fmt::Display for Taint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        if !self.value.is_empty() {
            write!(f, "={}", self.value)?;
        }
        write!(f, ":{:?}", self.effect)
    }
}

/// What a taint does to pods that don't tolerate it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TaintEffect {
    /// They are not placed on the node.
    #[default]
    NoSchedule,
    /// They are placed on the node only where there is no better.
    PreferNoSchedule,
    /// They are not placed on the node, and those there are evicted.
    NoExecute,
}

/// Lets a pod onto nodes in spite of their taints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Toleration {
    /// The taint's key; empty, with `Exists`, for all.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// Whether the value counts.
    #[serde(skip_serializing_if = "is_default")]
    pub operator: TolerationOperator,
    /// The taint's value, for `Equal`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// The taint's effect; unless given, all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<TaintEffect>,
    /// For how long a `NoExecute` taint is tolerated, in seconds; unless given, for ever. Negative counts as
    /// zero; [`MAX_SECONDS`](super::MAX_SECONDS) is the most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub toleration_seconds: Option<i64>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Whether the value of a taint counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TolerationOperator {
    /// It must be equal.
    #[default]
    Equal,
    /// It may be any.
    Exists,
}

impl Toleration {
    /// Tolerates the taint `key` with any value and effect.
    #[must_use]
    pub fn exists(key: impl Into<String>) -> Self {
        Self { key: key.into(), operator: TolerationOperator::Exists, ..Self::default() }
    }

    /// Tolerates the taint `key` with exactly this value, and any effect.
    #[must_use]
    pub fn equal(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), value: value.into(), ..Self::default() }
    }

    /// Tolerates only this effect.
    #[must_use]
    pub fn effect(mut self, effect: TaintEffect) -> Self {
        self.effect = Some(effect);
        self
    }

    /// Tolerates a `NoExecute` taint for so many seconds only.
    #[must_use]
    pub fn seconds(mut self, seconds: i64) -> Self {
        self.toleration_seconds = Some(seconds);
        self
    }

    /// Whether a pod with this toleration may be on a node with `taint`, for `toleration_seconds` at least.
    #[must_use]
    pub fn tolerates(&self, taint: &Taint) -> bool {
        self.effect.is_none_or(|e| e == taint.effect)
            && (self.key.is_empty() || self.key == taint.key)
            && match self.operator {
                TolerationOperator::Exists => true,
                TolerationOperator::Equal => !self.key.is_empty() && self.value == taint.value,
            }
    }
}
