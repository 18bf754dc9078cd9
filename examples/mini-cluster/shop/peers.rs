//! Calling the other services, found through the environment.

use anyhow::{Context, ensure};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// The other services of the shop.
#[derive(Clone)]
pub(crate) struct Peers(Client<HttpConnector, Full<Bytes>>);

impl Peers {
    pub(crate) fn new() -> Self {
        Self(Client::builder(TokioExecutor::new()).build_http())
    }

    /// Where a service is: as Kubernetes tells its pods.
    fn base(service: &str) -> anyhow::Result<String> {
        let name = service.to_uppercase();
        let get = |key: String| {
            std::env::var(&key).with_context(|| format!("{key} is not set: is there a Service {service}?"))
        };
        Ok(format!(
            "http://{}:{}",
            get(format!("{name}_SERVICE_HOST"))?,
            get(format!("{name}_SERVICE_PORT"))?
        ))
    }

    pub(crate) async fn get(&self, service: &str, path: &str) -> anyhow::Result<Value> {
        self.call(service, Method::GET, path, Value::Null).await
    }

    pub(crate) async fn put(&self, service: &str, path: &str, body: Value) -> anyhow::Result<Value> {
        self.call(service, Method::PUT, path, body).await
    }

    async fn call(&self, service: &str, method: Method, path: &str, body: Value) -> anyhow::Result<Value> {
        let uri = format!("{}{path}", Self::base(service)?);
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let request = Request::builder().method(method).uri(&uri).body(Full::new(body))?;
        let response = self.0.request(request).await.with_context(|| format!("{service} at {uri}"))?;
        let status = response.status();
        let bytes =
            response.into_body().collect().await.with_context(|| format!("{service} at {uri}"))?.to_bytes();
        ensure!(
            status.is_success(),
            "{service} answered {status}: {}",
            String::from_utf8_lossy(&bytes).trim()
        );
        serde_json::from_slice(&bytes).with_context(|| format!("{service} did not answer with JSON"))
    }
}
