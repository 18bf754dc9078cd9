//! The manifest of a pod, where its node's name stands in the spec.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Pod, PodSpec, PodStatus};
use crate::model::absent::is_default;
use crate::model::{Extra, ObjectMeta, TypeMeta};

/// A pod as it is read. The spec is read as a field of its own, so that errors in it keep their path.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ReadForm {
    #[serde(flatten)]
    type_meta: TypeMeta<Pod>,
    metadata: ObjectMeta,
    spec: PodSpec,
    status: PodStatus,
    #[serde(flatten)]
    extra: Extra,
}

/// A pod as it is written.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WriteForm<'a> {
    #[serde(flatten)]
    type_meta: TypeMeta<Pod>,
    metadata: &'a ObjectMeta,
    spec: SpecForm<'a>,
    #[serde(skip_serializing_if = "is_default_ref")]
    status: &'a PodStatus,
    #[serde(flatten)]
    extra: &'a Extra,
}

/// A spec, and the node's name of one of its pods.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SpecForm<'a> {
    #[serde(flatten)]
    spec: Cow<'a, PodSpec>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_name: Option<&'a str>,
}

fn is_default_ref<T: Default + PartialEq>(value: &&T) -> bool {
    is_default(*value)
}

impl<'de> Deserialize<'de> for Pod {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ReadForm { type_meta, metadata, mut spec, status, extra } = ReadForm::deserialize(deserializer)?;
        let node_name = std::mem::take(&mut spec.node_name);
        let node_name = (!node_name.is_empty()).then(|| Arc::from(node_name));
        Ok(Self { type_meta, metadata, spec: Arc::new(spec), node_name, status, extra })
    }
}

impl Serialize for Pod {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let node_name = self.node_name.as_deref();
        let mut spec = Cow::Borrowed(&*self.spec);
        if node_name.is_some() && !spec.node_name.is_empty() {
            // The pod's own goes before the template's; written twice they would not be read back.
            spec.to_mut().node_name.clear();
        }
        WriteForm {
            type_meta: self.type_meta,
            metadata: &self.metadata,
            spec: SpecForm { spec, node_name },
            status: &self.status,
            extra: &self.extra,
        }
        .serialize(serializer)
    }
}
