//! An engine, a cluster on it, and what the engine says by its own program.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use orchestra::model::Resource;
use orchestra::prelude::*;

/// How long anything here may take on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

/// The programs in the image of these tests.
const APPLETS: [&str; 3] = ["sh", "httpd", "true"];

/// A name on an engine, under which all that a test makes is found again, and removed when this is dropped.
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    /// The engine's address; that of the machine's where `None`.
    pub(crate) socket: Option<String>,
}

/// Says why nothing is tested; fails where tests on Docker are required.
pub(crate) fn skip(why: &str) {
    let required = std::env::var_os("ORCHESTRA_REQUIRE_DOCKER").is_some_and(|value| value == "1");
    assert!(!required, "ORCHESTRA_REQUIRE_DOCKER=1, but {why}");
    eprintln!("SKIPPED, nothing was tested on Docker: {why}");
}

impl Host {
    /// The machine's engine; `None`, and why is said, where there is none.
    pub(crate) async fn open(test: &str) -> Option<Self> {
        let name = format!("orchestra-test-{test}-{}", std::process::id());
        let host = Self { dir: std::env::temp_dir().join(&name), name, socket: None };
        if let Err(why) = host.prepare().await {
            skip(&why);
            return None;
        }
        Some(host)
    }

    /// Makes the image.
    pub(crate) async fn prepare(&self) -> Result<(), String> {
        let runtime = self.builder().connect().await.map_err(|error| error.to_string())?;
        let mut files = ImageFiles::new();
        let Some(busybox) =
            ["/bin/busybox", "/usr/bin/busybox"].iter().find_map(|path| std::fs::read(path).ok())
        else {
            return Err("there is no static busybox on this host: install busybox-static".to_owned());
        };
        files.file("bin/busybox", 0o755, &busybox).unwrap();
        for applet in APPLETS {
            files.link(format!("bin/{applet}"), "busybox").unwrap();
        }
        runtime.import_image(&self.image(), &files).await.unwrap();
        Ok(())
    }

    pub(crate) fn image(&self) -> String {
        format!("{}:1", self.name)
    }

    pub(crate) fn builder(&self) -> orchestra::docker::DockerRuntimeBuilder {
        let builder = DockerRuntime::builder(self.name.as_str()).state_dir(self.dir.join("state"));
        match &self.socket {
            Some(socket) => builder.host(socket),
            None => builder,
        }
    }

    /// A cluster on this engine, with the objects that the one before it has left.
    pub(crate) async fn cluster(&self) -> Cluster {
        self.cluster_on(self.builder().connect().await.unwrap()).await
    }

    pub(crate) async fn cluster_on(&self, runtime: DockerRuntime) -> Cluster {
        let node = NodeOptions::new("node", runtime).data_dir(self.dir.join("volumes"));
        Cluster::builder().data_dir(self.dir.join("store")).node(node).start().await.unwrap()
    }

    /// A Deployment of web servers, called `web`.
    pub(crate) fn web(&self, replicas: u32) -> String {
        format!(
            r#"{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: web}}, spec: {{replicas: {replicas},
            selector: {{matchLabels: {{app: web}}}}, template: {{metadata: {{labels: {{app: web}}}}, spec: {{
            terminationGracePeriodSeconds: 1, volumes: [{{name: scratch, emptyDir: {{}}}}], containers: [{{name: web,
            image: "{}", command: [/bin/httpd, -f, -p, "8080", -h, /bin],
            volumeMounts: [{{name: scratch, mountPath: /scratch}}],
            readinessProbe: {{tcpSocket: {{port: 8080}}, periodSeconds: 1}}}}]}}}}}}}}"#,
            self.image()
        )
    }

    /// Runs the engine's own program.
    pub(crate) fn docker(&self, args: &[&str]) -> String {
        let output = self.try_docker(args);
        output.unwrap_or_else(|why| panic!("docker {args:?}: {why}"))
    }

    pub(crate) fn try_docker(&self, args: &[&str]) -> Result<String, String> {
        let mut command = Command::new("docker");
        if let Some(socket) = &self.socket {
            command.args(["-H", socket]);
        }
        let output = command.args(args).output().map_err(|error| error.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    fn listed(&self, more: &[&str]) -> BTreeSet<String> {
        let label = format!("label=dev.orchestra.cluster={}", self.name);
        let mut args = vec!["ps", "--all", "--filter", &label, "--format", "{{.Names}}"];
        args.extend(more);
        self.docker(&args).lines().map(str::to_owned).collect()
    }

    /// The names of the cluster's containers.
    pub(crate) fn containers(&self) -> BTreeSet<String> {
        self.listed(&[])
    }

    /// Those that run.
    pub(crate) fn running(&self) -> BTreeSet<String> {
        self.listed(&["--filter", "status=running"])
    }

    /// Those of the cluster that run, by the engine's ids, with when they were started.
    pub(crate) fn starts(&self) -> BTreeSet<String> {
        let inspect = |name: &String| {
            // It may be gone by now.
            self.try_docker(&["inspect", "--format", "{{.Id}} {{.State.StartedAt}}", name]).ok()
        };
        self.running().iter().filter_map(inspect).collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let label = format!("label=dev.orchestra.cluster={}", self.name);
        let left = self.try_docker(&["ps", "--all", "--quiet", "--filter", &label]).unwrap_or_default();
        if !left.is_empty() {
            let args: Vec<_> = ["rm", "--force", "--volumes"].into_iter().chain(left.lines()).collect();
            let _removed = self.try_docker(&args);
        }
        let _removed = self.try_docker(&["rmi", &self.image()]);
        let _removed = std::fs::remove_dir_all(&self.dir);
    }
}

/// Waits until the object is as `holds` says.
pub(crate) async fn until<T: Resource>(
    client: &Client,
    name: &str,
    holds: impl FnMut(Option<&T>) -> bool + Send,
) -> Option<Arc<T>> {
    match tokio::time::timeout(LIMIT, client.wait::<T>(name, holds)).await {
        Ok(object) => object.unwrap(),
        Err(_) => panic!("{name} is not as awaited after {LIMIT:?}: {:?}", client.find::<T>(name).await),
    }
}

/// Waits until all replicas of `web` are there and available, and none beside them.
pub(crate) async fn settled(cluster: &Cluster, replicas: u32) {
    let settled = |d: Option<&Deployment>| {
        d.is_some_and(|d| {
            let s = &d.status;
            s.observed_generation >= d.metadata.generation
                && (s.replicas, s.updated_replicas, s.available_replicas) == (replicas, replicas, replicas)
        })
    };
    until::<Deployment>(cluster, "web", settled).await;
}

/// Waits until `holds` gives something.
pub(crate) async fn eventually<T>(what: &str, mut holds: impl FnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + LIMIT;
    loop {
        if let Some(found) = holds() {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "not after {LIMIT:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(crate) async fn pods(cluster: &Cluster) -> Vec<Arc<Pod>> {
    cluster.list::<Pod>(&ListOptions::default()).await.unwrap().items
}

/// What the engine has where every pod has its first sandbox, and its container in it was started once.
pub(crate) fn first_of(host: &Host, pods: &[Arc<Pod>]) -> BTreeSet<String> {
    let escaped = |text: &str| text.replace('_', "_5f");
    let sandbox =
        |pod: &Arc<Pod>| format!("orchestra.{}.{}.0", host.name, escaped(&pod.metadata.uid.to_string()));
    pods.iter().map(sandbox).flat_map(|sandbox| [format!("{sandbox}.web.0"), sandbox]).collect()
}
