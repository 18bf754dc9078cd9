//! What a proxy answers by itself.

use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderName, Response, StatusCode};

use super::grpc;
use crate::body::ProxyBody;
use crate::error::NetError;

/// Says that the answer is the proxy's and not the service's.
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// The answer to a request that is not answered by a service.
pub(super) fn instead(error: &NetError, grpc: bool) -> Response<ProxyBody> {
    // With the endpoint, and its cause.
    tracing::debug!(error = error as &(dyn std::error::Error + 'static), "answered for a service");
    let kind = kind(error).trim_start_matches("orchestra; error=");
    metrics::counter!("orchestra_proxy_errors_total", "status" => error.status().as_str().to_owned(), "error" => kind)
        .increment(1);
    if grpc { grpc_failure(error) } else { failure(error) }
}

/// What a stranger may know of it: not where a service's endpoints are, nor what is wrong with them.
fn told(error: &NetError) -> String {
    match error {
        NetError::Upstream { service, .. } => format!("{service} did not answer"),
        NetError::Timeout { service, limit, .. } => format!("{service} did not answer within {limit:?}"),
        other => other.to_string(),
    }
}

/// The answer that tells of `error`.
fn failure(error: &NetError) -> Response<ProxyBody> {
    let mut response = Response::new(ProxyBody::from(told(error) + "\n"));
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
fn grpc_failure(error: &NetError) -> Response<ProxyBody> {
    let mut response = failure(error);
    // What a header can't hold would have to be escaped.
    let text = told(error).replace(|c: char| !matches!(c, ' '..='~') || c == '%', "?");
    *response.status_mut() = StatusCode::OK;
    *response.body_mut() = ProxyBody::default();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(grpc::STATUS, HeaderValue::from_static(grpc_status(error)));
    if let Ok(text) = HeaderValue::try_from(text) {
        headers.insert(grpc::MESSAGE, text);
    }
    response
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
        | NetError::NameServers { .. }
        | NetError::Upstream { .. }
        | NetError::Body { .. } => "orchestra; error=connection_terminated",
    }
}
