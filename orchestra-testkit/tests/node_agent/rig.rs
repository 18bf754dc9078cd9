//! A node in memory.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use orchestra_core::client::{Client, DeleteOptions, ListOptions};
use orchestra_core::clock::{SharedClock, TokioClock};
use orchestra_core::drain::{DrainGate, Gates};
use orchestra_core::engine::{Caches, Recorder, Tasks};
use orchestra_core::model::{Event, Namespace, Pod, PodSpec, Revision, Scheme, Timestamp, Uid};
use orchestra_core::node::{NodeAgent, NodeOptions, VolumeFiles};
use orchestra_core::rng::Rng;
use orchestra_core::store::{MemoryStore, Store};
use orchestra_testkit::sim_runtime::{SimProgram, SimRecord, SimRuntime, SimVolumes, SimWhat};
use tokio::time::Instant;

/// How long, in simulated time, a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(1200);

pub(crate) struct Rig {
    pub(crate) client: Client,
    pub(crate) caches: Caches,
    pub(crate) tasks: Tasks,
    pub(crate) runtime: SimRuntime,
    pub(crate) volumes: SimVolumes,
    pub(crate) gates: Gates,
    pub(crate) recorder: Recorder,
    pub(crate) agent: Option<NodeAgent>,
    pub(crate) options: NodeOptions,
}

impl Rig {
    /// A cluster with one node, whose agent does not run yet.
    pub(crate) async fn without_agent() -> Self {
        let clock: SharedClock =
            Arc::new(TokioClock::starting_at(Timestamp::from_micros(1_750_000_000_000_000)));
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let rng = Rng::seeded(5);
        let client =
            Client::new(Arc::clone(&store), Arc::new(Scheme::kubernetes()), Arc::clone(&clock), rng.fork());
        let tasks = Tasks::new();
        let caches = Caches::new(store, tasks.clone());
        for namespace in ["default", "kube-node-lease"] {
            client.create(Namespace::new(namespace)).await.unwrap();
        }
        let runtime = SimRuntime::with_clock(rng.fork(), clock, std::net::Ipv4Addr::new(10, 0, 0, 1));
        runtime.image("web:1", SimProgram::service());
        let recorder = Recorder::start(&client, "test", &tasks);
        Self {
            client,
            caches,
            tasks,
            runtime,
            volumes: SimVolumes::new(),
            gates: Gates::new(),
            recorder,
            agent: None,
            options: NodeOptions::default(),
        }
    }

    pub(crate) async fn new() -> Self {
        let mut rig = Self::without_agent().await;
        rig.start_agent().await;
        rig
    }

    pub(crate) async fn start_agent(&mut self) {
        self.start_agent_with(Arc::new(self.volumes.clone())).await;
    }

    pub(crate) async fn start_agent_with(&mut self, volumes: Arc<dyn VolumeFiles>) {
        let agent = NodeAgent::builder("n1", &self.client, &self.caches, Arc::new(self.runtime.clone()))
            .prober(Arc::new(self.runtime.prober()))
            .volumes(volumes)
            .gates(&self.gates)
            .recorder(&self.recorder)
            .tasks(&self.tasks)
            .options(self.options.clone())
            .start();
        agent.ready().await;
        self.agent = Some(agent);
    }

    /// The agent's process dies: whatever it was at, at once.
    pub(crate) async fn kill_agent(&mut self) {
        self.agent.take().unwrap().shutdown(false).await;
    }

    pub(crate) async fn create(&self, name: &str, spec: PodSpec) -> Uid {
        self.create_pod(Pod::new(name).spec(spec)).await
    }

    pub(crate) async fn create_pod(&self, pod: Pod) -> Uid {
        self.client.create(pod.node("n1")).await.unwrap().metadata.uid.clone()
    }

    pub(crate) async fn delete(&self, name: &str) {
        self.client.delete::<Pod>(name, &DeleteOptions::default()).await.unwrap();
    }

    pub(crate) async fn wait(
        &self,
        name: &str,
        what: &str,
        mut holds: impl FnMut(&Pod) -> bool + Send,
    ) -> Arc<Pod> {
        let waited = self.client.wait::<Pod>(name, |pod| pod.is_some_and(&mut holds));
        match tokio::time::timeout(PATIENCE, waited).await {
            Ok(pod) => pod.unwrap().unwrap(),
            Err(_) => {
                let pod = self.client.find::<Pod>(name).await.unwrap().map(|p| p.status.clone());
                panic!("{name} never came to be {what}: {pod:#?}\n{:#?}", self.runtime.records());
            }
        }
    }

    pub(crate) async fn ready(&self, name: &str) -> Arc<Pod> {
        self.wait(name, "ready", Pod::is_ready).await
    }

    pub(crate) async fn gone(&self, name: &str) {
        let waited = self.client.wait::<Pod>(name, |pod| pod.is_none());
        assert!(
            tokio::time::timeout(PATIENCE, waited).await.is_ok(),
            "{name} stays: {:#?}",
            self.runtime.records()
        );
    }

    /// Waits until a condition holds that no object shows.
    pub(crate) async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let start = Instant::now();
        while !holds() {
            assert!(start.elapsed() < PATIENCE, "never: {what}\n{:#?}", self.runtime.records());
            // The clock is paused: this lets everything that is due happen, and nothing else.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub(crate) async fn pod(&self, name: &str) -> Arc<Pod> {
        self.client.get::<Pod>(name).await.unwrap()
    }

    /// The reasons of all events about a pod.
    pub(crate) async fn events(&self, name: &str) -> Vec<String> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let events = self.client.list::<Event>(&ListOptions::default()).await.unwrap();
        events.items.iter().filter(|e| e.involved_object.name == name).map(|e| e.reason.clone()).collect()
    }

    /// What happened to a container, in short.
    pub(crate) fn history(&self, uid: &Uid) -> Vec<String> {
        let describe = |r: SimRecord| {
            let what = match r.what {
                SimWhat::StopSignal { .. } => "Signal".to_owned(),
                SimWhat::Exited { code } => format!("Exited({code})"),
                other => format!("{other:?}"),
            };
            format!("{}{} {what}", r.container, r.attempt)
        };
        self.runtime.records_of(uid).into_iter().map(describe).collect()
    }

    /// When things happened to a container.
    pub(crate) fn times(&self, uid: &Uid, what: impl Fn(&SimRecord) -> bool) -> Vec<Timestamp> {
        self.runtime.records_of(uid).into_iter().filter(|r| what(r)).map(|r| r.at).collect()
    }
}

pub(crate) fn container(name: &str) -> orchestra_core::model::Container {
    orchestra_core::model::Container::new(name, "web:1")
}

pub(crate) fn web() -> PodSpec {
    PodSpec::new(container("web"))
}

/// A balancer that lets go of pods when it is told to.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    pub(crate) asked: Mutex<Vec<(Uid, Revision)>>,
    pub(crate) open: tokio::sync::Notify,
}

#[async_trait]
impl DrainGate for Gate {
    async fn drain(&self, pod: &Uid, revision: Revision) {
        let open = self.open.notified();
        self.asked.lock().unwrap().push((pod.clone(), revision));
        open.await;
    }
}
