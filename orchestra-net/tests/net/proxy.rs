//! What a request and its answer look like on both sides of the proxy.

use std::time::Duration;

use http::{Method, StatusCode};
use orchestra_core::engine::Tasks;
use orchestra_net::{
    HttpOptions, HttpProxy, Listening, NetError, Routes, ServiceClient, Upstream, UpstreamOptions,
};

use crate::backend::Backend;
use crate::client::{Client, raw};
use crate::{soon, until};
use std::sync::Arc;

/// A proxy in front of these backends.
pub(crate) async fn proxy(backends: &[&Backend], options: UpstreamOptions) -> (Arc<Upstream>, Listening) {
    let upstream = Upstream::new("test", Box::<orchestra_core::balance::RoundRobin>::default(), options);
    upstream.apply(backends.iter().map(|backend| backend.endpoint()));
    let listening = bind(&upstream, HttpOptions::default()).await;
    (upstream, listening)
}

pub(crate) async fn bind(upstream: &Arc<Upstream>, options: HttpOptions) -> Listening {
    let proxy = HttpProxy::new(Routes::to(Arc::clone(upstream)), options, &Tasks::new());
    proxy.bind(([127, 0, 0, 1], 0).into()).await.unwrap()
}

#[tokio::test]
async fn requests_go_round_and_connections_are_kept() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let (upstream, listening) = proxy(&[&a, &b], UpstreamOptions::default()).await;
    let mut client = Client::new(listening.address());
    for i in 0..20 {
        let (status, name) = client.get("/").await;
        assert_eq!((status, name.as_str()), (StatusCode::OK, ["a", "b"][i % 2]));
    }
    assert_eq!((a.connections(), b.connections()), (1, 1), "one connection serves them all");
    let status = upstream.status();
    assert!(
        status.iter().all(|endpoint| endpoint.in_flight == 0 && endpoint.idle_connections == 1),
        "{status:?}"
    );
}

#[tokio::test]
async fn the_head_arrives_without_what_is_for_one_hop_and_with_who_asked() {
    let a = Backend::start("a").await;
    let (_upstream, listening) = proxy(&[&a], UpstreamOptions::default()).await;
    let request = "GET /head?x=1 HTTP/1.1\r\nhost: Shop:80\r\nconnection: close, x-hop\r\nx-hop: 1\r\n\
                   x-forwarded-for: 9.9.9.9\r\nx-end: 1\r\nkeep-alive: timeout=9\r\n\r\n";
    let answer = raw(listening.address(), request.as_bytes()).await;
    let mut head: Vec<&str> = answer.split_once("\r\n\r\n").unwrap().1.lines().collect();
    head[1..].sort_unstable();
    let expected = [
        "GET /head?x=1 HTTP/1.1",
        "host: Shop:80",
        "x-end: 1",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-host: Shop:80",
        "x-forwarded-proto: http",
    ];
    assert_eq!(head, expected);
}

#[tokio::test]
async fn heads_and_old_clients_are_answered_as_they_ask() {
    let a = Backend::start("a").await;
    let (_upstream, listening) = proxy(&[&a], UpstreamOptions::default()).await;
    let head = raw(listening.address(), b"HEAD / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(head.contains("content-length: 1\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    let old = raw(listening.address(), b"GET / HTTP/1.0\r\n\r\n").await;
    assert!(old.starts_with("HTTP/1.0 200") && old.ends_with("\r\n\r\na"), "{old}");
    assert_eq!(a.connections(), 1, "the connection of the HEAD is used again");
}

#[tokio::test]
async fn without_an_endpoint_a_request_waits_and_then_says_why_not() {
    let options =
        UpstreamOptions::default().with_endpoint_wait(Duration::from_millis(50)).with_max_waiting(1);
    let (upstream, listening) = proxy(&[], options).await;
    let (status, text) = Client::new(listening.address()).get("/").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(text.contains("test has no ready endpoint"), "{text}");
    // One that comes meanwhile takes the request.
    let upstream = Upstream::new(
        Arc::clone(upstream.name()),
        Box::<orchestra_core::balance::RoundRobin>::default(),
        UpstreamOptions::default().with_max_waiting(1),
    );
    let client = ServiceClient::new(Arc::clone(&upstream));
    let waits = async { client.get("/").await.unwrap().status() };
    tokio::pin!(waits);
    assert!(futures_util::poll!(waits.as_mut()).is_pending());
    let second = client.get("/").await.unwrap_err();
    assert!(matches!(second, NetError::Busy { waiting: 1, .. }), "{second}");
    let a = Backend::start("a").await;
    upstream.apply([a.endpoint()]);
    assert_eq!(soon("the waiting request", waits).await, StatusCode::OK);
}

#[tokio::test]
async fn an_endpoint_that_says_nothing_is_given_up() {
    let a = Backend::start("a").await;
    let options = UpstreamOptions::default().with_response_timeout(Duration::from_millis(50));
    let (upstream, listening) = proxy(&[&a], options).await;
    let (status, text) = Client::new(listening.address()).get("/never").await;
    assert_eq!(status, StatusCode::GATEWAY_TIMEOUT);
    assert!(text.contains("did not answer within 50ms"), "{text}");
    until("nothing is in flight", || upstream.status()[0].in_flight == 0).await;
}

#[tokio::test]
async fn a_request_for_nobody_is_not_found() {
    let proxy = HttpProxy::new(Routes::new(), HttpOptions::default(), &Tasks::new());
    let listening = proxy.bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let (status, text) = Client::new(listening.address()).get("/x").await;
    assert_eq!((status, text.as_str()), (StatusCode::NOT_FOUND, "there is no service for test/x\n"));
}

#[tokio::test]
async fn shutting_down_answers_what_was_asked_and_listens_no_more() {
    let a = Backend::start("a").await;
    let (_upstream, listening) = proxy(&[&a], UpstreamOptions::default()).await;
    let address = listening.address();
    let asked = async { Client::new(address).get("/gated").await };
    tokio::pin!(asked);
    until("the request is there", || {
        let polled = futures_util::FutureExt::now_or_never(futures_util::future::poll_fn(|cx| {
            asked.as_mut().poll(cx)
        }));
        assert!(polled.is_none());
        a.entered() == 1
    })
    .await;
    let shutdown = listening.shutdown();
    tokio::pin!(shutdown);
    assert!(futures_util::poll!(shutdown.as_mut()).is_pending());
    a.state.gate.add_permits(1);
    let (answered, ()) = tokio::join!(asked, shutdown);
    assert_eq!(answered, (StatusCode::OK, "a".to_owned()));
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn it_is_a_tower_service() {
    use tower::ServiceExt;
    let a = Backend::start("a").await;
    let (upstream, _listening) = proxy(&[&a], UpstreamOptions::default()).await;
    let request = http::Request::builder().method(Method::POST).uri("/echo").header("host", "x");
    let request = request.body(http_body_util::Full::new(bytes::Bytes::from_static(b"hello"))).unwrap();
    let proxy = HttpProxy::new(Routes::to(Arc::clone(&upstream)), HttpOptions::default(), &Tasks::new());
    let response = proxy.oneshot(request.clone()).await.unwrap();
    let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    assert_eq!(body, "hello");
    let response = ServiceClient::new(upstream).oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}
