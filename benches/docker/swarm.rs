//! Docker Swarm, which is in the engine.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bollard::models::{
    ServiceSpec, ServiceSpecMode, ServiceSpecModeReplicated, ServiceSpecUpdateConfig,
    ServiceSpecUpdateConfigOrderEnum, ServiceUpdateStatusStateEnum, SwarmInitRequest, Task, TaskSpec,
    TaskSpecContainerSpec, TaskState,
};
use bollard::query_parameters::{
    InspectServiceOptions, LeaveSwarmOptionsBuilder, ListTasksOptionsBuilder, UpdateServiceOptionsBuilder,
};
use tokio::time::Instant;

use crate::engine::{Engine, kill};
use crate::{SERVER, SURGE, seconds, shell};

/// Between two looks: the engine has no event for a task.
const LOOK: Duration = Duration::from_millis(20);

pub(crate) struct Swarm<'a> {
    engine: &'a Engine,
    /// Whether the engine was not in a swarm before.
    begun: bool,
    version: AtomicU32,
}

impl<'a> Swarm<'a> {
    /// Begins a swarm of one, where the engine is in none.
    pub(crate) async fn open(engine: &'a Engine) -> Self {
        let info = engine.docker.info().await.unwrap();
        let state = info.swarm.and_then(|swarm| swarm.local_node_state).unwrap().to_string();
        let begun = state != "active";
        if begun {
            let address = Some("127.0.0.1:0".to_owned());
            let request = SwarmInitRequest {
                listen_addr: address.clone(),
                advertise_addr: Some("127.0.0.1".to_owned()),
                ..SwarmInitRequest::default()
            };
            engine.docker.init_swarm(request).await.unwrap();
        }
        Self { engine, begun, version: AtomicU32::new(0) }
    }

    /// Leaves it, where it was begun here, with the network that comes with it.
    pub(crate) async fn close(self) {
        if self.begun {
            let options = LeaveSwarmOptionsBuilder::default().force(true).build();
            self.engine.docker.leave_swarm(Some(options)).await.unwrap();
            drop(self.engine.docker.remove_network("docker_gwbridge").await);
        }
    }

    fn name(&self) -> String {
        format!("{}-swarm", self.engine.name)
    }

    fn spec(&self, replicas: usize, start_first: bool) -> ServiceSpec {
        use ServiceSpecUpdateConfigOrderEnum::{START_FIRST, STOP_FIRST};
        let version = self.version.load(Ordering::SeqCst);
        ServiceSpec {
            name: Some(self.name()),
            mode: Some(ServiceSpecMode {
                replicated: Some(ServiceSpecModeReplicated { replicas: i64::try_from(replicas).ok() }),
                ..ServiceSpecMode::default()
            }),
            update_config: Some(ServiceSpecUpdateConfig {
                parallelism: i64::try_from(SURGE).ok(),
                order: Some(if start_first { START_FIRST } else { STOP_FIRST }),
                // Otherwise each step is watched for 5 s.
                monitor: Some(1_000_000),
                delay: Some(0),
                ..ServiceSpecUpdateConfig::default()
            }),
            task_template: Some(TaskSpec {
                container_spec: Some(TaskSpecContainerSpec {
                    image: Some(self.engine.image()),
                    command: Some(shell(SERVER)),
                    env: Some(vec![format!("VERSION={version}")]),
                    ..TaskSpecContainerSpec::default()
                }),
                ..TaskSpec::default()
            }),
            ..ServiceSpec::default()
        }
    }

    async fn update(&self, replicas: usize, start_first: bool) {
        let name = self.name();
        let docker = &self.engine.docker;
        let service = docker.inspect_service(&name, None::<InspectServiceOptions>).await.unwrap();
        let version = i32::try_from(service.version.unwrap().index.unwrap()).unwrap();
        let options = UpdateServiceOptionsBuilder::default().version(version).build();
        docker.update_service(&name, self.spec(replicas, start_first), options, None).await.unwrap();
    }

    /// The tasks that run, of those that shall.
    async fn running(&self) -> Vec<Task> {
        let filters = HashMap::from([
            ("service".to_owned(), vec![self.name()]),
            ("desired-state".to_owned(), vec!["running".to_owned()]),
        ]);
        let options = ListTasksOptionsBuilder::default().filters(&filters).build();
        let tasks = self.engine.docker.list_tasks(Some(options)).await.unwrap();
        let runs =
            |task: &Task| task.status.as_ref().and_then(|status| status.state) == Some(TaskState::RUNNING);
        tasks.into_iter().filter(runs).collect()
    }

    fn label(&self) -> String {
        format!("com.docker.swarm.service.name={}", self.name())
    }

    /// From the change to all tasks running, or all that are too many stopped.
    pub(crate) async fn scale(&self, replicas: usize) -> f64 {
        let docker = &self.engine.docker;
        let exists = docker.inspect_service(&self.name(), None::<InspectServiceOptions>).await.is_ok();
        let begin = Instant::now();
        if exists {
            self.update(replicas, true).await;
        } else {
            docker.create_service(self.spec(replicas, true), None).await.unwrap();
        }
        while self.running().await.len() != replicas
            || self.engine.list(&self.label(), false).await.len() != replicas
        {
            tokio::time::sleep(LOOK).await;
        }
        seconds(begin)
    }

    /// From a new version to the end of the update and of all that was before.
    pub(crate) async fn roll(&self, start_first: bool) -> f64 {
        let replicas = self.running().await.len();
        let version = self.version.fetch_add(1, Ordering::SeqCst) + 1;
        let variable = format!("VERSION={version}");
        let is_new = |task: &Task| {
            let container = task.spec.as_ref().and_then(|spec| spec.container_spec.as_ref());
            container.and_then(|container| container.env.as_ref()).is_some_and(|env| env.contains(&variable))
        };
        let begin = Instant::now();
        self.update(replicas, start_first).await;
        loop {
            let service =
                self.engine.docker.inspect_service(&self.name(), None::<InspectServiceOptions>).await;
            let state = service.unwrap().update_status.and_then(|update| update.state);
            let running = self.running().await;
            if running.len() == replicas
                && running.iter().all(is_new)
                && state == Some(ServiceUpdateStatusStateEnum::COMPLETED)
                && self.engine.list(&self.label(), false).await.len() == replicas
            {
                return seconds(begin);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// From kill -9 of the only task's process to another one running.
    pub(crate) async fn heal(&self) -> f64 {
        let before = self.running().await.swap_remove(0);
        let container = before.status.unwrap().container_status.unwrap().container_id.unwrap();
        let begin = kill(self.engine.pid(&container).await);
        while self.running().await.iter().all(|task| task.id == before.id) {
            tokio::time::sleep(LOOK / 4).await;
        }
        seconds(begin)
    }

    /// Removes the service, and waits for its containers.
    pub(crate) async fn remove(&self) {
        self.engine.docker.delete_service(&self.name()).await.unwrap();
        while !self.engine.list(&self.label(), true).await.is_empty() {
            tokio::time::sleep(LOOK).await;
        }
    }
}
