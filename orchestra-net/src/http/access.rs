//! The access log: what was asked, and how it was answered, told when the answer has ended.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Method, Request, Response, Version};
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::identity::REQUEST_ID;
use super::proxy::Routed;
use crate::body::ProxyBody;
use crate::error::{Cause, NetError};
use crate::upstream::AnsweredBy;

/// What is known of a request before its answer.
pub(super) struct Access {
    client: SocketAddr,
    method: Method,
    version: Version,
    host: Option<HeaderValue>,
    target: String,
    id: Option<HeaderValue>,
    service: Option<Arc<str>>,
    endpoint: Option<SocketAddr>,
    began: Instant,
    /// How long until the answer began.
    first_byte: Duration,
}

/// A header's value as text, for people.
fn text(value: Option<&HeaderValue>) -> &str {
    value.and_then(|value| value.to_str().ok()).unwrap_or("-")
}

impl Access {
    /// What is asked, as the client asks it.
    pub(super) fn begin<B>(request: &Request<B>, client: SocketAddr) -> Self {
        Self {
            client,
            method: request.method().clone(),
            version: request.version(),
            host: request.headers().get(HOST).cloned(),
            target: request.uri().to_string(),
            id: None,
            service: None,
            endpoint: None,
            began: Instant::now(),
            first_byte: Duration::ZERO,
        }
    }

    /// What it is called here, and who is asked.
    pub(super) fn routed<B>(&mut self, request: &Request<B>, routed: &Result<Routed, NetError>) {
        self.id = request.headers().get(REQUEST_ID).cloned();
        if let Ok(Routed::To { upstream, .. }) = routed {
            self.service = Some(Arc::clone(upstream.name()));
        }
    }

    /// Tells of the request when this answer has ended.
    pub(super) fn answered(mut self: Box<Self>, response: Response<ProxyBody>) -> Response<ProxyBody> {
        self.first_byte = self.began.elapsed();
        self.endpoint = response.extensions().get().map(|AnsweredBy(endpoint)| endpoint.address);
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
    access: Box<Access>,
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
            first_byte_seconds = access.first_byte.as_secs_f64(),
            service = access.service.as_deref().unwrap_or("-"),
            endpoint = access.endpoint.map(tracing::field::display),
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
