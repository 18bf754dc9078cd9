//! TLS towards endpoints.

use http::StatusCode;
use orchestra_core::engine::Tasks;
use orchestra_net::{ClientTls, EndpointState, HealthCheck, Probe, UpstreamOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::authority::Authority;
use crate::backend::Backend;
use crate::client::Client;
use crate::proxy::proxy;
use crate::{soon, until};

fn to(http2: bool) -> UpstreamOptions {
    UpstreamOptions::default().with_http2(http2).with_ejection(0, std::time::Duration::ZERO, 0)
}

/// What the proxy answers where the only endpoint can't be spoken to.
async fn refusal(http2: bool, offered: &str, asks: bool, tls: ClientTls, authority: &Authority) -> String {
    let (a, tasks) = (Backend::start("a").await, Tasks::new());
    let endpoint = authority.endpoint(&a, "shop.internal", &[offered], asks, &tasks).await;
    let options = to(http2).with_endpoint_wait(std::time::Duration::from_millis(20));
    let (upstream, listening) = proxy(&[], options).await;
    upstream.set_tls(Some(tls));
    upstream.apply([endpoint]);
    let answer = Client::new(listening.address()).call(http::Method::POST, "/", "x").await.unwrap();
    assert_eq!(answer, (StatusCode::BAD_GATEWAY, "test did not answer\n".to_owned()));
    // In this process it is said why.
    let error = orchestra_net::ServiceClient::new(upstream).post("/", "x").await.unwrap_err();
    assert_eq!(a.entered(), 0);
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}

#[tokio::test]
async fn endpoints_are_spoken_to_over_tls_in_both_protocols() {
    let authority = Authority::new();
    for (http2, alpn) in [(false, "http/1.1"), (true, "h2")] {
        let (a, tasks) = (Backend::start("a").await, Tasks::new());
        let endpoint = authority.endpoint(&a, "shop.internal", &[alpn], false, &tasks).await;
        let (upstream, listening) = proxy(&[], to(http2)).await;
        upstream.set_tls(Some(ClientTls::new("shop.internal", authority.root.as_bytes()).unwrap()));
        upstream.apply([endpoint]);
        let mut client = Client::new(listening.address());
        for method in [http::Method::GET, http::Method::POST].into_iter().cycle().take(20) {
            let answered = client.call(method, "/echo", "hello").await.unwrap();
            assert_eq!(answered, (StatusCode::OK, "hello".to_owned()));
        }
        let head = client.get("/head").await.1;
        let target = if http2 { "GET https://test/head HTTP/2.0" } else { "GET /head HTTP/1.1" };
        assert_eq!(head.lines().next(), Some(target));
        assert_eq!(client.get("/large").await.1.len(), crate::backend::LARGE);
        assert_eq!(a.connections(), 1, "it is kept, also for what can't be repeated");
        let before = a.entered();
        let probe = if http2 { Probe::Grpc("shop.Cart".into()) } else { Probe::Http("/".into()) };
        let often = std::time::Duration::from_millis(5);
        let check = HealthCheck::new(probe).every(often, std::time::Duration::from_secs(5)).thresholds(1, 1);
        upstream.check(check, &tasks);
        until("its health was asked for, and the first answer counted", || a.entered() > before + 1).await;
        assert_eq!(upstream.status()[0].state, EndpointState::Ready);
    }
}

#[tokio::test]
async fn who_is_not_who_it_must_be_gets_no_request_and_the_error_says_why() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let root = authority.root.as_bytes();
    let named = |name: &str| ClientTls::new(name, root).unwrap();
    let text = refusal(false, "http/1.1", false, named("other.internal"), &authority).await;
    assert!(text.contains("not valid for name"), "{text}");
    let tls = ClientTls::new("shop.internal", stranger.root.as_bytes()).unwrap();
    let text = refusal(false, "http/1.1", false, tls, &authority).await;
    assert!(text.contains("UnknownIssuer"), "{text}");
    let text = refusal(true, "http/1.1", false, named("shop.internal"), &authority).await;
    assert!(text.contains("NoApplicationProtocol") || text.contains("does not offer HTTP/2"), "{text}");
}

#[tokio::test]
async fn endpoints_that_ask_for_it_are_shown_a_certificate() {
    let authority = Authority::new();
    let root = authority.root.as_bytes();
    let ours = authority.identity(&["proxy.internal"]);
    let (a, tasks) = (Backend::start("a").await, Tasks::new());
    let endpoint = authority.endpoint(&a, "shop.internal", &["http/1.1"], true, &tasks).await;
    let (upstream, listening) = proxy(&[], to(false)).await;
    upstream.set_tls(Some(ClientTls::with_identity("shop.internal", root, &ours).unwrap()));
    upstream.apply([endpoint]);
    assert_eq!(Client::new(listening.address()).get("/").await, (StatusCode::OK, "a".to_owned()));
}

#[tokio::test]
async fn a_websocket_goes_through_tls_to_its_endpoint() {
    let authority = Authority::new();
    let (a, tasks) = (Backend::start("a").await, Tasks::new());
    let endpoint = authority.endpoint(&a, "shop.internal", &["http/1.1"], false, &tasks).await;
    let (upstream, listening) = proxy(&[], to(false)).await;
    upstream.set_tls(Some(ClientTls::new("shop.internal", authority.root.as_bytes()).unwrap()));
    upstream.apply([endpoint]);
    let mut stream = tokio::net::TcpStream::connect(listening.address()).await.unwrap();
    let asked = "GET /upgrade HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    stream.write_all(asked.as_bytes()).await.unwrap();
    let mut came = Vec::new();
    while !came.ends_with(b"\r\n\r\n") {
        came.push(soon("the agreement", stream.read_u8()).await.unwrap());
    }
    assert!(came.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&came));
    stream.write_all(b"hello").await.unwrap();
    let mut echo = [0; 5];
    soon("the echo", stream.read_exact(&mut echo)).await.unwrap();
    assert_eq!(&echo, b"HELLO");
    drop(stream);
    until("its place is free", || upstream.status()[0].in_flight == 0).await;
}

#[test]
fn what_can_not_be_verified_by_is_refused_when_it_is_given() {
    let root = Authority::new().root;
    let told = |name: &str, roots: &str| ClientTls::new(name, roots.as_bytes()).unwrap_err().to_string();
    assert!(told("shop.internal", "").contains("the file of roots holds no certificate"));
    assert!(told("not a name", &root).contains("endpoints can't be called \"not a name\""));
    assert!(ClientTls::new("127.0.0.1", root.as_bytes()).is_ok());
}
