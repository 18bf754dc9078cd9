//! Endpoints that fail are avoided, but never too many of them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use http::StatusCode;
use orchestra_core::balance::PeakEwma;
use orchestra_core::engine::Tasks;
use orchestra_net::{EndpointState, HealthCheck, HttpOptions, Probe, Upstream, UpstreamOptions};

use crate::backend::Backend;
use crate::client::Client;
use crate::proxy::{bind, proxy};
use crate::until;

fn out(upstream: &Upstream) -> usize {
    upstream.status().iter().filter(|endpoint| endpoint.state != EndpointState::Ready).count()
}

#[tokio::test]
async fn endpoints_that_fail_in_a_row_are_ejected_up_to_their_share() {
    let all = [Backend::start("a").await, Backend::start("b").await, Backend::start("c").await];
    let options = UpstreamOptions::default().with_ejection(3, Duration::from_secs(600), 50);
    let (upstream, listening) = proxy(&[&all[0], &all[1], &all[2]], options).await;
    let mut client = Client::new(listening.address());
    for _ in 0..30 {
        assert_eq!(client.get("/fail").await.0, StatusCode::INTERNAL_SERVER_ERROR, "a 5xx is passed on");
    }
    assert_eq!(out(&upstream), 1, "half of three, rounded down");
    let ejected = upstream.status().iter().position(|e| e.state == EndpointState::Ejected).unwrap();
    let before = all[ejected].entered();
    for _ in 0..10 {
        client.get("/").await;
    }
    assert_eq!(all[ejected].entered(), before);
}

#[tokio::test]
async fn the_only_endpoint_is_never_ejected_and_one_is_let_in_again() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let options = UpstreamOptions::default().with_ejection(2, Duration::from_millis(50), 50);
    let (upstream, listening) = proxy(&[&a], options).await;
    let mut client = Client::new(listening.address());
    for _ in 0..5 {
        client.get("/fail").await;
    }
    assert_eq!(out(&upstream), 0);
    upstream.apply([a.endpoint(), b.endpoint()]);
    for _ in 0..6 {
        client.get("/fail").await;
    }
    assert_eq!(out(&upstream), 1);
    let before = (a.entered(), b.entered());
    let both = || a.entered() > before.0 && b.entered() > before.1;
    while !both() {
        assert_eq!(client.get("/").await.0, StatusCode::OK);
    }
    assert_eq!(out(&upstream), 0);
}

#[tokio::test]
async fn a_health_check_finds_the_dead_and_the_risen() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let (upstream, _listening) = proxy(&[&a, &b], UpstreamOptions::default()).await;
    let tasks = Tasks::new();
    let quick = HealthCheck::new(Probe::Http("/health".to_owned()))
        .every(Duration::from_millis(5), Duration::from_secs(5))
        .thresholds(2, 2);
    upstream.check(quick, &tasks);
    until("both were asked", || a.entered() > 2 && b.entered() > 2).await;
    assert_eq!(out(&upstream), 0);
    a.kill().await;
    until("it is found dead", || out(&upstream) == 1).await;
    let _again = Backend::start_at("a", a.address).await;
    until("it is found again", || out(&upstream) == 0).await;
    tasks.shutdown().await;
}

#[tokio::test]
async fn a_grpc_health_check_believes_the_health_service() {
    let (a, b, page) = (Backend::start("a").await, Backend::start("b").await, Backend::start("page").await);
    let (upstream, _listening) = proxy(&[&a, &b], UpstreamOptions::default()).await;
    let tasks = Tasks::new();
    let quick = |service: &str| {
        HealthCheck::new(Probe::Grpc(service.to_owned()))
            .every(Duration::from_millis(5), Duration::from_secs(5))
            .thresholds(2, 2)
    };
    upstream.check(quick("shop.Cart"), &tasks);
    until("both were asked", || a.entered() > 2 && b.entered() > 2).await;
    assert_eq!(out(&upstream), 0);
    a.state.serving.store(false, Ordering::SeqCst);
    until("it is believed not to serve", || out(&upstream) == 1).await;
    assert_eq!(
        upstream.status().iter().find(|e| e.state == EndpointState::Unhealthy).unwrap().id,
        a.endpoint().id
    );
    a.state.serving.store(true, Ordering::SeqCst);
    until("it serves again", || out(&upstream) == 0).await;
    let (other, _listening) = proxy(&[&page], UpstreamOptions::default()).await;
    other.check(quick("shop.Unknown"), &tasks);
    until("the service asked for does not serve", || out(&other) == 1).await;
    tasks.shutdown().await;
}

#[tokio::test]
async fn what_a_check_says_of_one_that_has_left_counts_for_nothing() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let (upstream, _listening) = proxy(&[&a, &b], UpstreamOptions::default()).await;
    let (tasks, holders) = (Tasks::new(), Arc::strong_count(&upstream));
    b.state.gate.add_permits(1);
    let once = HealthCheck::new(Probe::Http("/gated".to_owned()))
        .every(Duration::from_secs(3600), Duration::from_secs(3600))
        .thresholds(1, 1);
    upstream.check(once, &tasks);
    until("it is being asked", || a.inside() == 1).await;
    upstream.remove(&[a.endpoint().id]).await;
    a.kill().await;
    until("all have been asked", || Arc::strong_count(&upstream) == holders).await;
    upstream.insert([a.endpoint()]);
    assert_eq!(out(&upstream), 0, "it is another one, of which nothing is known");
    tasks.shutdown().await;
}

#[tokio::test]
async fn one_that_stalled_is_found_again_within_a_second_of_its_recovery() {
    const MANY: usize = 1 << 20;
    let all = [Backend::start("a").await, Backend::start("b").await, Backend::start("c").await];
    let stalling = &all[0];
    let upstream = Upstream::new("test", Box::<PeakEwma>::default(), UpstreamOptions::default());
    upstream.apply(all.iter().map(Backend::endpoint));
    let listening = bind(&upstream, HttpOptions::default()).await;
    all.iter().for_each(|backend| backend.state.gate.add_permits(MANY));
    let mut asked = FuturesUnordered::new();
    let mut next = tokio::time::interval(Duration::from_millis(10));
    // A request every 10 ms, whatever became of those before, each on a connection of its own.
    let mut ask = async |requests: usize, done: &dyn Fn() -> bool| {
        let mut sent = 0;
        while sent < requests && !done() {
            tokio::select! {
                _ = next.tick() => {
                    let mut client = Client::new(listening.address());
                    asked.push(async move { client.get("/gated").await.0 });
                    sent += 1;
                }
                Some(status) = asked.next() => assert_eq!(status, StatusCode::OK),
            }
        }
        sent
    };
    ask(MANY, &|| stalling.entered() > 10).await;
    stalling.state.gate.forget_permits(MANY);
    ask(MANY, &|| stalling.inside() > 0).await;
    let before = stalling.entered();
    ask(150, &|| false).await;
    let during = stalling.entered() - before;
    assert!(during < 10, "{during} of 150 went to one that does not answer");
    stalling.state.gate.add_permits(MANY);
    let (before, recovered) = (stalling.entered(), tokio::time::Instant::now());
    let sent = ask(MANY, &|| stalling.entered() > before).await;
    assert!(recovered.elapsed() < Duration::from_secs(1), "{sent} requests, {:?}", recovered.elapsed());
}
