//! Objects of kinds that Orchestra does not model.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::json::{MAX_DEPTH, is_deeper};
use super::{AnyObject, FieldErrors, KindInfo, Object, ObjectMeta};

/// An object of a kind that Orchestra does not model: stored, listed, watched and patched like any other, and
/// kept exactly as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct Unstructured {
    info: KindInfo,
    metadata: ObjectMeta,
    /// The object's own fields: all but `apiVersion`, `kind` and `metadata`.
    pub value: Map<String, Value>,
}

/// The field that is status where a kind has one.
const STATUS: &str = "status";

impl Unstructured {
    /// An object of the kind that `info` names, with nothing but its metadata.
    #[must_use]
    pub fn new(info: KindInfo, metadata: ObjectMeta) -> Self {
        Self { info, metadata, value: Map::new() }
    }

    /// Its metadata.
    #[must_use]
    pub fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    /// The field at `path`, a JSON pointer such as `/spec/replicas`.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Value> {
        let (first, rest) =
            path.strip_prefix('/')?.split_once('/').map_or((path.get(1..)?, None), |(a, b)| (a, Some(b)));
        let value = self.value.get(first)?;
        match rest {
            None => Some(value),
            Some(rest) => value.pointer(&format!("/{rest}")),
        }
    }

    /// The object as another of the same kind, where `other` is one.
    fn same_kind<'a>(&self, other: &'a dyn Object) -> Option<&'a Self> {
        (other as &dyn std::any::Any).downcast_ref::<Self>().filter(|o| o.info == self.info)
    }
}

impl Object for Unstructured {
    fn info(&self) -> &KindInfo {
        &self.info
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }

    fn clone_object(&self) -> AnyObject {
        Arc::new(self.clone())
    }

    fn to_value(&self) -> Value {
        let mut value = self.value.clone();
        value.insert("apiVersion".into(), self.info.api_version().into());
        value.insert("kind".into(), self.info.kind.as_ref().into());
        // Metadata has string keys and finite numbers, so this can't fail.
        value.insert("metadata".into(), serde_json::to_value(&self.metadata).unwrap_or_default());
        Value::Object(value)
    }

    fn write_json(&self, out: &mut Vec<u8>) {
        serde_json::to_writer(out, &self.to_value()).ok();
    }

    fn keep_allocated(&mut self, _old: &dyn Object) {}

    fn set_defaults(&mut self) {}

    fn validate(&self, errors: &mut FieldErrors) {
        for (field, value) in &self.value {
            // It is itself one in the object.
            if is_deeper(value, MAX_DEPTH - 1) {
                errors.at(field, |errors| errors.push(format!("is nested more than {MAX_DEPTH} deep")));
            }
        }
    }

    fn validate_update(&self, _old: &dyn Object, _errors: &mut FieldErrors) {}

    fn without_effect(&self, _fields: &mut FieldErrors) {}

    fn same_desired(&self, other: &dyn Object) -> bool {
        let desired = |o: &Self| o.value.iter().filter(|(k, _)| *k != STATUS).count();
        self.same_kind(other).is_some_and(|other| {
            desired(self) == desired(other)
                && self.value.iter().filter(|(k, _)| *k != STATUS).all(|(k, v)| other.value.get(k) == Some(v))
        })
    }

    fn has_status(&self) -> bool {
        // Nobody knows; a field of that name is taken as one.
        true
    }

    fn same_status(&self, other: &dyn Object) -> bool {
        self.same_kind(other).is_some_and(|other| self.value.get(STATUS) == other.value.get(STATUS))
    }

    fn copy_status(&mut self, other: &dyn Object) {
        if let Some(other) = self.same_kind(other) {
            match other.value.get(STATUS) {
                Some(status) => self.value.insert(STATUS.into(), status.clone()),
                None => self.value.remove(STATUS),
            };
        }
    }

    fn clear_status(&mut self) {
        self.value.remove(STATUS);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn widget(spec: &Value, status: Option<&Value>) -> Unstructured {
        let info = KindInfo::new("example.com", "v1", "Widget", "widgets", true);
        let mut widget = Unstructured::new(info, ObjectMeta::named("w"));
        widget.value.insert("spec".into(), spec.clone());
        if let Some(status) = status {
            widget.value.insert(STATUS.into(), status.clone());
        }
        widget
    }

    #[test]
    fn status_is_apart_from_what_is_desired() {
        let a = widget(&json!({"size": 1}), Some(&json!({"ok": true})));
        let mut b = widget(&json!({"size": 1}), None);
        assert!(a.same_desired(&b) && !a.same_status(&b));
        b.copy_status(&a);
        assert_eq!(a, b);
        b.clear_status();
        assert!(!b.value.contains_key(STATUS));
        assert!(!a.same_desired(&widget(&json!({"size": 2}), None)));
    }

    #[test]
    fn writes_the_whole_manifest_and_finds_fields() {
        let a = widget(&json!({"size": {"x": [1, 2]}}), None);
        assert_eq!(
            a.to_value(),
            json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"},
                   "spec": {"size": {"x": [1, 2]}}})
        );
        assert_eq!(a.get("/spec/size/x/1"), Some(&json!(2)));
        assert_eq!(a.get("/spec"), Some(&json!({"size": {"x": [1, 2]}})));
        assert_eq!(a.get("spec"), None);
    }
}
