//! The example `simulate`, run as people run it: good files are decided about, bad ones refused with what is wrong where.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::{Value, json};

const NODE: &str = "{apiVersion: v1, kind: Node, metadata: {name: n1}, status: {allocatable: {cpu: '4', memory: 8Gi, pods: '9'}}}";

/// The program, up to date, beside the tests.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        // target/debug/deps/simulate-0123 is this test.
        let profile = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().to_owned();
        let mut build = Command::new(env!("CARGO"));
        build.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--locked", "--example", "simulate"]);
        build.arg("--target-dir").arg(profile.parent().unwrap());
        if profile.ends_with("release") {
            build.arg("--release");
        }
        let built = build.output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        profile.join("examples").join(format!("simulate{}", std::env::consts::EXE_SUFFIX))
    })
}

/// A directory that goes with it.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("orchestra-simulate-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn run(&self, nodes: &str, pods: &str, more: &[&str]) -> Output {
        std::fs::write(self.0.join("nodes"), nodes).unwrap();
        std::fs::write(self.0.join("pods"), pods).unwrap();
        let mut run = Command::new(program());
        run.current_dir(&self.0).args(["--nodes", "nodes", "--pods", "pods", "--out", "out"]).args(more);
        run.output().unwrap()
    }

    /// The lines that it wrote, and what it said.
    fn decided(&self, nodes: &str, pods: &str, more: &[&str]) -> (Vec<Value>, String) {
        let output = self.run(nodes, pods, more);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let out = std::fs::read_to_string(self.0.join("out")).unwrap();
        let lines = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (lines, String::from_utf8(output.stdout).unwrap())
    }

    fn refused(&self, nodes: &str, pods: &str, more: &[&str]) -> String {
        let output = self.run(nodes, pods, more);
        assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn gpu_node(name: &str) -> Value {
    let has = json!({ "cpu": "64", "memory": "256Gi", "pods": "99", "nvidia.com/gpu": "4" });
    let metadata = json!({ "name": name, "labels": { "nvidia.com/gpu.product": "T4" } });
    json!({ "apiVersion": "v1", "kind": "Node", "metadata": metadata, "status": { "allocatable": has } })
}

fn gpu_pod(name: &str, resource: &str, amount: &str) -> Value {
    let container =
        json!({ "name": "main", "image": "app:1", "resources": { "requests": { resource: amount } } });
    let spec = json!({ "containers": [container], "nodeSelector": { "nvidia.com/gpu.product": "T4" } });
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name }, "spec": spec })
}

fn lines(values: &[Value]) -> String {
    values.iter().map(|value| format!("{value}\n")).collect()
}

#[test]
fn the_files_that_come_with_it_are_decided_about() {
    let dir = Dir::new("example");
    let (nodes, pods) =
        (include_str!("../examples/simulate/nodes.yaml"), include_str!("../examples/simulate/pods.yaml"));
    let (decided, said) = dir.decided(nodes, pods, &[]);
    let expected: Vec<Value> = include_str!("../examples/simulate/decisions.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(decided, expected);
    assert!(said.starts_with("placed 2, pending 2\n"), "{said}");
    assert!(said.contains("cpu: 75.0 % allocated") && said.contains("decisions, "), "{said}");
}

/// JSON lines and a List; every name of a scheduler; shares of GPUs.
#[test]
fn gpus_are_shared_by_each_scheduler() {
    let dir = Dir::new("gpus");
    let nodes =
        json!({ "apiVersion": "v1", "kind": "List", "items": [gpu_node("n1"), gpu_node("n2")] }).to_string();
    let mut pods: Vec<Value> =
        (0..20).map(|i| gpu_pod(&format!("s{i}"), "orchestra.dev/gpu-milli", "400")).collect();
    pods.push(gpu_pod("large", "nvidia.com/gpu", "4"));
    pods[0]["spec"]["nodeName"] = "n1".into();
    for (scheduler, placed) in [("least-allocated", 16), ("most-allocated", 16), ("fragmentation", 16)] {
        let (decided, said) = dir.decided(&nodes, &lines(&pods), &["--scheduler", scheduler, "--seed", "3"]);
        assert_eq!(decided.len(), pods.len());
        assert_eq!(decided[0], json!({ "pod": "default/s0", "node": "n1", "why": "runs there already" }));
        assert!(said.starts_with(&format!("placed {placed}, pending 5\n")), "{scheduler}: {said}");
        assert_eq!(decided[19]["why"], "0/2 nodes: 2 insufficient orchestra.dev/gpu-milli");
        assert_eq!(decided[20]["why"], "0/2 nodes: 2 insufficient nvidia.com/gpu");
        assert!(said.contains("orchestra.dev/gpu-milli: 80.0 % allocated"), "{scheduler}: {said}");
    }
}

#[test]
fn bad_files_are_refused_with_file_document_and_field() {
    let dir = Dir::new("bad");
    let pod = |name: &str| {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{containers: [{{name: main, image: a}}]}}}}"
        )
    };
    let good = pod("p");
    let cases: [(&str, String, &[&str]); 7] = [
        (
            NODE,
            format!("{good}\n---\n{}", good.replace("image: a", "image: 5")),
            &["pods", "document 2", "image"],
        ),
        (NODE, format!("{good}\n---\n{}", pod("Q")), &["pods", "document 2 (line 2)", "metadata.name"]),
        (NODE, format!("{good}\n---\n{good}"), &["pods", "document 2", "there is a Pod p before it"]),
        (NODE, NODE.to_owned(), &["pods", "document 1", "is a Node, where only pods belong"]),
        (NODE, "{ not: [yaml".to_owned(), &["pods", "cannot read"]),
        (&NODE.replace("cpu: '4'", "cpu: four"), good.clone(), &["nodes", "document 1", "cpu", "four"]),
        (
            NODE,
            lines(&[gpu_pod("p", "orchestra.dev/gpu-milli", "1500")]),
            &["pods", "document 1", "spec.containers", "1 to 999"],
        ),
    ];
    for (nodes, pods, parts) in cases {
        let said = dir.refused(nodes, &pods, &[]);
        assert!(parts.iter().all(|part| said.contains(part)), "{parts:?} in: {said}");
    }
    let said = dir.refused(NODE, &good, &["--scheduler", "none"]);
    assert!(said.contains("least-allocated, most-allocated, fragmentation"), "{said}");
}
