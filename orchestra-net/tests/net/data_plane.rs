//! A cluster's services, from objects to traffic.

use std::net::SocketAddr;
use std::sync::Arc;

use http::StatusCode;
use orchestra_core::client::{Admission, Client as Objects, DeleteOptions};
use orchestra_core::clock::SystemClock;
use orchestra_core::drain::Gates;
use orchestra_core::engine::{Caches, Tasks};
use orchestra_core::model::{
    Endpoint, EndpointConditions, EndpointPort, EndpointSlice, HTTPRoute, Ingress, Namespace,
    ObjectReference, Protocol, Revision, Scheme, Service, ServicePort,
};
use orchestra_core::rng::Rng;
use orchestra_core::store::MemoryStore;
use orchestra_net::{ClusterIps, DataPlane, DataPlaneOptions, GatewayOptions, HttpOptions, Question, Routes};

use crate::backend::Backend;
use crate::client::Client;
use crate::{soon, until};

pub(crate) struct Cluster {
    pub(crate) objects: Objects,
    pub(crate) plane: DataPlane,
    gates: Gates,
    pub(crate) tasks: Tasks,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        Self::start_with(DataPlaneOptions::default()).await
    }

    pub(crate) async fn start_with(options: DataPlaneOptions) -> Self {
        let tasks = Tasks::new();
        let store = Arc::new(MemoryStore::new());
        let addresses = Arc::new(ClusterIps::new(7));
        let admission: Vec<Arc<dyn Admission>> = vec![Arc::<ClusterIps>::clone(&addresses)];
        let objects = Objects::new(
            Arc::<MemoryStore>::clone(&store),
            Arc::new(Scheme::kubernetes()),
            Arc::new(SystemClock),
            Rng::seeded(1),
        )
        .with_admission(admission)
        .namespace("shop");
        objects.create(Namespace::new("shop")).await.unwrap();
        let caches = Caches::new(store, tasks.clone());
        let gates = Gates::new();
        let plane = DataPlane::start(&objects, &caches, &gates, Some(addresses), options, &tasks);
        soon("the start", plane.synced()).await;
        Self { objects, plane, gates, tasks }
    }

    /// Creates a service for these backends. Returns where it is.
    pub(crate) async fn serve(&self, service: Service, backends: &[&Backend]) -> SocketAddr {
        let service = self.objects.create(service).await.unwrap();
        let port = service.spec.ports[0].port;
        for (i, backend) in backends.iter().enumerate() {
            self.objects.create(slice(&service, i, backend)).await.unwrap();
        }
        let address = SocketAddr::new(service.spec.cluster_ip.parse().unwrap(), port);
        soon("its address", self.plane.listening(address)).await;
        address
    }
}

/// Each backend has a port of its own here, so each has a slice of its own.
pub(crate) fn slice(service: &Service, i: usize, backend: &Backend) -> EndpointSlice {
    let mut slice =
        EndpointSlice::new(format!("{}-{i}", service.metadata.name)).service(&service.metadata.name);
    let name = service.spec.ports[0].name.clone();
    slice.ports = vec![EndpointPort { name, port: Some(backend.address.port()), ..EndpointPort::default() }];
    let target = ObjectReference { uid: backend.pod(), ..ObjectReference::default() };
    slice.endpoints = vec![Endpoint {
        addresses: vec![backend.address.ip().to_string()],
        conditions: EndpointConditions { ready: Some(true), ..EndpointConditions::default() },
        target_ref: Some(target),
        ..Endpoint::default()
    }];
    slice
}

/// A port that nobody else on this host is likely to use at the same address.
const PORT: u16 = 18080;

#[tokio::test]
async fn a_service_is_reached_at_its_address_by_its_name_and_in_process() {
    let cluster = Cluster::start().await;
    let a = Backend::start("a").await;
    // Before the service is there: its requests wait for it.
    let early = cluster.plane.client("shop", "cart");
    let waits = early.get("/");
    tokio::pin!(waits);
    assert!(futures_util::poll!(waits.as_mut()).is_pending());
    let address = cluster.serve(Service::new("cart").named_port("http", PORT), &[&a]).await;
    assert_eq!(soon("the early request", waits).await.unwrap().status(), StatusCode::OK);
    assert_eq!(Client::new(address).get("/").await.1, "a");
    let name = cluster.plane.zone().lookup("cart.shop.svc.cluster.local", Question::Addresses);
    assert_eq!(name, orchestra_net::Answer::Addresses(vec![address.ip()]));
    let routes = Routes::to(cluster.plane.upstream("shop", "cart", PORT));
    let proxy = cluster.plane.http_proxy(routes, HttpOptions::default());
    let listening = proxy.bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    assert_eq!(Client::new(listening.address()).get("/").await.1, "a");
    cluster.objects.delete::<Service>("cart", &DeleteOptions::default()).await.unwrap();
    until("nobody listens", || cluster.plane.listeners().is_empty()).await;
    cluster.tasks.shutdown().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn endpoints_of_the_own_zone_come_first() {
    let cluster = Cluster::start_with(DataPlaneOptions::default().with_listen(false).with_zone("near")).await;
    let (near, far) = (Backend::start("near").await, Backend::start("far").await);
    let service = cluster.objects.create(Service::new("cart").named_port("http", PORT)).await.unwrap();
    for (i, backend) in [&near, &far].into_iter().enumerate() {
        let mut slice = slice(&service, i, backend);
        slice.endpoints[0].zone.clone_from(&backend.state.name);
        cluster.objects.create(slice).await.unwrap();
    }
    let client = cluster.plane.client("shop", "cart");
    until("both are there", || client.upstream().endpoints().len() == 2).await;
    for _ in 0..20 {
        assert_eq!(client.get("/").await.unwrap().into_body().text().await.unwrap(), "near");
    }
    soon("the drain", client.upstream().drain(&near.pod())).await;
    assert_eq!(client.get("/").await.unwrap().into_body().text().await.unwrap(), "far");
    cluster.tasks.shutdown().await;
}

#[tokio::test]
async fn tcp_and_udp_share_a_number_and_not_their_endpoints() {
    let cluster = Cluster::start().await;
    let tcp = Backend::start("tcp").await;
    let udp = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = |name: &str, protocol| ServicePort {
        name: name.to_owned(),
        port: PORT + 9,
        protocol,
        ..ServicePort::default()
    };
    let mut service = Service::new("names");
    service.spec.ports = vec![port("dns", Protocol::Udp), port("dns-tcp", Protocol::Tcp)];
    let service = cluster.objects.create(service).await.unwrap();
    for (i, (name, address)) in
        [("dns", udp.local_addr().unwrap()), ("dns-tcp", tcp.address)].into_iter().enumerate()
    {
        let mut slice = slice(&service, i, &tcp);
        slice.ports[0].name = name.to_owned();
        slice.ports[0].port = Some(address.port());
        cluster.objects.create(slice).await.unwrap();
    }
    let address = SocketAddr::new(service.spec.cluster_ip.parse().unwrap(), PORT + 9);
    soon("its address", cluster.plane.listening(address)).await;
    let upstream = cluster.plane.upstream("shop", "names", "dns");
    soon("its endpoint", upstream.ready()).await;
    soon("that of TCP", cluster.plane.upstream("shop", "names", PORT + 9).ready()).await;
    assert_eq!(Client::new(address).get("/").await.1, "tcp");
    let client = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.send_to(b"question", address).await.unwrap();
    let mut datagram = [0; 16];
    let (length, session) = soon("the question", udp.recv_from(&mut datagram)).await.unwrap();
    assert_eq!(&datagram[..length], b"question");
    udp.send_to(b"answer", session).await.unwrap();
    let (length, from) = soon("the answer", client.recv_from(&mut datagram)).await.unwrap();
    assert_eq!((&datagram[..length], from), (&b"answer"[..], address));
    cluster.tasks.shutdown().await;
}

#[tokio::test]
async fn a_port_without_http_is_a_stream() {
    let cluster = Cluster::start().await;
    let a = Backend::start("a").await;
    let address = cluster.serve(Service::new("db").named_port("sql", PORT), &[&a]).await;
    assert_eq!(
        Client::new(address).get("/head").await.1,
        "GET /head HTTP/1.1\nhost: test\n",
        "nothing is added"
    );
    assert!(!cluster.plane.listeners()[&(address, Protocol::Tcp)].listener.http);
    cluster.tasks.shutdown().await;
}

#[tokio::test]
async fn endpoints_that_are_not_ready_or_end_get_nothing() {
    let cluster = Cluster::start().await;
    let (a, b, c) = (Backend::start("a").await, Backend::start("b").await, Backend::start("c").await);
    let address = cluster.serve(Service::new("cart").named_port("http", PORT), &[&a, &b, &c]).await;
    let change = async |name: &str, conditions: EndpointConditions| {
        let mut slice = (*cluster.objects.get::<EndpointSlice>(name).await.unwrap()).clone();
        slice.endpoints[0].conditions = conditions;
        cluster.objects.update(slice).await.unwrap();
    };
    change("cart-1", EndpointConditions { ready: Some(false), ..EndpointConditions::default() }).await;
    let ending =
        EndpointConditions { ready: Some(true), terminating: Some(true), ..EndpointConditions::default() };
    change("cart-2", ending).await;
    let upstream = cluster.plane.upstream("shop", "cart", "http");
    until("one is left", || upstream.endpoints().len() == 1).await;
    let mut client = Client::new(address);
    for _ in 0..10 {
        assert_eq!(client.get("/").await.1, "a");
    }
    cluster.tasks.shutdown().await;
}

#[tokio::test]
async fn an_agent_that_drains_knows_that_no_request_is_left_and_that_the_new_pod_is_known() {
    let cluster = Cluster::start().await;
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let address = cluster.serve(Service::new("cart").named_port("http", PORT), &[&a]).await;
    let mut client = Client::new(address);
    let asked = client.get("/gated");
    tokio::pin!(asked);
    until("the request is there", || {
        assert!(futures_util::FutureExt::now_or_never(asked.as_mut()).is_none());
        a.entered() == 1
    })
    .await;
    let service = cluster.objects.get::<Service>("cart").await.unwrap();
    let added = cluster.objects.create(slice(&service, 1, &b)).await.unwrap();
    let pod = a.pod();
    // The deletion that the drain is for came after that, and nothing about endpoints since.
    let revision = Revision(added.metadata.resource_version.0 + 100);
    let drain = cluster.gates.drain_all(&pod, revision);
    tokio::pin!(drain);
    assert!(futures_util::poll!(drain.as_mut()).is_pending(), "one is in flight");
    assert_eq!(Client::new(address).get("/").await.1, "b");
    a.state.gate.add_permits(1);
    assert_eq!(asked.await.1, "a");
    soon("the drain", drain).await;
    // A slice that was written before the controller knew: it changes, and still lists the pod as ready.
    let mut stale = (*cluster.objects.get::<EndpointSlice>("cart-0").await.unwrap()).clone();
    stale.endpoints[0].node_name = "node".to_owned();
    let stale = cluster.objects.update(stale).await.unwrap();
    soon("the update", cluster.gates.drain_all(&"nobody".into(), stale.metadata.resource_version)).await;
    let mut client = Client::new(address);
    for _ in 0..10 {
        assert_eq!(client.get("/").await.1, "b");
    }
    assert_eq!(a.entered(), 1);
    cluster.tasks.shutdown().await;
}

#[tokio::test]
async fn two_clusters_in_one_process_do_not_meet() {
    let (one, two) = (Cluster::start().await, Cluster::start().await);
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let service = || Service::new("cart").named_port("http", PORT);
    let at_one = one.serve(service(), &[&a]).await;
    let at_two = two.serve(service(), &[&b]).await;
    assert_ne!(at_one, at_two);
    assert_eq!(Client::new(at_one).get("/").await.1, "a");
    assert_eq!(Client::new(at_two).get("/").await.1, "b");
    soon("a drain", one.gates.drain_all(&b.pod(), Revision::ZERO)).await;
    assert_eq!(Client::new(at_two).get("/").await.1, "b", "a drain in one is none in the other");
    one.tasks.shutdown().await;
    assert_eq!(Client::new(at_two).get("/").await.1, "b");
    two.tasks.shutdown().await;
}

#[tokio::test]
async fn an_address_that_is_taken_is_served_when_it_is_free() {
    let cluster = Cluster::start().await;
    let a = Backend::start("a").await;
    let address: SocketAddr = ([127, 0, 63, 77], 0).into();
    let taken = tokio::net::TcpListener::bind(address).await.unwrap();
    let address = taken.local_addr().unwrap();
    let mut service = Service::new("cart").named_port("http", address.port());
    service.spec.cluster_ip = address.ip().to_string();
    let service = cluster.objects.create(service).await.unwrap();
    cluster.objects.create(slice(&service, 0, &a)).await.unwrap();
    until("it is told of", || {
        let listeners = cluster.plane.listeners();
        listeners.get(&(address, Protocol::Tcp)).is_some_and(|status| status.error.is_some())
    })
    .await;
    drop(taken);
    soon("its turn", cluster.plane.listening(address)).await;
    assert_eq!(Client::new(address).get("/").await.1, "a");
    cluster.tasks.shutdown().await;
}

fn manifest<T: serde::de::DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn a_proxy_follows_the_clusters_ingresses_and_routes() {
    let cluster = Cluster::start().await;
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    for (name, backend) in [("cart", &a), ("pay", &b)] {
        let service = cluster.objects.create(Service::new(name).named_port("http", PORT + 7)).await.unwrap();
        cluster.objects.create(slice(&service, 0, backend)).await.unwrap();
    }
    let proxy = cluster.plane.http_proxy(Routes::new(), HttpOptions::default());
    cluster.plane.follow(&proxy, GatewayOptions::default().with_gateway("edge").with_address("192.0.2.1"));
    let listening = proxy.bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let mut client = Client::new(listening.address());
    assert_eq!(client.get("/cart").await.0, StatusCode::NOT_FOUND);
    let ingress: Ingress = manifest(
        r#"{"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "shop"}, "spec": {"rules": [{"http": {"paths": [
            {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "cart", "port": {"name": "http"}}}}]}}]}}"#,
    );
    cluster.objects.create(ingress).await.unwrap();
    let route = |parent: &str| -> HTTPRoute {
        let text = r#"{"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "NAME"}, "spec": {"parentRefs": [{"name": "NAME"}], "rules": [
            {"matches": [{"path": {"value": "/pay"}}], "backendRefs": [{"name": "pay", "port": 18087}]}]}}"#;
        manifest(&text.replace("NAME", parent))
    };
    cluster.objects.create(route("other")).await.unwrap();
    let mut answers = async |path: &str, expected: &str| {
        let asking = async {
            while client.get(path).await.1 != expected {
                tokio::task::yield_now().await;
            }
        };
        soon("the route is followed", asking).await;
    };
    answers("/cart", "a").await;
    answers("/pay", "a").await;
    cluster.objects.create(route("edge")).await.unwrap();
    answers("/pay", "b").await;
    answers("/cart", "a").await;
    let told = |route: Option<&HTTPRoute>, resolved: &str| {
        let parents = route.map(|route| &route.status.parents[..]).unwrap_or_default();
        let [parent] = parents else { return false };
        let said: Vec<_> = parent.conditions.iter().map(|c| (c.type_.as_str(), c.reason.as_str())).collect();
        parent.parent_ref.name == "edge" && said == [("Accepted", "Accepted"), ("ResolvedRefs", resolved)]
    };
    let waiting = cluster.objects.wait::<HTTPRoute>("edge", |route| told(route, "ResolvedRefs"));
    soon("the route says that it is followed", waiting).await.unwrap();
    let waiting = cluster.objects.wait::<Ingress>("shop", |ingress| {
        ingress.is_some_and(|ingress| {
            ingress.status.load_balancer.ingress[..].iter().any(|way| way.ip == "192.0.2.1")
        })
    });
    soon("the Ingress says where it is reached", waiting).await.unwrap();
    cluster.objects.delete::<Service>("pay", &DeleteOptions::default()).await.unwrap();
    let waiting = cluster.objects.wait::<HTTPRoute>("edge", |route| told(route, "BackendNotFound"));
    soon("the route says what it lacks", waiting).await.unwrap();
    let other = cluster.objects.get::<HTTPRoute>("other").await.unwrap();
    assert!(other.status.parents.is_empty(), "that is another gateway's");
    cluster.objects.delete::<HTTPRoute>("edge", &DeleteOptions::default()).await.unwrap();
    answers("/pay", "a").await;
    let bad: HTTPRoute = manifest(
        r#"{"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "bad"}, "spec": {"rules": [
            {"matches": [{"path": {"type": "RegularExpression", "value": "/.*"}}]}]}}"#,
    );
    let error = cluster.objects.create(bad).await.unwrap_err().to_string();
    assert!(error.contains("RegularExpression is not supported"), "{error}");
    cluster.tasks.shutdown().await;
}
