//! What CustomResourceDefinitions say of kinds that nobody registered: their plural and their scope.

use std::borrow::Cow;

use serde_json::Value;

use super::{Client, ClientError};
use crate::model::{AnyObjectExt, Decoded, GroupKind, KindInfo, Scheme};
use crate::store::Scope;

const DEFINITIONS: GroupKind = GroupKind {
    group: Cow::Borrowed("apiextensions.k8s.io"),
    kind: Cow::Borrowed("CustomResourceDefinition"),
};

/// What a definition says, as far as it concerns where its objects are kept.
pub(super) struct Definition {
    group: String,
    kind: String,
    plural: String,
    namespaced: bool,
}

impl Definition {
    /// From the text fields of a definition, by their JSON pointers.
    fn read<'a>(field: impl Fn(&str) -> Option<&'a Value>) -> Option<Self> {
        let text = |path: &str| field(path).and_then(Value::as_str).map(str::to_owned);
        Some(Self {
            group: text("/spec/group")?,
            kind: text("/spec/names/kind")?,
            plural: text("/spec/names/plural")?,
            namespaced: text("/spec/scope")? == "Namespaced",
        })
    }
}

/// The definitions among manifests, for the others that are applied along with them.
pub(super) fn definitions_in(manifests: &[Value]) -> Vec<Definition> {
    let is_definition = |m: &&Value| m["kind"].as_str() == Some(&DEFINITIONS.kind);
    manifests.iter().filter(is_definition).filter_map(|m| Definition::read(|path| m.pointer(path))).collect()
}

impl Client {
    /// Reads a manifest. Of a kind that nobody registered, one of `applied` or of the store's definitions says its scope.
    pub(super) async fn decode(
        &self,
        manifest: Value,
        applied: &[Definition],
    ) -> Result<Decoded, ClientError> {
        let text = |field: &str| manifest.get(field).and_then(Value::as_str).unwrap_or_default();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        let scheme = &self.inner.scheme;
        let Some((group, version)) = api_version.split_once('/') else { return Ok(scheme.decode(manifest)?) };
        if scheme.is_registered(api_version, kind) {
            return Ok(scheme.decode(manifest)?);
        }
        let wanted = |d: &&Definition| d.group == group && d.kind == kind;
        let stored = self.stored_definitions().await?;
        let Some(definition) = applied.iter().chain(&stored).find(wanted) else {
            return Ok(scheme.decode(manifest)?);
        };
        let info = KindInfo {
            group: group.to_owned().into(),
            version: version.to_owned().into(),
            kind: kind.to_owned().into(),
            plural: definition.plural.clone().into(),
            namespaced: definition.namespaced,
        };
        Ok(Scheme::decode_as(manifest, info)?)
    }

    /// Whether objects of `kind` have namespaces, by the scheme or the store's definitions; so they do where neither says.
    pub(crate) async fn has_namespaces(&self, kind: &GroupKind) -> Result<bool, ClientError> {
        if let Some(info) = self.inner.scheme.kinds().find(|info| info.group_kind() == *kind) {
            return Ok(info.namespaced);
        }
        let stored = self.stored_definitions().await?;
        let wanted = stored.iter().find(|d| d.group == kind.group && d.kind == kind.kind);
        Ok(wanted.is_none_or(|definition| definition.namespaced))
    }

    async fn stored_definitions(&self) -> Result<Vec<Definition>, ClientError> {
        let listing = self.inner.store.list(&Scope::kind(DEFINITIONS)).await?;
        let objects = listing.objects.iter().filter_map(AnyObjectExt::as_unstructured);
        Ok(objects.filter_map(|object| Definition::read(|path| object.get(path))).collect())
    }
}
