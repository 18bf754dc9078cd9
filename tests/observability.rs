//! Every reconcile, decision and runtime call is told, under the names that `docs/observability.md` has.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use orchestra::engine::Tasks;
use orchestra::model::ExecAction;
use orchestra::net::{HttpOptions, HttpProxy, Routes};
use orchestra::prelude::*;
use orchestra_testkit::sim_runtime::{SimProgram, SimRuntime};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

const DOC: &str = include_str!("../docs/observability.md");

/// What one cluster does in its life, each with the label that tells it apart.
const SPANS: &[(&str, &[&str])] = &[
    (
        "reconcile",
        &[
            "autoscaler",
            "deployment",
            "disruption",
            "endpoints",
            "garbage-collector",
            "namespace",
            "node-lifecycle",
            "replica-set",
        ],
    ),
    ("schedule", &["default-scheduler"]),
    ("rollout", &[""]),
    ("autoscale", &[""]),
    ("pick", &[""]),
    ("plan", &[""]),
    ("operation", &["run_sandbox", "start", "probe", "stop", "delete_pod"]),
    ("runtime", CALLS),
];

const CALLS: &[&str] = &[
    "create_container",
    "events",
    "exec",
    "image",
    "info",
    "list",
    "remove_sandbox",
    "run_sandbox",
    "sandbox",
    "start_container",
    "stats",
    "stop_container",
];

/// What is counted in another life: on disk, under a flood of events.
const ELSEWHERE: &[&str] =
    &["orchestra_events_dropped_total", "orchestra_store_append_seconds", "orchestra_store_commits_total"];

/// A span that was made: name, level, and the label that tells it apart.
type Told = (&'static str, Level, String);

#[derive(Clone, Default)]
struct Spans(Arc<Mutex<BTreeSet<Told>>>);

impl<S: Subscriber> Layer<S> for Spans {
    fn on_new_span(&self, attrs: &Attributes<'_>, _id: &Id, _context: Context<'_, S>) {
        let mut label = Label::default();
        attrs.record(&mut label);
        let span = attrs.metadata();
        if span.target().starts_with("orchestra") {
            self.0.lock().unwrap().insert((span.name(), *span.level(), label.0));
        }
    }
}

#[derive(Default)]
struct Label(String);

impl Visit for Label {
    fn record_debug(&mut self, _field: &Field, _value: &dyn Debug) {}

    fn record_str(&mut self, field: &Field, value: &str) {
        if matches!(field.name(), "controller" | "scheduler" | "operation") {
            value.clone_into(&mut self.0);
        }
    }
}

/// The rows of the page's tables, by cells: the name, and what follows it.
fn documented() -> impl Iterator<Item = (&'static str, &'static str)> {
    let rows = DOC.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    rows.map(|(name, rest)| (name, rest.split_once(" |").unwrap().0))
}

/// A cluster from its beginning to its end, with something to do for each of its parts.
async fn life() {
    let host = SimRuntime::new(1);
    host.any_image(SimProgram::service());
    let cluster = Cluster::builder().seed(1).node(NodeOptions::new("node", host)).start().await.unwrap();
    cluster.create(Namespace::new("spare")).await.unwrap();
    let command = vec!["true".to_owned()];
    let ready = Probe { exec: Some(ExecAction { command, ..Default::default() }), ..Probe::default() };
    cluster.apply(Deployment::new("web").image("web:1").port(8080).readiness(ready)).await.unwrap();
    cluster.apply(Service::new("web").port(8080)).await.unwrap();
    let more = "{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: web}, \
        spec: {maxUnavailable: 1, selector: {matchLabels: {app: web}}}}\n---\n\
        {apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: web}, spec: {maxReplicas: 3, \
        scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}}";
    cluster.apply_yaml(more).await.unwrap();
    let scaled = |a: Option<&HorizontalPodAutoscaler>| a.is_some_and(|a| !a.status.conditions.is_empty());
    cluster.wait::<HorizontalPodAutoscaler>("web", scaled).await.unwrap();
    let upstream = cluster.data_plane().upstream("default", "web", 8080);
    upstream.ready().await;
    assert!(upstream.pick(&[], None).is_some());
    // A proxy that leads nowhere.
    let proxy = HttpProxy::new(Routes::new(), HttpOptions::default(), &Tasks::new());
    let request = http::Request::get("/").header("host", "web").body(http_body_util::Empty::new()).unwrap();
    assert_eq!(proxy.handle(request, ([127, 0, 0, 1], 1).into()).await.status(), 404);
    cluster.delete::<Deployment>("web", &DeleteOptions::default()).await.unwrap();
    cluster.wait::<Deployment>("web", |web| web.is_none()).await.unwrap();
    for pod in cluster.list::<Pod>(&ListOptions::default()).await.unwrap().items {
        cluster.wait::<Pod>(&pod.metadata.name, |pod| pod.is_none()).await.unwrap();
    }
    cluster.stop().await;
}

#[test]
fn every_reconcile_decision_and_runtime_call_is_told_and_documented() {
    let (recorder, spans) = (DebuggingRecorder::new(), Spans::default());
    let subscriber = tracing_subscriber::registry().with(spans.clone());
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    // Both are this thread's alone, and so is the runtime.
    tracing::subscriber::with_default(subscriber, || {
        metrics::with_local_recorder(&recorder, || runtime.block_on(life()));
    });

    let told = spans.0.lock().unwrap();
    for (span, labels) in SPANS {
        for label in *labels {
            assert!(
                told.iter().any(|(name, _, of)| name == span && of == label),
                "no {span} {label}: {told:?}"
            );
        }
    }
    let of_spans: BTreeSet<(&str, &str)> = documented().collect();
    for (name, level, _) in &*told {
        let level = level.as_str().to_lowercase();
        assert!(of_spans.contains(&(name, &*level)), "span {name} of level {level} is not documented");
    }

    let measured = recorder.snapshotter().snapshot().into_vec();
    let named: BTreeSet<&str> = measured.iter().map(|(key, ..)| key.key().name()).collect();
    let is_metric = |(name, _): &(&'static str, &str)| name.starts_with("orchestra_").then_some(*name);
    let metrics: BTreeSet<&str> = documented().filter_map(|row| is_metric(&row)).collect();
    let expected: BTreeSet<&str> = metrics.iter().copied().filter(|name| !ELSEWHERE.contains(name)).collect();
    assert_eq!(named, expected, "what is told, and what is documented");
    for call in CALLS {
        let timed = measured.iter().any(|(key, _, _, value)| {
            let labels = || key.key().labels().map(|label| label.value());
            key.key().name() == "orchestra_runtime_seconds"
                && labels().any(|label| label == *call)
                && labels().any(|label| label == "ok")
                && matches!(value, DebugValue::Histogram(times) if !times.is_empty())
        });
        assert!(timed, "calls of {call} are not timed");
    }
}
