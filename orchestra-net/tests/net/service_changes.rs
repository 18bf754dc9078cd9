//! What services say of their clients, and what becomes of these when it changes.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use orchestra_core::client::DeleteOptions;
use orchestra_core::model::{EndpointSlice, Protocol, Service, SessionAffinity};
use orchestra_net::{ClientAddress, DataPlaneOptions, HttpOptions, ProxyBody, Routes, UdpOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use crate::backend::Backend;
use crate::data_plane::{Cluster, slice};
use crate::udp::{Client as Udp, Echo};
use crate::{soon, until};

/// A port that no other test listens on at its services' addresses.
const PORT: u16 = 18180;

/// Who answers a client at this address.
async fn answered(to: SocketAddr, from: [u8; 4]) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let mut stream = socket.connect(to).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    soon("an answer", stream.read_to_string(&mut answer)).await.unwrap();
    answer.rsplit_once("\r\n\r\n").unwrap().1.to_owned()
}

#[tokio::test]
async fn a_client_of_a_sticky_service_has_its_endpoint_whatever_way_it_comes() {
    let cluster = Cluster::start().await;
    let (a, b, c) = (Backend::start("a").await, Backend::start("b").await, Backend::start("c").await);
    let service = Service::new("cart").named_port("http", PORT).sticky();
    let address = cluster.serve(service, &[&a, &b, &c]).await;
    let upstream = cluster.plane.upstream("shop", "cart", PORT);
    // Options that say nothing of it, as those of a proxy that follows routes.
    let proxy = cluster.plane.http_proxy(Routes::to(upstream), HttpOptions::default());
    let listening = proxy.bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let in_process = cluster.plane.client("shop", "cart");
    let mut met = BTreeSet::new();
    for last in 1..=16 {
        let from = [127, 0, 0, last];
        let expected = answered(address, from).await;
        for _ in 0..3 {
            assert_eq!(answered(listening.address(), from).await, expected);
            let mut request = Request::get("/").body(ProxyBody::default()).unwrap();
            if last > 1 {
                request.extensions_mut().insert(ClientAddress((from, 1).into()));
            }
            let answer = in_process.send(request).await.unwrap().into_body().collect().await.unwrap();
            assert_eq!(answer.to_bytes(), expected);
        }
        met.insert(expected);
    }
    assert!(met.len() > 1, "each has its own: {met:?}");
    cluster.tasks.shutdown().await;
}

#[tokio::test]
async fn no_connection_is_refused_or_cut_off_while_a_service_changes() {
    let cluster = Cluster::start().await;
    let a = Backend::start("a").await;
    // Its ports speak TCP or HTTP; their name, by which slices know them, stays.
    let mut service = Service::new("cart").named_port("web", PORT + 1);
    service.spec.ports[0].app_protocol = "tcp".to_owned();
    let address = cluster.serve(service, &[&a]).await;
    let mut open = TcpStream::connect(address).await.unwrap();
    open.write_all(b"GET /head HTTP/1.1\r\nhost: x\r\n").await.unwrap();
    let upstream = cluster.plane.upstream("shop", "cart", PORT + 1);
    until("it has an endpoint", || upstream.status().iter().any(|endpoint| endpoint.in_flight == 1)).await;
    let changing = async {
        for turn in 0..20 {
            let mut service = (*cluster.objects.get::<Service>("cart").await.unwrap()).clone();
            let (http, sticky) = (turn % 2 == 0, turn % 4 < 2);
            service.spec.ports[0].app_protocol = if http { "http" } else { "tcp" }.to_owned();
            let affinity = if sticky { SessionAffinity::ClientIP } else { SessionAffinity::None };
            service.spec.session_affinity = affinity;
            service.spec.session_affinity_config = Default::default();
            cluster.objects.update(service).await.unwrap();
            until("it is so", || {
                let status = &cluster.plane.listeners()[&(address, Protocol::Tcp)];
                assert_eq!(status.error, None);
                (status.listener.http, status.listener.sticky) == (http, sticky)
            })
            .await;
        }
    };
    let asking = async {
        loop {
            assert_eq!(answered(address, [127, 0, 0, 1]).await, "a");
        }
    };
    tokio::select! {
        biased;
        () = soon("the changes", changing) => {}
        () = asking => {}
    }
    open.write_all(b"connection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    soon("an answer", open.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.contains("GET /head") && !answer.contains("x-forwarded-for"), "it was TCP: {answer}");
    drop(open);
    cluster.tasks.shutdown().await;
}

#[tokio::test]
async fn an_address_passes_to_another_service_with_connections_open_at_the_first() {
    let cluster = Cluster::start().await;
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let address = cluster.serve(Service::new("one").named_port("http", PORT + 2), &[&a]).await;
    let mut open = TcpStream::connect(address).await.unwrap();
    open.write_all(b"GET /gated HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    until("it is asked", || a.entered() == 1).await;
    cluster.objects.delete::<Service>("one", &DeleteOptions::default()).await.unwrap();
    until("its address is free", || cluster.plane.listeners().is_empty()).await;
    let mut other = Service::new("other").named_port("http", PORT + 2);
    other.spec.cluster_ip = address.ip().to_string();
    assert_eq!(cluster.serve(other, &[&b]).await, address);
    until("it is the other's", || {
        let listeners = cluster.plane.listeners();
        let status = listeners.get(&(address, Protocol::Tcp));
        status.is_some_and(|status| {
            assert_eq!(status.error, None, "the first one's socket is in the way");
            status.listener.service == "other"
        })
    })
    .await;
    assert_eq!(answered(address, [127, 0, 0, 1]).await, "b");
    a.state.gate.add_permits(1);
    let mut answer = String::new();
    soon("the first one's answer", open.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.contains("\r\n\r\na"), "{answer}");
    cluster.tasks.shutdown().await;
}

#[tokio::test]
async fn sessions_that_are_still_answered_hold_up_no_other_service() {
    let udp = UdpOptions::default().with_shutdown_grace(Duration::from_secs(600));
    let cluster = Cluster::start_with(DataPlaneOptions::default().with_udp(udp)).await;
    let (a, echo) = (Backend::start("a").await, Echo::start("echo").await);
    let mut service = Service::new("names").named_port("names", PORT + 3);
    service.spec.ports[0].protocol = Protocol::Udp;
    let service = cluster.objects.create(service).await.unwrap();
    let mut listed = slice(&service, 0, &a);
    listed.ports[0].port = Some(echo.endpoint.id.address.port());
    cluster.objects.create(listed).await.unwrap();
    let mut address = SocketAddr::new(service.spec.cluster_ip.parse().unwrap(), PORT + 3);
    soon("its address", cluster.plane.listening(address)).await;
    let upstream = cluster.plane.upstream("shop", "names", "names");
    soon("its endpoint", upstream.ready()).await;
    assert_eq!(Udp::new(address).await.ask("one").await, "echo one");
    let in_flight = || upstream.status().iter().map(|endpoint| endpoint.in_flight).sum::<usize>();
    // Its listener goes, and not its endpoint.
    let mut service = (*cluster.objects.get::<Service>("names").await.unwrap()).clone();
    service.spec.ports[0].port = PORT + 4;
    cluster.objects.update(service).await.unwrap();
    address.set_port(PORT + 4);
    soon("its new address", cluster.plane.listening(address)).await;
    assert_eq!(Udp::new(address).await.ask("two").await, "echo two");
    assert_eq!(in_flight(), 2, "the first one is still answered");
    let other = cluster.serve(Service::new("other").named_port("http", PORT + 5), &[&a]).await;
    assert_eq!(answered(other, [127, 0, 0, 1]).await, "a");
    cluster.objects.delete::<EndpointSlice>("names-0", &DeleteOptions::default()).await.unwrap();
    until("they have ended with their endpoint", || in_flight() == 0).await;
    soon("the end", cluster.tasks.shutdown()).await;
}

/// Counts what listeners warn of.
struct Warnings(Arc<AtomicUsize>);

impl<S: Subscriber> Layer<S> for Warnings {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let metadata = event.metadata();
        if *metadata.level() == Level::WARN && metadata.target().ends_with("listeners") {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[tokio::test]
async fn an_address_that_can_not_be_had_is_warned_of_once() {
    let count = Arc::<AtomicUsize>::default();
    let layer = Warnings(Arc::clone(&count));
    let _listening_in = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    let cluster = Cluster::start().await;
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut service = Service::new("taken").named_port("http", taken.local_addr().unwrap().port());
    service.spec.cluster_ip = "127.0.0.1".to_owned();
    cluster.objects.create(service).await.unwrap();
    let error = || {
        let status = cluster.plane.listeners().remove(&(taken.local_addr().unwrap(), Protocol::Tcp));
        status.and_then(|status| status.error)
    };
    until("somebody else is there", || error().is_some()).await;
    for i in 0..5 {
        cluster.serve(Service::new(format!("other-{i}")).named_port("http", PORT + 6), &[]).await;
    }
    assert!(error().is_some());
    assert_eq!(count.load(Ordering::Relaxed), 1);
    cluster.tasks.shutdown().await;
}
