//! What is learnt of endpoints from requests that do not end as they should, and whose fault that was.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::channel::Channel;
use http_body_util::{BodyExt, Full};
use orchestra_core::balance::{PeakEwma, RoundRobin};
use orchestra_core::engine::Tasks;
use orchestra_net::{
    EndpointState, HttpOptions, HttpProxy, Route, Routes, ServiceClient, Upstream, UpstreamOptions,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower::ServiceExt;

use crate::backend::Backend;
use crate::client::{Client, raw};
use crate::proxy::{bind, proxy};
use crate::{soon, until};

/// Three failures in a row eject, and the only endpoint too.
fn three() -> UpstreamOptions {
    UpstreamOptions::default().with_ejection(3, Duration::from_secs(600), 100)
}

fn is_ejected(upstream: &Upstream) -> bool {
    upstream.status()[0].state == EndpointState::Ejected
}

async fn call_grpc(client: &ServiceClient, status: &'static str) -> String {
    let call = Request::post("/trailers").header("content-type", "application/grpc");
    let call = call.header("x-grpc-status", status).body("hello").unwrap();
    let answer = client.send(call).await.unwrap().into_body().collect().await.unwrap();
    answer.trailers().unwrap()["grpc-status"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn endpoints_that_fail_as_grpc_says_it_are_ejected() {
    let a = Backend::start("a").await;
    let (upstream, _listening) = proxy(&[&a], three().with_http2(true)).await;
    let client = ServiceClient::new(Arc::clone(&upstream));
    for status in ["14", "14", "5", "14", "14", "0"] {
        assert_eq!(call_grpc(&client, status).await, status);
    }
    assert!(!is_ejected(&upstream), "no three in a row: NOT_FOUND is an answer");
    for _ in 0..3 {
        call_grpc(&client, "14").await;
    }
    until("it is ejected", || is_ejected(&upstream)).await;
}

#[tokio::test]
async fn answers_that_begin_well_and_break_off_eject() {
    let a = Backend::start("a").await;
    let (upstream, listening) =
        proxy(&[&a], three().with_body_timeout(Some(Duration::from_millis(20)))).await;
    for _ in 0..3 {
        raw(listening.address(), b"GET /half HTTP/1.1\r\nhost: x\r\n\r\n").await;
    }
    until("it is ejected", || is_ejected(&upstream)).await;
}

#[tokio::test]
async fn an_upgrade_that_was_refused_is_answered_like_any_other_request() {
    let a = Backend::start("a").await;
    let (upstream, listening) =
        proxy(&[&a], three().with_body_timeout(Some(Duration::from_millis(20)))).await;
    for _ in 0..3 {
        let request = b"GET /half HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
        let answer = soon("the end", raw(listening.address(), request)).await;
        assert!(answer.ends_with("half"), "{answer}");
    }
    until("it is ejected", || is_ejected(&upstream)).await;
    // Endpoints that speak HTTP/2 have nothing to change to.
    let (upstream, listening) = proxy(&[&a], three().with_http2(true)).await;
    let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade, close\r\nupgrade: websocket\r\n\r\n";
    let answer = soon("the answer", raw(listening.address(), request)).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with('a'), "{answer}");
    assert!(!is_ejected(&upstream));
}

#[tokio::test]
async fn a_deadline_that_passes_is_a_failure_of_the_endpoint() {
    let a = Backend::start("a").await;
    let (upstream, _listening) = proxy(&[&a], three()).await;
    let route = Route::to(Arc::clone(&upstream)).timeout(Duration::from_millis(20));
    let proxy = HttpProxy::new(Routes::new().with(route), HttpOptions::default(), &Tasks::new());
    let listening = proxy.bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let mut client = Client::new(listening.address());
    for _ in 0..3 {
        assert_eq!(client.get("/never").await.0, StatusCode::GATEWAY_TIMEOUT);
    }
    until("it is ejected", || is_ejected(&upstream)).await;
}

#[tokio::test]
async fn an_endpoint_that_nobody_waits_for_any_more_looks_slow() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let upstream = Upstream::new("test", Box::<PeakEwma>::default(), UpstreamOptions::default());
    upstream.apply([a.endpoint()]);
    let client = ServiceClient::new(Arc::clone(&upstream));
    tokio::time::timeout(Duration::from_millis(1_100), client.get("/never")).await.unwrap_err();
    upstream.apply([a.endpoint(), b.endpoint()]);
    for _ in 0..10 {
        client.get("/").await.unwrap();
    }
    // Of ten picks none or one is a probe.
    assert!(b.entered() >= 8, "{}", b.entered());
}

#[tokio::test]
async fn a_client_has_its_own_time_for_its_body() {
    let a = Backend::start("a").await;
    let hasty = three().with_response_timeout(Duration::from_millis(50));
    let (upstream, listening) = proxy(&[&a], hasty).await;
    for method in ["PUT", "POST"] {
        let mut stream = TcpStream::connect(listening.address()).await.unwrap();
        let head =
            format!("{method} /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 4\r\n\r\nab");
        stream.write_all(head.as_bytes()).await.unwrap();
        // Longer than an endpoint may be silent.
        tokio::time::sleep(Duration::from_millis(200)).await;
        stream.write_all(b"cd").await.unwrap();
        let mut answer = String::new();
        soon("the answer", stream.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("abcd"), "{method}: {answer}");
    }
    let strict = bind(&upstream, HttpOptions::default().with_body_timeout(Duration::from_millis(50))).await;
    for method in ["PUT", "POST"] {
        let request = format!("{method} / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nab");
        let answer = soon("the answer", raw(strict.address(), request.as_bytes())).await;
        assert!(answer.starts_with("HTTP/1.1 408"), "{method}: {answer}");
    }
    assert!(!is_ejected(&upstream));
}

#[tokio::test]
async fn a_body_of_the_application_has_its_own_bounds_too() {
    let a = Backend::start("a").await;
    let hasty = three().with_response_timeout(Duration::from_millis(100));
    let (upstream, _listening) = proxy(&[&a], hasty).await;
    let (mut send, body) = Channel::<Bytes, std::io::Error>::new(1);
    let request = Request::builder().method(Method::POST).uri("/echo").body(body).unwrap();
    let asking = ServiceClient::new(Arc::clone(&upstream)).oneshot(request);
    let sending = async {
        for _ in 0..2 {
            send.send_data(Bytes::from_static(b"ab")).await.unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        drop(send);
    };
    let (answer, ()) = tokio::join!(asking, sending);
    assert_eq!(answer.unwrap().into_body().text().await.unwrap(), "abab");

    let options = HttpOptions::default().with_max_body(Some(3));
    let proxy = HttpProxy::new(Routes::to(Arc::clone(&upstream)), options, &Tasks::new());
    let (mut send, body) = Channel::<Bytes, std::io::Error>::new(2);
    send.send_data(Bytes::from_static(b"abcd")).await.unwrap();
    drop(send);
    let request = Request::builder().method(Method::POST).uri("/").header("host", "x").body(body).unwrap();
    let answer = proxy.oneshot(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert!(!is_ejected(&upstream));
}

#[tokio::test]
async fn what_is_wrong_with_an_endpoint_is_not_told_to_strangers() {
    let a = Backend::start("a").await;
    a.kill().await;
    let request = Request::post("/").header("host", "x").body(Full::from("x")).unwrap();
    let brief = three().with_endpoint_wait(Duration::from_millis(10));
    let lonely = Upstream::new("shop", Box::<RoundRobin>::default(), brief);
    lonely.apply([a.endpoint()]);
    let proxy = HttpProxy::new(Routes::to(lonely), HttpOptions::default(), &Tasks::new());
    let answer = proxy.oneshot(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(answer.into_body().text().await.unwrap(), "shop did not answer\n");
}
