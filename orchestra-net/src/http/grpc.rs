//! gRPC, whose answers say at their end how they went.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Version};
use orchestra_core::balance::Outcome;

pub(super) const STATUS: HeaderName = HeaderName::from_static("grpc-status");
pub(super) const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Whether the request is one of gRPC.
pub(super) fn is_asked<B>(request: &Request<B>) -> bool {
    request.version() == Version::HTTP_2 && is_spoken(request.headers())
}

/// Whether a message is one of gRPC, and not of gRPC-Web, which has its trailers in the body.
fn is_spoken(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let rest = kind.and_then(|kind| kind.strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

/// How a request went, by the head of its answer; `None` where its trailers will say so.
pub(super) fn outcome<B>(response: &Response<B>) -> Option<Outcome> {
    if response.status().is_server_error() {
        return Some(Outcome::Failure);
    }
    // gRPC is spoken over HTTP/2 alone.
    if response.version() != Version::HTTP_2 || !is_spoken(response.headers()) {
        return Some(Outcome::Success);
    }
    status(response.headers())
}

/// How a request went, by the headers at the end of its answer, which lack a status only where it broke off.
pub(crate) fn ended(trailers: Option<&HeaderMap>) -> Outcome {
    trailers.and_then(status).unwrap_or(Outcome::Failure)
}

/// As Linkerd has it, those are the endpoint's failures: UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE and DATA_LOSS. All
/// others are answers.
fn status(headers: &HeaderMap) -> Option<Outcome> {
    let status = headers.get(STATUS)?.as_bytes();
    Some(match status {
        b"2" | b"4" | b"13" | b"14" | b"15" => Outcome::Failure,
        _ => Outcome::Success,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(kind: &str, status: Option<&str>) -> Option<Outcome> {
        let mut response = Response::builder().version(Version::HTTP_2).header(CONTENT_TYPE, kind);
        if let Some(status) = status {
            response = response.header(STATUS, status);
        }
        outcome(&response.body(()).unwrap())
    }

    #[test]
    fn the_head_says_how_a_request_went_unless_trailers_will() {
        assert_eq!(answered("application/json", None), Some(Outcome::Success));
        assert_eq!(answered("application/grpc-web+proto", None), Some(Outcome::Success));
        assert_eq!(answered("application/grpc", None), None);
        assert_eq!(answered("application/grpc+proto", Some("14")), Some(Outcome::Failure));
        assert_eq!(answered("application/grpc; charset=utf-8", Some("5")), Some(Outcome::Success));
    }

    #[test]
    fn an_end_without_a_status_is_a_failure() {
        let ok = HeaderMap::from_iter([(STATUS, HeaderValue::from_static("0"))]);
        assert_eq!(ended(Some(&ok)), Outcome::Success);
        assert_eq!([ended(Some(&HeaderMap::new())), ended(None)], [Outcome::Failure; 2]);
    }
}
