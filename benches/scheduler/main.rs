//! The scheduler's figures: Kubernetes' own benchmark workloads against views of 5,000 and 100,000 nodes.
//! `cargo bench --bench scheduler`; with `-- --only NAME` those whose names have NAME in them.
//!
//! A rate is pods per second of CPU time of the deciding thread, from taking pods off the queue to a list of
//! placements; every node is considered. Preparing nodes and pods, and the placements that a workload starts with,
//! are not in it. What a view and single changes cost is in `costs`.

#![allow(clippy::print_stdout, reason = "a benchmark prints its table")]
#![allow(clippy::unwrap_used, reason = "a benchmark that fails shall stop")]
#![allow(clippy::cast_precision_loss, reason = "figures are far below 2^52")]

mod costs;
mod end_to_end;
#[path = "../report/mod.rs"]
mod report;

use std::sync::Arc;

use orchestra::model::{Node, Pod, Timestamp, Uid};
use orchestra::scheduler::{Decision, Outcome, Pending, Pipeline, PodQueue, View, schedule};
use report::{Report, Target, median, thread_cpu as cpu};
use serde_json::{Value, json};

/// Of several runs the median counts.
const RUNS: usize = 3;
/// How many pods are decided about together, as in a cluster.
const BATCH: usize = 512;

/// One of Kubernetes' workloads.
struct Workload {
    name: &'static str,
    nodes: fn(usize) -> Vec<Value>,
    /// Placed before the clock starts.
    init: fn(usize) -> Vec<Value>,
    measured: fn(usize) -> Vec<Value>,
    /// Pods per CPU-second to be reached with 5,000 and with 100,000 nodes.
    targets: [f64; 2],
}

fn main() {
    if costs::is_asked_for_memory() {
        return;
    }
    let mut report = Report::new();
    let only = std::env::args().skip_while(|arg| arg != "--only").nth(1);
    let asked = |name: &str| only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    for (column, nodes) in [5_000, 100_000].into_iter().enumerate() {
        for workload in WORKLOADS.iter().filter(|workload| asked(workload.name)) {
            let rates = (0..RUNS).map(|_| run(workload, nodes));
            let what = format!("{}, {nodes} nodes", workload.name);
            report.row(&what, median(rates), "pods/CPU-s", Target::AtLeast(workload.targets[column]));
        }
        if asked("MixedChurn") {
            let what = format!("MixedChurn, {nodes} nodes");
            let rates = (0..RUNS).map(|_| mixed_churn(nodes));
            let target = if column == 0 { 1_000_000.0 } else { 800_000.0 };
            report.row(&what, median(rates), "pods/CPU-s", Target::AtLeast(target));
        }
        if asked("gangs of three") {
            let what = format!("gangs of three, {nodes} nodes");
            let rates = (0..RUNS).map(|_| gangs(nodes));
            let target = if column == 0 { 300_000.0 } else { 200_000.0 };
            report.row(&what, median(rates), "gangs/CPU-s", Target::AtLeast(target));
        }
    }
    costs::all(&mut report, asked);
    if asked("end to end") {
        let (bound, ready): (Vec<f64>, Vec<f64>) = (0..RUNS).map(|_| end_to_end::rates()).unzip();
        let what = "end to end, 5,000 nodes and 50,000 pods: bound";
        report.row(what, median(bound), "pods/s", Target::AtLeast(50_000.0));
        report.row("  and ready", median(ready), "pods/s", Target::None);
    }
    report.finish();
}

fn view(nodes: Vec<Value>) -> View {
    let mut view = View::new();
    for node in nodes {
        view.node_changed(&Arc::new(serde_json::from_value::<Node>(node).unwrap()));
    }
    view
}

/// Pods as a replica set and a store make them: those of one template share its spec and labels, each has its time.
fn pods(prefix: &str, manifests: Vec<Value>) -> Vec<Arc<Pod>> {
    let mut last: Option<(Value, Pod)> = None;
    let mut made = Vec::with_capacity(manifests.len());
    for (i, manifest) in manifests.into_iter().enumerate() {
        let mut pod = match &last {
            Some((seen, pod)) if *seen == manifest => pod.clone(),
            _ => {
                let pod: Pod = serde_json::from_value(manifest.clone()).unwrap();
                last = Some((manifest, pod.clone()));
                pod
            }
        };
        pod.metadata.name = format!("{prefix}-{i}");
        pod.metadata.uid = Uid::from(pod.metadata.name.clone());
        pod.metadata.creation_timestamp = i64::try_from(i).ok().map(Timestamp::from_micros);
        made.push(Arc::new(pod));
    }
    made
}

fn place(scheduler: &mut Pipeline, view: &mut View, queue: &mut PodQueue) -> usize {
    let mut placed = 0;
    while let Some(batch) = place_some(scheduler, view, queue) {
        placed += batch;
    }
    placed
}

/// Decides about a batch; answers how many of it were placed, unless nobody waits.
fn place_some(scheduler: &mut Pipeline, view: &mut View, queue: &mut PodQueue) -> Option<usize> {
    let taken = queue.take(BATCH);
    if taken.is_empty() {
        return None;
    }
    let decisions = schedule(scheduler, view, taken);
    queue.settle(&decisions);
    Some(bindings(&decisions).len())
}

/// What would be committed, at once or when others have left.
fn bindings(decisions: &[Decision]) -> Vec<(Arc<Pod>, Arc<str>)> {
    let assigned = decisions.iter().filter_map(|decision| match &decision.outcome {
        Outcome::Assigned(node) | Outcome::Preempting { node, .. } => {
            Some((Arc::clone(&decision.pod), Arc::clone(node)))
        }
        _ => None,
    });
    assigned.collect()
}

fn run(workload: &Workload, nodes: usize) -> f64 {
    let mut view = view((workload.nodes)(nodes));
    let mut scheduler = Pipeline::kubernetes();
    let mut queue = PodQueue::new();
    pods("init", (workload.init)(nodes)).iter().for_each(|pod| queue.pod_changed(pod));
    place(&mut scheduler, &mut view, &mut queue);
    let measured = pods("measured", (workload.measured)(nodes));
    measured.iter().for_each(|pod| queue.pod_changed(pod));
    let before = cpu();
    let placed = place(&mut scheduler, &mut view, &mut queue);
    let took = cpu() - before;
    assert_eq!(placed, measured.len(), "{}: not all pods were placed", workload.name);
    placed as f64 / took.as_secs_f64()
}

/// With each batch a node is lost and comes back, and a pod comes that no node has room for, and goes. (Kubernetes' workload
/// does so once a second: here that would be never.)
fn mixed_churn(nodes: usize) -> f64 {
    let mut view = view(plain(nodes));
    let mut scheduler = Pipeline::kubernetes();
    let mut queue = PodQueue::new();
    let measured = pods("measured", equal(10_000, pod("", json!({}))));
    measured.iter().for_each(|pod| queue.pod_changed(pod));
    let churned: Arc<Node> = Arc::new(serde_json::from_value(node(nodes, None)).unwrap());
    let mut large = pod("", json!({}));
    large["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "9".into();
    let large = pods("large", equal(10_000 / BATCH + 1, large));
    let before = cpu();
    let mut placed = 0;
    for large in &large {
        let come = view.node_changed(&churned);
        queue.wake(come);
        queue.pod_changed(large);
        placed += place_some(&mut scheduler, &mut view, &mut queue).unwrap();
        queue.pod_removed(&large.metadata.uid);
        let gone = view.node_removed(&churned.metadata.name);
        queue.wake(gone);
    }
    placed += place(&mut scheduler, &mut view, &mut queue);
    let took = cpu() - before;
    assert_eq!(placed, measured.len());
    placed as f64 / took.as_secs_f64()
}

/// Gangs of three, taken off no queue: the queue knows single pods only.
fn gangs(nodes: usize) -> f64 {
    let mut view = view(plain(nodes));
    let mut scheduler = Pipeline::kubernetes();
    let members = pods("gang", equal(9_000, pod("", json!({}))));
    let gangs: Vec<Pending> = members
        .chunks(3)
        .enumerate()
        .map(|(i, members)| Pending::gang(format!("gang-{i}"), members.to_vec(), 3))
        .collect();
    let count = gangs.len();
    let before = cpu();
    let decisions = schedule(&mut scheduler, &mut view, gangs);
    let took = cpu() - before;
    assert_eq!(bindings(&decisions).len(), members.len());
    count as f64 / took.as_secs_f64()
}

fn node(i: usize, zone: Option<String>) -> Value {
    let mut labels = json!({ "kubernetes.io/hostname": format!("node-{i}") });
    if let Some(zone) = zone {
        labels["topology.kubernetes.io/zone"] = zone.into();
    }
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": format!("node-{i}"), "labels": labels },
        "status": { "allocatable": { "cpu": "4", "memory": "32Gi", "pods": "110" } },
    })
}

fn plain(nodes: usize) -> Vec<Value> {
    (0..nodes).map(|i| node(i, None)).collect()
}

fn one_zone(nodes: usize) -> Vec<Value> {
    (0..nodes).map(|i| node(i, Some("zone1".to_owned()))).collect()
}

fn three_zones(nodes: usize) -> Vec<Value> {
    (0..nodes).map(|i| node(i, Some(format!("moon-{}", i % 3)))).collect()
}

/// The node that all daemons want, and the others.
fn with_named(nodes: usize) -> Vec<Value> {
    let mut all = plain(nodes);
    all[0]["metadata"]["name"] = "scheduler-perf-node".into();
    all[0]["status"]["allocatable"]["pods"] = "90000".into();
    all
}

fn none(_: usize) -> Vec<Value> {
    Vec::new()
}

fn equal(count: usize, pod: Value) -> Vec<Value> {
    vec![pod; count]
}

/// A pod that asks for a tenth of a CPU, with a colour and what `spec` adds.
fn pod(color: &str, spec: Value) -> Value {
    pod_of(color, "100m", "500Mi", spec)
}

fn pod_of(color: &str, cpu: &str, memory: &str, spec: Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "namespace": "sched-1", "labels": { "color": color } },
        "spec": { "containers": [{
            "name": "pause", "image": "pause",
            "resources": { "requests": { "cpu": cpu, "memory": memory } },
        }] },
    });
    let Value::Object(more) = spec else { panic!("a spec is an object") };
    pod["spec"].as_object_mut().unwrap().extend(more);
    pod
}

fn color_term(color: &str, key: &str) -> Value {
    json!({ "topologyKey": key, "labelSelector": { "matchLabels": { "color": color } } })
}

const HOST: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

fn node_affinity(_: usize) -> Value {
    let term =
        json!({ "matchExpressions": [{ "key": ZONE, "operator": "In", "values": ["zone1", "zone2"] }] });
    let required = json!({ "nodeSelectorTerms": [term] });
    pod(
        "",
        json!({ "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": required } } }),
    )
}

fn daemon() -> Value {
    let term = json!({ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["scheduler-perf-node"] }] });
    let required = json!({ "nodeSelectorTerms": [term] });
    let affinity = json!({ "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": required } });
    let mut pod = pod("", json!({ "affinity": affinity }));
    pod["spec"]["containers"][0]["resources"] = json!({});
    pod
}

fn affinity(kind: &str, color: &str, key: &str) -> Value {
    let terms = [color_term(color, key)];
    pod(color, json!({ "affinity": { kind: { "requiredDuringSchedulingIgnoredDuringExecution": terms } } }))
}

fn preferred(kind: &str, color: &str) -> Value {
    let terms = [json!({ "weight": 1, "podAffinityTerm": color_term(color, HOST) })];
    pod(color, json!({ "affinity": { kind: { "preferredDuringSchedulingIgnoredDuringExecution": terms } } }))
}

fn spread(when: &str) -> Value {
    let constraint = json!({
        "maxSkew": 5, "topologyKey": ZONE, "whenUnsatisfiable": when,
        "labelSelector": { "matchLabels": { "color": "blue" } },
    });
    pod("blue", json!({ "topologySpreadConstraints": [constraint] }))
}

fn with_priority(priority: i32, cpu: &str) -> Value {
    pod_of("", cpu, "500Mi", json!({ "priority": priority }))
}

fn host_port() -> Value {
    let mut pod = pod("", json!({}));
    pod["spec"]["containers"][0]["ports"] = json!([{ "containerPort": 80, "hostPort": 80 }]);
    pod
}

/// Pods of which no two are equal, and which fit four to a node.
fn different(count: usize) -> Vec<Value> {
    let pod = |i: usize| {
        let (cpu, memory) = (100 + (i * 7_919) % 800, 100 + (i * 104_729) % 7_000);
        let mut pod = pod_of("", &format!("{cpu}m"), &format!("{memory}Mi"), json!({}));
        pod["spec"]["containers"][0]["args"] = json!([i.to_string()]);
        pod
    };
    (0..count).map(pod).collect()
}

static WORKLOADS: &[Workload] = &[
    Workload {
        name: "SchedulingBasic",
        nodes: plain,
        init: |_| equal(1_000, pod("", json!({}))),
        measured: |_| equal(10_000, pod("", json!({}))),
        targets: [1_000_000.0, 800_000.0],
    },
    Workload {
        name: "NodeAffinity",
        nodes: one_zone,
        init: |n| equal(5_000, node_affinity(n)),
        measured: |n| equal(10_000, node_affinity(n)),
        targets: [1_000_000.0, 800_000.0],
    },
    Workload {
        name: "every pod different",
        nodes: plain,
        init: none,
        measured: |_| different(10_000),
        targets: [300_000.0, 25_000.0],
    },
    Workload {
        name: "PodAntiAffinity",
        nodes: plain,
        init: |_| equal(1_000, affinity("podAntiAffinity", "green", HOST)),
        measured: |_| equal(2_000, affinity("podAntiAffinity", "green", HOST)),
        targets: [800_000.0, 600_000.0],
    },
    Workload {
        name: "HostPort",
        nodes: plain,
        init: none,
        measured: |_| equal(5_000, host_port()),
        targets: [800_000.0, 600_000.0],
    },
    Workload {
        name: "PodAffinity (zone)",
        nodes: one_zone,
        init: |_| equal(5_000, affinity("podAffinity", "blue", ZONE)),
        measured: |_| equal(5_000, affinity("podAffinity", "blue", ZONE)),
        targets: [800_000.0, 600_000.0],
    },
    Workload {
        name: "PreferredPodAffinity",
        nodes: plain,
        init: |_| equal(5_000, preferred("podAffinity", "red")),
        measured: |_| equal(5_000, preferred("podAffinity", "red")),
        targets: [500_000.0, 300_000.0],
    },
    Workload {
        name: "PreferredPodAntiAffinity",
        nodes: plain,
        init: |_| equal(5_000, preferred("podAntiAffinity", "yellow")),
        measured: |_| equal(5_000, preferred("podAntiAffinity", "yellow")),
        targets: [500_000.0, 300_000.0],
    },
    Workload {
        name: "TopologySpreading",
        nodes: three_zones,
        init: |_| equal(5_000, pod("", json!({}))),
        measured: |_| equal(5_000, spread("DoNotSchedule")),
        targets: [800_000.0, 500_000.0],
    },
    Workload {
        name: "PreferredTopologySpreading",
        nodes: three_zones,
        init: |_| equal(5_000, pod("", json!({}))),
        measured: |_| equal(5_000, spread("ScheduleAnyway")),
        targets: [800_000.0, 500_000.0],
    },
    Workload {
        name: "PreemptionBasic, three victims each",
        nodes: plain,
        init: |n| equal(4 * n, with_priority(0, "900m")),
        measured: |_| equal(2_000, with_priority(10, "3")),
        targets: [200_000.0, 100_000.0],
    },
    Workload {
        name: "Daemonset",
        nodes: with_named,
        init: none,
        measured: |_| equal(30_000, daemon()),
        targets: [2_000_000.0, 2_000_000.0],
    },
];
