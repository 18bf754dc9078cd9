//! What a proxy changes in the head of a request or answer.

use std::net::IpAddr;

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, Request};

use crate::error::NetError;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Refuses what could mean different things to us and to the endpoint, and what this proxy does not do.
pub(crate) fn check<B>(request: &Request<B>) -> Result<(), NetError> {
    let headers = request.headers();
    if headers.contains_key(CONTENT_LENGTH) && headers.contains_key(TRANSFER_ENCODING) {
        return Err(NetError::BadRequest("it has both a Content-Length and a Transfer-Encoding"));
    }
    if headers.get_all(HOST).iter().count() > 1 {
        return Err(NetError::BadRequest("it has more than one Host"));
    }
    if request.method() == Method::CONNECT {
        return Err(NetError::BadRequest("this proxy makes no tunnels"));
    }
    Ok(())
}

/// Takes out what is meant for the next hop only (RFC 9110, 7.6.1), framing included: each side has its own.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let fixed = [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
    ];
    for name in named.iter().chain(&fixed) {
        headers.remove(name);
    }
}

/// Tells the endpoint who asked, and how.
pub(crate) fn forwarded(headers: &mut HeaderMap, client: IpAddr) {
    let before = headers.get(FORWARDED_FOR).and_then(|value| value.to_str().ok());
    let chain = before.map_or_else(|| client.to_string(), |before| format!("{before}, {client}"));
    if let Ok(chain) = HeaderValue::from_str(&chain) {
        headers.insert(FORWARDED_FOR, chain);
    }
    headers.entry(FORWARDED_PROTO).or_insert(HeaderValue::from_static("http"));
    if let Some(host) = headers.get(HOST).cloned() {
        headers.entry(FORWARDED_HOST).or_insert(host);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hop_by_hop_headers_go_also_those_that_connection_names() {
        let mut headers = HeaderMap::new();
        headers.insert(CONNECTION, HeaderValue::from_static("close, X-Secret"));
        headers.insert("x-secret", HeaderValue::from_static("1"));
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        headers.insert("x-kept", HeaderValue::from_static("1"));
        strip_hop_by_hop(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-kept"]);
    }

    #[test]
    fn the_chain_of_proxies_grows() {
        let mut headers = HeaderMap::new();
        headers.insert(FORWARDED_FOR, HeaderValue::from_static("192.0.2.1"));
        headers.insert(HOST, HeaderValue::from_static("shop"));
        forwarded(&mut headers, [127, 0, 0, 1].into());
        assert_eq!(headers[FORWARDED_FOR], "192.0.2.1, 127.0.0.1");
        assert_eq!(headers[FORWARDED_HOST], "shop");
    }

    #[test]
    fn two_framings_are_one_too_many() {
        let both = Request::builder()
            .header(CONTENT_LENGTH, "1")
            .header(TRANSFER_ENCODING, "chunked")
            .body(())
            .unwrap();
        assert!(check(&both).is_err());
        assert!(check(&Request::builder().method(Method::CONNECT).body(()).unwrap()).is_err());
        assert!(check(&Request::new(())).is_ok());
    }
}
