//! What a proxy keeps, and what it says, while the cluster's routes change.

use orchestra_core::client::DeleteOptions;
use orchestra_core::model::{HTTPRoute, Service};
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
