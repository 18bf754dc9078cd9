//! What a Service says of what its pods speak.

use http::StatusCode;
use hyper_util::rt::TokioExecutor;
use hyper_util::server::conn::auto;
use orchestra_core::model::{Service, ServicePort};
use orchestra_net::{DataPlaneOptions, ServiceClient};

use crate::backend::Backend;
use crate::client::Client;
use crate::data_plane::Cluster;
use crate::{soon, until};

const PORT: u16 = 18090;
const H2C: &str = "kubernetes.io/h2c";

fn cart(app_protocol: &str) -> Service {
    let mut service = Service::new("cart");
    let app_protocol = app_protocol.to_owned();
    service.spec.ports = vec![ServicePort { app_protocol, ..ServicePort::new(PORT) }];
    service
}

/// The version of HTTP that a request comes in.
async fn version(client: &ServiceClient) -> String {
    let head = client.get("/head").await.unwrap().into_body().text().await.unwrap();
    head.lines().next().unwrap().rsplit_once(' ').unwrap().1.to_owned()
}

async fn change_to(app_protocol: &str, cluster: &Cluster) {
    let mut service = (*cluster.objects.get::<Service>("cart").await.unwrap()).clone();
    app_protocol.clone_into(&mut service.spec.ports[0].app_protocol);
    cluster.objects.update(service).await.unwrap();
}

#[tokio::test]
async fn http2_is_spoken_to_services_that_say_so_from_when_they_do() {
    let cluster = Cluster::start_with(DataPlaneOptions::default()).await;
    let a = Backend::start("a").await;
    // Asked for before the service is there, and waiting.
    let client = cluster.plane.client("shop", "cart");
    let mut waits = Box::pin(version(&client));
    assert!(futures_util::poll!(waits.as_mut()).is_pending());
    let address = cluster.serve(cart(H2C), &[&a]).await;
    assert_eq!(soon("the early request", waits).await, "HTTP/2.0");
    for (said, spoken) in [("http", "HTTP/1.1"), (H2C, "HTTP/2.0"), ("kubernetes.io/ws", "HTTP/1.1")] {
        change_to(said, &cluster).await;
        // Connections of the other kind wait still, and are of no use.
        let becomes = async { while version(&client).await != spoken {} };
        soon("what it says is spoken", becomes).await;
        let head = Client::new(address).get("/head").await.1;
        assert!(head.lines().next().unwrap().ends_with(spoken), "{said}: {head}");
    }
    // By what is none of HTTP bytes are passed on, whatever they are.
    change_to("kubernetes.io/wss", &cluster).await;
    let passes = || cluster.plane.listeners().values().all(|status| !status.listener.http);
    until("nothing of HTTP is seen there", passes).await;
    cluster.tasks.shutdown().await;
}

#[tokio::test]
async fn a_server_that_speaks_nothing_but_http2_is_reached_by_any_client() {
    let cluster = Cluster::start_with(DataPlaneOptions::default()).await;
    let only = auto::Builder::new(TokioExecutor::new()).http2_only();
    let a = Backend::start_as("a", ([127, 0, 0, 1], 0).into(), only).await;
    let address = cluster.serve(cart(H2C), &[&a]).await;
    until("it is known", || !cluster.plane.upstream("shop", "cart", PORT).endpoints().is_empty()).await;
    assert_eq!(Client::new(address).get("/").await, (StatusCode::OK, "a".to_owned()));
    assert_eq!(version(&cluster.plane.client("shop", "cart")).await, "HTTP/2.0");
    cluster.tasks.shutdown().await;
}
