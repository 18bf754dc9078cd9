//! Applying manifests: the three-way merge of what was applied before, what is applied now, and what is there.

use std::sync::Arc;

use serde_json::Value;

use super::definition::definitions_in;
use super::merge::{json_patch, merge_patch, strategic_patch, three_way};
use super::plan::unique;
use super::{Applied, ApplyOutcome, Client, ClientError, Patch};
use crate::model::{AnyObject, FieldErrors, Object, ObjectKey, Revision, Scheme, parse_manifests};

/// Where the last applied manifest is kept: kubectl's own annotation, so that both can be used in turn.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

impl Client {
    /// Applies every manifest in a text: YAML of one or several documents, or JSON. All of them happen, in
    /// one commit, or none.
    ///
    /// # Errors
    /// As [`apply`](Self::apply), and [`ClientError::Manifest`] with the place in the text.
    pub async fn apply_yaml(&self, text: &str) -> Result<Vec<Applied<dyn Object>>, ClientError> {
        let manifests = parse_manifests(text, &self.inner.scheme)?;
        let values: Vec<Value> = manifests.iter().map(|m| m.value.clone()).collect();
        self.apply_all(values).await
    }

    pub(super) async fn apply_all(
        &self,
        manifests: Vec<Value>,
    ) -> Result<Vec<Applied<dyn Object>>, ClientError> {
        let mut transaction = self.transaction();
        let mut warnings = Vec::new();
        let mut before = Vec::new();
        let definitions = definitions_in(&manifests);
        for mut manifest in manifests {
            strip(&mut manifest);
            let decoded = self.decode(manifest.clone(), &definitions).await?;
            let mut key = ObjectKey::of(&*decoded.object);
            if !decoded.object.info().namespaced {
                key.namespace = "".into();
            } else if key.namespace.is_empty() {
                key.namespace = Arc::clone(&self.namespace);
            }
            before.push(self.get_any(&key).await?.map(|o| o.meta().resource_version));
            warnings.push(decoded.warnings);
            transaction = transaction.apply(manifest, decoded.object);
        }
        let objects = transaction.commit().await?;
        let outcome = |before: Option<Revision>, after: Revision| match before {
            None => ApplyOutcome::Created,
            Some(before) if before == after => ApplyOutcome::Unchanged,
            Some(_) => ApplyOutcome::Configured,
        };
        let applied = objects.into_iter().zip(before).zip(warnings).map(|((object, before), warnings)| {
            Applied { outcome: outcome(before, object.meta().resource_version), object, warnings }
        });
        Ok(applied.collect())
    }

    /// Changes an object of whatever kind by a patch.
    ///
    /// # Errors
    /// As [`patch`](Self::patch).
    pub async fn patch_any(&self, key: &ObjectKey, patch: &Patch) -> Result<AnyObject, ClientError> {
        let mut tries = 0;
        loop {
            let live = self.get_any(key).await?.ok_or_else(|| ClientError::NotFound(key.clone()))?;
            let mut value = live.to_value();
            let patched = match patch {
                Patch::Merge(patch) => merge_patch(&mut value, patch),
                Patch::Json(patch) => json_patch(&mut value, patch),
                Patch::Strategic(patch) => strategic_patch(&mut value, patch),
            };
            if let Err(why) = patched {
                let mut errors = FieldErrors::new();
                errors.push(format!("the patch does not fit: {why}"));
                return Err(ClientError::Invalid { key: key.clone(), errors });
            }
            let mut object = self.inner.scheme.decode_changed(value, &*live)?.object;
            let (wanted, found) = (object.meta().resource_version, live.meta().resource_version);
            if wanted != Revision::ZERO && wanted != found {
                let why = format!("the patch is for revision {wanted}, and it is at {found}; read it again");
                return Err(ClientError::Conflict { key: key.clone(), why });
            }
            unique(&mut object).meta_mut().resource_version = found;
            tries += 1;
            match self.transaction().update_any(object).commit().await {
                Err(ClientError::Conflict { .. }) if tries < super::CONFLICT_TRIES => {}
                Err(error) => return Err(error),
                Ok(mut objects) => return objects.pop().ok_or_else(|| ClientError::NotFound(key.clone())),
            }
        }
    }
}

/// Takes out what the store, not the author, decides.
fn strip(manifest: &mut Value) {
    let Some(manifest) = manifest.as_object_mut() else { return };
    manifest.remove("status");
    if let Some(meta) = manifest.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in [
            "uid",
            "resourceVersion",
            "generation",
            "creationTimestamp",
            "deletionTimestamp",
            "managedFields",
        ] {
            meta.remove(field);
        }
        if let Some(annotations) = meta.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove(LAST_APPLIED);
        }
    }
}

/// The object, with a note of the manifest it came from.
pub(super) fn with_last_applied(object: &AnyObject, manifest: &Value) -> AnyObject {
    let mut object = object.clone_object();
    unique(&mut object).meta_mut().annotations.insert(LAST_APPLIED.to_owned(), manifest.to_string());
    object
}

/// The manifest with some annotations, if none: an applied object always has some, so that those of others stay also
/// where the manifest before had annotations, and this one has none.
fn with_annotations(manifest: &Value) -> Value {
    let mut manifest = manifest.clone();
    if let Some(meta) = manifest.get_mut("metadata").and_then(Value::as_object_mut) {
        let annotations = meta.entry("annotations").or_insert(Value::Null);
        if annotations.is_null() {
            *annotations = Value::Object(serde_json::Map::new());
        }
    }
    manifest
}

/// What `manifest` makes of `live`.
pub(super) fn merge(scheme: &Scheme, manifest: &Value, live: &dyn Object) -> Result<AnyObject, ClientError> {
    let last = live.meta().annotations.value(LAST_APPLIED).and_then(|text| serde_json::from_str(text).ok());
    let mut current = live.to_value();
    if let Some(current) = current.as_object_mut() {
        current.remove("status");
    }
    let merged = three_way(last.as_ref().unwrap_or(&Value::Null), &with_annotations(manifest), &current);
    let mut object = scheme.decode_changed(merged, live)?.object;
    unique(&mut object).meta_mut().annotations.insert(LAST_APPLIED.to_owned(), manifest.to_string());
    Ok(object)
}
