use serde_json::json;

use super::*;
use crate::model::{ImagePullPolicy, Quantity};

/// Each change makes the good pod bad in exactly one place, or leaves it good where no error is given.
fn check<const N: usize>(changes: [(&str, Value, &str); N]) {
    for (pointer, value, error) in changes {
        let mut manifest = good().to_value();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = manifest.pointer_mut(parent).unwrap();
        match key.parse::<usize>() {
            Ok(index) => parent[index] = value,
            Err(_) => parent[key] = value,
        }
        let mut pod = read(manifest);
        pod.set_defaults();
        let found = wrong(&pod);
        if error.is_empty() {
            assert_eq!(found, Vec::<String>::new(), "{pointer}");
        } else {
            assert!(
                found.len() == 1 && found[0].starts_with(error),
                "{pointer}: {found:#?}\nexpected {error}"
            );
        }
    }
}

#[test]
fn mistakes_in_containers_are_named_with_their_path() {
    check([
        ("/spec/containers", json!([]), "spec.containers: needs at least one container"),
        ("/spec/containers/0/name", json!("Web"), "spec.containers[0].name: `Web` is not a DNS label"),
        ("/spec/containers/0/name", json!("proxy"), "spec.containers[0].name: is the name of another"),
        ("/spec/containers/0/image", json!(""), "spec.containers[0].image: is required"),
        ("/spec/containers/0/image", json!(" web"), "spec.containers[0].image: must not begin"),
        (
            "/spec/containers/0/restartPolicy",
            json!("Never"),
            "spec.containers[0].restartPolicy: can be set on init",
        ),
        (
            "/spec/initContainers/0/restartPolicy",
            json!("Never"),
            "spec.initContainers[0].restartPolicy: must be Always",
        ),
        ("/spec/initContainers/0/lifecycle", json!({}), "spec.initContainers[0].lifecycle: must not be set"),
        (
            "/spec/containers/0/ports/0/containerPort",
            json!(0),
            "spec.containers[0].ports[0].containerPort: must be",
        ),
        ("/spec/containers/0/ports/0/name", json!("8080"), "spec.containers[0].ports[0].name: `8080` is not"),
        (
            "/spec/containers/0/ports/0",
            json!({"name": "http", "containerPort": 80, "hostPort": 80, "protocol": "TCP"}),
            "",
        ),
        (
            "/spec/containers/0/ports",
            json!([{"name": "a", "containerPort": 1}, {"name": "a", "containerPort": 2}]),
            "spec.containers[0].ports[1].name: is the name of another port",
        ),
        (
            "/spec/containers/0/ports",
            json!([{"containerPort": 1, "hostPort": 9}, {"containerPort": 2, "hostPort": 9}]),
            "spec.containers: port 9 (TCP) of the node is taken twice",
        ),
    ]);
}

#[test]
fn mistakes_in_environments_and_resources_are_named_with_their_path() {
    check([
        ("/spec/containers/0/env/0/name", json!("A=B"), "spec.containers[0].env[0].name: `A=B` is not"),
        ("/spec/containers/0/env/1/value", json!("x"), "spec.containers[0].env[1]: must have either value"),
        (
            "/spec/containers/0/env/1/valueFrom",
            json!({}),
            "spec.containers[0].env[1].valueFrom: must have exactly one",
        ),
        (
            "/spec/containers/0/env/1/valueFrom/fieldRef/fieldPath",
            json!("spec.x"),
            "spec.containers[0].env[1].valueFrom.fieldRef.fieldPath: `spec.x` is not a field",
        ),
        (
            "/spec/containers/0/env/2/valueFrom/secretKeyRef/key",
            json!("../x"),
            "spec.containers[0].env[2].valueFrom.secretKeyRef.key: `../x` is not a key",
        ),
        (
            "/spec/containers/0/envFrom/0",
            json!({"prefix": "A"}),
            "spec.containers[0].envFrom[0]: must have either",
        ),
        (
            "/spec/containers/0/resources/requests/cpu",
            json!("-1"),
            "spec.containers[0].resources.requests.cpu: must not be negative",
        ),
        (
            "/spec/containers/0/resources/requests/cpu",
            json!("1001m"),
            "spec.containers[0].resources.requests.cpu: 1001m must not be more than the limit, 1",
        ),
        (
            "/spec/containers/0/resources/requests",
            json!({"a.b/gpu": "0.5"}),
            "spec.containers[0].resources.requests.a.b/gpu: must be a whole number",
        ),
        (
            "/spec/containers/0/resources",
            json!({"limits": {"a.b/gpu": 2}, "requests": {"a.b/gpu": 1}}),
            "spec.containers[0].resources.requests.a.b/gpu: 1 must be the limit, 2",
        ),
        (
            "/spec/resources",
            json!({"requests": {"a.b/gpu": 2}}),
            "spec.resources.requests.a.b/gpu: can't be asked for by a whole pod",
        ),
        (
            "/spec/resources",
            json!({"requests": {"cpu": "50m"}}),
            "spec.resources.requests.cpu: 50m must not be less than its containers request, 100m",
        ),
        (
            "/spec/resources",
            json!({"limits": {"cpu": "50m"}}),
            "spec.resources.requests.cpu: 100m must not be more than the limit, 50m",
        ),
    ]);
}

#[test]
fn mistakes_in_probes_and_hooks_are_named_with_their_path() {
    check([
        (
            "/spec/containers/0/livenessProbe/periodSeconds",
            json!(0),
            "spec.containers[0].livenessProbe.periodSeconds: must be at least 1",
        ),
        (
            "/spec/containers/0/livenessProbe/successThreshold",
            json!(2),
            "spec.containers[0].livenessProbe.successThreshold: must be 1",
        ),
        (
            "/spec/containers/0/livenessProbe/exec",
            json!({"command": ["a"]}),
            "spec.containers[0].livenessProbe: must have exactly one of",
        ),
        (
            "/spec/containers/0/livenessProbe/httpGet/port",
            json!(0),
            "spec.containers[0].livenessProbe.httpGet.port: must be from 1",
        ),
        (
            "/spec/containers/0/readinessProbe/terminationGracePeriodSeconds",
            json!(5),
            "spec.containers[0].readinessProbe.terminationGracePeriodSeconds: must not be set",
        ),
        (
            "/spec/containers/0/livenessProbe/terminationGracePeriodSeconds",
            json!(2_147_483_648_u64),
            "spec.containers[0].livenessProbe.terminationGracePeriodSeconds: must be at most 2147483647",
        ),
        (
            "/spec/containers/0/startupProbe/exec/command",
            json!([]),
            "spec.containers[0].startupProbe.exec.command: is required",
        ),
        (
            "/spec/containers/0/lifecycle/preStop",
            json!({}),
            "spec.containers[0].lifecycle.preStop: must have exactly",
        ),
    ]);
}

#[test]
fn mistakes_in_volumes_are_named_with_their_path() {
    check([
        (
            "/spec/containers/0/volumeMounts/0/name",
            json!("other"),
            "spec.containers[0].volumeMounts[0].name: the pod has no volume `other`",
        ),
        (
            "/spec/containers/0/volumeMounts/0/mountPath",
            json!(""),
            "spec.containers[0].volumeMounts[0].mountPath: is required",
        ),
        (
            "/spec/containers/0/volumeMounts/0/subPath",
            json!("a/../../b"),
            "spec.containers[0].volumeMounts[0].subPath: `a/../../b` must not contain",
        ),
        ("/spec/volumes/0/hostPath", json!({"path": "/a"}), "spec.volumes[0]: must have exactly one source"),
        ("/spec/volumes/1/name", json!("scratch"), "spec.volumes[1].name: is the name of another volume"),
        ("/spec/volumes/1/configMap/name", json!(""), "spec.volumes[1].configMap.name: is required"),
        (
            "/spec/volumes/1/configMap/defaultMode",
            json!(512),
            "spec.volumes[1].configMap.defaultMode: must be",
        ),
        (
            "/spec/volumes/1/configMap/items",
            json!([{"key": "a", "path": "/b"}]),
            "spec.volumes[1].configMap.items[0].path: `/b` must be relative",
        ),
    ]);
}

#[test]
fn mistakes_in_placement_and_the_rest_are_named_with_their_path() {
    check([
        ("/spec/nodeSelector/disk", json!("-"), "spec.nodeSelector[disk]: label value"),
        ("/spec/tolerations/0", json!({"operator": "Equal"}), "spec.tolerations[0].operator: must be Exists"),
        ("/spec/tolerations/0/tolerationSeconds", json!(5), "spec.tolerations[0].effect: must be NoExecute"),
        (
            "/spec/tolerations/0",
            json!({"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": i64::MAX}),
            "spec.tolerations[0].tolerationSeconds: must be at most 2147483647",
        ),
        (
            "/spec/terminationGracePeriodSeconds",
            json!(999_999_999_999_u64),
            "spec.terminationGracePeriodSeconds: must be at most 2147483647",
        ),
        ("/spec/terminationGracePeriodSeconds", json!(2_147_483_647), ""),
        ("/spec/activeDeadlineSeconds", json!(0), "spec.activeDeadlineSeconds: must be at least 1"),
        ("/spec/hostname", json!("a.b"), "spec.hostname: `a.b` is not a DNS label"),
        ("/spec/dnsPolicy", json!("No"), "spec.dnsPolicy: `No` is not one of"),
        (
            "/spec/topologySpreadConstraints",
            json!([{"maxSkew": 0, "topologyKey": "zone"}]),
            "spec.topologySpreadConstraints[0].maxSkew: must be at least 1",
        ),
        (
            "/spec/affinity",
            json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{}]}}),
            "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: is required",
        ),
        (
            "/spec/affinity",
            json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 0}]}}),
            "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: must be from 1",
        ),
    ]);
}

#[test]
fn a_gated_pod_can_not_be_bound() {
    let mut pod = good();
    pod.spec_mut().scheduling_gates =
        vec![crate::model::PodSchedulingGate { name: "quota".into(), ..Default::default() }];
    assert!(wrong(&pod).is_empty());
    assert_eq!(wrong(&pod.node("n1")), ["spec.nodeName: can't be set while there are schedulingGates"]);
}

#[test]
fn defaults_are_those_of_kubernetes() {
    let mut pod = Pod::new("a").image("web");
    pod.spec_mut().main_container().resources.limits.insert("cpu".into(), Quantity::from_milli(100));
    pod.set_defaults();
    let main = &pod.spec.containers[0];
    assert_eq!(main.name, "main");
    assert_eq!(main.image_pull_policy, Some(ImagePullPolicy::Always));
    assert_eq!(main.resources.requests["cpu"].milli(), 100);
    let probe = Probe::default();
    assert_eq!(
        (probe.period_seconds, probe.timeout_seconds, probe.success_threshold, probe.failure_threshold),
        (10, 1, 1, 3)
    );
    assert_eq!(pod.spec.termination_grace_period_seconds, 30);
    assert_eq!(pod.spec.scheduler_name, "default-scheduler");
}

#[test]
#[should_panic(expected = "resource cpu: `1GB` is not a quantity")]
fn a_builder_refuses_what_is_not_a_quantity() {
    drop(Container::new("a", "b").request("cpu", "1GB"));
}
