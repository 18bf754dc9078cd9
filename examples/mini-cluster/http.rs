//! HTTP, seen from a client: the load's, and that of the shop's services.

use anyhow::{Context, ensure};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// A client that keeps its connections. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Http(Client<HttpConnector, Full<Bytes>>);

impl Http {
    pub(crate) fn new() -> Self {
        Self(Client::builder(TokioExecutor::new()).build_http())
    }

    /// Sends a request, and reads the whole answer; one that is no success is an error.
    pub(crate) async fn send(&self, method: Method, uri: &str, body: Bytes) -> anyhow::Result<Bytes> {
        let request = Request::builder().method(method).uri(uri).body(Full::new(body))?;
        let response = self.0.request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        ensure!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body).trim());
        Ok(body)
    }

    /// What a GET is answered with.
    pub(crate) async fn get_json(&self, uri: &str) -> anyhow::Result<Value> {
        let body = self.send(Method::GET, uri, Bytes::new()).await.with_context(|| format!("GET {uri}"))?;
        serde_json::from_slice(&body).with_context(|| format!("{uri} did not answer with JSON"))
    }
}
