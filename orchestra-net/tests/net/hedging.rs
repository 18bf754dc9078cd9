//! Requests that take long are sent to a second endpoint.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use http::{Method, Response, StatusCode};
use orchestra_core::balance::{Endpoint, LoadBalancer, PeakEwma, RoundRobin};
use orchestra_core::engine::Tasks;
use orchestra_net::{
    Hedge, HttpOptions, HttpProxy, NetError, ProxyBody, Route, Routes, ServiceClient, Upstream,
    UpstreamOptions,
};

use crate::backend::Backend;
use crate::client::Client;
use crate::retries::hanging_up;
use crate::{soon, until};

const SOON: Duration = Duration::from_millis(5);

fn upstream(
    endpoints: impl IntoIterator<Item = Endpoint>,
    balancer: impl LoadBalancer,
    options: UpstreamOptions,
) -> Arc<Upstream> {
    let upstream = Upstream::new("test", Box::new(balancer), options);
    upstream.apply(endpoints);
    upstream
}

async fn text(answer: Result<Response<ProxyBody>, NetError>) -> String {
    answer.unwrap().into_body().text().await.unwrap()
}

/// Waits until `holds`, while `running` goes on, which does not end.
async fn while_waiting(running: impl Future, what: &str, holds: impl FnMut() -> bool) {
    tokio::select! {
        biased;
        _ = running => panic!("nobody opened the gate"),
        () = until(what, holds) => {}
    }
}

fn in_flight(upstream: &Upstream) -> usize {
    upstream.status().iter().map(|endpoint| endpoint.in_flight).sum()
}

#[tokio::test]
async fn the_first_answer_counts_and_the_other_attempt_is_cancelled() {
    for http2 in [false, true] {
        let (a, b) = (Backend::start("a").await, Backend::start("b").await);
        let options = UpstreamOptions::default().with_http2(http2);
        let upstream = upstream([a.endpoint(), b.endpoint()], RoundRobin::new(), options);
        let route = Route::to(Arc::clone(&upstream)).hedge(Hedge::after(SOON));
        let proxy = HttpProxy::new(Routes::new().with(route), HttpOptions::default(), &Tasks::new());
        let listening = proxy.bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        b.state.gate.add_permits(1);
        let mut client = Client::new(listening.address());
        let answered = soon("the second answer", client.get("/gated")).await;
        assert_eq!(answered, (StatusCode::OK, "b".to_owned()));
        assert_eq!((a.entered(), b.entered()), (1, 1));
        until("the first attempt has given its place back", || in_flight(&upstream) == 0).await;
        until("its endpoint works on it no more", || a.inside() == 0).await;
        assert_eq!(a.state.gate.available_permits(), 0);
        // Both are as good as before. What is not safe is not hedged, however slow this machine is.
        let mut answer = async || client.call(Method::POST, "/", "x").await.unwrap().1;
        let both = [answer().await, answer().await];
        assert!(both.contains(&"a".to_owned()) && both.contains(&"b".to_owned()), "{both:?}");
    }
}

#[tokio::test]
async fn what_is_not_safe_is_sent_once() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let upstream = upstream([a.endpoint(), b.endpoint()], RoundRobin::new(), UpstreamOptions::default());
    let client = ServiceClient::new(upstream).hedge(Hedge::after(SOON));
    let post = client.post("/gated", "x");
    tokio::pin!(post);
    assert!(futures_util::poll!(post.as_mut()).is_pending());
    let get = client.get("/gated");
    tokio::pin!(get);
    // The GET began later: where it is hedged, the POST would be.
    let both = async { tokio::join!(post.as_mut(), get.as_mut()) };
    while_waiting(both, "the GET is hedged", || a.entered() + b.entered() == 3).await;
    a.state.gate.add_permits(2);
    b.state.gate.add_permits(2);
    let (post, _get) = soon("the answers", async { tokio::join!(post, get) }).await;
    assert_eq!(post.unwrap().status(), StatusCode::OK);
    assert_eq!(a.entered() + b.entered(), 3, "one POST, and two GETs");
}

#[tokio::test]
async fn a_second_attempt_that_fails_leaves_the_first_one_alone() {
    let a = Backend::start("a").await;
    let tasks = Tasks::new();
    let (bad, seen) = hanging_up("bad", &tasks).await;
    let upstream = upstream([a.endpoint(), bad], RoundRobin::new(), UpstreamOptions::default());
    let client = ServiceClient::new(Arc::clone(&upstream)).hedge(Hedge::after(SOON));
    let get = client.get("/gated");
    tokio::pin!(get);
    let both = || a.entered() == 1 && seen.load(Ordering::SeqCst) > 0;
    while_waiting(get.as_mut(), "both have it", both).await;
    a.state.gate.add_permits(1);
    assert_eq!(text(soon("the answer", get).await).await, "a");
    assert_eq!(a.entered(), 1);
    until("both places are free", || in_flight(&upstream) == 0).await;
}

#[tokio::test]
async fn hedging_is_bounded_by_the_retry_budget() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let options = UpstreamOptions::default().with_retry_share(0.0);
    let upstream = upstream([a.endpoint(), b.endpoint()], RoundRobin::new(), options);
    let client = ServiceClient::new(upstream).hedge(Hedge::after(SOON));
    let (requests, started) = (200, tokio::time::Instant::now());
    let all = join_all((0..requests).map(|_| client.get("/gated")));
    tokio::pin!(all);
    while_waiting(all.as_mut(), "some are hedged", || a.entered() + b.entered() > requests).await;
    a.state.gate.add_permits(2 * requests);
    b.state.gate.add_permits(2 * requests);
    let answers = soon("the answers", all).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap().status() == StatusCode::OK));
    let sent = a.entered() + b.entered();
    // Ten a second are free: for the ten seconds that are counted together, and since.
    let seconds = usize::try_from(started.elapsed().as_secs()).unwrap() + 1;
    assert!((requests + 1..=requests + 10 * (10 + seconds)).contains(&sent), "{sent}");
}

#[tokio::test]
async fn balancers_learn_of_endpoints_that_nobody_waits_for() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    b.state.gate.add_permits(100);
    let upstream = upstream([a.endpoint(), b.endpoint()], PeakEwma::default(), UpstreamOptions::default());
    let client = ServiceClient::new(upstream).hedge(Hedge::after(Duration::from_millis(50)));
    for _ in 0..40 {
        let answer = soon("the answer", client.get("/gated")).await;
        assert_eq!(text(answer).await, "b");
    }
    assert!(a.entered() <= 5, "{} of 40 went to the one that stalls", a.entered());
    let head = http::Request::builder().method(Method::HEAD).uri("/").body("").unwrap();
    assert_eq!(client.send(head).await.unwrap().status(), StatusCode::OK);
}
