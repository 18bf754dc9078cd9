//! Calling the other services, found through the environment.

use anyhow::Context;
use hyper::Method;
use hyper::body::Bytes;
use serde_json::Value;

use crate::http::Http;

/// The other services of the shop.
#[derive(Clone)]
pub(crate) struct Peers(Http);

impl Peers {
    pub(crate) fn new() -> Self {
        Self(Http::new())
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
        let uri = format!("{}{path}", Self::base(service)?);
        self.0.get_json(&uri).await.with_context(|| format!("asking {service}"))
    }

    pub(crate) async fn put(&self, service: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
        let uri = format!("{}{path}", Self::base(service)?);
        let body = Bytes::from(body.to_string());
        let answer =
            self.0.send(Method::PUT, &uri, body).await.with_context(|| format!("telling {service}"))?;
        serde_json::from_slice(&answer).with_context(|| format!("{service} did not answer with JSON"))
    }
}
