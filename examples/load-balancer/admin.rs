//! The admin listener.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use orchestra::balance::EndpointId;
use orchestra::engine::Tasks;
use orchestra::net::{Upstream, answer_endpoints};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;

use crate::balancers::Backend;

/// The longest body that the admin listener reads, in bytes: some 40,000 addresses.
const MAX_CHANGE: usize = 1 << 20;

/// What `POST /endpoints` says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    #[serde(default)]
    add: Vec<Backend>,
    #[serde(default)]
    drain: Vec<SocketAddr>,
}

pub(crate) struct Admin {
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) metrics: PrometheusHandle,
}

impl Admin {
    pub(crate) async fn listen(
        self: Arc<Self>,
        address: SocketAddr,
        tasks: &Tasks,
    ) -> anyhow::Result<SocketAddr> {
        let listener =
            TcpListener::bind(address).await.with_context(|| format!("can't listen on {address}"))?;
        let address = listener.local_addr()?;
        let connections = tasks.clone();
        tasks.spawn("admin", async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                };
                let admin = Arc::clone(&self);
                let service = service_fn(move |request| {
                    let admin = Arc::clone(&admin);
                    async move { Ok::<_, Infallible>(admin.answer(request).await) }
                });
                let serving = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .serve_connection(TokioIo::new(stream), service);
                connections.spawn("admin-connection", async move {
                    // A client that went away is its own affair.
                    let _ended = serving.await;
                });
            }
        });
        Ok(address)
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if let Some(answer) = answer_endpoints(&request, || self.upstream.describe()) {
            return answer.map(Into::into);
        }
        match (request.method(), request.uri().path()) {
            (&Method::POST, "/endpoints") => self.change(request).await,
            (&Method::GET, "/metrics") => answer(StatusCode::OK, self.metrics.render()),
            (_, "/endpoints" | "/metrics") => {
                answer(StatusCode::METHOD_NOT_ALLOWED, "GET, or POST /endpoints\n")
            }
            _ => answer(StatusCode::NOT_FOUND, "there are /endpoints and /metrics\n"),
        }
    }

    fn endpoints(&self) -> String {
        format!("{}\n", json!(self.upstream.describe()))
    }

    async fn change(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let body = match Limited::new(request.into_body(), MAX_CHANGE).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => {
                return answer(StatusCode::BAD_REQUEST, format!("the body did not come: {error}\n"));
            }
        };
        let change: Change = match serde_json::from_slice(&body) {
            Ok(change) => change,
            Err(error) => {
                let text = format!(r#"say {{"add": ["ip:port"], "drain": ["ip:port"]}}: {error}"#);
                return answer(StatusCode::BAD_REQUEST, text + "\n");
            }
        };
        // First those that come, so that there is no moment without any.
        self.upstream.insert(change.add.iter().map(Backend::endpoint));
        let gone: Vec<EndpointId> =
            change.drain.into_iter().map(|address| Backend::at(address).endpoint().id).collect();
        self.upstream.remove(&gone).await;
        answer(StatusCode::OK, self.endpoints())
    }
}

fn answer(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response
}
