//! Connections of HTTP/2 to endpoints that many requests share.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use hyper_util::rt::TokioExecutor;
use hyper_util::server::conn::auto;
use orchestra_core::balance::Endpoint;
use orchestra_core::engine::Tasks;
use orchestra_net::{EndpointState, NetError, ServiceClient, UpstreamOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::backend::{Backend, WIDE};
use crate::frames::{END_HEADERS, END_STREAM, HEADERS, PING, SETTINGS, frame, parse};
use crate::proxy::proxy;
use crate::{soon, until};

/// A backend that allows so many requests at once on one connection.
async fn allowing(streams: u32) -> Backend {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http2().max_concurrent_streams(streams);
    Backend::start_as("a", ([127, 0, 0, 1], 0).into(), server).await
}

async fn get(client: &ServiceClient, path: &str) -> String {
    client.get(path).await.unwrap().into_body().text().await.unwrap()
}

/// Asks for `/gated` so often at once, and answers when all have come in.
async fn held(client: &ServiceClient, backend: &Backend, count: usize) {
    let (client, tasks) = (client.clone(), Tasks::new());
    let (tell, told) = tokio::sync::oneshot::channel();
    tasks.spawn("held", async move {
        tell.send(join_all((0..count).map(|_| get(&client, "/gated"))).await).unwrap();
    });
    until("all have come in", || backend.inside() == count).await;
    backend.state.gate.add_permits(count);
    let answers = soon("the answers", told).await.unwrap();
    assert!(answers.len() == count && answers.iter().all(|answer| answer == "a"), "{answers:?}");
}

#[tokio::test]
async fn no_more_requests_share_a_connection_than_the_endpoint_allows() {
    // One, few, and more than are put on a connection in any case.
    for (streams, count) in [(1, 10), (2, 50), (1000, 300)] {
        let a = allowing(streams).await;
        let (upstream, _listening) = proxy(&[&a], UpstreamOptions::default().with_http2(true)).await;
        let client = ServiceClient::new(Arc::clone(&upstream));
        held(&client, &a, count).await;
        let before = a.connections();
        assert!(before >= count.div_ceil(100.min(streams as usize)), "{before}");
        held(&client, &a, count).await;
        for _ in 0..10 {
            assert_eq!(get(&client, "/").await, "a");
        }
        assert_eq!(a.connections(), before, "those that were opened are enough");
        assert_eq!(upstream.status()[0].state, EndpointState::Ready);
    }
}

#[tokio::test]
async fn connections_that_were_needed_for_a_peak_end_while_others_go_on() {
    let a = allowing(2).await;
    let (upstream, _listening) = proxy(&[&a], UpstreamOptions::default().with_http2(true)).await;
    let client = ServiceClient::new(upstream);
    held(&client, &a, 20).await;
    let open = || a.state.open.load(Ordering::SeqCst);
    assert!(open() >= 10);
    // Time passes between requests alone: while one is under way its limits would pass, too.
    tokio::time::pause();
    for _ in 0..20 {
        tokio::time::advance(Duration::from_secs(5)).await;
        tokio::time::resume();
        assert_eq!(get(&client, "/").await, "a");
        tokio::time::pause();
    }
    tokio::time::resume();
    until("one is enough", || open() == 1).await;
}

#[tokio::test]
async fn heads_of_answers_are_as_large_over_either() {
    for http2 in [false, true] {
        let a = Backend::start("a").await;
        let (upstream, _listening) = proxy(&[&a], UpstreamOptions::default().with_http2(http2)).await;
        let answer = soon("the answer", ServiceClient::new(upstream).get("/wide")).await.unwrap();
        assert_eq!(answer.headers().iter().filter(|(_, value)| value.len() == 2000).count(), WIDE);
    }
}

/// What a server by hand has heard.
#[derive(Default)]
struct Heard {
    connections: AtomicUsize,
    requests: AtomicUsize,
    pings: AtomicUsize,
}

/// A server by hand that answers a request when it has had so many pings on its connection, and those at once; where it is to
/// be `mute`, the first connection brings nothing but settings.
async fn server(pings: usize, mute: bool, tasks: &Tasks) -> (SocketAddr, Arc<Heard>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heard = Arc::<Heard>::default();
    let (group, tell) = (tasks.clone(), Arc::clone(&heard));
    tasks.spawn("server", async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mute = tell.connections.fetch_add(1, Ordering::SeqCst) == 0 && mute;
            group.spawn("server-connection", connection(stream, pings, mute, Arc::clone(&tell)));
        }
    });
    (address, heard)
}

async fn connection(mut stream: TcpStream, pings: usize, mute: bool, heard: Arc<Heard>) {
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    let (mut came, mut seen, mut pinged, mut waiting) = (Vec::new(), 0, 0, Vec::new());
    while stream.read_buf(&mut came).await.is_ok_and(|n| n > 0) {
        let frames = parse(came.get(24..).unwrap_or_default());
        for (kind, id, payload) in frames.iter().skip(std::mem::replace(&mut seen, frames.len())) {
            match *kind {
                HEADERS => {
                    heard.requests.fetch_add(1, Ordering::SeqCst);
                    waiting.push(*id);
                }
                PING => {
                    heard.pings.fetch_add(1, Ordering::SeqCst);
                    pinged += 1;
                    if !mute {
                        // 1: it is the answer.
                        stream.write_all(&frame(PING, 1, 0, payload)).await.unwrap();
                    }
                }
                _ => {}
            }
        }
        if pinged >= pings && !mute {
            for id in waiting.drain(..) {
                // 0x88: the status 200.
                stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, id, &[0x88])).await.unwrap();
            }
        }
    }
}

async fn client(server: SocketAddr, options: UpstreamOptions) -> ServiceClient {
    let (upstream, _listening) = proxy(&[], options.with_http2(true)).await;
    upstream.apply([Endpoint::new("server", server)]);
    ServiceClient::new(upstream)
}

#[tokio::test]
async fn a_silent_connection_that_answers_pings_stays() {
    let tasks = Tasks::new();
    let (address, heard) = server(3, false, &tasks).await;
    let options = UpstreamOptions::default().with_http2_ping(Some(Duration::from_millis(5)));
    let client = client(address, options).await;
    soon("the answer", client.get("/")).await.unwrap();
    assert!(heard.pings.load(Ordering::SeqCst) >= 3);
    assert_eq!(heard.connections.load(Ordering::SeqCst), 1);
    tasks.shutdown().await;
}

#[tokio::test]
async fn a_connection_that_answers_no_ping_ends_with_its_requests() {
    let tasks = Tasks::new();
    let (address, heard) = server(0, true, &tasks).await;
    let options = UpstreamOptions::default().with_response_timeout(Duration::from_secs(3600));
    let client = client(address, options).await;
    let asked = client.clone();
    let (tell, told) = tokio::sync::oneshot::channel();
    tasks.spawn("request", async move { tell.send(asked.post("/", "").await).unwrap() });
    until("it is under way", || heard.requests.load(Ordering::SeqCst) == 1).await;
    // The clock goes on when nothing else does.
    tokio::time::pause();
    let begin = tokio::time::Instant::now();
    let lost = told.await.unwrap().unwrap_err();
    assert!(begin.elapsed() < Duration::from_secs(120) && heard.pings.load(Ordering::SeqCst) == 1);
    assert!(
        matches!(&lost, NetError::Upstream { source, .. } if source.to_string().contains("http2")),
        "{lost:?}"
    );
    tokio::time::resume();
    soon("the answer", client.post("/", "")).await.unwrap();
    tasks.shutdown().await;
}

#[tokio::test]
async fn a_connection_on_which_a_request_timed_out_is_shared_no_more() {
    let tasks = Tasks::new();
    let (address, heard) = server(0, true, &tasks).await;
    let client = client(address, UpstreamOptions::default()).await;
    let asked = client.clone();
    let (tell, told) = tokio::sync::oneshot::channel();
    tasks.spawn("request", async move { tell.send(asked.post("/", "").await).unwrap() });
    until("it is under way", || heard.requests.load(Ordering::SeqCst) == 1).await;
    tokio::time::pause();
    assert!(matches!(told.await.unwrap().unwrap_err(), NetError::Timeout { .. }));
    tokio::time::resume();
    soon("the answer", client.post("/", "")).await.unwrap();
    assert_eq!(heard.connections.load(Ordering::SeqCst), 2);
    tasks.shutdown().await;
}
