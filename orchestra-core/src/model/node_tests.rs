//! Nodes as manifests, and what is refused in them.

use serde_json::json;

use super::{FieldErrors, Node, Object, Taint, TaintEffect};

fn wrong(check: impl FnOnce(&mut FieldErrors)) -> Vec<String> {
    let mut errors = FieldErrors::new();
    check(&mut errors);
    errors.errors().iter().map(ToString::to_string).collect()
}

#[test]
fn a_node_reads_well() {
    let node = Node::new("n1")
        .capacity("cpu", "4")
        .capacity("pods", 110)
        .label("disk", "ssd")
        .taint(Taint::new("dedicated", "ci", TaintEffect::NoExecute));
    assert_eq!(
        node.to_value(),
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "labels": {"disk": "ssd"}},
            "spec": {"taints": [{"key": "dedicated", "value": "ci", "effect": "NoExecute"}]},
            "status": {"capacity": {"cpu": "4", "pods": "110"}, "allocatable": {"cpu": "4", "pods": "110"}}})
    );
    assert_eq!(wrong(|e| node.validate(e)), Vec::<String>::new());
}

#[test]
fn every_unknown_field_survives() {
    let manifest = json!({"apiVersion": "v1", "kind": "Node", "x": 1, "metadata": {"name": "n1", "x": 1},
        "spec": {"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24"], "providerID": "aws:///i", "unschedulable": true,
            "taints": [{"key": "k", "effect": "NoExecute", "timeAdded": "2026-01-31T08:00:00Z", "x": 1}], "x": 1},
        "status": {"capacity": {"cpu": "4"}, "addresses": [{"type": "InternalIP", "address": "10.0.0.1", "x": 1}],
            "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-31T08:00:00Z"}],
            "images": [{"names": ["web:1"], "sizeBytes": 5, "x": 1}], "daemonEndpoints": {},
            "nodeInfo": {"machineID": "m", "systemUUID": "s", "bootID": "b", "kernelVersion": "6", "osImage": "Debian",
                "containerRuntimeVersion": "process://0.1", "kubeletVersion": "v0.1", "operatingSystem": "linux",
                "architecture": "amd64", "kubeProxyVersion": ""}}});
    let node: Node = serde_json::from_value(manifest.clone()).unwrap();
    assert_eq!(node.to_value(), manifest);
    assert!(node.is_ready());
}

#[test]
fn what_is_given_is_what_can_be_had_unless_said_otherwise() {
    let mut node: Node = serde_json::from_value(json!({"apiVersion": "v1", "kind": "Node",
        "status": {"capacity": {"cpu": "4", "memory": "1Gi"}, "allocatable": {"cpu": "3"}}}))
    .unwrap();
    node.set_defaults();
    assert_eq!(node.status.allocatable["cpu"].value(), 3);
    assert_eq!(node.status.allocatable["memory"], node.status.capacity["memory"]);
}

#[test]
fn mistakes_are_named_with_their_path() {
    let taint = Taint::new("k", "a b", TaintEffect::NoSchedule);
    let node = Node::new("n1")
        .taint(taint.clone())
        .taint(Taint { value: String::new(), ..taint })
        .capacity("cpu", -1);
    let found = wrong(|e| node.validate(e));
    for path in [
        "spec.taints[0].value: label",
        "spec.taints[1]: there is another",
        "status.capacity.cpu: must not be",
    ] {
        assert_eq!(found.iter().filter(|e| e.starts_with(path)).count(), 1, "{path} in {found:#?}");
    }
    let mut old = Node::new("n1");
    old.spec.provider_id = "a".into();
    assert_eq!(
        wrong(|e| Node::new("n1").validate_update(&old, e)),
        ["spec.providerID: can't be changed once it is set"]
    );
    assert!(wrong(|e| old.validate_update(&Node::new("n1"), e)).is_empty());
}
