//! From a manifest's JSON value to an object.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::blame::{self, Blame};
use super::unmodelled;
use super::{
    AnyObject, Decoded, FieldErrors, KindInfo, ManifestError, ManifestProblem, ObjectMeta, Resource,
    Unstructured, Warning,
};

/// Reads a manifest of the kind `T`, with warnings, and with the path to what is wrong.
pub(super) fn checked<T: Resource>(manifest: Value) -> Result<Decoded, ManifestError> {
    let object: T = blame::read(manifest).map_err(|wrong| field_error("", wrong))?;
    let mut warnings = unmodelled::warnings(&object);
    let mut fields = FieldErrors::new();
    object.without_effect(&mut fields);
    let modelled = fields.errors().iter();
    warnings.extend(modelled.map(|f| Warning { path: f.path.clone(), message: f.message.clone() }));
    Ok(Decoded { object: Arc::new(object), warnings })
}

/// Reads an object of the kind `T` that was accepted before, from JSON text. From a `Value` it would be the
/// model's reader once more in each program, for nobody's speed.
pub(super) fn stored<T: Resource>(object: &[u8]) -> Result<AnyObject, serde_json::Error> {
    Ok(Arc::new(serde_json::from_slice::<T>(object)?))
}

/// Reads a manifest of a kind that isn't modelled.
pub(super) fn unstructured(manifest: Value, info: KindInfo) -> Result<AnyObject, ManifestError> {
    let Value::Object(mut value) = manifest else {
        return Err(ManifestError::new(ManifestProblem::Kind, "", "is not an object"));
    };
    value.remove("apiVersion");
    value.remove("kind");
    let mut metadata = value.remove("metadata").unwrap_or_else(|| Value::Object(Map::new()));
    drop_nulls(&mut metadata);
    let metadata: ObjectMeta = blame::read(metadata).map_err(|wrong| field_error("metadata", wrong))?;
    let mut object = Unstructured::new(info, metadata);
    object.value = value;
    Ok(Arc::new(object))
}

/// The manifest's `apiVersion`, kind, and name, which may be empty.
pub(super) fn identity(manifest: &Value) -> Result<(String, String, String), ManifestError> {
    let wrong = |path: &str, message: &str| ManifestError::new(ManifestProblem::Kind, path, message);
    if !manifest.is_object() {
        return Err(wrong("", "is not an object: a manifest has apiVersion, kind and metadata"));
    }
    let name = ["name", "generateName"].iter().find_map(|f| manifest["metadata"].get(f)?.as_str());
    let name = name.unwrap_or_default().to_owned();
    let text = |field: &str| match manifest.get(field) {
        None | Some(Value::Null) => Err("is required"),
        Some(Value::String(text)) if text.is_empty() => Err("is required"),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err("must be text"),
    };
    let kind = text("kind").map_err(|e| wrong("kind", e).about("", &name))?;
    let api_version = text("apiVersion").map_err(|e| wrong("apiVersion", e).about(&kind, &name))?;
    Ok((api_version, kind, name))
}

/// Maps whose entries are the user's data: there a null is a mistake, not a field that isn't there.
const DATA: [&str; 9] = [
    "data",
    "stringData",
    "binaryData",
    "labels",
    "annotations",
    "matchLabels",
    "nodeSelector",
    "limits",
    "requests",
];

/// Takes out the fields that are null: to Kubernetes they aren't there. Where the keys are data, nulls are
/// kept, for the object to refuse.
pub(super) fn drop_nulls(value: &mut Value) {
    drop_nulls_in("", value);
}

fn drop_nulls_in(name: &str, value: &mut Value) {
    match value {
        Value::Object(fields) if DATA.contains(&name) && fields.values().all(|v| !v.is_object()) => {}
        Value::Object(fields) => {
            // A service's selector is a plain map of labels, other kinds' are not.
            let labels = name == "selector";
            fields.retain(|k, v| !v.is_null() || (labels && k != "matchLabels" && k != "matchExpressions"));
            for (name, value) in fields {
                drop_nulls_in(name, value);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| drop_nulls_in("", item)),
        _ => {}
    }
}

/// What serde says, with the path to it.
fn field_error(prefix: &str, Blame { path: inner, mut message }: Blame) -> ManifestError {
    let mut path = prefix.to_owned();
    if !inner.is_empty() {
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(&inner);
    }
    if let Some(field) = message.strip_prefix("missing field `").and_then(|m| m.strip_suffix('`')) {
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(field);
        message = "is required".to_owned();
    }
    ManifestError::new(ManifestProblem::Field, path, message)
}
