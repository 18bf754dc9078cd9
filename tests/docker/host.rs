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
const APPLETS: [&str; 6] = ["sh", "httpd", "true", "sleep", "cat", "wget"];

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
        if busybox().is_none() {
            return Err("there is no static busybox on this host: install busybox-static".to_owned());
        }
        runtime.import_image(&self.image(), &self.files()).await.unwrap();
        Ok(())
    }

    /// The files of the image.
    pub(crate) fn files(&self) -> ImageFiles {
        let mut files = ImageFiles::new();
        files.file("bin/busybox", 0o755, &busybox().unwrap()).unwrap();
        for applet in APPLETS {
            files.link(format!("bin/{applet}"), "busybox").unwrap();
        }
        files
    }

    /// Containers of all clusters of this test: that of its name, and those whose names go on behind it.
    pub(crate) fn of_all(&self) -> BTreeSet<String> {
        let format = r#"{{.Names}} {{.Label "dev.orchestra.cluster"}}"#;
        let args = ["ps", "--all", "--filter", "label=dev.orchestra.cluster", "--format", format];
        let listed = self.try_docker(&args).unwrap_or_default();
        let pairs = listed.lines().filter_map(|line| line.split_once(' '));
        let longer = format!("{}-", self.name);
        let ours = pairs.filter(|(_, cluster)| *cluster == self.name || cluster.starts_with(&longer));
        ours.map(|(name, _)| name.to_owned()).collect()
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

    /// The same; `None` while the engine does not answer.
    pub(crate) fn try_running(&self) -> Option<BTreeSet<String>> {
        let label = format!("label=dev.orchestra.cluster={}", self.name);
        let args = ["ps", "--filter", &label, "--filter", "status=running", "--format", "{{.Names}}"];
        Some(self.try_docker(&args).ok()?.lines().map(str::to_owned).collect())
    }

    /// The engine's ids of the cluster's containers, as far as it says them.
    pub(crate) fn ids(&self) -> BTreeSet<String> {
        let label = format!("label=dev.orchestra.cluster={}", self.name);
        let listed = self.try_docker(&["ps", "--all", "--no-trunc", "--quiet", "--filter", &label]);
        listed.unwrap_or_default().lines().map(str::to_owned).collect()
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
        let left = self.of_all();
        if !left.is_empty() {
            let left = left.iter().map(String::as_str);
            let args: Vec<_> = ["rm", "--force", "--volumes"].into_iter().chain(left).collect();
            let _removed = self.try_docker(&args);
        }
        let label = format!("label=dev.orchestra.cluster={}", self.name);
        for kind in ["volume", "network"] {
            let left = self.try_docker(&[kind, "ls", "--quiet", "--filter", &label]).unwrap_or_default();
            for name in left.lines() {
                let _removed = self.try_docker(&[kind, "rm", name]);
            }
        }
        let _removed = self.try_docker(&["rmi", &self.image()]);
        let _removed = std::fs::remove_dir_all(&self.dir);
    }
}

pub(crate) fn busybox() -> Option<Vec<u8>> {
    ["/bin/busybox", "/usr/bin/busybox"].iter().find_map(|path| std::fs::read(path).ok())
}

/// An image beside that of all tests, removed with this value.
pub(crate) struct Image<'h> {
    pub(crate) host: &'h Host,
    pub(crate) name: String,
}

impl Drop for Image<'_> {
    fn drop(&mut self) {
        // Containers that a test has left use it.
        let left = self.host.of_all();
        if !left.is_empty() {
            let left = left.iter().map(String::as_str);
            let _removed = self
                .host
                .try_docker(&["rm", "--force", "--volumes"].into_iter().chain(left).collect::<Vec<_>>());
        }
        let _removed = self.host.try_docker(&["rmi", &self.name]);
    }
}

/// Waits until the object is as `holds` says.
pub(crate) async fn until<T: Resource>(
    client: &Client,
    name: &str,
    holds: impl FnMut(Option<&T>) -> bool + Send,
) -> Option<Arc<T>> {
    until_within(client, name, LIMIT, holds).await
}

async fn until_within<T: Resource>(
    client: &Client,
    name: &str,
    limit: Duration,
    holds: impl FnMut(Option<&T>) -> bool + Send,
) -> Option<Arc<T>> {
    match tokio::time::timeout(limit, client.wait::<T>(name, holds)).await {
        Ok(object) => object.unwrap(),
        Err(_) => panic!("{name} is not as awaited after {limit:?}: {:?}", client.find::<T>(name).await),
    }
}

/// Waits until all replicas of `web` are there and available, and none beside them.
pub(crate) async fn settled(cluster: &Cluster, replicas: u32) {
    settled_within(cluster, replicas, LIMIT).await;
}

/// The same, where it may take longer.
pub(crate) async fn settled_within(cluster: &Cluster, replicas: u32, limit: Duration) {
    let settled = |d: Option<&Deployment>| {
        d.is_some_and(|d| {
            let s = &d.status;
            s.observed_generation >= d.metadata.generation
                && (s.replicas, s.updated_replicas, s.available_replicas) == (replicas, replicas, replicas)
        })
    };
    until_within::<Deployment>(cluster, "web", limit, settled).await;
}

/// Waits until `holds` gives something.
pub(crate) async fn eventually<T>(what: &str, holds: impl FnMut() -> Option<T>) -> T {
    eventually_within(what, LIMIT, holds).await
}

/// The same, where it may take longer.
pub(crate) async fn eventually_within<T>(
    what: &str,
    limit: Duration,
    mut holds: impl FnMut() -> Option<T>,
) -> T {
    let deadline = tokio::time::Instant::now() + limit;
    loop {
        if let Some(found) = holds() {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "not after {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(crate) async fn pods(cluster: &Cluster) -> Vec<Arc<Pod>> {
    cluster.list::<Pod>(&ListOptions::default()).await.unwrap().items
}

/// What the engine has where every pod has its first sandbox, and its container in it was started once; of those that are being
/// deleted, whose object goes last, it has nothing any more.
pub(crate) fn first_of(host: &Host, pods: &[Arc<Pod>]) -> BTreeSet<String> {
    let escaped = |text: &str| text.replace('_', "_5f");
    let sandbox =
        |pod: &Arc<Pod>| format!("orchestra.{}.{}.0", host.name, escaped(&pod.metadata.uid.to_string()));
    let pods = pods.iter().filter(|pod| !pod.is_terminating());
    pods.map(sandbox).flat_map(|sandbox| [format!("{sandbox}.web.0"), sandbox]).collect()
}
