//! What services say of their clients, and what becomes of these when it changes.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use http::Request;
use http_body_util::BodyExt;
use orchestra_core::model::Service;
use orchestra_net::{ClientAddress, HttpOptions, ProxyBody, Routes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use crate::backend::Backend;
use crate::data_plane::Cluster;
use crate::soon;

/// A port that no other test listens on at its services' addresses.
const PORT: u16 = 18180;

/// Who answers a client at this address.
async fn answered(to: SocketAddr, from: [u8; 4]) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let mut stream = socket.connect(to).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    soon("an answer", stream.read_to_string(&mut answer)).await.unwrap();
    answer.rsplit_once("\r\n\r\n").unwrap().1.to_owned()
}

#[tokio::test]
async fn a_client_of_a_sticky_service_has_its_endpoint_whatever_way_it_comes() {
    let cluster = Cluster::start().await;
    let (a, b, c) = (Backend::start("a").await, Backend::start("b").await, Backend::start("c").await);
    let service = Service::new("cart").named_port("http", PORT).sticky();
    let address = cluster.serve(service, &[&a, &b, &c]).await;
    let upstream = cluster.plane.upstream("shop", "cart", PORT);
    // Options that say nothing of it, as those of a proxy that follows routes.
    let proxy = cluster.plane.http_proxy(Routes::to(upstream), HttpOptions::default());
    let listening = proxy.bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let in_process = cluster.plane.client("shop", "cart");
    let mut met = BTreeSet::new();
    for last in 1..=16 {
        let from = [127, 0, 0, last];
        let expected = answered(address, from).await;
        for _ in 0..3 {
            assert_eq!(answered(listening.address(), from).await, expected);
            let mut request = Request::get("/").body(ProxyBody::default()).unwrap();
            if last > 1 {
                request.extensions_mut().insert(ClientAddress((from, 1).into()));
            }
            let answer = in_process.send(request).await.unwrap().into_body().collect().await.unwrap();
            assert_eq!(answer.to_bytes(), expected);
        }
        met.insert(expected);
    }
    assert!(met.len() > 1, "each has its own: {met:?}");
    cluster.tasks.shutdown().await;
}
