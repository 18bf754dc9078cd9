//! What is tried again, and what is not.

use std::time::Duration;

use http::{Method, StatusCode};
use orchestra_core::balance::Endpoint;
use orchestra_core::engine::Tasks;
use orchestra_net::{Upstream, UpstreamOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::backend::Backend;
use crate::client::Client;
use crate::proxy::proxy;
use crate::{soon, until};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// An endpoint where nobody listens.
async fn refusing(name: &str) -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    Endpoint::new(name, listener.local_addr().unwrap())
}

/// An endpoint that reads a request's head and hangs up, and how often it did.
pub(crate) async fn hanging_up(name: &str, tasks: &Tasks) -> (Endpoint, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::new(name, listener.local_addr().unwrap());
    let seen = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&seen);
    tasks.spawn("hanging-up", async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 1024];
            if stream.read(&mut head).await.is_ok_and(|n| n > 0) {
                count.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    (endpoint, seen)
}

fn upstream_with(upstream: &Upstream, backends: &[&Backend], others: &[&Endpoint]) {
    let others = others.iter().map(|endpoint| (*endpoint).clone());
    upstream.apply(backends.iter().map(|backend| backend.endpoint()).chain(others));
}

#[tokio::test]
async fn a_post_that_was_refused_goes_to_another_endpoint() {
    let a = Backend::start("a").await;
    let (upstream, listening) = proxy(&[], UpstreamOptions::default()).await;
    upstream_with(&upstream, &[&a], &[&refusing("dead").await]);
    let mut client = Client::new(listening.address());
    for _ in 0..6 {
        assert_eq!(client.call(Method::POST, "/", "x").await.unwrap(), (StatusCode::OK, "a".to_owned()));
    }
    assert_eq!(a.entered(), 6);
}

#[tokio::test]
async fn what_was_sent_is_sent_again_only_where_that_does_no_harm() {
    let tasks = Tasks::new();
    let a = Backend::start("a").await;
    let (bad, seen) = hanging_up("bad", &tasks).await;
    let options = UpstreamOptions::default().with_ejection(0, Duration::ZERO, 0);
    let (upstream, listening) = proxy(&[], options).await;
    upstream_with(&upstream, &[&a], &[&bad]);
    let mut client = Client::new(listening.address());
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::OPTIONS] {
        for _ in 0..2 {
            let body = if method == Method::PUT { "a small body" } else { "" };
            let answered = client.call(method.clone(), "/", body).await.unwrap();
            assert_eq!(answered, (StatusCode::OK, "a".to_owned()), "{method}");
        }
    }
    assert!(seen.load(Ordering::SeqCst) >= 4, "the bad one was tried, too");
    let (before_a, before_bad) = (a.entered(), seen.load(Ordering::SeqCst));
    let mut failed = 0;
    for _ in 0..6 {
        let (status, text) = client.call(Method::POST, "/", "x").await.unwrap();
        if status == StatusCode::BAD_GATEWAY {
            assert_eq!(text, "test did not answer\n");
            failed += 1;
        }
    }
    let after = (a.entered() - before_a, seen.load(Ordering::SeqCst) - before_bad);
    assert_eq!(after, (6 - failed, failed), "every POST came to one endpoint, once");
    assert_eq!(failed, 3);
}

#[tokio::test]
async fn a_body_too_large_to_keep_is_not_sent_again() {
    let tasks = Tasks::new();
    let (bad, seen) = hanging_up("bad", &tasks).await;
    let (upstream, listening) = proxy(&[], UpstreamOptions::default()).await;
    upstream.apply([bad]);
    let large = "x".repeat(65 * 1024);
    let (status, _) = Client::new(listening.address()).call(Method::PUT, "/", &large).await.unwrap();
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    assert_eq!(seen.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn retries_are_bounded_by_their_budget() {
    let tasks = Tasks::new();
    let (bad, seen) = hanging_up("bad", &tasks).await;
    let (worse, seen_too) = hanging_up("worse", &tasks).await;
    let options = UpstreamOptions::default().with_ejection(0, Duration::ZERO, 0).with_retry_share(0.2);
    let (upstream, listening) = proxy(&[], options).await;
    upstream.apply([bad, worse]);
    let mut client = Client::new(listening.address());
    let (requests, started) = (200, tokio::time::Instant::now());
    for _ in 0..requests {
        assert_eq!(client.get("/").await.0, StatusCode::BAD_GATEWAY);
    }
    let sent = seen.load(Ordering::SeqCst) + seen_too.load(Ordering::SeqCst);
    // A fifth of them, and ten a second: for the ten seconds that are counted together, and since.
    let seconds = usize::try_from(started.elapsed().as_secs()).unwrap() + 1;
    let most = requests + requests / 5 + 10 * (10 + seconds);
    assert!((requests + 10..=most).contains(&sent), "{sent} sent for {requests} requests, at most {most}");
}

#[tokio::test]
async fn a_dead_endpoint_alone_is_waited_for() {
    let a = Backend::start("a").await;
    let (_upstream, listening) = proxy(&[&a], UpstreamOptions::default()).await;
    a.kill().await;
    let mut client = Client::new(listening.address());
    let asked = client.call(Method::POST, "/", "x");
    tokio::pin!(asked);
    assert!(futures_util::poll!(asked.as_mut()).is_pending());
    // A container that died and is restarted in place.
    let again = Backend::start_at("a", a.address).await;
    assert_eq!(soon("the answer", asked).await.unwrap(), (StatusCode::OK, "a".to_owned()));
    assert_eq!(again.entered(), 1);
}

/// Answers each connection's first request, and closes it when told, without having said so.
async fn closing(tasks: &Tasks) -> (Endpoint, Arc<tokio::sync::Notify>, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::new("closing", listener.local_addr().unwrap());
    let (close, closed) = (Arc::<tokio::sync::Notify>::default(), Arc::<AtomicUsize>::default());
    let (told, count) = (Arc::clone(&close), Arc::clone(&closed));
    tasks.spawn("closing", async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 1024];
            assert!(stream.read(&mut head).await.unwrap() > 0);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
            told.notified().await;
            drop(stream);
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    (endpoint, close, closed)
}

#[tokio::test]
async fn a_request_never_races_the_end_of_a_kept_connection() {
    let tasks = Tasks::new();
    let (endpoint, close, closed) = closing(&tasks).await;
    let (upstream, listening) = proxy(&[], UpstreamOptions::default()).await;
    upstream.apply([endpoint]);
    let mut client = Client::new(listening.address());
    for (round, method) in [Method::POST, Method::GET].into_iter().cycle().take(40).enumerate() {
        let answered = client.call(method, "/", "").await.unwrap();
        assert_eq!(answered, (StatusCode::OK, "ok".to_owned()), "round {round}");
        close.notify_one();
        // The kernel knows that it is closed; the proxy's event loop need not.
        until("it is closed", || closed.load(Ordering::SeqCst) == round + 1).await;
    }
}

/// A listener that takes no connection until it is asked to: its queue is full, and it is silent to whoever comes then.
fn silent() -> (TcpListener, Vec<std::net::TcpStream>) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap();
    let waiting = std::iter::from_fn(|| {
        let client = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        client.connect_timeout(&address, Duration::from_millis(100)).ok().map(|()| client.into())
    });
    let waiting = waiting.collect();
    socket.set_nonblocking(true).unwrap();
    (TcpListener::from_std(socket.into()).unwrap(), waiting)
}

#[tokio::test]
async fn nothing_is_sent_to_an_address_that_was_an_endpoints_when_connecting_began() {
    let tasks = Tasks::new();
    let (listener, waiting) = silent();
    let gone = Endpoint::new("gone", listener.local_addr().unwrap());
    let b = Backend::start("b").await;
    let (upstream, listening) = proxy(&[], UpstreamOptions::default()).await;
    upstream_with(&upstream, &[], &[&gone]);
    let mut client = Client::new(listening.address());
    let taken_over = async {
        until("the request is on its way", || upstream.status()[0].in_flight == 1).await;
        upstream_with(&upstream, &[&b], &[]);
        // Now somebody else has the address, who would answer.
        drop(waiting);
        let _another = tasks.spawn("another", async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = [0; 1024];
                if stream.read(&mut head).await.is_ok_and(|n| n > 0) {
                    let none = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
                    stream.write_all(none).await.unwrap();
                }
            }
        });
    };
    let both = async { tokio::join!(client.call(Method::POST, "/", "x"), taken_over) };
    let (answered, ()) = soon("an answer", both).await;
    assert_eq!(answered.unwrap(), (StatusCode::OK, "b".to_owned()));
}
