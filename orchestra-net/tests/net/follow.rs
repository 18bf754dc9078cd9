//! What a proxy keeps, and what it says, while the cluster's routes change.

use std::collections::BTreeSet;

use http::StatusCode;
use orchestra_core::client::DeleteOptions;
use orchestra_core::model::{ConditionStatus, HTTPRoute, Ingress, Service};
use orchestra_net::{DataPlaneOptions, GatewayOptions, HttpOptions, HttpProxy, Listening, Routes};
use serde_json::{Value, json};

use crate::backend::Backend;
use crate::client::Client;
use crate::data_plane::{Cluster, slice};
use crate::soon;

const PORT: u16 = 80;

/// A cluster with a service for each of these backends.
async fn cluster(backends: &[&Backend]) -> Cluster {
    let cluster = Cluster::start_with(DataPlaneOptions::default().with_listen(false)).await;
    for backend in backends {
        let service = Service::new(&backend.state.name).named_port("http", PORT);
        let service = cluster.objects.create(service).await.unwrap();
        cluster.objects.create(slice(&service, 0, backend)).await.unwrap();
    }
    cluster
}

/// A proxy that follows a cluster.
async fn follow(cluster: &Cluster, options: GatewayOptions) -> (HttpProxy, Listening, Client) {
    let proxy = cluster.plane.http_proxy(Routes::new(), HttpOptions::default());
    cluster.plane.follow(&proxy, options);
    let listening = proxy.bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let client = Client::new(listening.address());
    (proxy, listening, client)
}

/// A route of the gateway `orchestra`, until it is said otherwise, for what is below its own name.
fn route(name: &str, backends: &[&str]) -> HTTPRoute {
    let backends: Vec<Value> = backends.iter().map(|name| json!({"name": name, "port": PORT})).collect();
    serde_json::from_value(json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": name},
        "spec": {
            "parentRefs": [{"name": "orchestra"}],
            "rules": [{"matches": [{"path": {"value": format!("/{name}")}}], "backendRefs": backends}],
        },
    }))
    .unwrap()
}

/// The same with these parents.
fn attached(name: &str, backend: &str, parents: &Value) -> HTTPRoute {
    let mut route = route(name, &[backend]);
    route.spec.parent_refs = serde_json::from_value(parents.clone()).unwrap();
    route
}

/// Waits until a route of this name, made now, is followed.
async fn another(cluster: &Cluster, client: &mut Client, name: &str) {
    cluster.objects.create(route(name, &["a"])).await.unwrap();
    let asking = async {
        while client.get(&format!("/{name}")).await.1 != "a" {
            tokio::task::yield_now().await;
        }
    };
    soon("the route is followed", asking).await;
}

#[tokio::test]
async fn shares_go_on_while_other_routes_change() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let cluster = cluster(&[&a, &b]).await;
    cluster.objects.create(route("split", &["a", "b"])).await.unwrap();
    let (_proxy, _listening, mut client) = follow(&cluster, GatewayOptions::default()).await;
    let mut of_b = 0;
    for i in 0..10 {
        another(&cluster, &mut client, &format!("other-{i}")).await;
        of_b += usize::from(client.get("/split").await.1 == "b");
    }
    assert!((4..=6).contains(&of_b), "{of_b} of 10");
    cluster.tasks.shutdown().await;
}

#[tokio::test]
async fn a_name_without_a_service_is_forgotten_with_the_last_route_that_has_it() {
    let a = Backend::start("a").await;
    let cluster = cluster(&[&a]).await;
    let known = || {
        let all = cluster.plane.table().upstreams();
        all.iter().map(|upstream| upstream.name().to_string()).collect::<Vec<_>>()
    };
    cluster.objects.create(route("lost", &["nothing", "a"])).await.unwrap();
    let (_proxy, _listening, mut client) = follow(&cluster, GatewayOptions::default()).await;
    another(&cluster, &mut client, "before").await;
    assert_eq!(known(), ["shop/a:80", "shop/nothing:80"]);
    cluster.objects.delete::<HTTPRoute>("lost", &DeleteOptions::default()).await.unwrap();
    another(&cluster, &mut client, "after").await;
    assert_eq!(known(), ["shop/a:80"]);
    cluster.tasks.shutdown().await;
}

#[tokio::test]
async fn a_proxy_follows_the_routes_of_its_sections_and_tells_others_that_there_are_none() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let cluster = cluster(&[&a, &b]).await;
    for (name, backend, parents) in [
        ("", "a", json!([{"name": "edge", "sectionName": "http"}])),
        (
            "secure",
            "b",
            json!([{"name": "edge", "sectionName": "https"}, {"name": "edge", "sectionName": "admin"}]),
        ),
        ("both", "b", json!([{"name": "edge"}])),
        ("port", "b", json!([{"name": "edge", "port": 443}])),
        ("wrong", "b", json!([{"name": "edge", "sectionName": "https", "port": 80}])),
        ("whole", "b", json!([{"name": "orchestra", "sectionName": "any", "port": 1}])),
    ] {
        let mut route = attached(name, backend, &parents);
        route.metadata.name = if name.is_empty() { "plain".to_owned() } else { name.to_owned() };
        cluster.objects.create(route).await.unwrap();
    }
    let edge = || GatewayOptions::default().with_gateway("edge");
    let (_http, _at, mut http) = follow(&cluster, edge().with_section("http", 80)).await;
    let (_https, _at, mut https) = follow(&cluster, edge().with_section("https", 443)).await;
    let (_whole, _at, mut whole) = follow(&cluster, GatewayOptions::default()).await;
    let says = async |name: &str, reasons: &[&str]| {
        let told = cluster.objects.wait::<HTTPRoute>(name, |route| {
            let parents = route.map(|route| &route.status.parents[..]).unwrap_or_default();
            let said = parents.iter().map(|parent| parent.conditions[0].reason.as_str());
            BTreeSet::from_iter(said) == BTreeSet::from_iter(reasons.iter().copied())
        });
        soon("the route says so", told).await.unwrap()
    };
    for name in ["plain", "both", "port", "whole"] {
        says(name, &["Accepted"]).await;
    }
    says("wrong", &["NoMatchingParent"]).await;
    let secure = says("secure", &["Accepted", "NoMatchingParent"]).await.unwrap();
    let mut parents = secure.status.parents.iter();
    let admin = parents.find(|parent| parent.parent_ref.section_name == "admin");
    let condition = &admin.unwrap().conditions[0];
    assert_eq!((condition.type_.as_str(), condition.status), ("Accepted", ConditionStatus::False));
    assert_eq!(
        condition.message,
        "the gateway has no such section and port, but http at port 80, https at port 443"
    );
    for (path, over_http, over_https) in
        [("/", "a", ""), ("/secure", "a", "b"), ("/both", "b", "b"), ("/port", "a", "b"), ("/wrong", "a", "")]
    {
        for (client, expected) in [(&mut http, over_http), (&mut https, over_https)] {
            let (status, text) = client.get(path).await;
            match expected {
                "" => assert_eq!(status, StatusCode::NOT_FOUND, "{path}: {text}"),
                expected => assert_eq!(text, expected, "{path}"),
            }
        }
    }
    assert_eq!(whole.get("/whole").await.1, "b", "one that names no section stands for all");
    // Nobody says anything else of them later.
    cluster.objects.create(attached("later", "a", &json!([{"name": "edge"}]))).await.unwrap();
    says("later", &["Accepted"]).await;
    let after = cluster.objects.get::<HTTPRoute>("secure").await.unwrap();
    assert_eq!(after.metadata.resource_version, secure.metadata.resource_version);
    cluster.tasks.shutdown().await;
}

/// An Ingress without a class, for all paths, to the port `http` of this service.
fn ingress(name: &str, service: &str) -> Ingress {
    let backend = json!({"service": {"name": service, "port": {"name": "http"}}});
    serde_json::from_value(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": name},
        "spec": {"rules": [{"http": {"paths": [{"path": format!("/{name}"), "pathType": "Prefix", "backend": backend}]}}]},
    }))
    .unwrap()
}

#[tokio::test]
async fn an_ingress_that_several_proxies_follow_says_all_their_addresses_and_is_let_be() {
    let a = Backend::start("a").await;
    let cluster = cluster(&[&a]).await;
    let of_class = |class: &str, addresses: &[&str]| {
        let options = GatewayOptions::default().with_ingress_class(class);
        addresses.iter().fold(options, |options, address| options.with_address(*address))
    };
    let _one = follow(&cluster, of_class("inside", &["10.0.0.1", "shop.local"])).await;
    let _other = follow(&cluster, of_class("outside", &["192.0.2.1", "shop.local"])).await;
    cluster.objects.create(ingress("first", "a")).await.unwrap();
    let says = async |name: &str| {
        let told = cluster.objects.wait::<Ingress>(name, |ingress| {
            let ways = ingress.map(|ingress| &ingress.status.load_balancer.ingress[..]).unwrap_or_default();
            let ways: Vec<_> = ways.iter().map(|way| format!("{}{}", way.ip, way.hostname)).collect();
            ways == ["10.0.0.1", "shop.local", "192.0.2.1"]
        });
        soon("the Ingress says where it is reached", told).await.unwrap().unwrap()
    };
    let told = says("first").await;
    // Nobody says anything else of it later.
    cluster.objects.create(ingress("second", "a")).await.unwrap();
    says("second").await;
    let after = cluster.objects.get::<Ingress>("first").await.unwrap();
    assert_eq!(after.metadata.resource_version, told.metadata.resource_version);
    cluster.tasks.shutdown().await;
}

#[tokio::test]
async fn a_port_that_is_named_is_found_when_its_number_changes() {
    let a = Backend::start("a").await;
    let cluster = cluster(&[&a]).await;
    cluster.objects.create(ingress("named", "a")).await.unwrap();
    let (_proxy, _listening, mut client) = follow(&cluster, GatewayOptions::default()).await;
    another(&cluster, &mut client, "before").await;
    assert_eq!(client.get("/named").await.1, "a");
    let mut service = (*cluster.objects.get::<Service>("a").await.unwrap()).clone();
    service.spec.ports[0].port = PORT + 1;
    cluster.objects.update(service).await.unwrap();
    let asking = async {
        while client.get("/named").await.1 != "a" {
            tokio::task::yield_now().await;
        }
    };
    soon("the port is found", asking).await;
    cluster.tasks.shutdown().await;
}

#[tokio::test]
async fn a_route_that_leaves_a_gateway_says_nothing_of_it() {
    let a = Backend::start("a").await;
    let cluster = cluster(&[&a]).await;
    cluster.objects.create(route("leaves", &["a"])).await.unwrap();
    let _proxy = follow(&cluster, GatewayOptions::default()).await;
    let says = async |count: usize| {
        let told = cluster.objects.wait::<HTTPRoute>("leaves", |route| {
            route.is_some_and(|route| route.status.parents.len() == count)
        });
        (*soon("the route says so", told).await.unwrap().unwrap()).clone()
    };
    let mut leaves = says(1).await;
    let others =
        [("example.org", "orchestra", 0), ("gateway.networking.k8s.io", "orchestra", 1), ("", "other", 0)];
    for (group, name, count) in others {
        let parent = &mut leaves.spec.parent_refs[0];
        (parent.group, parent.name) = (group.to_owned(), name.to_owned());
        cluster.objects.update(leaves).await.unwrap();
        leaves = says(count).await;
    }
    cluster.tasks.shutdown().await;
}
