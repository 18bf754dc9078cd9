//! What environment variables must be.

use super::{Container, EnvVarSource, KeySelector, ObjectFieldSelector, ResourceFieldSelector};
use crate::model::FieldErrors;
use crate::model::meta_rules::record;
use crate::model::names::{check_data_key, check_env_name, check_label_key};

/// The fields of a pod that a container can be told, beside single labels and annotations.
const FIELDS: [&str; 13] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "metadata.labels",
    "metadata.annotations",
    "spec.nodeName",
    "spec.serviceAccountName",
    "spec.hostname",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
    "status.phase",
];

/// Checks the environment of a container, at the container's path.
pub(super) fn validate_env(container: &Container, errors: &mut FieldErrors) {
    errors.each("env", &container.env, |errors, variable| {
        errors.at("name", |errors| record(check_env_name(&variable.name), errors));
        if let Some(source) = &variable.value_from {
            errors.require(variable.value.is_empty(), "must have either value or valueFrom");
            errors.at("valueFrom", |errors| validate_source(source, errors));
        }
    });
    errors.each("envFrom", &container.env_from, |errors, source| {
        if !source.prefix.is_empty() {
            errors.at("prefix", |errors| record(check_env_name(&source.prefix), errors));
        }
        let one = source.config_map_ref.is_some() != source.secret_ref.is_some();
        errors.require(one, "must have either configMapRef or secretRef");
        for (field, object) in [("configMapRef", &source.config_map_ref), ("secretRef", &source.secret_ref)] {
            if let Some(object) = object {
                errors.at(field, |errors| {
                    errors.at("name", |errors| errors.require(!object.name.is_empty(), "is required"));
                });
            }
        }
    });
}

fn validate_source(source: &EnvVarSource, errors: &mut FieldErrors) {
    let EnvVarSource { config_map_key_ref, secret_key_ref, field_ref, resource_field_ref, extra } = source;
    let given = [
        config_map_key_ref.is_some(),
        secret_key_ref.is_some(),
        field_ref.is_some(),
        resource_field_ref.is_some(),
        !extra.0.is_empty(),
    ];
    let one = given.into_iter().filter(|is_there| *is_there).count() == 1;
    errors.require(
        one,
        "must have exactly one of configMapKeyRef, secretKeyRef, fieldRef and resourceFieldRef",
    );
    for (field, key) in [("configMapKeyRef", config_map_key_ref), ("secretKeyRef", secret_key_ref)] {
        if let Some(key) = key {
            errors.at(field, |errors| validate_key(key, errors));
        }
    }
    if let Some(field) = field_ref {
        errors.at("fieldRef", |errors| validate_field(field, errors));
    }
    if let Some(resource) = resource_field_ref {
        errors.at("resourceFieldRef", |errors| validate_resource(resource, errors));
    }
}

fn validate_key(selector: &KeySelector, errors: &mut FieldErrors) {
    errors.at("name", |errors| errors.require(!selector.name.is_empty(), "is required"));
    errors.at("key", |errors| record(check_data_key(&selector.key), errors));
}

/// Checks a reference to a field of the pod, at the current path.
pub(super) fn validate_field(field: &ObjectFieldSelector, errors: &mut FieldErrors) {
    errors.at("fieldPath", |errors| {
        let path = field.field_path.as_str();
        let key = ["metadata.labels['", "metadata.annotations['"]
            .iter()
            .find_map(|prefix| path.strip_prefix(prefix))
            .and_then(|rest| rest.strip_suffix("']"));
        match key {
            Some(key) => record(check_label_key(&key.to_lowercase()), errors),
            None if FIELDS.contains(&path) => {}
            None => errors
                .push(format!("`{path}` is not a field that a container can be told, such as metadata.name")),
        }
    });
}

/// Checks a reference to a resource of a container, at the current path.
pub(super) fn validate_resource(resource: &ResourceFieldSelector, errors: &mut FieldErrors) {
    errors.at("resource", |errors| {
        let name = ["limits.", "requests."].iter().find_map(|prefix| resource.resource.strip_prefix(prefix));
        match name {
            Some(name) if !name.is_empty() => record(check_label_key(name), errors),
            _ => errors.push(format!("`{}` must be like limits.cpu or requests.memory", resource.resource)),
        }
    });
    errors.at("divisor", |errors| {
        errors.require(resource.divisor.is_none_or(|divisor| !divisor.is_negative()), "must not be negative");
    });
}
