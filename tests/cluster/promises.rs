//! What a manifest asks for and a node of processes can't do is said, and nobody gets more than they may.

use orchestra::prelude::*;

use crate::common::{Dir, event, until};
use crate::node;

#[tokio::test(flavor = "multi_thread")]
async fn what_processes_cannot_do_is_told_and_a_forbidden_user_is_refused() {
    let dir = Dir::new("promises");
    let cluster = Cluster::builder().node(node(&dir.0, "node")).start().await.unwrap();
    let manifests = r#"
kind: Pod
apiVersion: v1
metadata: {name: hardened}
spec:
  volumes: [{name: scratch, emptyDir: {sizeLimit: 1Mi}}, {name: fast, emptyDir: {medium: Memory}}]
  resources: {limits: {memory: 1Gi}}
  containers:
    - name: main
      image: sleep:1
      resources: {requests: {ephemeral-storage: 1Ki}}
      securityContext: {readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
      volumeMounts: [{name: scratch, mountPath: /scratch, readOnly: true}, {name: fast, mountPath: /fast}]
---
kind: Pod
apiVersion: v1
metadata: {name: rooted}
spec:
  securityContext: {runAsNonRoot: true, runAsUser: 0}
  containers: [{name: main, image: "sleep:1"}]
"#;
    let applied = cluster.apply_yaml(manifests).await.unwrap();
    let warnings: Vec<_> = applied.iter().flat_map(|a| &a.warnings).map(|w| w.path.as_str()).collect();
    assert_eq!(warnings, ["spec.volumes[0].emptyDir.sizeLimit"]);
    let told = event(&cluster, "hardened", "does not enforce").await;
    for field in
        ["readOnlyRootFilesystem", "capabilities", "readOnly", "emptyDir.medium", "limits of the pod"]
    {
        assert!(told.message.contains(field), "{}", told.message);
    }
    until::<Pod>(&cluster, "hardened", |pod| pod.is_some_and(Pod::is_ready)).await;
    event(&cluster, "rooted", "would run as root").await;
    assert!(!cluster.get::<Pod>("rooted").await.unwrap().is_ready());
    cluster.stop().await;
}
