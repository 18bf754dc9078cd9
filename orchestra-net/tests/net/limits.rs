//! What keeps a service from being asked for more than it can do.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use futures_util::future::join_all;
use http::StatusCode;
use orchestra_core::balance::{ConsistentHash, Endpoint, LoadBalancer, Maglev, PeakEwma};
use orchestra_core::engine::Tasks;
use orchestra_net::{
    EndpointState, HealthCheck, HttpOptions, HttpProxy, Probe, RateLimit, Routes, TcpOptions, TcpProxy,
    UdpOptions, UdpProxy, Upstream, UpstreamOptions, Workers,
};

use crate::backend::Backend;
use crate::client::{Client, raw};
use crate::proxy::{bind, proxy};
use crate::{soon, until};

#[tokio::test]
async fn endpoints_get_no_more_at_once_than_they_may_and_the_rest_waits_its_turn() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let (upstream, listening) =
        proxy(&[&a, &b], UpstreamOptions::default().with_max_in_flight(Some(2))).await;
    let mut clients: Vec<_> = (0..10).map(|_| Client::new(listening.address())).collect();
    let all = join_all(clients.iter_mut().map(|client| client.get("/gated")));
    let watching = async {
        let places = || upstream.status().iter().map(|endpoint| endpoint.in_flight).collect::<Vec<_>>();
        until("all places are taken", || a.entered() + b.entered() == 4).await;
        assert_eq!(places(), [2, 2]);
        // One that ends makes room for one.
        a.state.gate.add_permits(1);
        until("the next one", || a.entered() == 3).await;
        assert_eq!((b.entered(), places()), (2, vec![2, 2]));
        a.state.gate.add_permits(10);
        b.state.gate.add_permits(10);
    };
    let (answers, ()) = soon("all answers", futures_util::future::join(all, watching)).await;
    assert!(answers.iter().all(|(status, _)| *status == StatusCode::OK), "{answers:?}");
    assert_eq!(a.entered() + b.entered(), 10);
}

#[tokio::test]
async fn a_free_endpoint_is_found_however_many_are_full() {
    const MANY: u8 = 200;
    let options = UpstreamOptions::default().with_max_in_flight(Some(1));
    let balancers: [Box<dyn LoadBalancer>; 3] =
        [Box::<ConsistentHash>::default(), Box::<Maglev>::default(), Box::<PeakEwma>::default()];
    for balancer in balancers {
        let upstream = Upstream::new("test", balancer, options);
        upstream.apply((0..MANY).map(|i| Endpoint::new(format!("pod-{i}"), ([127, 0, 0, i], 80))));
        // Equal requests look for a place at the same ones in the same order.
        let mut tickets: Vec<_> = (0..MANY).map(|_| upstream.pick(&[], Some(7)).unwrap()).collect();
        assert!(upstream.pick(&[], Some(7)).is_none());
        drop(tickets.pop());
        assert!(upstream.pick(&[], Some(7)).is_some());
    }
}

#[tokio::test]
async fn what_is_too_much_for_the_others_does_not_go_to_one_that_is_ejected() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let options = UpstreamOptions::default()
        .with_max_in_flight(Some(1))
        .with_ejection(1, Duration::from_secs(600), 50)
        .with_endpoint_wait(Duration::from_millis(100));
    let (upstream, listening) = proxy(&[&a, &b], options).await;
    let mut client = Client::new(listening.address());
    client.get("/fail").await;
    let ejected = upstream.status().into_iter().find(|e| e.state == EndpointState::Ejected);
    let (well, ill) = if ejected.unwrap().id == a.endpoint().id { (&b, &a) } else { (&a, &b) };
    let before = ill.entered();
    let mut busy = Client::new(listening.address());
    let first = busy.get("/gated");
    let other = async {
        let entered = well.entered();
        until("the place is taken", || well.entered() > entered).await;
        let answer = client.get("/").await;
        well.state.gate.add_permits(1);
        answer
    };
    let (first, other) = soon("the answers", futures_util::future::join(first, other)).await;
    assert_eq!((first.0, other.0), (StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE), "{other:?}");
    assert_eq!(ill.entered(), before);
}

#[tokio::test]
async fn where_all_endpoints_stay_busy_a_request_is_told_so() {
    let a = Backend::start("a").await;
    let options = UpstreamOptions::default()
        .with_max_in_flight(Some(1))
        .with_max_waiting(1)
        .with_endpoint_wait(Duration::from_millis(200));
    let (upstream, listening) = proxy(&[&a], options).await;
    let mut clients: Vec<_> = (0..3).map(|_| Client::new(listening.address())).collect();
    let mut busy = Client::new(listening.address());
    let first = busy.get("/gated");
    let others = async {
        until("the place is taken", || upstream.status()[0].in_flight == 1).await;
        let answers = join_all(clients.iter_mut().map(|client| client.get("/"))).await;
        a.state.gate.add_permits(1);
        answers
    };
    let (first, answers) = soon("the answers", futures_util::future::join(first, others)).await;
    assert_eq!(first.0, StatusCode::OK);
    assert!(answers.iter().all(|(status, _)| *status == StatusCode::SERVICE_UNAVAILABLE), "{answers:?}");
    let told = |words: &str| answers.iter().filter(|(_, text)| text.contains(words)).count();
    assert_eq!(
        (told("1 requests at each of its endpoints"), told("wait for one already")),
        (1, 2),
        "{answers:?}"
    );
    assert_eq!(clients[0].get("/").await.1, "a", "it goes on");
}

#[tokio::test]
async fn a_client_that_asks_too_often_is_told_when_to_come_back() {
    let a = Backend::start("a").await;
    let (upstream, _listening) = proxy(&[&a], UpstreamOptions::default()).await;
    let limit = RateLimit::per_second(NonZeroU32::MIN).burst(NonZeroU32::new(2).unwrap());
    let listening = bind(&upstream, HttpOptions::default().with_rate_limit(Some(limit))).await;
    let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    for status in ["200", "200", "429"] {
        let answer = raw(listening.address(), request).await;
        assert_eq!(answer.get(9..12), Some(status), "{answer}");
        assert_eq!(answer.contains("retry-after: 1\r\n"), status == "429", "{answer}");
    }
    assert_eq!(a.entered(), 2);
}

#[tokio::test]
async fn an_endpoint_that_is_silent_after_a_body_took_its_time_is_given_up() {
    let a = Backend::start("a").await;
    let limit = Duration::from_millis(200);
    let (upstream, _listening) = proxy(&[&a], UpstreamOptions::default().with_response_timeout(limit)).await;
    let client = orchestra_net::ServiceClient::new(upstream);
    let body = futures_util::stream::unfold(0, move |sent| async move {
        if sent == 1 {
            // Longer than an endpoint may be silent, and an application's own body may take any time.
            tokio::time::sleep(3 * limit).await;
        }
        let piece = http_body::Frame::data(bytes::Bytes::from_static(b"x"));
        (sent < 2).then_some((Ok::<_, std::convert::Infallible>(piece), sent + 1))
    });
    let body = orchestra_net::ProxyBody::new(http_body_util::StreamBody::new(body));
    let request = http::Request::post("/never").body(body).unwrap();
    let error = soon("the end of its time", client.send(request)).await.unwrap_err();
    assert!(matches!(error, orchestra_net::NetError::Timeout { .. }), "{error}");
}

#[tokio::test]
async fn a_request_that_waits_is_taken_by_an_endpoint_that_is_well_again() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let options = UpstreamOptions::default()
        .with_max_in_flight(Some(1))
        .with_ejection(1, Duration::from_secs(1), 50)
        .with_endpoint_wait(Duration::from_secs(600));
    let (upstream, listening) = proxy(&[&a, &b], options).await;
    let mut client = Client::new(listening.address());
    client.get("/fail").await;
    let ejected = upstream.status().into_iter().find(|e| e.state == EndpointState::Ejected).unwrap();
    let (well, ill) = if ejected.id == a.endpoint().id { (&b, &a) } else { (&a, &b) };
    let entered = well.entered();
    let mut busy = Client::new(listening.address());
    let first = busy.get("/gated");
    let other = async {
        until("the place is taken", || well.entered() > entered).await;
        // Its time is over while nobody else comes or goes.
        let answer = client.get("/").await;
        assert_eq!(answer, (StatusCode::OK, ill.state.name.clone()));
        // The same where it is a health check that finds it well.
        let (address, tasks) = (ill.address, Tasks::new());
        let check = HealthCheck::new(Probe::Tcp).every(Duration::from_millis(5), Duration::from_secs(5));
        upstream.check(check.thresholds(1, 1), &tasks);
        ill.kill().await;
        let state = |id| upstream.status().into_iter().find(|e| e.id == id).unwrap().state;
        let id = ejected.id.clone();
        until("it is found dead", || state(id.clone()) == EndpointState::Unhealthy).await;
        let waiting = async { client.get("/").await };
        let rising = async {
            until("it waits", || upstream.describe().waiting == 1).await;
            Backend::start_at("again", address).await
        };
        let (answer, _again) = futures_util::future::join(waiting, rising).await;
        assert_eq!(answer, (StatusCode::OK, "again".to_owned()));
        well.state.gate.add_permits(1);
    };
    soon("the answers", futures_util::future::join(first, other)).await;
}

#[tokio::test]
async fn whoever_wants_no_bound_may_name_the_largest_number() {
    let a = Backend::start("a").await;
    let (upstream, _listening) = proxy(&[&a], UpstreamOptions::default()).await;
    let any = ([127, 0, 0, 1], 0).into();
    let options = HttpOptions::default().with_max_connections(usize::MAX).with_header_timeout(Duration::MAX);
    let http = bind(&upstream, options).await;
    assert_eq!(Client::new(http.address()).get("/").await.1, "a");
    let over_http2 = UpstreamOptions::default().with_http2(true).with_http2_ping(Some(Duration::MAX));
    let next = Upstream::new("next", Box::<PeakEwma>::default(), over_http2);
    next.apply([Endpoint::new("http", http.address())]);
    assert_eq!(Client::new(bind(&next, options).await.address()).get("/").await.1, "a");
    let options = TcpOptions::default().with_max_connections(usize::MAX);
    let tcp = TcpProxy::new(upstream, options, &Tasks::new()).bind(any).await.unwrap();
    assert_eq!(Client::new(tcp.address()).get("/").await.1, "a");
    let echo = crate::udp::Echo::start("echo").await;
    let upstream = Upstream::named("udp");
    upstream.apply([echo.endpoint.clone()]);
    let options = UdpOptions::default().with_max_sessions(usize::MAX);
    let udp = UdpProxy::new(upstream, options, &Tasks::new()).bind(any).await.unwrap();
    assert_eq!(crate::udp::Client::new(udp.address()).await.ask("one").await, "echo one");
}

#[tokio::test]
async fn fewer_connections_than_threads_are_taken_by_any_of_them() {
    let a = Backend::start("a").await;
    let (upstream, _listening) = proxy(&[&a], UpstreamOptions::default()).await;
    let workers = Workers::start(NonZeroUsize::new(4).unwrap()).unwrap();
    let options = HttpOptions::default().with_max_connections(1);
    let proxy = HttpProxy::new(Routes::to(upstream), options, &Tasks::new());
    let listening = proxy.bind_to(&workers, ([127, 0, 0, 1], 0).into()).await.unwrap();
    // The kernel chooses the thread, whether it has a place or not.
    for _ in 0..32 {
        assert_eq!(soon("an answer", Client::new(listening.address()).get("/")).await.1, "a");
    }
    // One that is kept is the only one, and the others come after it.
    let mut kept = Client::new(listening.address());
    kept.get("/").await;
    let before = a.entered();
    let ending = async {
        for _ in 0..20 {
            kept.get("/").await;
        }
        assert_eq!(a.entered(), before + 20, "there is one place");
        drop(kept);
    };
    let closing = async {
        let closing = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        join_all((0..16).map(|_| raw(listening.address(), closing))).await
    };
    let (answers, ()) = soon("all answers", futures_util::future::join(closing, ending)).await;
    assert!(answers.iter().all(|answer| answer.ends_with("\r\n\r\na")), "{answers:?}");
    soon("the end", listening.shutdown()).await;
    workers.shutdown().await;
}

#[tokio::test]
async fn an_endpoint_may_be_out_for_ever() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let options = UpstreamOptions::default().with_ejection(1, Duration::MAX, 50);
    let (upstream, listening) = proxy(&[&a, &b], options).await;
    let mut client = Client::new(listening.address());
    client.get("/fail").await;
    assert_eq!(client.get("/").await.0, StatusCode::OK);
    assert_eq!(upstream.status().iter().filter(|e| e.state == EndpointState::Ejected).count(), 1);
}
