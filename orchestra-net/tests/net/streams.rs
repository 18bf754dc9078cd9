//! Bodies that stream.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use orchestra_core::engine::Tasks;
use orchestra_net::{EndpointState, NetError, ServiceClient, Upstream, UpstreamOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::backend::{Backend, LARGE};
use crate::client::{Client, raw};
use crate::proxy::proxy;
use crate::{soon, until};

/// The `n`th piece of a body that nobody could keep or make up.
fn piece(n: usize) -> Bytes {
    let byte = |i: usize| ((n * 31 + i * 7 + i / 251) % 256) as u8;
    (0..16 * 1024 + n % 1000).map(byte).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_pass_both_ways_unchanged() {
    const PIECES: usize = 400;
    let a = Backend::start("a").await;
    let (upstream, listening) = proxy(&[&a], UpstreamOptions::default()).await;
    let tasks = Tasks::new();
    let stream = TcpStream::connect(listening.address()).await.unwrap();
    let body = StreamBody::new(
        futures_util::stream::iter(0..PIECES)
            .map(|n| Ok::<_, std::convert::Infallible>(Frame::data(piece(n)))),
    );
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    tasks.spawn("client", async move { drop(connection.await) });
    let request = Request::post("/echo").header("host", "x").body(body).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let mut expected = (0..PIECES).flat_map(piece);
    let mut body = response.into_body();
    let mut length = 0;
    while let Some(frame) = soon("a frame", body.frame()).await {
        let data = frame.unwrap().into_data().unwrap();
        length += data.len();
        assert!(data.iter().all(|byte| expected.next() == Some(*byte)), "differs before byte {length}");
    }
    assert!(expected.next().is_none(), "ended after {length} bytes");
    until("nothing is in flight", || upstream.status()[0].in_flight == 0).await;
    assert_eq!(upstream.status()[0].idle_connections, 1, "the connection is used again");
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off() {
    let a = Backend::start("a").await;
    let (upstream, listening) = proxy(&[&a], UpstreamOptions::default()).await;
    let asked = raw(listening.address(), b"GET /half HTTP/1.1\r\nhost: x\r\n\r\n");
    let killed = async {
        until("it is half answered", || upstream.status()[0].in_flight == 1 && a.entered() == 1).await;
        a.kill().await;
    };
    let (answer, ()) = soon("the end", async { tokio::join!(asked, killed) }).await;
    assert!(!answer.ends_with("halfhalf"), "{answer}");
    until("nothing is in flight", || upstream.status().iter().all(|endpoint| endpoint.in_flight == 0)).await;
}

/// One failure ejects, and the only endpoint too: so that a failure shows.
fn strict(body_timeout: Option<Duration>) -> UpstreamOptions {
    let options = UpstreamOptions::default().with_body_timeout(body_timeout);
    options.with_ejection(1, Duration::from_secs(600), 100)
}

#[tokio::test]
async fn an_endpoint_that_falls_silent_in_its_answer_is_given_up_and_counts_as_failed() {
    let a = Backend::start("a").await;
    let limit = Duration::from_millis(50);
    let (upstream, listening) = proxy(&[&a], strict(Some(limit))).await;
    let answer = soon("the end", raw(listening.address(), b"GET /half HTTP/1.1\r\nhost: x\r\n\r\n")).await;
    assert!(answer.ends_with("\r\n\r\nhalf"), "the half that came, and the end: {answer}");
    until("nothing is in flight", || upstream.status()[0].in_flight == 0).await;
    assert_eq!(upstream.status()[0].state, EndpointState::Ejected);

    let client = ServiceClient::new(upstream);
    let answer = client.get("/half").await.unwrap();
    let error = soon("the end", answer.into_body().collect()).await.unwrap_err();
    let stalled = error.downcast_ref::<NetError>();
    assert!(matches!(stalled, Some(NetError::Stalled { limit: l, .. }) if *l == limit), "{error}");
}

#[tokio::test]
async fn a_silent_endpoint_is_waited_for_where_there_is_no_bound() {
    let a = Backend::start("a").await;
    let upstream = Upstream::new("test", Box::<orchestra_core::balance::RoundRobin>::default(), strict(None));
    upstream.apply([a.endpoint()]);
    let answer = ServiceClient::new(Arc::clone(&upstream)).get("/half").await.unwrap();
    let mut body = answer.into_body();
    soon("the half", body.frame()).await.unwrap().unwrap();
    // On a clock of years: whatever timer there was would fire.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(100_000_000)).await;
    assert!(futures_util::poll!(std::pin::pin!(body.frame())).is_pending());
    assert_eq!(upstream.status()[0].state, EndpointState::Ready);
}

#[tokio::test]
async fn a_client_that_reads_slowly_is_no_fault_of_the_endpoint() {
    let a = Backend::start("a").await;
    let limit = Duration::from_millis(300);
    let (upstream, listening) = proxy(&[&a], strict(Some(limit))).await;
    let mut stream = TcpStream::connect(listening.address()).await.unwrap();
    let request = b"GET /large HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut buffer = vec![0; 64 * 1024];
    let mut length = soon("the beginning", stream.read(&mut buffer)).await.unwrap();
    // All buffers fill, and then nothing moves: for three times as long as an endpoint may be silent.
    tokio::time::sleep(3 * limit).await;
    assert_eq!(upstream.status()[0].in_flight, 1, "it is not answered yet: the test would show nothing");
    loop {
        match soon("more", stream.read(&mut buffer)).await.unwrap() {
            0 => break,
            n => length += n,
        }
    }
    assert!(length > LARGE, "broken off after {length} bytes");
    assert_eq!(upstream.status()[0].state, EndpointState::Ready);
}

#[tokio::test]
async fn a_client_that_goes_away_frees_its_place() {
    let a = Backend::start("a").await;
    let (upstream, listening) = proxy(&[&a], UpstreamOptions::default()).await;
    let mut stream = TcpStream::connect(listening.address()).await.unwrap();
    stream.write_all(b"GET /never HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    until("the request is there", || a.entered() == 1).await;
    assert_eq!(upstream.status()[0].in_flight, 1);
    drop(stream);
    until("its place is free", || upstream.status()[0].in_flight == 0).await;
}

#[tokio::test]
async fn an_upgrade_that_was_refused_leaves_no_raw_pipe() {
    let a = Backend::start("a").await;
    let (upstream, listening) = proxy(&[&a], UpstreamOptions::default()).await;
    let request = b"GET /upgrade HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: other\r\n\r\n\
                    GET /x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answers = raw(listening.address(), request).await;
    assert!(answers.starts_with("HTTP/1.1 400"), "{answers}");
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 2, "the second request is one: {answers}");
    until("nothing is in flight", || upstream.status()[0].in_flight == 0).await;
}

#[tokio::test]
async fn the_client_in_this_process_needs_no_proxy() {
    let a = Backend::start("a").await;
    let upstream = Upstream::named("shop/a");
    upstream.apply([a.endpoint()]);
    let client = ServiceClient::new(upstream);
    for _ in 0..3 {
        let response = client.get("/head").await.unwrap();
        let head = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(head, "GET /head HTTP/1.1\nhost: shop/a\n");
    }
    let response = client.post("/echo", "order").await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "order");
    assert_eq!(a.connections(), 1);
    assert!(client.get("no path").await.is_err());
    let mut other = Client::new(a.address);
    assert_eq!(other.get("/").await.1, "a");
}
