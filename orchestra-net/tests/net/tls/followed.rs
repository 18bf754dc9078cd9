//! Certificates that a cluster's Ingresses name.

use orchestra_core::client::DeleteOptions;
use orchestra_core::model::{Ingress, Secret};
use orchestra_net::{DataPlaneOptions, GatewayOptions, HttpOptions, Routes, ServerTls};
use serde_json::json;

use super::authority::{Authority, Pair};
use crate::data_plane::Cluster;
use crate::soon;

fn secret(pair: &Pair) -> Secret {
    let mut secret = Secret::new("shop-tls");
    secret.type_ = "kubernetes.io/tls".to_owned();
    secret.data.insert("tls.crt".to_owned(), pair.chain.as_str().into());
    secret.data.insert("tls.key".to_owned(), pair.key.as_str().into());
    secret
}

#[tokio::test]
async fn a_listener_shows_the_certificates_of_ingresses_as_they_change() {
    let authority = Authority::new();
    let cluster = Cluster::start_with(DataPlaneOptions::default().with_listen(false)).await;
    let tls = ServerTls::without_certificates().unwrap();
    cluster.plane.follow_tls(&tls, GatewayOptions::default());
    let proxy = cluster.plane.http_proxy(Routes::new(), HttpOptions::default());
    let listening = proxy.bind_tls(([127, 0, 0, 1], 0).into(), &tls).await.unwrap();
    let connect = || authority.connect(listening.address(), "shop.local", &["http/1.1"]);
    assert!(connect().await.is_err(), "there is nothing to show");
    let ingress: Ingress = serde_json::from_value(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "shop"},
        "spec": {
            "defaultBackend": {"service": {"name": "cart", "port": {"number": 80}}},
            "tls": [{"hosts": ["shop.local"], "secretName": "shop-tls"}, {"secretName": "nobodys"}, {"hosts": ["x.local"]}],
        },
    }))
    .unwrap();
    cluster.objects.create(ingress).await.unwrap();
    let shown = async || Some(super::listeners::shown(&connect().await.ok()?));
    let (first, second) = (authority.pair(&["shop.local"]), authority.pair(&["shop.local"]));
    cluster.objects.create(secret(&first)).await.unwrap();
    let waiting = async {
        loop {
            if let Some(shown) = shown().await {
                return shown;
            }
        }
    };
    let before = soon("the Secret is read", waiting).await;
    cluster.objects.modify::<Secret>("shop-tls", |live| live.data = secret(&second).data).await.unwrap();
    let waiting = async { while shown().await.as_ref() == Some(&before) {} };
    soon("the new certificate is shown", waiting).await;
    assert!(shown().await.is_some());
    // What can't be read is left out, and nothing else.
    cluster
        .objects
        .modify::<Secret>("shop-tls", |live| drop(live.data.insert("tls.key".to_owned(), "no key".into())))
        .await
        .unwrap();
    soon("it is left out", async { while shown().await.is_some() {} }).await;
    cluster.objects.modify::<Secret>("shop-tls", |live| live.data = secret(&first).data).await.unwrap();
    soon("it is back", async { while shown().await.is_none() {} }).await;
    cluster.objects.delete::<Ingress>("shop", &DeleteOptions::default()).await.unwrap();
    soon("nobody names it", async { while shown().await.is_some() {} }).await;
    cluster.tasks.shutdown().await;
}
