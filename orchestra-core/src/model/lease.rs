//! Leases: who holds something, and until when.

use serde::{Deserialize, Serialize};

use super::absent::is_default;
use super::object::Rules;
use super::{Extra, FieldErrors, ObjectMeta, Timestamp, TypeMeta};
use crate::object;

/// Says who holds something, and for how long: a node's sign of life, or a leader's office.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Lease {
    /// `coordination.k8s.io/v1`, `Lease`.
    #[serde(flatten)]
    pub type_meta: TypeMeta<Self>,
    /// Name, namespace, labels.
    pub metadata: ObjectMeta,
    /// Who holds it, and for how long.
    #[serde(skip_serializing_if = "is_default")]
    pub spec: LeaseSpec,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

object!(Lease, "coordination.k8s.io", "v1", "leases", namespaced: true, desired: [spec, extra]);

/// Who holds a [`Lease`], and for how long.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LeaseSpec {
    /// Who holds it; empty where nobody does.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub holder_identity: String,
    /// How long after the last renewal it is still held, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_duration_seconds: Option<u32>,
    /// Since when the holder has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acquire_time: Option<Timestamp>,
    /// When the holder last said that it still does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renew_time: Option<Timestamp>,
    /// How often it changed hands.
    #[serde(skip_serializing_if = "is_default")]
    pub lease_transitions: u32,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Lease {
    /// A lease that nobody holds.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { metadata: ObjectMeta::named(name), ..Self::default() }
    }

    /// Puts it into a namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.metadata.namespace = namespace.into();
        self
    }

    /// Gives it to `holder` for `seconds` after each renewal, the first of which is at `now`.
    #[must_use]
    pub fn held(mut self, holder: impl Into<String>, seconds: u32, now: Timestamp) -> Self {
        self.spec.holder_identity = holder.into();
        self.spec.lease_duration_seconds = Some(seconds);
        self.spec.acquire_time = Some(now);
        self.spec.renew_time = Some(now);
        self
    }
}

impl Rules for Lease {
    fn validate(&self, errors: &mut FieldErrors) {
        errors.at("spec", |errors| {
            errors.at("leaseDurationSeconds", |errors| {
                errors.require(self.spec.lease_duration_seconds != Some(0), "must be greater than 0");
            });
        });
    }
}
