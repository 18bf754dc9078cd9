//! Kinds, by all their names, known and unknown.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::model::object::Rules;
use crate::model::{
    AnyObjectExt, ConfigMap, Deployment, Extra, ManifestProblem, ObjectMeta, Resource, Scheme, TypeMeta,
    Unstructured,
};
use crate::object;

#[test]
fn kinds_are_found_by_every_name_that_kubectl_takes() {
    let scheme = Scheme::kubernetes();
    for (names, kind) in [
        ("po pod pods Pod", "Pod"),
        ("deploy deployment deployments Deployment deployments.apps", "Deployment"),
        ("svc service services", "Service"),
        ("cm configmap configmaps ConfigMap", "ConfigMap"),
        ("ns no rs hpa pdb ev pc pv pvc sc", ""),
        ("secret secrets", "Secret"),
        ("lease leases.coordination.k8s.io", "Lease"),
        ("endpointslices", "EndpointSlice"),
        ("sts statefulsets", "StatefulSet"),
        ("ing ingresses", "Ingress"),
        ("ep", "Endpoints"),
    ] {
        for name in names.split(' ') {
            let found = scheme.find(name).unwrap_or_else(|| panic!("{name}"));
            assert!(kind.is_empty() || found.kind == kind, "{name} is {}", found.kind);
        }
    }
    assert_eq!(scheme.find("widgets"), None);
    assert_eq!(scheme.kinds().filter(|k| scheme.is_modelled(k)).count(), 20);
}

#[test]
fn a_kind_that_nobody_knows_is_kept() {
    let scheme = Scheme::kubernetes();
    let manifest = json!({
        "apiVersion": "example.com/v2", "kind": "Policy", "metadata": {"name": "a", "namespace": "shop"},
        "spec": {"list": [1, null]}, "rules": null,
    });
    let decoded = scheme.decode(manifest.clone()).unwrap();
    let info = decoded.object.info();
    assert_eq!((info.plural.as_ref(), info.namespaced), ("policies", true));
    assert_eq!(
        decoded.warnings[0].to_string(),
        "kept, but Orchestra does not know the kind Policy of example.com/v2 and takes it to have namespaces"
    );
    assert_eq!(decoded.object.to_value(), manifest);
    assert_eq!(scheme.decode_stored(manifest.clone()).unwrap().to_value(), manifest);
    let nowhere =
        json!({"apiVersion": "example.com/v2", "kind": "Policy", "metadata": {"name": "a"}, "spec": 1});
    assert!(scheme.decode(nowhere.clone()).unwrap().object.info().namespaced);
    let stored = scheme.decode_stored(nowhere).unwrap();
    assert!(!stored.info().namespaced, "it was stored without a namespace");

    // Kubernetes' own kinds have the right scope without a namespace in the manifest.
    let set =
        scheme.decode(json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "a"}}));
    let set = set.unwrap();
    assert!(set.object.info().namespaced);
    assert_eq!(
        set.warnings[0].to_string(),
        "kept, but Orchestra does not act on objects of kind StatefulSet"
    );
}

#[test]
fn a_known_kind_in_another_group_is_another_kind_unless_the_group_is_ours() {
    let scheme = Scheme::kubernetes();
    let service = |version: &str| {
        scheme.decode(json!({"apiVersion": version, "kind": "Service", "metadata": {"name": "a"}}))
    };
    let knative = service("serving.knative.dev/v1").unwrap();
    assert!((&*knative.object as &dyn std::any::Any).is::<Unstructured>());
    assert!(knative.warnings[0].message.ends_with("; it knows the Service of v1"));
    for version in ["apps/v1", "v2"] {
        assert_eq!(service(version).unwrap_err().problem, ManifestProblem::Kind);
    }
}

#[test]
fn stored_objects_are_read_and_their_errors_named() {
    let scheme = Scheme::kubernetes();
    let mut value = crate::model::Object::to_value(&Deployment::new("web").image("i").namespace("shop"));
    let read = scheme.decode_stored(value.clone()).unwrap();
    assert_eq!(read.as_resource::<Deployment>(), Some(&Deployment::new("web").image("i").namespace("shop")));
    value["spec"]["replicas"] = json!("many");
    for error in [
        scheme.decode_stored_json(&serde_json::to_vec(&value).unwrap()).unwrap_err(),
        scheme.decode_stored(value).unwrap_err(),
    ] {
        assert_eq!(error.to_string(), "Deployment: invalid type: string \"many\", expected u32");
    }
    assert!(scheme.decode_stored_json(b"{\"kind\":").is_err());
    let twice = br#"{"apiVersion":"v1","kind":"ConfigMap","data":{"a":"1"},"data":{"a":"2"}}"#;
    let twice = scheme.decode_stored_json(twice).unwrap();
    assert_eq!(twice.as_resource::<ConfigMap>().unwrap().data.value("a"), Some("2"));
}

/// A kind of an application's own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Widget {
    #[serde(flatten)]
    type_meta: TypeMeta<Self>,
    metadata: ObjectMeta,
    size: u8,
    #[serde(flatten)]
    extra: Extra,
}
object!(Widget, "example.com", "v1", "widgets", namespaced: true, desired: [size, extra]);
impl Rules for Widget {}

#[test]
fn an_application_adds_its_own_kinds() {
    let mut scheme = Scheme::kubernetes();
    scheme.register_kind(Widget::INFO);
    assert!(!scheme.is_modelled(&Widget::INFO));
    scheme.register::<Widget>();
    assert!(scheme.is_modelled(scheme.find("widget").unwrap()));
    let manifest =
        json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a"}, "size": 300});
    let error = scheme.decode(manifest).unwrap_err();
    assert_eq!(error.to_string(), "Widget a: size: invalid value: integer `300`, expected u8");
}
