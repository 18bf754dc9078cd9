//! Rollouts, drains and scalings under steady load on kept connections, of a program that ignores SIGTERM and has no
//! preStop hook: no request fails.
//!
//! A few of them run with the other tests. 100 rollouts, 20 drains and 20 scalings:
//!
//!     ORCHESTRA_ROLLOUTS=100 cargo test --features docker --test docker rollouts -- --nocapture

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::rt::{TokioIo, TokioTimer};
use orchestra::prelude::*;
use tokio::time::Instant;

use crate::host::{Host, LIMIT, eventually, pods, settled};

/// How many rollouts there are where nobody says; a fifth as many drains and scalings.
const ROLLOUTS: usize = 5;

/// Connections that are kept, and the time between two requests on each.
const CONNECTIONS: usize = 8;
const EVERY: Duration = Duration::from_millis(20);

const REPLICAS: u32 = 3;
const NODES: [&str; 2] = ["left", "right"];

/// Not a test: the program in the pods.
#[tokio::test]
#[ignore = "run in a container, as its program"]
async fn server() {
    let Ok(version) = std::env::var("SERVED_VERSION") else { return };
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8080)).await.unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let version = version.clone();
        tokio::spawn(async move {
            let answer = move |_| {
                let body = Full::new(Bytes::from(version.clone()));
                async move { Ok::<_, std::convert::Infallible>(http::Response::new(body)) }
            };
            let service = hyper::service::service_fn(answer);
            let mut server = hyper::server::conn::http1::Builder::new();
            let _closed =
                server.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

#[derive(Default)]
struct Load {
    over: AtomicBool,
    requests: AtomicUsize,
    failures: std::sync::Mutex<Vec<String>>,
    slowest_micros: AtomicUsize,
}

impl Load {
    /// Sends requests on one connection, which nobody may close.
    async fn run(self: Arc<Self>, address: SocketAddr) {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut due = Instant::now();
        while !self.over.load(Ordering::SeqCst) {
            tokio::time::sleep_until(due).await;
            let request = http::Request::get("/").header("host", "web").body(Empty::<Bytes>::new()).unwrap();
            let answered = async {
                sender.ready().await?;
                let answer = sender.send_request(request).await?;
                let status = answer.status();
                let body = answer.into_body().collect().await?.to_bytes();
                Ok::<_, hyper::Error>((status, body))
            };
            let failure = match tokio::time::timeout(LIMIT, answered).await {
                Ok(Ok((http::StatusCode::OK, body))) if !body.is_empty() => None,
                Ok(other) => Some(format!("{other:?}")),
                Err(_) => Some(format!("no answer after {LIMIT:?}")),
            };
            self.requests.fetch_add(1, Ordering::SeqCst);
            // Timed from when it was due, whatever became of those before.
            let took = usize::try_from(due.elapsed().as_micros()).unwrap_or(usize::MAX);
            self.slowest_micros.fetch_max(took, Ordering::SeqCst);
            if let Some(failure) = failure {
                self.failures.lock().unwrap().push(failure);
                return;
            }
            due = (due + EVERY).max(Instant::now().checked_sub(EVERY).unwrap_or(due));
        }
    }
}

fn manifest(image: &str, version: usize, replicas: u32) -> String {
    format!(
        r#"{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: web}}, spec: {{replicas: {replicas},
        strategy: {{rollingUpdate: {{maxSurge: 3, maxUnavailable: 0}}}},
        selector: {{matchLabels: {{app: web}}}}, template: {{metadata: {{labels: {{app: web}}}}, spec: {{
        terminationGracePeriodSeconds: 1, containers: [{{name: web, image: "{image}", ports: [{{containerPort: 8080}}],
        command: [/bin/sh, -c, "trap '' TERM; exec /bin/server --exact rollouts::server --ignored"],
        env: [{{name: SERVED_VERSION, value: "{version}"}}],
        readinessProbe: {{tcpSocket: {{port: 8080}}, periodSeconds: 1}}}}]}}}}}}}}
---
{{apiVersion: v1, kind: Service, metadata: {{name: web}}, spec: {{selector: {{app: web}}, ports: [{{port: 80, targetPort: 8080}}]}}}}"#
    )
}

/// Moves all pods off a node, as people do: no more come, and those that are there leave.
async fn drain(cluster: &Cluster, node: &str) {
    cluster.modify::<Node>(node, |node| node.spec.unschedulable = true).await.unwrap();
    for pod in pods(cluster).await {
        if pod.node_name.as_deref() == Some(node) && !pod.is_terminating() {
            cluster.evict(&pod.metadata.name, &DeleteOptions::default()).await.unwrap();
            // One at a time: with all at once nobody would be left.
            settled(cluster, REPLICAS).await;
        }
    }
    let on_it = |pod: &Arc<Pod>| pod.node_name.as_deref() == Some(node);
    while let Some(pod) = pods(cluster).await.into_iter().find(on_it) {
        crate::host::until::<Pod>(cluster, &pod.metadata.name, |pod| pod.is_none()).await;
    }
    cluster.modify::<Node>(node, |node| node.spec.unschedulable = false).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_versions_nodes_and_sizes_change() {
    let Some(host) = Host::open("rollouts").await else { return };
    let rollouts = match std::env::var("ORCHESTRA_ROLLOUTS") {
        Ok(text) => text.parse().unwrap_or_else(|error| panic!("ORCHESTRA_ROLLOUTS={text}: {error}")),
        Err(_) => ROLLOUTS,
    };
    let mut files = host.files();
    files.this_program("bin/server").unwrap();
    let image = format!("{}-server:1", host.name);
    host.builder().connect().await.unwrap().import_image(&image, &files).await.unwrap();
    let image = crate::host::Image { host: &host, name: image };
    let mut builder = Cluster::builder();
    // Two nodes on one engine: each with a name of its own.
    for node in NODES {
        let runtime = DockerRuntime::builder(format!("{}-{node}", host.name)).connect().await.unwrap();
        builder = builder.node(NodeOptions::new(node, runtime).data_dir(host.dir.join(node)));
    }
    let cluster = builder.start().await.unwrap();
    cluster.apply_yaml(&manifest(&image.name, 0, REPLICAS)).await.unwrap();
    settled(&cluster, REPLICAS).await;
    let proxy = cluster.serve_http((Ipv4Addr::LOCALHOST, 0).into(), "default", "web", 80).await.unwrap();
    let load = Arc::new(Load::default());
    let clients: Vec<_> =
        (0..CONNECTIONS).map(|_| tokio::spawn(Arc::clone(&load).run(proxy.address()))).collect();

    let (begin, mut drains, mut scalings) = (Instant::now(), 0, 0);
    for version in 1..=rollouts {
        cluster.apply_yaml(&manifest(&image.name, version, REPLICAS)).await.unwrap();
        settled(&cluster, REPLICAS).await;
        if version % 5 == 0 {
            drain(&cluster, NODES[drains % NODES.len()]).await;
            drains += 1;
            for replicas in [2 * REPLICAS, REPLICAS] {
                cluster.apply_yaml(&manifest(&image.name, version, replicas)).await.unwrap();
                settled(&cluster, replicas).await;
            }
            scalings += 1;
        }
        let failures = load.failures.lock().unwrap().clone();
        assert!(failures.is_empty(), "in rollout {version}: {failures:?}");
    }
    load.over.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }
    let failures = load.failures.lock().unwrap().clone();
    eprintln!(
        "{rollouts} rollouts, {drains} drains, {scalings} scalings up and down in {:.0} s: {} requests, {} failed, slowest {:.0} ms",
        begin.elapsed().as_secs_f64(),
        load.requests.load(Ordering::SeqCst),
        failures.len(),
        load.slowest_micros.load(Ordering::SeqCst) as f64 / 1000.0
    );
    assert!(failures.is_empty(), "{failures:?}");
    proxy.shutdown().await;
    cluster.stop().await;
    eventually("nothing is left", || host.of_all().is_empty().then_some(())).await;
}
