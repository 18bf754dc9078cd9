use super::*;
use crate::model::{FieldErrors, Labels, ManifestProblem, Rules, Scheme, parse_manifests};

fn errors(object: &impl Rules) -> Vec<String> {
    let mut errors = FieldErrors::new();
    object.validate(&mut errors);
    errors.errors().iter().map(ToString::to_string).collect()
}

fn quantity(text: &str) -> Quantity {
    text.parse().unwrap()
}

#[test]
fn the_manifests_of_kubernetes_documentation_are_known_whole() {
    let text = r#"
apiVersion: v1
kind: PersistentVolume
metadata: {name: task-pv-volume, labels: {type: local}}
spec:
  storageClassName: manual
  capacity: {storage: 10Gi}
  accessModes: [ReadWriteOnce]
  hostPath: {path: "/mnt/data"}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: task-pv-claim}
spec:
  storageClassName: manual
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 3Gi}}
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: local-storage}
provisioner: kubernetes.io/no-provisioner
volumeBindingMode: WaitForFirstConsumer
"#;
    for manifest in parse_manifests(text, &Scheme::kubernetes()).unwrap() {
        let decoded = Scheme::kubernetes().decode(manifest.value).unwrap();
        assert!(decoded.warnings.is_empty(), "{:?}", decoded.warnings);
        let mut errors = FieldErrors::new();
        decoded.object.validate(&mut errors);
        assert!(errors.is_empty(), "{errors}");
    }
    let wrong = serde_json::json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c"},
        "spec": {"accessModes": ["Often"], "resources": {"requests": {"storage": "1Gi"}}}});
    let error = Scheme::kubernetes().decode(wrong).unwrap_err();
    assert!(matches!(error.problem, ManifestProblem::Field), "{error}");
    assert!(error.to_string().contains("accessModes[0]"), "{error}");
}

#[test]
fn what_can_not_be_is_refused_by_field() {
    let mut volume = PersistentVolume::local("data", quantity("1Gi"), "n1", "/srv");
    assert!(errors(&volume).is_empty());
    volume.spec.node_affinity = None;
    volume.spec.access_modes = vec![AccessMode::ReadWriteOncePod, AccessMode::ReadWriteOnce];
    volume.spec.local.as_mut().unwrap().path = "srv/../x".into();
    volume.spec.capacity.clear();
    volume.spec.persistent_volume_reclaim_policy = Some(ReclaimPolicy::Recycle);
    let found = errors(&volume);
    for field in ["capacity.storage", "accessModes", "ReclaimPolicy", "local.path", "nodeAffinity"] {
        assert!(found.iter().any(|error| error.contains(field)), "{field}: {found:?}");
    }
    volume.spec.local = None;
    assert!(errors(&volume).iter().any(|error| error.contains("exactly one source")));
    let claim = PersistentVolumeClaim::new("c", quantity("0"));
    assert!(errors(&claim).iter().any(|error| error.contains("spec.resources.requests.storage")));
    assert!(errors(&StorageClass::new("c", "")).iter().any(|error| error.contains("provisioner")));
}

#[test]
fn claims_and_volumes_find_each_other() {
    let mut claim = PersistentVolumeClaim::new("c", quantity("2Gi")).class("fast");
    claim.metadata.namespace = "shop".into();
    claim.metadata.uid = "u-1".into();
    let volume = |size: &str| PersistentVolume::host_path("v", quantity(size), "/srv").class("fast");
    assert!(volume("2Gi").suits(&claim) && volume("3Gi").suits(&claim));
    assert!(!volume("1Gi").suits(&claim) && !volume("2Gi").class("slow").suits(&claim));
    let mut modes = volume("2Gi");
    modes.spec.access_modes = vec![AccessMode::ReadOnlyMany];
    assert!(!modes.suits(&claim));
    let mut kept = volume("2Gi");
    kept.spec.claim_ref = Some(crate::model::ObjectReference::to(&claim));
    assert!(kept.suits(&claim) && kept.is_of(&claim));
    let mut namesake = claim.clone();
    namesake.metadata.uid = "u-2".into();
    assert!(!kept.suits(&namesake), "a claim of the same name is another one");
    let labels = Labels::from([("kubernetes.io/hostname", "h1")]);
    let local = PersistentVolume::local("v", quantity("1Gi"), "h1", "/srv");
    assert!(local.reaches("n1", &labels) && !local.reaches("h1", &Labels::new()));
    assert_eq!(local.host(), Some("h1"));
    let made = PersistentVolume::provision(&claim, None, "n1", &labels);
    assert_eq!((made.host(), made.local_node(), made.size()), (Some("h1"), Some("n1"), 2 << 30));
    assert!(errors(&made).is_empty() && made.is_of(&claim));
    let unlabelled = PersistentVolume::provision(&claim, None, "n1", &Labels::new());
    assert!(unlabelled.reaches("n1", &labels) && !unlabelled.reaches("n2", &labels));
}
