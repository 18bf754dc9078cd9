//! Endpoints that leave: no request is lost.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use orchestra_core::engine::Tasks;
use orchestra_net::{
    EndpointState, HttpOptions, HttpProxy, NetError, Routes, Upstream, UpstreamOptions, Workers,
};

use crate::backend::Backend;
use crate::client::{Client, read};
use crate::proxy::proxy;
use crate::{soon, until};

/// Clients that send as fast as they can, half of it POSTs, until they are stopped.
struct Load {
    counts: Arc<Counts>,
    tasks: Tasks,
    clients: usize,
}

#[derive(Default)]
struct Counts {
    stop: AtomicBool,
    ended: AtomicUsize,
    sent: AtomicUsize,
    failed: std::sync::Mutex<Vec<String>>,
}

impl Load {
    fn start(proxy: SocketAddr, clients: usize, posts: bool) -> Self {
        let counts = Arc::<Counts>::default();
        let tasks = Tasks::new();
        for id in 0..clients {
            let counts = Arc::clone(&counts);
            tasks.spawn("load", async move {
                let mut client = Client::new(proxy);
                let mut number = 0;
                while !counts.stop.load(Ordering::SeqCst) {
                    number += 1;
                    let post = posts && number % 2 == 0;
                    if let Err(error) = one(&mut client, post, &format!("{id}-{number}")).await {
                        counts.failed.lock().unwrap().push(format!("{id}-{number} post {post}: {error}"));
                    }
                    counts.sent.fetch_add(1, Ordering::SeqCst);
                }
                counts.ended.fetch_add(1, Ordering::SeqCst);
            });
        }
        Self { counts, tasks, clients }
    }

    /// Waits until so many more were sent.
    async fn more(&self, count: usize) {
        let goal = self.counts.sent.load(Ordering::SeqCst) + count;
        until("the load goes on", || self.counts.sent.load(Ordering::SeqCst) >= goal).await;
    }

    async fn stop(self) -> (usize, Vec<String>) {
        self.counts.stop.store(true, Ordering::SeqCst);
        until("the load ends", || self.counts.ended.load(Ordering::SeqCst) == self.clients).await;
        self.tasks.shutdown().await;
        (self.counts.sent.load(Ordering::SeqCst), std::mem::take(&mut self.counts.failed.lock().unwrap()))
    }
}

async fn one(client: &mut Client, post: bool, serial: &str) -> Result<(), String> {
    let (method, body) = if post { (Method::POST, "an order") } else { (Method::GET, "") };
    let request = Request::builder().method(method).uri("/").header("host", "x").header("x-serial", serial);
    let request = request.body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap();
    let (status, text) = read(client.send(request).await?).await?;
    if status == StatusCode::OK { Ok(()) } else { Err(format!("{status}: {text}")) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_swaps_under_load_lose_nothing_and_no_order_comes_twice() {
    let mut all = vec![Backend::start("0").await, Backend::start("1").await];
    let (upstream, listening) = proxy(&[&all[0], &all[1]], UpstreamOptions::default()).await;
    let load = Load::start(listening.address(), 8, true);
    for i in 0..10 {
        load.more(50).await;
        let new = Backend::start(&format!("{}", i + 2)).await;
        upstream.apply([&all[i], &all[i + 1], &new].map(Backend::endpoint));
        soon("the drain", upstream.drain(&all[i].pod())).await;
        // As SIGKILL would, right after the drain.
        all[i].kill().await;
        upstream.apply([&all[i + 1], &new].map(Backend::endpoint));
        all.push(new);
    }
    load.more(50).await;
    let (sent, failed) = load.stop().await;
    assert!(failed.is_empty(), "{} of {sent} failed: {failed:#?}", failed.len());
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for backend in &all {
        assert!(backend.entered() > 0, "{} got nothing", backend.state.name);
        for (serial, count) in &*backend.state.serials.lock().unwrap() {
            *times.entry(serial.clone()).or_default() += count;
        }
    }
    assert_eq!(times.len(), sent, "every request came to a backend");
    let twice: Vec<_> = times.iter().filter(|(_, count)| **count != 1).collect();
    assert!(twice.is_empty(), "came more than once: {twice:?}");
}

#[tokio::test]
async fn on_workers_endpoints_come_and_go_under_load_and_nothing_is_lost() {
    let mut all = vec![Backend::start("0").await, Backend::start("1").await];
    let upstream = Upstream::named("test");
    upstream.insert(all.iter().map(Backend::endpoint));
    let workers = Workers::start(2.try_into().unwrap()).unwrap();
    let proxy = HttpProxy::new(Routes::to(Arc::clone(&upstream)), HttpOptions::default(), &Tasks::new());
    let listening = proxy.bind_to(&workers, ([127, 0, 0, 1], 0).into()).await.unwrap();
    let load = Load::start(listening.address(), 8, true);
    for i in 0..10 {
        load.more(50).await;
        let new = Backend::start(&format!("{}", i + 2)).await;
        upstream.insert([new.endpoint()]);
        soon("the last request", upstream.remove(&[all[i].endpoint().id])).await;
        all[i].kill().await;
        all.push(new);
    }
    // One that left comes back: it is a member as any other.
    let back = all[11].endpoint();
    soon("the last request", upstream.remove(std::slice::from_ref(&back.id))).await;
    upstream.insert([back]);
    let before = all[11].entered();
    until("it is used again", || all[11].entered() > before).await;
    let (sent, failed) = load.stop().await;
    assert!(failed.is_empty(), "{} of {sent} failed: {failed:#?}", failed.len());
    let address = listening.address();
    soon("the listening ends", listening.shutdown()).await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "no worker listens any more");
    soon("the workers end", workers.shutdown()).await;
}

#[tokio::test]
async fn workers_do_not_share_an_address_with_strangers() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = HttpProxy::new(Routes::new(), HttpOptions::default(), &Tasks::new());
    let workers = Workers::start(2.try_into().unwrap()).unwrap();
    let refused = proxy.bind_to(&workers, taken.local_addr().unwrap()).await.unwrap_err();
    assert!(matches!(refused, NetError::Listen { .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_dies_under_load_costs_no_get() {
    let all = [Backend::start("a").await, Backend::start("b").await, Backend::start("c").await];
    let (upstream, listening) = proxy(&[&all[0], &all[1], &all[2]], UpstreamOptions::default()).await;
    let load = Load::start(listening.address(), 8, false);
    for dead in 0..2 {
        load.more(100).await;
        all[dead].kill().await;
        load.more(100).await;
        upstream.apply(all[dead + 1..].iter().map(Backend::endpoint));
    }
    let (sent, failed) = load.stop().await;
    assert!(failed.is_empty(), "{} of {sent} failed: {failed:#?}", failed.len());
}

#[tokio::test]
async fn a_drain_waits_for_what_is_in_flight_and_sends_nothing_more() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let (upstream, listening) = proxy(&[&a], UpstreamOptions::default()).await;
    let mut slow = Client::new(listening.address());
    let asked = slow.call(Method::POST, "/gated", "x");
    tokio::pin!(asked);
    until("the request is there", || {
        assert!(futures_util::FutureExt::now_or_never(asked.as_mut()).is_none());
        a.entered() == 1
    })
    .await;
    upstream.apply([a.endpoint(), b.endpoint()]);
    {
        let pod = a.pod();
        let drain = upstream.drain(&pod);
        tokio::pin!(drain);
        assert!(futures_util::poll!(drain.as_mut()).is_pending(), "one is in flight");
        // The drain's future ends here; what it began goes on.
    }
    assert_eq!(upstream.status()[0].state, EndpointState::Draining);
    let mut client = Client::new(listening.address());
    for _ in 0..10 {
        assert_eq!(client.get("/").await.1, "b");
    }
    let pod = a.pod();
    let drain = upstream.drain(&pod);
    tokio::pin!(drain);
    assert!(futures_util::poll!(drain.as_mut()).is_pending(), "it still is");
    a.state.gate.add_permits(1);
    assert_eq!(asked.await.unwrap(), (StatusCode::OK, "a".to_owned()));
    soon("the drain", drain).await;
    assert_eq!(a.entered(), 1);
    soon("draining again", upstream.drain(&a.pod())).await;
    soon("draining a stranger", upstream.drain(&"nobody".into())).await;
}

#[tokio::test]
async fn an_update_under_way_does_not_bring_a_drained_pod_back() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let (upstream, listening) = proxy(&[&a, &b], UpstreamOptions::default()).await;
    upstream.drain(&a.pod()).await;
    // Before it was known that the pod ends, and so again and again.
    upstream.apply([a.endpoint(), b.endpoint()]);
    upstream.apply([a.endpoint(), b.endpoint()]);
    let mut client = Client::new(listening.address());
    for _ in 0..10 {
        assert_eq!(client.get("/").await.1, "b");
    }
    // When it was no longer listed, a listing is a new one.
    upstream.apply([b.endpoint()]);
    upstream.apply([a.endpoint(), b.endpoint()]);
    let names = [client.get("/").await.1, client.get("/").await.1];
    assert!(names.contains(&"a".to_owned()), "{names:?}");
}

#[tokio::test]
async fn a_drained_endpoint_keeps_no_connection() {
    let a = Backend::start("a").await;
    let (upstream, listening) = proxy(&[&a], UpstreamOptions::default()).await;
    Client::new(listening.address()).get("/").await;
    assert_eq!(upstream.status()[0].idle_connections, 1);
    upstream.drain(&a.pod()).await;
    assert!(upstream.status().is_empty());
    assert!(upstream.endpoints().is_empty());
}
