//! Connections of HTTP/2 to endpoints that many requests share.

use std::sync::Arc;

use futures_util::future::join_all;
use hyper_util::rt::TokioExecutor;
use hyper_util::server::conn::auto;
use orchestra_core::engine::Tasks;
use orchestra_net::{EndpointState, ServiceClient, UpstreamOptions};

use crate::backend::Backend;
use crate::proxy::proxy;
use crate::{soon, until};

/// A backend that allows so many requests at once on one connection.
async fn allowing(streams: u32) -> Backend {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http2().max_concurrent_streams(streams);
    Backend::start_as("a", ([127, 0, 0, 1], 0).into(), server).await
}

async fn get(client: &ServiceClient, path: &str) -> String {
    client.get(path).await.unwrap().into_body().text().await.unwrap()
}

/// Asks for `/gated` so often at once, and answers when all have come in.
async fn held(client: &ServiceClient, backend: &Backend, count: usize) {
    let (client, tasks) = (client.clone(), Tasks::new());
    let (tell, told) = tokio::sync::oneshot::channel();
    tasks.spawn("held", async move {
        tell.send(join_all((0..count).map(|_| get(&client, "/gated"))).await).unwrap();
    });
    until("all have come in", || backend.inside() == count).await;
    backend.state.gate.add_permits(count);
    let answers = soon("the answers", told).await.unwrap();
    assert!(answers.len() == count && answers.iter().all(|answer| answer == "a"), "{answers:?}");
}

#[tokio::test]
async fn no_more_requests_share_a_connection_than_the_endpoint_allows() {
    // One, few, and more than are put on a connection in any case.
    for (streams, count) in [(1, 10), (2, 50), (1000, 300)] {
        let a = allowing(streams).await;
        let (upstream, _listening) = proxy(&[&a], UpstreamOptions::default().with_http2(true)).await;
        let client = ServiceClient::new(Arc::clone(&upstream));
        held(&client, &a, count).await;
        let before = a.connections();
        assert!(before >= count.div_ceil(100.min(streams as usize)), "{before}");
        held(&client, &a, count).await;
        for _ in 0..10 {
            assert_eq!(get(&client, "/").await, "a");
        }
        assert_eq!(a.connections(), before, "those that were opened are enough");
        assert_eq!(upstream.status()[0].state, EndpointState::Ready);
    }
}
