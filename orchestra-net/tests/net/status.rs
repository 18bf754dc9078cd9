//! What is told of services and their endpoints.

use std::time::Duration;

use http::{Method, Request};
use orchestra_core::balance::{Endpoint, EndpointId, Outcome};
use orchestra_core::engine::Tasks;
use orchestra_core::model::Service;
use orchestra_net::{
    DataPlaneOptions, EndpointState, HealthCheck, PortKey, Probe, ServiceTable, Ticket, Upstream,
    UpstreamOptions, answer_endpoints,
};
use serde_json::{Value, json};

use crate::backend::Backend;
use crate::proxy::proxy;
use crate::until;

fn state(upstream: &Upstream, id: &EndpointId) -> EndpointState {
    upstream.status().iter().find(|endpoint| endpoint.id == *id).unwrap().state
}

#[tokio::test]
async fn a_service_tells_how_each_of_its_endpoints_does_and_why() {
    let all = [
        Backend::start("dead").await,
        Backend::start("failing").await,
        Backend::start("leaving").await,
        Backend::start("well").await,
    ];
    let [dead, failing, leaving, well] = all.each_ref();
    let options = UpstreamOptions::default().with_ejection(1, Duration::from_secs(600), 50);
    let (upstream, _listening) = proxy(&[dead, failing, leaving], options).await;
    upstream.insert([Endpoint::new("well", well.address).weight(3).zone("a")]);
    let place_at = |backend: &Backend| -> Ticket {
        let others = all.iter().filter(|other| other.address != backend.address);
        upstream.pick(&others.map(|other| other.endpoint().id).collect::<Vec<_>>(), None).unwrap()
    };
    place_at(failing).ended(Outcome::Failure);
    let _in_flight = place_at(leaving);
    let pod = leaving.pod();
    let mut drain = Box::pin(upstream.drain(&pod));
    assert!(futures_util::poll!(drain.as_mut()).is_pending());
    dead.kill().await;
    let quick = HealthCheck::new(Probe::Tcp).every(Duration::from_millis(5), Duration::from_secs(5));
    let tasks = Tasks::new();
    upstream.check(quick.thresholds(1, 1), &tasks);
    until("it is found dead", || state(&upstream, &dead.endpoint().id) == EndpointState::Unhealthy).await;

    let request = Request::get("/endpoints?x").body(()).unwrap();
    let answer = answer_endpoints(&request, || upstream.describe()).unwrap();
    assert_eq!(answer.headers()["content-type"], "application/json");
    let mut told: Value = serde_json::from_str(answer.body()).unwrap();
    for endpoint in told["endpoints"].as_array_mut().unwrap() {
        let endpoint = endpoint.as_object_mut().unwrap();
        let seconds = endpoint.remove("inStateSeconds");
        assert_eq!(seconds.is_some_and(|s| s.as_f64().unwrap() >= 0.0), endpoint["state"] != "Ready");
    }
    let why = told["endpoints"][0]["reason"].take();
    assert!(why.as_str().unwrap().contains("refused"), "{why}");
    let expected = json!([
        {"pod": "dead", "address": dead.address, "state": "Unhealthy", "zone": "", "weight": 1, "reason": null,
         "inFlight": 0, "idleConnections": 0},
        {"pod": "failing", "address": failing.address, "state": "Ejected", "zone": "", "weight": 1,
         "reason": "failures in a row: 1", "inFlight": 0, "idleConnections": 0},
        {"pod": "leaving", "address": leaving.address, "state": "Draining", "zone": "", "weight": 0,
         "inFlight": 1, "idleConnections": 0},
        {"pod": "well", "address": well.address, "state": "Ready", "zone": "a", "weight": 3,
         "inFlight": 0, "idleConnections": 0},
    ]);
    assert_eq!(told, json!({"name": "test", "balancer": "RoundRobin", "waiting": 0, "endpoints": expected}));
    tasks.shutdown().await;
}

#[tokio::test]
async fn an_endpoint_whose_time_is_over_is_ready() {
    let a = Backend::start("a").await;
    let b = Backend::start("b").await;
    let options = UpstreamOptions::default().with_ejection(1, Duration::from_millis(20), 50);
    let (upstream, _listening) = proxy(&[&a, &b], options).await;
    let mut ticket = upstream.pick(&[], None).unwrap();
    let id = ticket.id().clone();
    ticket.ended(Outcome::Failure);
    until("it gets requests again", || state(&upstream, &id) == EndpointState::Ready).await;
}

#[tokio::test]
async fn all_services_of_a_table_are_told() {
    let table = ServiceTable::new(DataPlaneOptions::default(), &Tasks::new());
    table.apply_service(&Service::new("cart").namespace("shop").port(80).into());
    let _used = table.upstream("shop", "cart", &PortKey::First);
    let asked = |method: Method, path: &str| {
        let request = Request::builder().method(method).uri(path).body(()).unwrap();
        answer_endpoints(&request, || table.describe()).map(http::Response::into_body)
    };
    let services =
        r#"{"services":[{"name":"shop/cart:80","balancer":"PeakEwma","waiting":0,"endpoints":[]}]}"#;
    assert_eq!(asked(Method::GET, "/endpoints").unwrap(), format!("{services}\n"));
    assert!(asked(Method::HEAD, "/endpoints").is_some());
    assert_eq!(asked(Method::POST, "/endpoints"), None);
    assert_eq!(asked(Method::GET, "/metrics"), None);
}
