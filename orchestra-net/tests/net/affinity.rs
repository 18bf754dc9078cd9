//! Requests that belong together meet the same endpoint.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderName, Request};
use http_body_util::Full;
use orchestra_core::balance::{LoadBalancer, Maglev, RoundRobin};
use orchestra_core::engine::Tasks;
use orchestra_net::{
    EndpointState, HashPolicy, HttpOptions, HttpProxy, Listening, Route, Routes, StickyCookie, Upstream,
    UpstreamOptions,
};

use crate::backend::Backend;
use crate::client::{Client, read};
use crate::until;

async fn proxy(
    backends: &[Backend],
    balancer: Box<dyn LoadBalancer>,
    options: UpstreamOptions,
    route: impl FnOnce(Route) -> Route,
) -> (Arc<Upstream>, Listening) {
    let upstream = Upstream::new("test", balancer, options);
    upstream.apply(backends.iter().map(Backend::endpoint));
    let routes = Routes::new().with(route(Route::to(Arc::clone(&upstream))));
    let proxy = HttpProxy::new(routes, HttpOptions::default(), &Tasks::new());
    let listening = proxy.bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    (upstream, listening)
}

async fn four() -> [Backend; 4] {
    [
        Backend::start("a").await,
        Backend::start("b").await,
        Backend::start("c").await,
        Backend::start("d").await,
    ]
}

/// Who answers a request with this header, and the cookie that comes with it.
async fn ask(client: &mut Client, header: (&str, &str)) -> (String, Option<String>) {
    let request = Request::get("/").header("host", "test").header(header.0, header.1);
    let answer = client.send(request.body(Full::default()).unwrap()).await.unwrap();
    let cookie = answer.headers().get(SET_COOKIE).map(|cookie| cookie.to_str().unwrap().to_owned());
    (read(answer).await.unwrap().1, cookie)
}

#[tokio::test]
async fn equal_headers_and_cookies_meet_the_same_endpoint() {
    let backends = four().await;
    for (policy, name) in [
        (HashPolicy::Header(HeaderName::from_static("x-user")), "x-user"),
        (HashPolicy::Cookie("user".to_owned()), "cookie"),
    ] {
        let (_upstream, listening) =
            proxy(&backends, Box::<Maglev>::default(), UpstreamOptions::default(), |route| {
                route.hash_by(policy)
            })
            .await;
        let mut client = Client::new(listening.address());
        let mut met = BTreeSet::new();
        for user in 0..24 {
            let value = format!("user={user}");
            let (first, _) = ask(&mut client, (name, &value)).await;
            for _ in 0..3 {
                assert_eq!(ask(&mut client, (name, &value)).await.0, first);
            }
            met.insert(first);
        }
        assert!(met.len() > 1, "not all users meet the same one");
    }
}

/// Has the endpoint of a session fail once.
async fn fail(client: &mut Client, session: &str) {
    let fail = Request::get("/fail").header("host", "test").header(COOKIE, session);
    drop(read(client.send(fail.body(Full::default()).unwrap()).await.unwrap()).await);
}

#[tokio::test]
async fn a_session_stays_with_its_endpoint_and_moves_when_that_leaves_or_fails() {
    let backends = four().await;
    let options = UpstreamOptions::default().with_ejection(1, Duration::from_secs(600), 50);
    let (upstream, listening) = proxy(&backends, Box::<RoundRobin>::default(), options, |route| {
        route.sticky(StickyCookie::new("lb").unwrap())
    })
    .await;
    let mut client = Client::new(listening.address());
    let (first, cookie) = ask(&mut client, ("x-none", "")).await;
    let issued = cookie.unwrap();
    assert!(issued.starts_with("lb=") && issued.ends_with("; Path=/; HttpOnly"), "{issued}");
    let session = issued.split(';').next().unwrap().to_owned();
    for _ in 0..8 {
        assert_eq!(ask(&mut client, ("cookie", &session)).await, (first.clone(), None), "no news");
    }
    assert_ne!(ask(&mut client, ("x-none", "")).await.0, first, "others have other ones");
    // It leaves, and comes back: another proxy, or this one started anew, knows it by the same number.
    let gone = backends.iter().find(|backend| backend.state.name == first).unwrap();
    upstream.remove(&[gone.endpoint().id]).await;
    let (second, cookie) = ask(&mut client, ("cookie", &session)).await;
    assert_ne!(second, first);
    let moved = cookie.unwrap().split(';').next().unwrap().to_owned();
    assert_eq!(ask(&mut client, ("cookie", &moved)).await, (second.clone(), None));
    upstream.insert([gone.endpoint()]);
    assert_eq!(ask(&mut client, ("cookie", &session)).await.0, first);
    // It fails once, and is ejected.
    fail(&mut client, &moved).await;
    let (third, cookie) = ask(&mut client, ("cookie", &moved)).await;
    assert!(third != second && cookie.is_some());
}

#[tokio::test]
async fn a_session_finds_its_endpoint_when_that_is_let_in_again() {
    let backends = four().await;
    let options = UpstreamOptions::default().with_ejection(1, Duration::from_millis(200), 50);
    let (upstream, listening) = proxy(&backends, Box::<RoundRobin>::default(), options, |route| {
        route.sticky(StickyCookie::new("lb").unwrap())
    })
    .await;
    let mut client = Client::new(listening.address());
    let (first, cookie) = ask(&mut client, ("x-none", "")).await;
    let session = cookie.unwrap().split(';').next().unwrap().to_owned();
    fail(&mut client, &session).await;
    let out = || upstream.status().iter().any(|endpoint| endpoint.state == EndpointState::Ejected);
    assert!(out(), "it has failed");
    until("its time is over", || !out()).await;
    assert_eq!(ask(&mut client, ("cookie", &session)).await, (first, None), "nobody else came before");
}

#[tokio::test]
async fn a_session_stays_with_its_service_where_several_share_a_route() {
    let (old, new) = (Backend::start("old").await, Backend::start("new").await);
    let [one, other] = [&old, &new].map(|backend| {
        let upstream = Upstream::named(backend.state.name.as_str());
        upstream.apply([backend.endpoint()]);
        upstream
    });
    let split = || Route::to(Arc::clone(&one)).split(Arc::clone(&other), 1);
    let routes = Routes::new()
        .with(split().prefix("/").sticky(StickyCookie::new("lb").unwrap()))
        .with(split().host("hashed").hash_by(HashPolicy::Header(HeaderName::from_static("x-user"))));
    let proxy = HttpProxy::new(routes, HttpOptions::default(), &Tasks::new());
    let listening = proxy.bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let mut client = Client::new(listening.address());
    let mut met = BTreeSet::new();
    for _ in 0..4 {
        let (first, cookie) = ask(&mut client, ("x-none", "")).await;
        let session = cookie.unwrap().split(';').next().unwrap().to_owned();
        for _ in 0..4 {
            assert_eq!(ask(&mut client, ("cookie", &session)).await, (first.clone(), None));
        }
        met.insert(first);
    }
    assert_eq!(met.len(), 2, "both services have sessions");
    let mut met = BTreeSet::new();
    for user in 0..8 {
        let request =
            || Request::get("/").header("host", "hashed").header("x-user", user).body(Full::default());
        let first = read(client.send(request().unwrap()).await.unwrap()).await.unwrap().1;
        for _ in 0..3 {
            let again = read(client.send(request().unwrap()).await.unwrap()).await.unwrap().1;
            assert_eq!(again, first, "user {user}");
        }
        met.insert(first);
    }
    assert_eq!(met.len(), 2, "both services have users");
}

#[tokio::test]
async fn a_session_moves_where_its_endpoint_is_full() {
    let backends = four().await;
    let options = UpstreamOptions::default().with_max_in_flight(Some(1));
    let (upstream, listening) = proxy(&backends, Box::<RoundRobin>::default(), options, |route| {
        route.sticky(StickyCookie::new("lb").unwrap())
    })
    .await;
    let mut client = Client::new(listening.address());
    let (first, cookie) = ask(&mut client, ("x-none", "")).await;
    let session = cookie.unwrap().split(';').next().unwrap().to_owned();
    let mut busy = Client::new(listening.address());
    let gated = Request::get("/gated").header("host", "test").header(COOKIE, &session);
    let waiting = busy.send(gated.body(Full::default()).unwrap());
    tokio::pin!(waiting);
    while upstream.status().iter().all(|endpoint| endpoint.in_flight == 0) {
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        tokio::task::yield_now().await;
    }
    let (second, cookie) = ask(&mut client, ("cookie", &session)).await;
    assert!(second != first && cookie.is_some());
    let gated = backends.iter().find(|backend| backend.state.name == first).unwrap();
    gated.state.gate.add_permits(1);
    assert_eq!(read(waiting.await.unwrap()).await.unwrap().1, first);
}
