//! Conditions: named facts about an object, with the time since when they hold.

use serde::{Deserialize, Serialize};

use super::absent::is_default;
use super::{Extra, Timestamp};

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Nobody can say.
    #[default]
    Unknown,
}

impl From<bool> for ConditionStatus {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// A named fact about an object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// What the condition is about: `Ready`, `Available`.
    #[serde(rename = "type")]
    pub type_: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why, as one word for programs: `MinimumReplicasAvailable`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Why, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When `status` last became what it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Timestamp>,
    /// When the condition was last written, where its kind records that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_update_time: Option<Timestamp>,
    /// The generation of the object that the condition speaks of; zero where that isn't recorded.
    #[serde(skip_serializing_if = "is_default")]
    pub observed_generation: u64,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Condition {
    /// The condition `type_`, holding or not, since `at`.
    #[must_use]
    pub fn new(type_: impl Into<String>, status: impl Into<ConditionStatus>, at: Timestamp) -> Self {
        Self { type_: type_.into(), status: status.into(), last_transition_time: Some(at), ..Self::default() }
    }

    /// Sets why, as one word for programs.
    #[must_use]
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = reason.into();
        self
    }

    /// Sets why, for people.
    #[must_use]
    pub fn message(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }

    /// Whether the condition holds.
    #[must_use]
    pub fn is_true(&self) -> bool {
        self.status == ConditionStatus::True
    }

    /// The condition `type_` among `conditions`.
    #[must_use]
    pub fn find<'a>(conditions: &'a [Self], type_: &str) -> Option<&'a Self> {
        conditions.iter().find(|c| c.type_ == type_)
    }

    /// Puts `self` among `conditions`, in the place of the one of its type. Where the status stays the same, so does
    /// the time of the last transition. Answers whether anything changed.
    pub fn set_in(mut self, conditions: &mut Vec<Self>) -> bool {
        let Some(old) = conditions.iter_mut().find(|c| c.type_ == self.type_) else {
            conditions.push(self);
            return true;
        };
        if old.status == self.status {
            self.last_transition_time = old.last_transition_time.or(self.last_transition_time);
        }
        let changed = *old != self;
        *old = self;
        changed
    }
}
