//! The engine, and what it can do at best: bollard alone, with the containers that pods consist of.

use std::collections::HashMap;

use bollard::Docker;
use bollard::models::{ContainerCreateBody, EventMessage, HostConfig, HostConfigLogConfig};
use bollard::query_parameters::{
    CreateContainerOptions, EventsOptionsBuilder, InspectContainerOptions, KillContainerOptionsBuilder,
    ListContainersOptionsBuilder, ListImagesOptions, RemoveContainerOptionsBuilder, RemoveImageOptions,
    StartContainerOptions, StopContainerOptionsBuilder,
};
use futures_util::{StreamExt, stream};
use orchestra::prelude::*;
use tokio::time::Instant;

use crate::{SERVER, busybox, seconds, shell};

/// The engine's own clean-up of what was killed is waited for that long at most, in seconds.
const GRACE: i32 = 10;

/// A pod of the floor: its sandbox and its container.
pub(crate) type Floor = (String, String);

pub(crate) struct Engine {
    pub(crate) docker: Docker,
    /// Begins the names of all that is made here.
    pub(crate) name: String,
    pause: String,
}

impl Engine {
    /// Connects, and makes the images.
    pub(crate) async fn open(name: &str) -> Self {
        let runtime = DockerRuntime::builder(name).connect().await.unwrap();
        let mut files = ImageFiles::new();
        files.file("bin/busybox", 0o755, &std::fs::read(busybox()).unwrap()).unwrap();
        for applet in ["sh", "httpd", "mkdir"] {
            files.link(format!("bin/{applet}"), "busybox").unwrap();
        }
        runtime.import_image(&format!("{name}:1"), &files).await.unwrap();
        let docker = Docker::connect_with_defaults().unwrap().negotiate_version().await.unwrap();
        let images = docker.list_images(None::<ListImagesOptions>).await.unwrap();
        let names = images.into_iter().flat_map(|image| image.repo_tags);
        // The runtime has made it.
        let pause = names.into_iter().find(|name| name.starts_with("orchestra-pause:")).unwrap();
        Self { docker, name: name.to_owned(), pause }
    }

    pub(crate) fn image(&self) -> String {
        format!("{}:1", self.name)
    }

    pub(crate) async fn close(&self) {
        self.docker.remove_image(&self.image(), None::<RemoveImageOptions>, None).await.unwrap();
    }

    fn labels(&self) -> Option<HashMap<String, String>> {
        Some(HashMap::from([(self.name.clone(), "floor".to_owned())]))
    }

    fn sandbox(&self) -> ContainerCreateBody {
        ContainerCreateBody {
            image: Some(self.pause.clone()),
            entrypoint: Some(vec!["/pause".to_owned()]),
            labels: self.labels(),
            host_config: Some(HostConfig {
                network_mode: Some("bridge".to_owned()),
                ipc_mode: Some("shareable".to_owned()),
                cap_drop: Some(vec!["ALL".to_owned()]),
                readonly_rootfs: Some(true),
                log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        }
    }

    fn container(&self, sandbox: &str) -> ContainerCreateBody {
        let shared = Some(format!("container:{sandbox}"));
        ContainerCreateBody {
            image: Some(self.image()),
            entrypoint: Some(shell(SERVER)),
            labels: self.labels(),
            host_config: Some(HostConfig {
                network_mode: shared.clone(),
                ipc_mode: shared.clone(),
                pid_mode: shared,
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        }
    }

    async fn run(&self, body: ContainerCreateBody) -> String {
        let created = self.docker.create_container(None::<CreateContainerOptions>, body).await;
        let id = created.unwrap().id;
        self.docker.start_container(&id, None::<StartContainerOptions>).await.unwrap();
        id
    }

    async fn start_pod(&self) -> Floor {
        let sandbox = self.run(self.sandbox()).await;
        let container = self.run(self.container(&sandbox)).await;
        (sandbox, container)
    }

    /// Starts pods, so many at once.
    pub(crate) async fn start_pods(&self, pods: usize, in_flight: usize) -> Vec<Floor> {
        stream::iter(0..pods).map(|_| self.start_pod()).buffer_unordered(in_flight).collect().await
    }

    async fn remove(&self, id: &str) {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        self.docker.remove_container(id, Some(options)).await.unwrap();
    }

    async fn stop_pod(&self, (sandbox, container): Floor) {
        let options = StopContainerOptionsBuilder::default().t(GRACE).build();
        self.docker.stop_container(&container, Some(options)).await.unwrap();
        let options = KillContainerOptionsBuilder::default().signal("SIGKILL").build();
        self.docker.kill_container(&sandbox, Some(options)).await.unwrap();
        self.remove(&container).await;
        self.remove(&sandbox).await;
    }

    /// Stops pods and removes them, so many at once.
    pub(crate) async fn stop_pods(&self, pods: Vec<Floor>, in_flight: usize) {
        stream::iter(pods).for_each_concurrent(in_flight, |pod| self.stop_pod(pod)).await;
    }

    /// How many starts at once make this many pods start soonest.
    pub(crate) async fn best_concurrency(&self, pods: usize) -> usize {
        let mut best = (f64::INFINITY, 0);
        for in_flight in [4, 8, 16, 32] {
            let begin = Instant::now();
            let started = self.start_pods(pods, in_flight).await;
            let took = seconds(begin);
            self.stop_pods(started, in_flight).await;
            eprintln!("floor with {in_flight} at once: {took:.2} s");
            best = if took < best.0 { (took, in_flight) } else { best };
        }
        best.1
    }

    /// How long the sandboxes of this many pods take alone, and with their containers.
    pub(crate) async fn sandbox_share(&self, pods: usize, in_flight: usize) -> (f64, f64) {
        let begin = Instant::now();
        let sandboxes = stream::iter(0..pods).map(|_| self.run(self.sandbox())).buffer_unordered(in_flight);
        let sandboxes: Vec<_> = sandboxes.collect().await;
        let alone = seconds(begin);
        stream::iter(sandboxes)
            .for_each_concurrent(in_flight, |id| async move { self.remove(&id).await })
            .await;
        let begin = Instant::now();
        let pods = self.start_pods(pods, in_flight).await;
        let both = seconds(begin);
        self.stop_pods(pods, in_flight).await;
        (alone, both)
    }

    /// The host's number of a container's process.
    pub(crate) async fn pid(&self, id: &str) -> i64 {
        let details = self.docker.inspect_container(id, None::<InspectContainerOptions>).await.unwrap();
        details.state.unwrap().pid.unwrap()
    }

    /// Whether a container runs this program.
    pub(crate) async fn runs(&self, id: &str, program: &str) -> bool {
        let details = self.docker.inspect_container(id, None::<InspectContainerOptions>).await.unwrap();
        details.path.as_deref() == Some(program)
    }

    /// Containers with this label that run, or all of them.
    pub(crate) async fn list(&self, label: &str, all: bool) -> Vec<String> {
        let filters = HashMap::from([("label".to_owned(), vec![label.to_owned()])]);
        let options = ListContainersOptionsBuilder::default().all(all).filters(&filters).build();
        let listed = self.docker.list_containers(Some(options)).await.unwrap();
        listed.into_iter().filter_map(|container| container.id).collect()
    }

    /// What happens to containers with this label from now on; begins with the first look at it.
    pub(crate) fn events(&self, label: &str, event: &str) -> stream::BoxStream<'static, EventMessage> {
        let filters = HashMap::from([
            ("label".to_owned(), vec![label.to_owned()]),
            ("event".to_owned(), vec![event.to_owned()]),
        ]);
        let options = EventsOptionsBuilder::default().filters(&filters).build();
        self.docker.events(Some(options)).map(Result::unwrap).boxed()
    }

    /// From kill -9 of a container's process to the same container, and to a new one, started.
    pub(crate) async fn heal(&self) -> (f64, f64) {
        let (sandbox, container) = self.start_pod().await;
        let mut deaths = self.events(&self.name, "die");
        connect(&mut deaths).await;
        let begin = kill(self.pid(&container).await);
        deaths.next().await.unwrap();
        self.docker.start_container(&container, None::<StartContainerOptions>).await.unwrap();
        let same = seconds(begin);
        let begin = kill(self.pid(&container).await);
        deaths.next().await.unwrap();
        let second = self.run(self.container(&sandbox)).await;
        let new = seconds(begin);
        self.remove(&container).await;
        self.stop_pod((sandbox, second)).await;
        (same, new)
    }

    /// Starts a pod for each of these, so many at once, and stops the old one after it.
    pub(crate) async fn roll(&self, pods: usize, in_flight: usize) -> f64 {
        let old = self.start_pods(pods, in_flight).await;
        let begin = Instant::now();
        let replaced = stream::iter(old).map(|old| async move {
            let new = self.start_pod().await;
            self.stop_pod(old).await;
            new
        });
        let new: Vec<_> = replaced.buffer_unordered(in_flight).collect().await;
        let took = seconds(begin);
        self.stop_pods(new, in_flight).await;
        took
    }
}

/// The client connects to a stream of events when it is first looked at.
pub(crate) async fn connect(events: &mut stream::BoxStream<'static, EventMessage>) {
    let looked = tokio::time::timeout(std::time::Duration::from_millis(300), events.next()).await;
    assert!(looked.is_err(), "nothing happens yet");
}

/// Kills a process, and says when.
pub(crate) fn kill(pid: i64) -> Instant {
    let begin = Instant::now();
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    begin
}
