//! What a proxy answers by itself.

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderName, Response};

use crate::body::ProxyBody;
use crate::error::NetError;

/// Says that the answer is the proxy's and not the service's.
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

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
    response
}

/// RFC 9209's names of what went wrong.
fn kind(error: &NetError) -> &'static str {
    match error {
        NetError::NoEndpoint { .. } => "orchestra; error=destination_unavailable",
        NetError::Busy { .. } => "orchestra; error=connection_limit_reached",
        NetError::NoService(_) => "orchestra; error=destination_not_found",
        NetError::Timeout { .. } | NetError::Stalled { .. } => "orchestra; error=http_response_timeout",
        NetError::SlowClient { .. }
        | NetError::BodyTooLarge { .. }
        | NetError::BadRequest(_)
        | NetError::Unsupported(_) => "orchestra; error=http_request_error",
        NetError::Listen { .. }
        | NetError::Workers { .. }
        | NetError::Upstream { .. }
        | NetError::Body { .. } => "orchestra; error=connection_terminated",
    }
}
