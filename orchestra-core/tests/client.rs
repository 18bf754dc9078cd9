//! The client on a memory store: what is stored, what is refused, and with which words.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::clone_on_ref_ptr,
    reason = "a test fails by panicking, and may print"
)]

use std::sync::Arc;

use orchestra_core::client::{
    ApplyOutcome, Client, ClientError, DeleteOptions, ListOptions, ObjectEvent, Patch,
};
use orchestra_core::clock::SystemClock;
use orchestra_core::model::{
    AnyObjectExt, ConfigMap, Deployment, KindInfo, Namespace, ObjectKey, Pod, PriorityClass, Revision,
    Scheme, Service,
};
use orchestra_core::rng::Rng;
use orchestra_core::store::{MemoryStore, StoreError};
use serde_json::json;

async fn client() -> Client {
    let store = Arc::new(MemoryStore::new());
    let client = Client::new(store, Arc::new(Scheme::kubernetes()), Arc::new(SystemClock), Rng::seeded(1));
    client.create(Namespace::new("default")).await.unwrap();
    client
}

fn pod(name: &str) -> Pod {
    Pod::new(name).image("shop/web:1")
}

#[tokio::test]
async fn create_fills_in_and_update_keeps_identity_status_and_generation() {
    let client = client().await;
    let web = client.create(Deployment::new("web").image("shop/web:1")).await.unwrap();
    assert_eq!(web.metadata.namespace, "default");
    assert_eq!(web.metadata.generation, 1);
    assert!(!web.metadata.uid.is_empty() && web.metadata.creation_timestamp.is_some());

    let same = client.update((*web).clone()).await.unwrap();
    assert_eq!(
        same.metadata.resource_version, web.metadata.resource_version,
        "nothing changed: nothing written"
    );

    let scaled = client.scale::<Deployment>("web", 3).await.unwrap();
    assert_eq!((scaled.spec.replicas, scaled.metadata.generation), (3, 2));
    let seen = client.modify_status::<Deployment>("web", |d| d.status.replicas = 3).await.unwrap();
    assert_eq!(
        (seen.status.replicas, seen.metadata.generation),
        (3, 2),
        "status is no change of what is desired"
    );
    let labelled =
        client.modify::<Deployment>("web", |d| drop(d.metadata.labels.insert("a".into(), "b".into()))).await;
    assert_eq!(labelled.unwrap().status.replicas, 3, "an update leaves the status");
}

#[tokio::test]
async fn an_update_based_on_an_old_revision_is_a_conflict_and_changes_nothing() {
    let client = client().await;
    let old = client.create(ConfigMap::new("settings").entry("colour", "blue")).await.unwrap();
    client.update(ConfigMap::new("settings").entry("colour", "red")).await.unwrap();
    let mut mine = (*old).clone();
    mine.data.insert("size".into(), "large".into());
    let error = client.update(mine).await.unwrap_err();
    assert!(error.is_conflict() && error.to_string().contains("ConfigMap default/settings"), "{error}");
    assert_eq!(client.get::<ConfigMap>("settings").await.unwrap().data["colour"], "red");
    assert!(matches!(client.create(ConfigMap::new("settings")).await, Err(ClientError::AlreadyExists(_))));
}

/// A service as a manifest says it; what replaces it is a whole object that has not been read before.
fn service(spec: &serde_json::Value) -> Service {
    let manifest = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec});
    serde_json::from_value(manifest).unwrap()
}

#[tokio::test]
async fn a_service_that_is_replaced_keeps_the_address_it_was_given() {
    let client = client().await;
    client.create(service(&json!({"ports": [{"port": 80}]}))).await.unwrap();
    // What allocates addresses writes this.
    client.modify::<Service>("web", |s| s.spec.cluster_ip = "10.0.0.7".into()).await.unwrap();

    let replaced = client.update(service(&json!({"ports": [{"port": 81}]}))).await.unwrap();
    assert_eq!(replaced.spec.ports[0].port, 81);
    assert_eq!(
        (replaced.spec.cluster_ip.as_str(), &replaced.spec.cluster_ips[..]),
        ("10.0.0.7", &["10.0.0.7".to_owned()][..])
    );
    let same = client.update(service(&json!({"ports": [{"port": 81}]}))).await.unwrap();
    assert_eq!(same.metadata.resource_version, replaced.metadata.resource_version, "that is no change");

    let manifest = "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{port: 81}]}}";
    client.apply_yaml(manifest).await.unwrap();
    let applied = client.get::<Service>("web").await.unwrap();
    assert_eq!(
        (applied.spec.cluster_ip.as_str(), applied.spec.selector["app"].as_str()),
        ("10.0.0.7", "web")
    );

    let other = service(&json!({"clusterIP": "10.0.0.8", "ports": [{"port": 80}]}));
    let error = client.update(other).await.unwrap_err().to_string();
    assert!(error.contains("spec.clusterIP: can't be changed: leave it at `10.0.0.7`"), "{error}");
    // A service that becomes a name gives its address up.
    let name = service(&json!({"type": "ExternalName", "externalName": "web.example.com"}));
    assert_eq!(client.update(name).await.unwrap().spec.cluster_ip, "");
}

#[tokio::test]
async fn a_service_that_is_replaced_keeps_its_node_ports_unless_it_says_otherwise() {
    let client = client().await;
    let ports =
        json!([{"name": "a", "port": 1, "nodePort": 30001}, {"name": "b", "port": 2, "nodePort": 30002}]);
    client.create(service(&json!({"type": "NodePort", "ports": ports}))).await.unwrap();
    let node_ports = async |type_: &str, ports| {
        let service = client.update(service(&json!({"type": type_, "ports": ports}))).await.unwrap();
        service.spec.ports.iter().map(|port| port.node_port).collect::<Vec<_>>()
    };
    let ports = json!([{"name": "b", "port": 3}, {"name": "a", "port": 1}]);
    assert_eq!(node_ports("NodePort", ports).await, [30002, 30001], "by name");
    let ports = json!([{"name": "a", "port": 1}, {"name": "c", "port": 2, "nodePort": 30001}]);
    assert_eq!(node_ports("LoadBalancer", ports).await, [0, 30001], "what is asked for comes first");
    let ports = json!([{"name": "c", "port": 2}]);
    assert_eq!(node_ports("ClusterIP", ports).await, [0], "such a service has none");
}

#[tokio::test]
async fn a_bad_object_is_refused_with_the_path_and_nothing_of_its_transaction_is_stored() {
    let client = client().await;
    let bad = Deployment::new("web").image("");
    let error =
        client.transaction().create(ConfigMap::new("settings")).create(bad).commit().await.unwrap_err();
    assert!(error.to_string().contains("spec.template.spec.containers[0].image"), "{error}");
    assert!(client.find::<ConfigMap>("settings").await.unwrap().is_none());
    let elsewhere = client.namespace("nowhere").create(ConfigMap::new("settings")).await.unwrap_err();
    assert!(elsewhere.to_string().contains("namespace nowhere does not exist"), "{elsewhere}");
}

#[tokio::test]
async fn pods_of_one_template_go_on_sharing_it() {
    let client = client().await;
    client.create(PriorityClass::new("high", 1000)).await.unwrap();
    let mut template = pod("");
    template.metadata.name.clear();
    template.metadata.generate_name = "web-".into();
    template.spec_mut().priority_class_name = "high".into();
    let mut transaction = client.transaction();
    for _ in 0..3 {
        transaction = transaction.create(template.clone());
    }
    transaction.commit().await.unwrap();
    let pods = client.list::<Pod>(&ListOptions::default()).await.unwrap().items;
    assert_eq!(pods.len(), 3);
    assert_eq!(pods[0].spec.priority, Some(1000));
    assert!(pods.iter().all(|pod| Arc::ptr_eq(&pod.spec, &pods[0].spec)));
    assert!(pods.iter().all(|pod| pod.metadata.name.len() == "web-".len() + 5));
}

#[tokio::test]
async fn a_bound_pod_ends_in_its_grace_and_an_unbound_one_at_once() {
    let client = client().await;
    let waiting = client.create(pod("waiting")).await.unwrap();
    client
        .delete::<Pod>("waiting", &DeleteOptions::default().uid(waiting.metadata.uid.clone()))
        .await
        .unwrap();
    assert!(client.find::<Pod>("waiting").await.unwrap().is_none());

    let running = client.create(pod("running")).await.unwrap();
    client.transaction().bind(&running, "node-1").commit().await.unwrap();
    let twice = client.transaction().bind(&running, "node-2").commit().await.unwrap_err();
    assert!(twice.to_string().contains("bound to node node-1"), "{twice}");
    client.delete::<Pod>("running", &DeleteOptions::default()).await.unwrap();
    let ending = client.get::<Pod>("running").await.unwrap();
    assert_eq!(ending.metadata.deletion_grace_period_seconds, Some(30));
    client.delete::<Pod>("running", &DeleteOptions::default().grace_period(60)).await.unwrap();
    assert_eq!(client.get::<Pod>("running").await.unwrap().metadata, ending.metadata, "a grace only shrinks");
    client.delete::<Pod>("running", &DeleteOptions::default().grace_period(0)).await.unwrap();
    assert!(client.find::<Pod>("running").await.unwrap().is_none());

    let long = client.create(pod("long")).await.unwrap();
    client.transaction().bind(&long, "node-1").commit().await.unwrap();
    client.delete::<Pod>("long", &DeleteOptions::default().grace_period(u64::MAX)).await.unwrap();
    let ending = client.get::<Pod>("long").await.unwrap();
    let readable = client.scheme().decode_stored_json(&serde_json::to_vec(&*ending).unwrap());
    assert_eq!(readable.unwrap().meta(), &ending.metadata, "a time that is stored can be read");

    let other = DeleteOptions::default().uid(running.metadata.uid.clone());
    client.create(pod("running")).await.unwrap();
    assert!(
        client.delete::<Pod>("running", &other).await.unwrap_err().is_conflict(),
        "it is another pod now"
    );
}

/// Who deletes once more without a word about time means no other time than before.
#[tokio::test]
async fn a_second_deletion_shortens_a_grace_only_where_it_says_so_and_from_the_first_one_on() {
    let client = client().await;
    let running = client.create(pod("running")).await.unwrap();
    client.transaction().bind(&running, "node-1").commit().await.unwrap();
    client.delete::<Pod>("running", &DeleteOptions::default().grace_period(600)).await.unwrap();
    let first = client.get::<Pod>("running").await.unwrap();
    client.delete::<Pod>("running", &DeleteOptions::default()).await.unwrap();
    assert_eq!(client.get::<Pod>("running").await.unwrap().metadata, first.metadata, "as it was asked for");
    client.delete::<Pod>("running", &DeleteOptions::default().grace_period(60)).await.unwrap();
    let shorter = client.get::<Pod>("running").await.unwrap();
    let end = |pod: &Pod| pod.metadata.deletion_timestamp.unwrap();
    assert_eq!(shorter.metadata.deletion_grace_period_seconds, Some(60));
    assert_eq!(end(&first).since(end(&shorter)).as_secs(), 540, "the time has run since the first deletion");
}

/// A default that comes later is for pods that come later: one that is there could not be written to any more.
#[tokio::test]
async fn a_pod_keeps_the_priority_that_it_was_made_with() {
    let client = client().await;
    let class = |name: &str, value: i32, default: bool| -> PriorityClass {
        serde_json::from_value(json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
            "value": value, "globalDefault": default
        }))
        .unwrap()
    };
    client.create(pod("old")).await.unwrap();
    client.create(class("usual", 7, true)).await.unwrap();
    let label = |pod: &mut Pod| drop(pod.metadata.labels.insert("tier".into(), "front".into()));
    let old = client.modify::<Pod>("old", label).await.unwrap();
    assert_eq!((old.spec.priority, old.metadata.generation), (None, 1));
    let new = client.create(pod("new")).await.unwrap();
    assert_eq!(new.spec.priority, Some(7));
    // One that is replaced by a manifest, which does not know the number, keeps it, too.
    client.delete::<PriorityClass>("usual", &DeleteOptions::default()).await.unwrap();
    let replaced = client.update(pod("new").label("tier", "back")).await.unwrap();
    assert_eq!(replaced.spec.priority, Some(7));
}

#[tokio::test]
async fn annotations_of_others_stay_where_a_manifest_has_none_any_more() {
    let client = client().await;
    let manifest = |annotations: serde_json::Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "annotations": annotations}});
    client.apply_value(manifest(json!({"team": "shop"}))).await.unwrap();
    let note = |map: &mut ConfigMap| drop(map.metadata.annotations.insert("note".into(), "others'".into()));
    client.modify::<ConfigMap>("settings", note).await.unwrap();
    client.apply(ConfigMap::new("settings")).await.unwrap();
    let annotations = client.get::<ConfigMap>("settings").await.unwrap().metadata.annotations.clone();
    assert_eq!((annotations.value("team"), annotations.value("note")), (None, Some("others'")));
    client.apply_value(manifest(json!({"team": "shop"}))).await.unwrap();
    client.apply_value(manifest(json!(null))).await.unwrap();
    let annotations = client.get::<ConfigMap>("settings").await.unwrap().metadata.annotations.clone();
    assert_eq!((annotations.value("team"), annotations.value("note")), (None, Some("others'")));
}

#[tokio::test]
async fn a_patch_that_names_a_revision_is_for_that_one_only() {
    let client = client().await;
    let first = client.create(ConfigMap::new("settings")).await.unwrap().metadata.resource_version;
    let patch = |revision: Revision, value: &str| {
        let meta = json!({"resourceVersion": revision.0.to_string()});
        Patch::Merge(json!({"metadata": meta, "data": {"a": value}}))
    };
    let second = client.patch::<ConfigMap>("settings", &patch(first, "1")).await.unwrap();
    let late = client.patch::<ConfigMap>("settings", &patch(first, "2")).await.unwrap_err();
    assert!(late.is_conflict(), "{late}");
    assert_eq!(client.get::<ConfigMap>("settings").await.unwrap(), second);
}

#[tokio::test]
async fn apply_merges_and_says_what_it_did() {
    let client = client().await;
    let created = client.apply(Deployment::new("web").image("shop/web:1").replicas(2)).await.unwrap();
    assert_eq!(created.outcome, ApplyOutcome::Created);
    let again = client.apply(Deployment::new("web").image("shop/web:1").replicas(2)).await.unwrap();
    assert_eq!(again.outcome, ApplyOutcome::Unchanged);

    let yaml = "
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {a: '1', b: '2'}
---
apiVersion: example.org/v1
kind: Gadget
metadata: {name: one, namespace: default}
spec: {size: 3}
";
    let applied = client.apply_yaml(yaml).await.unwrap();
    assert_eq!(applied.len(), 2);
    client
        .modify::<ConfigMap>("settings", |map| drop(map.data.insert("c".into(), "3".into())))
        .await
        .unwrap();
    client.apply_yaml(&yaml.replace("b: '2'", "d: '4'")).await.unwrap();
    let settings = client.get::<ConfigMap>("settings").await.unwrap();
    assert_eq!(settings.data.keys().map(String::as_str).collect::<Vec<_>>(), ["a", "c", "d"]);

    let gadget = ObjectKey {
        kind: orchestra_core::model::GroupKind { group: "example.org".into(), kind: "Gadget".into() },
        namespace: "default".into(),
        name: "one".into(),
    };
    let patched = client.patch_any(&gadget, &Patch::Merge(json!({"spec": {"size": 4}}))).await.unwrap();
    assert_eq!(patched.to_value()["spec"]["size"], 4);

    let broken = yaml.replace("data: {a: '1', b: '2'}", "data: {a: '9'}").replace("size: 3}", "size: [}");
    assert!(client.apply_yaml(&broken).await.is_err());
    assert_eq!(client.get::<ConfigMap>("settings").await.unwrap().data["a"], "1", "all or nothing");
}

#[tokio::test]
async fn a_watch_through_a_selector_sees_objects_enter_and_leave() {
    let client = client().await;
    let options = ListOptions::default().labels("app=web".parse().unwrap());
    let mut watch = client.watch::<Pod>(&options, Revision::ZERO).await.unwrap();
    client.create(pod("a")).await.unwrap();
    client
        .modify::<Pod>("a", |pod| drop(pod.metadata.labels.insert("app".into(), "web".into())))
        .await
        .unwrap();
    client.modify::<Pod>("a", |pod| drop(pod.metadata.labels.remove("app"))).await.unwrap();
    assert!(matches!(watch.next().await, Some(Ok(ObjectEvent::Added(_)))));
    assert!(matches!(watch.next().await, Some(Ok(ObjectEvent::Deleted(_)))));
    client.store().close().await.unwrap();
    assert!(watch.next().await.is_none());
    assert!(matches!(client.get::<Pod>("a").await, Err(ClientError::Store(StoreError::Closed))));
}

#[tokio::test]
async fn a_kind_that_nobody_registered_has_namespaces() {
    let client = client().await;
    client.create(Namespace::new("other")).await.unwrap();
    let widget = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 1}});
    let applied = client.apply_value(widget.clone()).await.unwrap();
    assert_eq!(applied.object.meta().namespace, "default");
    assert!(applied.warnings[0].message.ends_with("takes it to have namespaces"));
    let other = client.namespace("other").apply_value(widget.clone()).await.unwrap();
    assert_eq!((other.outcome, other.object.meta().namespace.as_str()), (ApplyOutcome::Created, "other"));

    let info = KindInfo::new("example.com", "v1", "Widget", "widgets", true);
    let listed = client.list_any(&info, &ListOptions::default()).await.unwrap();
    assert_eq!(listed.items.len(), 1);
    let key = client.key_of(&info, "w");
    let merge = Patch::Merge(json!({"spec": {"size": 2}}));
    let mut watch = client.watch_any(&info, &ListOptions::default(), listed.revision).await.unwrap();
    client.patch_any(&key, &merge).await.unwrap();
    client.namespace("other").patch_any(&client.namespace("other").key_of(&info, "w"), &merge).await.unwrap();
    client.delete_any(key.clone(), &DeleteOptions::default()).await.unwrap();
    let ObjectEvent::Modified(changed) = watch.next().await.unwrap().unwrap() else { panic!("not modified") };
    assert_eq!(changed.as_unstructured().unwrap().get("/spec/size"), Some(&json!(2)));
    let deleted = watch.next().await.unwrap().unwrap();
    assert!(matches!(deleted, ObjectEvent::Deleted(_)), "nothing of the other namespace: {deleted:?}");
    let two = |w: Option<&_>| {
        w.and_then(AnyObjectExt::as_unstructured).is_some_and(|w| w.get("/spec/size") == Some(&json!(3)))
    };
    let waiting = client.wait_any(&key, two);
    let again = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 3}});
    let (found, applied) = tokio::join!(waiting, client.apply_value(again));
    assert_eq!(found.unwrap().unwrap().meta().uid, applied.unwrap().object.meta().uid);
}

#[tokio::test]
async fn a_definition_says_whether_its_kind_has_namespaces() {
    let client = client().await;
    let definition = |kind: &str, plural: &str, scope: &str| {
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.example.com")},
            "spec": {"group": "example.com", "scope": scope, "names": {"kind": kind, "plural": plural}}})
    };
    let object =
        |kind: &str| json!({"apiVersion": "example.com/v1", "kind": kind, "metadata": {"name": "a"}});
    client.apply_value(definition("Datum", "data", "Cluster")).await.unwrap();
    let datum = client.namespace("other").apply_value(object("Datum")).await.unwrap();
    assert_eq!((datum.object.meta().namespace.as_str(), &*datum.object.info().plural), ("", "data"));
    assert_eq!(datum.warnings[0].message, "kept, but Orchestra does not act on objects of kind Datum");
    let patched = client.patch_any(&ObjectKey::of(&*datum.object), &Patch::Merge(json!({"spec": 1}))).await;
    assert_eq!(patched.unwrap().meta().uid, datum.object.meta().uid);

    let both = format!("{}\n---\n{}", object("Plan"), definition("Plan", "plans", "Cluster"));
    let applied = client.apply_yaml(&both).await.unwrap();
    assert_eq!(applied[0].object.meta().namespace, "", "the definition that is applied with it counts");
    client.apply_value(definition("Room", "rooms", "Namespaced")).await.unwrap();
    assert_eq!(client.apply_value(object("Room")).await.unwrap().object.meta().namespace, "default");
}

#[tokio::test]
async fn an_object_that_is_nested_too_deep_is_refused_by_field() {
    let client = client().await;
    let spec = (0..200).fold(json!(1), |inner, _| json!([inner]));
    let widget =
        json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec});
    let refused = client.apply_value(widget).await.unwrap_err();
    assert!(refused.to_string().contains("spec: is nested more than 127 deep"), "{refused}");
}
