//! A cluster on the engine.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use orchestra::model::{PodPhase, Quantity};
use orchestra::prelude::*;
use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

use crate::engine::{Engine, connect, kill};
use crate::{SERVER, SURGE, seconds};

/// Each cluster has another name: none takes over what another made.
static CLUSTERS: AtomicU32 = AtomicU32::new(0);

/// A question that every pod is asked once a minute.
const PROBE: &str = "readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 60}";

/// What a scaling took, in seconds.
pub(crate) struct Scaled {
    /// Until all pods ran, or all that were too many were gone.
    pub(crate) done: f64,
    /// Until all that stay were available, too.
    pub(crate) ready: f64,
}

pub(crate) struct Ours<'a> {
    engine: &'a Engine,
    cluster: Cluster,
    name: String,
    version: AtomicU32,
    /// What asks a pod whether it is ready, as YAML.
    probe: &'static str,
}

/// The CPU time that this process used.
pub(crate) fn cpu() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap()
}

/// This process's resident memory in MB.
pub(crate) fn resident() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: f64 = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4096.0 / 1e6
}

impl<'a> Ours<'a> {
    pub(crate) async fn start(engine: &'a Engine, dir: &Path) -> Self {
        let name = format!("{}-{}", engine.name, CLUSTERS.fetch_add(1, Ordering::SeqCst));
        let runtime = DockerRuntime::builder(name.as_str()).connect().await.unwrap();
        let node = NodeOptions::new("node", runtime)
            .data_dir(dir.join(&name))
            .capacity("pods", Quantity::from_units(2000));
        let cluster = Cluster::builder().node(node).start().await.unwrap();
        cluster.ready().await;
        Self { engine, cluster, name, version: AtomicU32::new(0), probe: PROBE }
    }

    /// The same with pods that nobody asks anything.
    pub(crate) fn unasked(self) -> Self {
        Self { probe: "", ..self }
    }

    fn manifest(&self, replicas: usize) -> String {
        let (image, version, probe) = (self.engine.image(), self.version.load(Ordering::SeqCst), self.probe);
        format!(
            r#"{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: web}}, spec: {{replicas: {replicas},
              strategy: {{rollingUpdate: {{maxSurge: {SURGE}, maxUnavailable: 0}}}},
              selector: {{matchLabels: {{app: web}}}}, template: {{metadata: {{labels: {{app: web}}}}, spec: {{containers: [
              {{name: web, image: "{image}", command: [/bin/sh, -c, "{SERVER}"], env: [{{name: VERSION, value: "{version}"}}],
              {probe}}}]}}}}}}}}"#
        )
    }

    /// Waits until there are so many pods of the version, all available, and nothing beside them.
    async fn settled(&self, replicas: usize) {
        let replicas = u32::try_from(replicas).unwrap();
        let settled = |deployment: Option<&Deployment>| {
            deployment.is_some_and(|deployment| {
                let status = &deployment.status;
                let counts = (status.replicas, status.updated_replicas, status.available_replicas);
                status.observed_generation >= deployment.metadata.generation
                    && counts == (replicas, replicas, replicas)
            })
        };
        self.cluster.wait::<Deployment>("web", settled).await.unwrap();
    }

    /// From the change to all pods running, or all that are too many gone from the engine, and then to all available.
    pub(crate) async fn scale(&self, replicas: usize) -> Scaled {
        let before = self.pods().await;
        let begin = Instant::now();
        self.cluster.apply_yaml(&self.manifest(replicas)).await.unwrap();
        if replicas < before.len() {
            self.settled(replicas).await;
            self.gone(&before, replicas).await;
        } else {
            self.running(replicas).await;
        }
        let done = seconds(begin);
        self.settled(replicas).await;
        Scaled { done, ready: seconds(begin) }
    }

    /// Waits until so many pods run, which is what floor and Swarm wait for: nobody there asks a container whether it is ready.
    async fn running(&self, replicas: usize) {
        let all = ListOptions::default();
        let listed = self.cluster.list::<Pod>(&all).await.unwrap();
        let runs = |pod: &Arc<Pod>| pod.status.phase == PodPhase::Running;
        let name = |pod: &Arc<Pod>| pod.metadata.name.clone();
        let mut running: HashSet<_> = listed.items.iter().filter(|pod| runs(pod)).map(name).collect();
        let mut changes = self.cluster.watch::<Pod>(&all, listed.revision).await.unwrap();
        while running.len() < replicas {
            let change = changes.next().await.unwrap().unwrap();
            if runs(change.object()) {
                running.insert(name(change.object()));
            }
        }
    }

    async fn pods(&self) -> Vec<String> {
        let pods = self.cluster.list::<Pod>(&ListOptions::default()).await.unwrap().items;
        pods.iter().map(|pod| pod.metadata.name.clone()).collect()
    }

    /// Waits until only so many of these pods are left: an object goes when nothing of its pod is on the node.
    async fn gone(&self, before: &[String], left: usize) {
        let ending = async |name: &str| {
            let pod = self.cluster.find::<Pod>(name).await.unwrap();
            pod.is_none_or(|pod| pod.is_terminating())
        };
        let mut ends = 0;
        for name in before {
            if ending(name).await {
                self.cluster.wait::<Pod>(name, |pod| pod.is_none()).await.unwrap();
                ends += 1;
            }
        }
        assert_eq!(before.len() - ends, left, "those that stay are not ended");
    }

    /// From a new version to nothing of the old one being left in the Deployment.
    pub(crate) async fn roll(&self) -> f64 {
        let before = self.pods().await;
        self.version.fetch_add(1, Ordering::SeqCst);
        let begin = Instant::now();
        self.cluster.apply_yaml(&self.manifest(before.len())).await.unwrap();
        self.settled(before.len()).await;
        self.gone(&before, 0).await;
        seconds(begin)
    }

    /// From kill -9 of the only container's process to another one started.
    pub(crate) async fn heal(&self) -> f64 {
        let label = "dev.orchestra.role=container";
        let mut starts = self.engine.events(label, "start");
        connect(&mut starts).await;
        let container = self.engine.list(&format!("dev.orchestra.cluster={}", self.name), false).await;
        let mut pid = None;
        for id in container {
            if self.engine.runs(&id, "/bin/sh").await {
                pid = Some(self.engine.pid(&id).await);
            }
        }
        let begin = kill(pid.unwrap());
        starts.next().await.unwrap();
        seconds(begin)
    }

    pub(crate) async fn end(self) {
        self.cluster.stop().await;
        let left = self.engine.list(&format!("dev.orchestra.cluster={}", self.name), true).await;
        assert!(left.is_empty(), "containers were left: {left:?}");
    }
}
