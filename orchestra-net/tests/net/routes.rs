//! Routes by more than a host and a prefix, and what they change.

use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use http::{Method, StatusCode};
use orchestra_core::engine::Tasks;
use orchestra_net::{
    HeaderChanges, HttpOptions, HttpProxy, Listening, PathChange, Redirect, Route, Routes, Upstream,
};

use crate::backend::Backend;
use crate::client::{Client, raw};
use crate::{soon, until};

fn upstream(backend: &Backend) -> Arc<Upstream> {
    let upstream = Upstream::named(backend.state.name.as_str());
    upstream.insert([backend.endpoint()]);
    upstream
}

async fn listen(routes: Routes) -> Listening {
    let proxy = HttpProxy::new(routes, HttpOptions::default(), &Tasks::new());
    proxy.bind(([127, 0, 0, 1], 0).into()).await.unwrap()
}

fn name(name: &'static str) -> HeaderName {
    HeaderName::from_static(name)
}

fn value(value: &'static str) -> HeaderValue {
    HeaderValue::from_static(value)
}

#[tokio::test]
async fn requests_and_answers_are_changed_on_their_way() {
    let a = Backend::start("a").await;
    let route = Route::to(upstream(&a))
        .prefix("/api")
        .rewrite_path(PathChange::Prefix("/head".to_owned()))
        .rewrite_host(value("inside"))
        .request_headers(HeaderChanges::default().remove(name("x-out")).set(name("x-set"), value("1")))
        .answer_headers(HeaderChanges::default().remove(name("date")).add(name("x-answer"), value("2")));
    let listening = listen(Routes::new().with(route)).await;
    let request =
        "GET /api?q=1 HTTP/1.1\r\nhost: shop\r\nx-out: 1\r\nx-set: 0\r\nconnection: close, x-set\r\n\r\n";
    let answer = raw(listening.address(), request.as_bytes()).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("x-answer: 2"), "{answer}");
    assert!(body.starts_with("GET /head?q=1 HTTP/1.1\n"), "{answer}");
    assert!(body.contains("host: inside\n") && body.contains("x-forwarded-host: shop\n"), "{answer}");
    assert!(body.contains("x-set: 1\n") && !body.contains("x-out"), "{answer}");
}

#[tokio::test]
async fn redirects_are_answered_without_a_service() {
    let moved = Redirect::new(StatusCode::PERMANENT_REDIRECT).scheme("https");
    let listening = listen(Routes::new().with(Route::redirect(moved).host("shop"))).await;
    let request = b"GET /cart?x=1 HTTP/1.1\r\nhost: shop:8080\r\nconnection: close\r\n\r\n";
    let answer = raw(listening.address(), request).await;
    assert!(answer.starts_with("HTTP/1.1 308"), "{answer}");
    assert!(answer.contains("location: https://shop/cart?x=1\r\n"), "{answer}");
}

#[tokio::test]
async fn a_canary_gets_its_share_and_its_testers() {
    let (old, new) = (Backend::start("old").await, Backend::start("new").await);
    let (old_one, new_one) = (upstream(&old), upstream(&new));
    let routes = Routes::new()
        .with(Route::to(old_one).weight(3).split(Arc::clone(&new_one), 1))
        .with(Route::to(new_one).header(name("x-canary"), value("yes")));
    let listening = listen(routes).await;
    let mut client = Client::new(listening.address());
    for _ in 0..40 {
        client.get("/").await;
    }
    assert!((9..=11).contains(&new.entered()), "{}", new.entered());
    let request = b"GET / HTTP/1.1\r\nhost: x\r\nx-canary: yes\r\nconnection: close\r\n\r\n";
    assert!(raw(listening.address(), request).await.ends_with("new"));
}

#[tokio::test]
async fn copies_go_to_a_mirror_which_nobody_waits_for() {
    let (a, mirror) = (Backend::start("a").await, Backend::start("mirror").await);
    let listening = listen(Routes::new().with(Route::to(upstream(&a)).mirror(upstream(&mirror)))).await;
    let mut client = Client::new(listening.address());
    assert_eq!(client.call(Method::POST, "/echo", "hello").await.unwrap().1, "hello");
    assert_eq!(client.get("/").await.1, "a");
    until("both are copied", || mirror.entered() == 2).await;
    // One that never answers holds up nobody.
    mirror.kill().await;
    assert_eq!(soon("an answer", client.get("/")).await.1, "a");
    assert_eq!(a.entered(), 3);
}

#[tokio::test]
async fn a_route_bounds_the_time_of_its_requests() {
    let a = Backend::start("a").await;
    let service = upstream(&a);
    let slow = Route::to(Arc::clone(&service)).timeout(Duration::from_millis(50));
    let listening = listen(Routes::new().with(slow)).await;
    let mut client = Client::new(listening.address());
    let (status, text) = client.get("/never").await;
    assert_eq!(status, StatusCode::GATEWAY_TIMEOUT);
    assert!(text.contains("did not answer within the 50ms that the route allows"), "{text}");
    until("its place is free", || service.status()[0].in_flight == 0).await;
    assert_eq!(client.get("/").await.1, "a");
}

#[tokio::test]
async fn a_path_that_servers_read_in_different_ways_is_refused() {
    let a = Backend::start("a").await;
    let listening = listen(Routes::new().route("", "/public", upstream(&a))).await;
    for path in [
        "/public/../admin",
        "/public/%2e%2E/admin",
        "/public/.%2e",
        "/public/./x",
        "/public/%2E/x",
        "/..",
        "/public/..%2fadmin",
        "/public/x%2F..%2f..%2Fadmin",
        "/public/..%5Cadmin",
        "/public/..;/admin",
        "/public/..%3Bx/admin",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let answer = raw(listening.address(), request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{path}: {answer}");
    }
    let mut client = Client::new(listening.address());
    for path in ["/public/.well-known/x", "/public/a..b", "/public/...", "/public/x?y=/../z", "/public/%2ex"]
    {
        assert_eq!(client.get(path).await.1, "a", "{path}");
    }
}
