//! The access log: what was asked, and how it was answered, told when the answer has ended.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Method, Request, Response, Version};
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::identity::REQUEST_ID;
use crate::body::ProxyBody;
use crate::error::Cause;

/// What is known of a request before its answer.
pub(super) struct Access {
    client: SocketAddr,
    method: Method,
    version: Version,
    host: Option<HeaderValue>,
    target: String,
    id: Option<HeaderValue>,
    service: Option<Arc<str>>,
    began: Instant,
}

/// A header's value as text, for people.
fn text(value: Option<&HeaderValue>) -> &str {
    value.and_then(|value| value.to_str().ok()).unwrap_or("-")
}

impl Access {
    pub(super) fn begin<B>(request: &Request<B>, client: SocketAddr, service: Option<&Arc<str>>) -> Self {
        let header = |name| request.headers().get(name).cloned();
        Self {
            client,
            method: request.method().clone(),
            version: request.version(),
            host: header(HOST),
            target: request.uri().to_string(),
            id: header(REQUEST_ID),
            service: service.cloned(),
            began: Instant::now(),
        }
    }

    /// Tells of the request when this answer has ended.
    pub(super) fn answered(self, response: Response<ProxyBody>) -> Response<ProxyBody> {
        let status = response.status().as_u16();
        response.map(|body| {
            let complete = body.is_end_stream();
            ProxyBody::new(Logged { body, access: self, status, bytes: 0, complete })
        })
    }
}

/// An answer's body, whose end is told.
struct Logged {
    body: ProxyBody,
    access: Access,
    status: u16,
    bytes: u64,
    complete: bool,
}

impl Drop for Logged {
    fn drop(&mut self) {
        let access = &self.access;
        tracing::info!(
            target: "orchestra_net::access",
            client = %access.client,
            method = %access.method,
            version = ?access.version,
            host = text(access.host.as_ref()),
            target = access.target,
            status = self.status,
            bytes = self.bytes,
            seconds = access.began.elapsed().as_secs_f64(),
            service = access.service.as_deref().unwrap_or("-"),
            request_id = text(access.id.as_ref()),
            complete = self.complete || self.body.is_end_stream(),
            "request"
        );
    }
}

impl Body for Logged {
    type Data = Bytes;
    type Error = Cause;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cause>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64)
            }
            Poll::Ready(None) => self.complete = true,
            _ => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
