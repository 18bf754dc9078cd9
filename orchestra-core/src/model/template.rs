//! The form that a controller makes pods of.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Extra, ObjectMeta, PodSpec};

/// What the pods of a controller are made of. A clone shares the pod's spec.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodTemplateSpec {
    /// The pods' labels and annotations.
    pub metadata: ObjectMeta,
    /// What is desired of the pods.
    pub spec: Arc<PodSpec>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

impl PodTemplateSpec {
    /// The pods' spec, to change. Copied first where it is shared.
    pub fn spec_mut(&mut self) -> &mut PodSpec {
        Arc::make_mut(&mut self.spec)
    }
}
