//! A gRPC probe, from the manifest to the traffic.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use orchestra::model::EndpointSlice;
use orchestra::prelude::*;

use crate::common::{Dir, event, until};

/// No test of its own: a gRPC server whose health is what the file `HEALTH` says, as a number of the protocol.
#[test]
fn serve() {
    let Ok(health) = std::env::var("HEALTH") else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let address = (std::env::var("POD_IP").unwrap(), 8080);
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // The agent asks over a connection of its own each time.
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                answer(&request, &mut respond, Path::new(&health));
            }
        }
    });
}

fn answer(
    request: &http::Request<h2::RecvStream>,
    respond: &mut h2::server::SendResponse<Bytes>,
    health: &Path,
) {
    let is_check = request.uri().path() == "/grpc.health.v1.Health/Check";
    let status: u8 = std::fs::read_to_string(health).unwrap().trim().parse().unwrap();
    let head = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let mut stream = respond.send_response(head, false).unwrap();
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static(if is_check { "0" } else { "12" }));
    if is_check {
        // A frame of two bytes: the field 1, a number.
        stream.send_data(Bytes::copy_from_slice(&[0, 0, 0, 0, 2, 8, status]), false).unwrap();
    }
    stream.send_trailers(trailers).unwrap();
}

const MANIFEST: &str = "
apiVersion: v1
kind: Pod
metadata: {name: cart, labels: {app: cart}}
spec:
  containers:
  - name: main
    image: grpc:1
    ports: [{containerPort: 8080}]
    readinessProbe: {grpc: {port: 8080}, periodSeconds: 1, failureThreshold: 1}
---
apiVersion: v1
kind: Service
metadata: {name: cart}
spec: {selector: {app: cart}, ports: [{port: 8080}]}
";

#[tokio::test(flavor = "multi_thread")]
async fn traffic_follows_what_the_health_service_says() {
    let dir = Dir::new("grpc");
    let health: PathBuf = dir.0.join("health");
    let say = |status: &str| {
        // Whole at once: the server may be reading.
        std::fs::write(dir.0.join("next"), status).unwrap();
        std::fs::rename(dir.0.join("next"), &health).unwrap();
    };
    say("2");
    let image = ProcessImage::new(std::env::current_exe().unwrap())
        .args(["--exact", "grpc::serve", "--nocapture"])
        .env("HEALTH", health.to_string_lossy());
    let runtime = ProcessRuntime::builder(dir.0.join("node")).image("grpc:1", image).build().unwrap();
    let cluster = Cluster::builder().node(NodeOptions::new("node", runtime)).start().await.unwrap();
    cluster.apply_yaml(MANIFEST).await.unwrap();
    event(&cluster, "cart", "NOT_SERVING").await;
    assert!(!cluster.get::<Pod>("cart").await.unwrap().is_ready());
    for (status, ready) in [("1", true), ("2", false), ("1", true)] {
        say(status);
        until::<Pod>(&cluster, "cart", |pod| pod.is_some_and(|pod| pod.is_ready() == ready)).await;
        endpoints(&cluster, ready).await;
    }
    let pod = cluster.get::<Pod>("cart").await.unwrap();
    assert_eq!(pod.status.container_statuses[0].restart_count, 0, "readiness restarts nothing");
    cluster.stop().await;
}

/// Waits until the service's one endpoint is ready, or not.
async fn endpoints(cluster: &Cluster, ready: bool) {
    let name =
        cluster.list::<EndpointSlice>(&ListOptions::default()).await.unwrap().items[0].metadata.name.clone();
    let as_said = |slice: Option<&EndpointSlice>| {
        slice.is_some_and(|slice| slice.endpoints.iter().any(|e| e.conditions.ready == Some(ready)))
    };
    until::<EndpointSlice>(cluster, &name, as_said).await;
}
