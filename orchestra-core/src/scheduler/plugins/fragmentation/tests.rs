use std::sync::Arc;

use super::Fragmentation;
use crate::model::{GPU, GPU_MILLI, Node, Pod};
use crate::scheduler::testing::{bound, node, pod, quantity, run, view};
use crate::scheduler::{Pipeline, PipelineBuilder, TypicalPods, View};

fn with_gpus(name: &str, cpu: &str, count: &str) -> Node {
    let mut node = node(name, "a");
    node.status.allocatable.insert("cpu".into(), quantity(cpu));
    node.status.allocatable.insert(GPU.into(), quantity(count));
    node
}

fn asking(name: &str, cpu: &str, resource: &str, amount: &str) -> Pod {
    let mut pod = pod(name, "web", cpu);
    pod.spec_mut().containers[0].resources.requests.insert(resource.into(), quantity(amount));
    pod
}

fn typical() -> TypicalPods {
    let (half, two, none) =
        (asking("half", "2", GPU_MILLI, "500"), asking("two", "4", GPU, "2"), pod("none", "web", "1"));
    TypicalPods::weighted([(&half, 5.0), (&two, 3.0), (&none, 2.0)])
}

fn fragments(view: &View, name: &str) -> f64 {
    Fragmentation::of(typical()).fragments(&view.node_named(name).unwrap())
}

/// By hand, after the paper's definition.
#[test]
fn a_fragment_is_what_a_typical_pod_cannot_use() {
    let mut view = view([with_gpus("n", "8", "2")]);
    // Both shapes with GPUs can use all of it; the one without can't use any.
    assert_eq!(fragments(&view, "n"), 0.2 * 2000.0);
    view.pod_changed(&bound(asking("p", "1", GPU_MILLI, "600"), "n"));
    // 400 are too little for a half; for two whole ones all 1400 are useless.
    assert!((fragments(&view, "n") - (0.5 * 400.0 + 0.3 * 1400.0 + 0.2 * 1400.0)).abs() < 1e-9);
    view.pod_changed(&bound(pod("q", "web", "6"), "n"));
    // One CPU is left: too little for both.
    assert!((fragments(&view, "n") - 1400.0).abs() < 1e-9);
}

#[test]
fn without_gpus_cpu_and_memory_are_measured() {
    let mut large = pod("large", "web", "3");
    large.spec_mut().containers[0].resources.requests.insert("memory".into(), quantity("2Gi"));
    let score = || Fragmentation::of(TypicalPods::of([&large, &pod("small", "web", "1")]));
    let mut view = view([node("n", "a")]);
    let at = |view: &View, score: Fragmentation| score.fragments(&view.node_named("n").unwrap());
    // The small one asks for no memory.
    assert_eq!(at(&view, score()), 0.5 * 1000.0);
    view.pod_changed(&bound(pod("p", "web", "2"), "n"));
    assert_eq!(at(&view, score()), 0.5 * (500.0 + 1000.0) + 0.5 * 1000.0);
    assert_eq!(at(&view, score().measuring(["cpu"])), 0.5 * 500.0);
    assert_eq!(at(&view, score().measuring(["example.com/unknown", GPU])), 0.0);
}

/// A third of a GPU goes where one is begun, and whole nodes stay whole for pods that need them.
#[test]
fn small_pods_leave_room_for_large_ones() {
    let spread = |scheduler: &mut Pipeline| {
        let mut view = view((0..4).map(|i| with_gpus(&format!("n{i}"), "64", "8")));
        let small = (0..24).map(|i| Arc::new(asking(&format!("s{i:02}"), "1", GPU_MILLI, "333")));
        let placed = run(scheduler, &mut view, small);
        let large = (0..3).map(|i| Arc::new(asking(&format!("l{i}"), "8", GPU, "8")));
        let large = run(scheduler, &mut view, large);
        assert!(placed.iter().all(|(_, at)| at.starts_with('n')));
        large.iter().filter(|(_, at)| at.starts_with('n') && at.len() == 2).count()
    };
    let (small, large) = (asking("s", "1", GPU_MILLI, "333"), asking("l", "8", GPU, "8"));
    let typical = TypicalPods::weighted([(&small, 24.0), (&large, 3.0)]);
    assert_eq!(spread(&mut PipelineBuilder::fragmentation(Fragmentation::of(typical)).build()), 3);
    assert_eq!(spread(&mut Pipeline::fragmentation()), 3);
    assert_eq!(spread(&mut Pipeline::kubernetes()), 0);
}
