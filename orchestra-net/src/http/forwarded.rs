//! Telling the endpoint who asked, and how.

use std::fmt::Write as _;
use std::net::IpAddr;

use http::header::{HOST, HeaderMap, HeaderName, HeaderValue};

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST_ASKED: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Sets `X-Forwarded-For`, `-Proto` and `-Host`. What the client says of itself is believed, and added to,
/// only where `trusted`: at an edge anybody can say anything.
pub(super) fn forwarded(headers: &mut HeaderMap, client: IpAddr, trusted: bool) {
    let mut chain = String::new();
    if trusted {
        for before in headers.get_all(FOR).iter().filter_map(|value| value.to_str().ok()) {
            chain.push_str(before);
            chain.push_str(", ");
        }
    }
    // Writing to a String does not fail.
    let _written = write!(chain, "{client}");
    if let Ok(chain) = HeaderValue::try_from(chain) {
        headers.insert(FOR, chain);
    }
    if !(trusted && headers.contains_key(PROTO)) {
        headers.insert(PROTO, HeaderValue::from_static("http"));
    }
    if !(trusted && headers.contains_key(HOST_ASKED)) {
        match headers.get(HOST).cloned() {
            Some(host) => drop(headers.insert(HOST_ASKED, host)),
            None => drop(headers.remove(HOST_ASKED)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers() -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(FOR, HeaderValue::from_static("192.0.2.1"));
        headers.insert(PROTO, HeaderValue::from_static("https"));
        headers.insert(HOST, HeaderValue::from_static("shop"));
        headers
    }

    #[test]
    fn inside_the_chain_grows_and_at_the_edge_it_begins() {
        let mut inside = headers();
        forwarded(&mut inside, [127, 0, 0, 1].into(), true);
        assert_eq!(inside[FOR], "192.0.2.1, 127.0.0.1");
        assert_eq!(
            (&inside[PROTO], &inside[HOST_ASKED]),
            (&"https".parse().unwrap(), &"shop".parse().unwrap())
        );
        let mut edge = headers();
        forwarded(&mut edge, [127, 0, 0, 1].into(), false);
        assert_eq!((&edge[FOR], &edge[PROTO]), (&"127.0.0.1".parse().unwrap(), &"http".parse().unwrap()));
    }
}
