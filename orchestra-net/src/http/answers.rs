//! What a proxy answers by itself.

use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderName, Request, Response, StatusCode, Version};

use crate::body::ProxyBody;
use crate::error::NetError;

/// Says that the answer is the proxy's and not the service's.
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The answer that tells of `error`: its words, and its cause.
pub(super) fn failure(error: &NetError) -> Response<ProxyBody> {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text.push('\n');
    let mut response = Response::new(ProxyBody::from(text));
    *response.status_mut() = error.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(PROXY_STATUS, HeaderValue::from_static(kind(error)));
    match error {
        NetError::TooManyRequests { wait, .. } => {
            headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1));
        }
        NetError::Busy { .. } | NetError::Overloaded { .. } => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        _ => {}
    }
    response
}

/// The same for a client that speaks gRPC, which looks for what went wrong in the headers of a good answer.
pub(super) fn grpc_failure(error: &NetError) -> Response<ProxyBody> {
    let mut response = failure(error);
    // What a header can't hold would have to be escaped.
    let text = error.to_string().replace(|c: char| !matches!(c, ' '..='~') || c == '%', "?");
    *response.status_mut() = StatusCode::OK;
    *response.body_mut() = ProxyBody::default();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, HeaderValue::from_static(grpc_status(error)));
    if let Ok(text) = HeaderValue::try_from(text) {
        headers.insert(GRPC_MESSAGE, text);
    }
    response
}

/// Whether the request is one of gRPC.
pub(super) fn is_grpc<B>(request: &Request<B>) -> bool {
    let kind = || request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    request.version() == Version::HTTP_2 && kind().is_some_and(|kind| kind.starts_with(b"application/grpc"))
}

/// gRPC's status codes.
fn grpc_status(error: &NetError) -> &'static str {
    match error {
        NetError::Timeout { .. } | NetError::Deadline { .. } | NetError::Stalled { .. } => "4",
        NetError::BodyTooLarge { .. } | NetError::TooManyRequests { .. } => "8",
        NetError::NoService(_) | NetError::Unsupported(_) => "12",
        NetError::BadRequest(_) | NetError::SlowClient { .. } => "13",
        _ => "14",
    }
}

/// RFC 9209's names of what went wrong.
fn kind(error: &NetError) -> &'static str {
    match error {
        NetError::NoEndpoint { .. } => "orchestra; error=destination_unavailable",
        NetError::TooManyRequests { .. } => "orchestra; error=http_request_denied",
        NetError::Busy { .. } | NetError::Overloaded { .. } => "orchestra; error=connection_limit_reached",
        NetError::NoService(_) | NetError::NoBackend(_) => "orchestra; error=destination_not_found",
        NetError::Timeout { .. } | NetError::Deadline { .. } | NetError::Stalled { .. } => {
            "orchestra; error=http_response_timeout"
        }
        NetError::SlowClient { .. }
        | NetError::BodyTooLarge { .. }
        | NetError::BadRequest(_)
        | NetError::Unsupported(_) => "orchestra; error=http_request_error",
        NetError::BadCookie { .. }
        | NetError::BadRoute { .. }
        | NetError::Listen { .. }
        | NetError::Workers { .. }
        | NetError::HandOver { .. }
        | NetError::Upstream { .. }
        | NetError::Body { .. } => "orchestra; error=connection_terminated",
    }
}
