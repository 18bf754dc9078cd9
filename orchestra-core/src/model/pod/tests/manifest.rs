use std::sync::Arc;

use super::*;

/// A manifest with a field that isn't modelled at every level where there can be one.
fn with_unknown_fields() -> Value {
    let probe = json!({"httpGet": {"path": "/", "port": "http", "scheme": "HTTPS", "httpHeaders": [
        {"name": "a", "value": "b", "x": 1}], "x": 1}, "periodSeconds": 7, "timeoutSeconds": 1, "successThreshold": 1,
        "failureThreshold": 3, "x": 1});
    let term = json!({"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "web"}, "matchExpressions": [
        {"key": "a", "operator": "Exists", "x": 1}], "x": 1}, "namespaceSelector": {}, "x": 1});
    let node_term =
        json!({"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"], "x": 1}], "x": 1});
    let container = json!({
        "name": "web", "image": "web:1", "imagePullPolicy": "Never", "workingDir": "/", "stdin": true, "x": {"y": [1]},
        "ports": [{"name": "http", "containerPort": 80, "hostPort": 80, "hostIP": "::1", "protocol": "UDP", "x": 1}],
        "env": [{"name": "A", "value": "b", "x": 1}, {"name": "B", "x": 1, "valueFrom": {
            "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name", "x": 1}}},
            {"name": "C", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m", "x": 1}}},
            {"name": "D", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": true, "x": 1}}}],
        "envFrom": [{"prefix": "P_", "configMapRef": {"name": "c", "x": 1}, "x": 1}],
        "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}, "claims": []},
        "volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": true, "mountPropagation": "None"}],
        "livenessProbe": probe,
        "lifecycle": {"preStop": {"exec": {"command": ["a"], "x": 1}, "x": 1}, "x": 1},
        "securityContext": {"runAsUser": 1, "capabilities": {"drop": ["ALL"], "x": 1}, "seccompProfile": {"type": "Unconfined", "x": 1}}
    });
    json!({
        "apiVersion": "v1", "kind": "Pod", "x": 1,
        "metadata": {"name": "web", "namespace": "shop", "managedFields": []},
        "spec": {
            "containers": [container], "restartPolicy": "OnFailure", "terminationGracePeriodSeconds": 5, "x": 1,
            "schedulerName": "mine", "dnsPolicy": "Default", "nodeName": "n1", "nodeSelector": {"a": "b"},
            "initContainers": [{"name": "side", "image": "s:1", "restartPolicy": "Always", "x": 1}],
            "volumes": [
                {"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi", "x": 1}},
                {"name": "h", "hostPath": {"path": "/", "type": "Directory", "x": 1}},
                {"name": "c", "configMap": {"name": "c", "defaultMode": 256, "x": 1,
                    "items": [{"key": "k", "path": "p", "mode": 1, "x": 1}]}},
                {"name": "d", "downwardAPI": {"defaultMode": 420, "x": 1, "items": [
                    {"path": "p", "fieldRef": {"fieldPath": "metadata.name"}, "x": 1}]}},
                {"name": "p", "projected": {"defaultMode": 420, "sources": [{"secret": {"name": "s", "x": 1}},
                    {"serviceAccountToken": {"path": "t"}}], "x": 1}},
                {"name": "n", "nfs": {"server": "a"}}
            ],
            "affinity": {"x": 1,
                "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [node_term], "x": 1}, "x": 1},
                "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term], "x": 1},
                "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
                    {"weight": 5, "podAffinityTerm": term, "x": 1}]}},
            "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway",
                "nodeTaintsPolicy": "Honor", "x": 1}],
            "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5, "x": 1}],
            "schedulingGates": [{"name": "g", "x": 1}], "readinessGates": [{"conditionType": "a/b", "x": 1}],
            "imagePullSecrets": [{"name": "s", "x": 1}], "securityContext": {"fsGroup": 1, "sysctls": []}
        },
        "status": {"phase": "Running", "podIP": "127.0.0.2", "podIPs": [{"ip": "127.0.0.2", "x": 1}], "x": 1,
            "hostIP": "10.0.0.1", "qosClass": "Burstable", "startTime": "2026-01-31T08:00:00Z",
            "conditions": [{"type": "Ready", "status": "True", "lastProbeTime": null,
                "lastTransitionTime": "2026-01-31T08:00:00Z"}],
            "containerStatuses": [{"name": "web", "ready": true, "started": true, "restartCount": 1, "image": "web:1",
                "imageID": "i", "containerID": "process://1", "state": {"running": {
                    "startedAt": "2026-01-31T08:00:00Z", "x": 1}}, "lastState": {"terminated": {"exitCode": 137,
                    "signal": 9, "reason": "Error", "x": 1}}, "x": 1}]}
    })
}

#[test]
fn every_unknown_field_survives_and_so_do_the_known() {
    let manifest = with_unknown_fields();
    let pod = read(manifest.clone());
    assert_eq!(pod.to_value(), manifest);
    assert_eq!(serde_json::from_str::<Pod>(&manifest.to_string()).unwrap(), pod, "also from text");
}

#[test]
fn every_unknown_field_is_warned_of() {
    /// The paths of the fields in `value` that no version of the model is going to have.
    fn unknown(path: &str, value: &Value, found: &mut Vec<String>) {
        const OTHERS: [&str; 6] =
            ["managedFields", "claims", "mountPropagation", "nfs", "sysctls", "lastProbeTime"];
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    if key == "x" || key == "serviceAccountToken" || OTHERS.contains(&key.as_str()) {
                        found.push(path);
                    } else {
                        unknown(&path, value, found);
                    }
                }
            }
            Value::Array(items) => {
                for (i, item) in items.iter().enumerate() {
                    unknown(&format!("{path}[{i}]"), item, found);
                }
            }
            _ => {}
        }
    }
    let manifest = with_unknown_fields();
    let (mut expected, mut found) = (Vec::new(), Vec::new());
    unknown("", &manifest, &mut expected);
    found.extend(crate::model::unmodelled::warnings(&read(manifest)).into_iter().map(|warning| warning.path));
    expected.sort();
    found.sort();
    assert!(expected.len() > 50);
    assert_eq!(found, expected);
}

#[test]
fn what_is_absent_is_not_written() {
    let pod =
        read(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [
        {"name": "a", "image": "b"}]}}));
    assert_eq!(
        pod.to_value(),
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {
            "containers": [{"name": "a", "image": "b"}], "restartPolicy": "Always", "dnsPolicy": "ClusterFirst",
            "terminationGracePeriodSeconds": 30, "schedulerName": "default-scheduler"}})
    );
}

#[test]
fn a_clone_and_a_binding_share_the_spec() {
    let pod = good();
    let mut bound = pod.clone().node("n1");
    assert!(Arc::ptr_eq(&pod.spec, &bound.spec));
    bound.set_defaults();
    assert!(Arc::ptr_eq(&pod.spec, &bound.spec), "defaults of a complete spec copy nothing");
    assert!(!pod.same_desired(&bound) && pod.same_desired(&pod.clone()));
    bound.spec_mut().hostname = "other".into();
    assert!(pod.spec.hostname.is_empty());
}

#[test]
fn the_node_name_stands_in_the_manifests_spec() {
    let bound = good().node("n1");
    let manifest = bound.to_value();
    assert_eq!(manifest["spec"]["nodeName"], json!("n1"));
    let back = read(manifest);
    assert_eq!(back, bound);
    assert!(back.spec.node_name.is_empty());
    assert!(good().to_value()["spec"].get("nodeName").is_none());
}

#[test]
fn a_templates_node_name_becomes_the_pods() {
    let mut pod = good();
    pod.spec_mut().node_name = "n1".into();
    assert_eq!(read(pod.to_value()).node_name.as_deref(), Some("n1"));
    pod.set_defaults();
    assert_eq!((pod.node_name.as_deref(), pod.spec.node_name.as_str()), (Some("n1"), ""));
    pod.spec_mut().node_name = "n2".into();
    assert_eq!(
        read(serde_json::from_str(&serde_json::to_string(&pod).unwrap()).unwrap()).node_name.as_deref(),
        Some("n1")
    );
}

#[test]
fn a_state_that_says_nothing_is_waiting() {
    let status = json!({"name": "a", "state": {}, "lastState": {}, "ready": false, "restartCount": 0, "image": "", "imageID": ""});
    let read: crate::model::ContainerStatus = serde_json::from_value(status).unwrap();
    assert!(read.state.waiting().is_some() && read.last_state.is_none());
    assert_eq!(serde_json::to_value(&read).unwrap()["state"], json!({"waiting": {}}));
}

#[test]
fn errors_of_reading_name_the_field() {
    for (pointer, value, path, words) in [
        (
            "/spec/containers/0/ports/0/containerPort",
            json!(70000),
            "spec.containers[0].ports[0].containerPort",
            "70000",
        ),
        (
            "/spec/containers/0/resources/limits/cpu",
            json!("1GB"),
            "spec.containers[0].resources.limits.cpu",
            "`1GB` is not a quantity",
        ),
        ("/spec/restartPolicy", json!("Sometimes"), "spec.restartPolicy", "Sometimes"),
        (
            "/spec/containers/0/livenessProbe/httpGet/port",
            json!(1.5),
            "spec.containers[0].livenessProbe.httpGet.port",
            "a port",
        ),
        ("/spec/affinity/nodeAffinity", json!([]), "spec.affinity.nodeAffinity", "invalid"),
        (
            "/spec/volumes/0/emptyDir/sizeLimit",
            json!(""),
            "spec.volumes[0].emptyDir.sizeLimit",
            "not a quantity",
        ),
        ("/metadata/labels", json!({"a": 1}), "metadata.labels.a", "expected a string"),
        ("/status/podIP", json!("here"), "status.podIP", "IP address"),
        ("/spec/nodeName", json!(5), "spec.nodeName", "expected a string"),
        (
            "/spec/topologySpreadConstraints/0/labelSelector",
            json!({"matchExpressions": [{"key": "a"}]}),
            "spec.topologySpreadConstraints[0].labelSelector.matchExpressions[0]",
            "missing field `operator`",
        ),
    ] {
        let mut manifest = with_unknown_fields();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        manifest.pointer_mut(parent).unwrap()[key] = value;
        let text = manifest.to_string();
        let error =
            serde_path_to_error::deserialize::<_, Pod>(&mut serde_json::Deserializer::from_str(&text))
                .unwrap_err();
        assert_eq!(error.path().to_string(), path);
        assert!(error.inner().to_string().contains(words), "{path}: {}", error.inner());
    }
    let error = serde_json::from_value::<Pod>(json!({"apiVersion": "v1", "kind": "Node"})).unwrap_err();
    assert!(error.to_string().contains("expected apiVersion v1 and kind Pod"));
}
