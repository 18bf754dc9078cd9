//! What metadata must be.

use super::names::{check_dns_label, check_dns_subdomain, check_label_key, check_label_value};
use super::{FieldErrors, KindInfo, Labels, ObjectMeta};

/// The most that the annotations of an object may take together, keys and values, in bytes: Kubernetes' limit.
pub const MAX_ANNOTATIONS_BYTES: usize = 256 * 1024;

/// Checks the metadata of an object of the kind `info`, at the path `metadata`.
///
/// An object without a name passes where it has `generateName`: the store gives it one.
pub fn validate_meta(meta: &ObjectMeta, info: &KindInfo, errors: &mut FieldErrors) {
    errors.at("metadata", |errors| {
        validate_name(meta, info, errors);
        errors.at("namespace", |errors| match (info.namespaced, meta.namespace.as_str()) {
            (true, "") => errors.push("is required"),
            (true, namespace) => record(check_dns_label(namespace), errors),
            (false, "") => {}
            (false, _) => errors.push(format!("must be empty: a {} is not in a namespace", info.kind)),
        });
        validate_labels("labels", &meta.labels, errors);
        validate_annotations(meta, errors);
        validate_owners(meta, errors);
        errors.each("finalizers", &meta.finalizers, |errors, name| record(check_label_key(name), errors));
    });
}

/// Checks the field `name`, a map of labels.
pub(crate) fn validate_labels(name: &str, labels: &Labels, errors: &mut FieldErrors) {
    for (key, value) in labels.iter() {
        errors.at(&format!("{name}[{key}]"), |errors| {
            record(check_label_key(key), errors);
            record(check_label_value(value), errors);
        });
    }
}

/// Records what a check found.
pub(crate) fn record(checked: Result<(), String>, errors: &mut FieldErrors) {
    if let Err(why) = checked {
        errors.push(why);
    }
}

fn validate_name(meta: &ObjectMeta, info: &KindInfo, errors: &mut FieldErrors) {
    if meta.name.is_empty() && !meta.generate_name.is_empty() {
        // The five random characters that follow are letters and digits.
        errors.at("generateName", |errors| {
            record(check_name(&format!("{}x", meta.generate_name), info), errors)
        });
    } else if meta.name.is_empty() {
        errors.at("name", |errors| errors.push("is required"));
    } else {
        errors.at("name", |errors| record(check_name(&meta.name, info), errors));
    }
}

fn check_name(name: &str, info: &KindInfo) -> Result<(), String> {
    match (info.group.as_ref(), info.kind.as_ref()) {
        ("", "Namespace" | "Service") => check_dns_label(name),
        // Roles are called `system:node` and the like; paths are all that limits them.
        ("rbac.authorization.k8s.io", _) => {
            if name.contains(['/', '%']) || name == "." || name == ".." {
                Err(format!(
                    "`{name}` can't stand in a path: `/` and `%` are not allowed, nor `.` and `..` alone"
                ))
            } else {
                Ok(())
            }
        }
        _ => check_dns_subdomain(name),
    }
}

fn validate_annotations(meta: &ObjectMeta, errors: &mut FieldErrors) {
    let size: usize = meta.annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    errors.at("annotations", |errors| {
        errors.require(size <= MAX_ANNOTATIONS_BYTES, "must not take more than 256 KiB together");
    });
    for key in meta.annotations.keys() {
        errors.at(&format!("annotations[{key}]"), |errors| {
            record(check_label_key(&key.to_lowercase()), errors)
        });
    }
}

fn validate_owners(meta: &ObjectMeta, errors: &mut FieldErrors) {
    errors.each("ownerReferences", &meta.owner_references, |errors, owner| {
        let required = [
            ("apiVersion", owner.api_version.as_str()),
            ("kind", &owner.kind),
            ("name", &owner.name),
            ("uid", owner.uid.as_str()),
        ];
        for (field, value) in required {
            errors.at(field, |errors| errors.require(!value.is_empty(), "is required"));
        }
    });
    if meta.owner_references.iter().filter(|o| o.controller).count() > 1 {
        errors.at("ownerReferences", |errors| errors.push("only one owner can be the controller"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Node, OwnerReference, Pod, Resource};

    fn errors_of(meta: &ObjectMeta, info: &KindInfo) -> Vec<String> {
        let mut errors = FieldErrors::new();
        validate_meta(meta, info, &mut errors);
        errors.errors().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn good_metadata_passes() {
        let mut meta = ObjectMeta { namespace: "shop".into(), ..ObjectMeta::named("web-1.a") };
        meta.labels = Labels::from([("app", "web"), ("example.com/part-of", "A_1.b"), ("empty", "")]);
        meta.annotations = Labels::from([("Example.com/Note", "any text: \u{fc}")]);
        assert_eq!(errors_of(&meta, &Pod::INFO), Vec::<String>::new());
        let generated =
            ObjectMeta { generate_name: "web-".into(), namespace: "shop".into(), ..Default::default() };
        assert_eq!(errors_of(&generated, &Pod::INFO), Vec::<String>::new());
    }

    #[test]
    fn each_mistake_is_named_with_its_path() {
        let mut meta = ObjectMeta { name: "Web".into(), ..Default::default() };
        meta.labels = Labels::from([("a b", "x"), ("app", "-web")]);
        meta.annotations = Labels::from([("", "x")]);
        meta.finalizers = vec!["ok".into(), "/".into()];
        let owner = OwnerReference { kind: "Node".into(), controller: true, ..Default::default() };
        meta.owner_references = vec![owner.clone(), owner];
        let errors = errors_of(&meta, &Pod::INFO);
        for path in [
            "metadata.name: `Web`",
            "metadata.namespace: is required",
            "metadata.labels[a b]: key",
            "metadata.labels[app]: label value",
            "metadata.annotations[]: key",
            "metadata.finalizers[1]: ",
            "metadata.ownerReferences[0].uid: is required",
            "metadata.ownerReferences: only one",
        ] {
            assert_eq!(errors.iter().filter(|e| e.starts_with(path)).count(), 1, "{path} in {errors:#?}");
        }
    }

    #[test]
    fn cluster_scoped_kinds_have_no_namespace() {
        let meta = ObjectMeta { namespace: "shop".into(), ..ObjectMeta::named("n1") };
        assert_eq!(
            errors_of(&meta, &Node::INFO),
            ["metadata.namespace: must be empty: a Node is not in a namespace"]
        );
        assert!(errors_of(&ObjectMeta::named("n1"), &Node::INFO).is_empty());
        assert_eq!(errors_of(&ObjectMeta::default(), &Node::INFO), ["metadata.name: is required"]);
    }
}
