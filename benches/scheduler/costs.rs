//! What a view takes of memory, and what single decisions and changes take of time.

use std::process::Command;
use std::sync::Arc;

use orchestra::model::Node;
use orchestra::scheduler::{Pipeline, View, schedule};
use serde_json::json;

use super::report::{Report, Target, median, thread_cpu as cpu};
use super::{RUNS, different, equal, node, plain, pod, pods, view};

/// How many decisions, or changes, a figure is taken over.
const SAMPLES: usize = 10_000;
/// A decision follows so many changes: what it takes longer for them is theirs.
const CHANGES_A_DECISION: usize = 50;

pub(super) fn all(report: &mut Report, asked: impl Fn(&str) -> bool) {
    if asked("memory") {
        let (empty, _) = memory_of(5_000, 0);
        let (some, _) = memory_of(5_000, 150_000);
        report.row("memory of a view of 5,000 nodes", empty / 1e6, "MB", Target::Below(30.0));
        report.row("  of each pod in it", (some - empty) / 150_000.0, "B", Target::Below(100.0));
        let (large, objects) = memory_of(100_000, 1_000_000);
        let what = "memory of a view of 100,000 nodes and 1,000,000 pods";
        report.row(what, large / 1e6, "MB", Target::Below(200.0));
        report.row("  of the objects, which it shares", objects / 1e6, "MB", Target::None);
    }
    if asked("first decision") {
        let p99 = median((0..RUNS).map(|_| first_decision()));
        report.row("first decision for a pod never seen, 5,000 nodes: p99", p99, "us", Target::Below(20.0));
    }
    if asked("change") {
        let (nodes, pods): (Vec<f64>, Vec<f64>) = (0..RUNS).map(|_| changes()).unzip();
        report.row("change of a node, until a ranking has it", median(nodes), "us", Target::Below(1.0));
        report.row("change of a pod, until a ranking has it", median(pods), "us", Target::Below(1.0));
    }
}

/// This process's resident memory in bytes.
fn resident() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    4096.0 * statm.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap()
}

/// Measures memory in a process of its own, where nothing was freed before: that of the view, with a ranking that it
/// decides by, and that of the objects.
fn memory_of(nodes: usize, pods: usize) -> (f64, f64) {
    let mut itself = Command::new(std::env::current_exe().unwrap());
    let output = itself.args(["--memory", &nodes.to_string(), &pods.to_string()]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut figures = text.split_whitespace().map(|figure| figure.parse().unwrap());
    (figures.next().unwrap(), figures.next().unwrap())
}

/// Whether this process was started to measure memory, which is done then.
pub(super) fn is_asked_for_memory() -> bool {
    let mut args = std::env::args().skip_while(|arg| arg != "--memory").skip(1);
    let (Some(nodes), Some(count)) = (args.next(), args.next()) else { return false };
    let (nodes, count): (usize, usize) = (nodes.parse().unwrap(), count.parse().unwrap());
    let before = resident();
    let objects: Vec<Arc<Node>> =
        plain(nodes).into_iter().map(|node| Arc::new(serde_json::from_value(node).unwrap())).collect();
    let mut made = pods("there", equal(count, pod("", json!({}))));
    for (i, pod) in made.iter_mut().enumerate() {
        Arc::get_mut(pod).unwrap().node_name = Some(objects[i % nodes].metadata.name.as_str().into());
    }
    let shared = resident();
    let mut view = View::new();
    objects.iter().for_each(|node| _ = view.node_changed(node));
    made.iter().for_each(|pod| _ = view.pod_changed(pod));
    let decided = schedule(&mut Pipeline::kubernetes(), &mut view, pods("new", vec![pod("", json!({}))]));
    assert_eq!((decided.len(), view.pod_count()), (1, count + 1));
    println!("{} {}", resident() - shared, shared - before);
    true
}

/// The 99th percentile of how long a decision takes for a pod that is like none before, in microseconds.
fn first_decision() -> f64 {
    let mut view = view(plain(5_000));
    let mut scheduler = Pipeline::kubernetes();
    let mut took: Vec<f64> = Vec::with_capacity(SAMPLES);
    for pod in pods("never-seen", different(SAMPLES)) {
        let before = cpu();
        let decided = schedule(&mut scheduler, &mut view, [pod]);
        took.push((cpu() - before).as_secs_f64() * 1e6);
        assert_eq!(decided.len(), 1);
    }
    took.sort_by(f64::total_cmp);
    took[took.len() * 99 / 100]
}

/// What a change of a node, and one of a pod, costs the view and a ranking that follows it, in microseconds.
///
/// What was there before lives on, as in a cluster, whose store keeps it for those who watch: nobody waits here for it to
/// be freed.
fn changes() -> (f64, f64) {
    let mut view = view(plain(5_000));
    let before: Vec<Arc<Node>> = view.nodes().map(|node| Arc::clone(node.node())).collect();
    let mut scheduler = Pipeline::kubernetes();
    let count = SAMPLES / CHANGES_A_DECISION;
    let mut deciding = pods("decided", equal(3 * count, pod("", json!({})))).into_iter();
    let mut decide = |view: &mut View, scheduler: &mut Pipeline| {
        let decided = schedule(scheduler, view, [deciding.next().unwrap()]);
        assert_eq!(decided.len(), 1);
    };
    let mut measure = |view: &mut View, change: &dyn Fn(&mut View, usize)| {
        let before = cpu();
        for i in 0..count * CHANGES_A_DECISION {
            change(view, i);
            if i % CHANGES_A_DECISION == 0 {
                decide(view, &mut scheduler);
            }
        }
        cpu() - before
    };
    let nothing = measure(&mut view, &|_, _| ());
    let nodes: Vec<Arc<Node>> = (0..SAMPLES)
        .map(|i| {
            let mut changed = node(i * 7_919 % 5_000, None);
            changed["metadata"]["labels"]["changed"] = i.to_string().into();
            Arc::new(serde_json::from_value(changed).unwrap())
        })
        .collect();
    let by_nodes = measure(&mut view, &|view, i| _ = view.node_changed(&nodes[i]));
    let mut bound = pods("bound", equal(SAMPLES, pod("", json!({}))));
    for (i, pod) in bound.iter_mut().enumerate() {
        Arc::get_mut(pod).unwrap().node_name = Some(format!("node-{}", i * 7_919 % 5_000).as_str().into());
    }
    let by_pods = measure(&mut view, &|view, i| _ = view.pod_changed(&bound[i]));
    let each =
        |took: std::time::Duration| (took.as_secs_f64() - nothing.as_secs_f64()) * 1e6 / SAMPLES as f64;
    drop(before);
    (each(by_nodes), each(by_pods))
}
