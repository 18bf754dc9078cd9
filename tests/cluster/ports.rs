//! Ports that another program has: what needs them says so, the rest goes on, and they are taken when they are free.

use std::net::{SocketAddr, TcpListener};

use orchestra::ClusterError;
use orchestra::model::{ContainerPort, EventType, PodPhase, Protocol};
use orchestra::net::NetError;
use orchestra::prelude::*;

use crate::common::{Dir, LIMIT, event, until};
use crate::{node, text};

fn taken(address: [u8; 4]) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(SocketAddr::from((address, 0))).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// What a server at `address` answers.
async fn answer(address: SocketAddr) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_whose_port_is_taken_says_so_and_the_cluster_goes_on() {
    let dir = Dir::new("proxy-port");
    let cluster = Cluster::builder().node(node(&dir.0, "node")).start().await.unwrap();
    cluster.apply(Deployment::new("web").image("one:1").port(8080)).await.unwrap();
    cluster.apply(Service::new("web").port(8080)).await.unwrap();
    let (other, address) = taken([127, 0, 0, 1]);
    let error = cluster.serve_http(address, "default", "web", 8080).await.unwrap_err();
    assert!(matches!(error, ClusterError::Net(NetError::Listen { address: at, .. }) if at == address));
    assert!(error.to_string().contains(&format!("can't listen on {address}")), "{error}");
    assert_eq!(text(&cluster, "web").await, "one");
    drop(other);
    let proxy = cluster.serve_http(address, "default", "web", 8080).await.unwrap();
    assert!(answer(proxy.address()).await.ends_with("one"));
    proxy.shutdown().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_whose_port_is_taken_is_served_when_it_is_free() {
    let dir = Dir::new("service-port");
    let cluster = Cluster::builder().node(node(&dir.0, "node")).start().await.unwrap();
    let (other, address) = taken([127, 0, 61, 7]);
    cluster.apply(Deployment::new("web").image("one:1").port(8080)).await.unwrap();
    let mut service = Service::new("web").port(address.port());
    service.spec.cluster_ip = address.ip().to_string();
    service.spec.ports[0].target_port = Some(8080.into());
    cluster.apply(service).await.unwrap();
    let told = async {
        loop {
            let error = cluster
                .data_plane()
                .listeners()
                .remove(&(address, Protocol::Tcp))
                .and_then(|status| status.error);
            match error {
                Some(error) => break error,
                None => tokio::task::yield_now().await,
            }
        }
    };
    let error = tokio::time::timeout(LIMIT, told).await.expect("the listener's state tells of it");
    assert!(error.contains(&address.to_string()), "{error}");
    // Those who ask in this process need no port.
    let client = cluster.service("web", address.port());
    assert_eq!(client.get("/").await.unwrap().status(), 200);
    drop(other);
    let listening = cluster.data_plane().listening(address);
    tokio::time::timeout(LIMIT, listening).await.expect("it is tried again");
    assert!(answer(address).await.ends_with("one"));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_whose_host_port_is_taken_waits_with_an_event_and_starts_when_it_is_free() {
    let dir = Dir::new("host-port");
    let cluster = Cluster::builder().node(node(&dir.0, "node")).start().await.unwrap();
    let (other, address) = taken([127, 0, 0, 1]);
    let mut container = Container::new("main", "one:1");
    container.ports.push(ContainerPort {
        container_port: 8080,
        host_port: address.port(),
        host_ip: Some(address.ip()),
        ..ContainerPort::default()
    });
    container.readiness_probe = Some(Probe::tcp(8080));
    cluster.create(Pod::new("web").container(container)).await.unwrap();
    let told = event(&cluster, "web", &format!("host port {address}")).await;
    assert_eq!((told.type_, told.reason.as_str()), (EventType::Warning, "FailedCreatePodSandBox"));
    assert_eq!(cluster.get::<Pod>("web").await.unwrap().status.phase, PodPhase::Pending);
    drop(other);
    until::<Pod>(&cluster, "web", |pod| pod.is_some_and(Pod::is_ready)).await;
    assert!(answer(address).await.ends_with("one"));
    cluster.stop().await;
    assert!(TcpListener::bind(address).is_ok(), "the port is let go");
}
