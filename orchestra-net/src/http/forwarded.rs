//! Telling the endpoint who asked, and how.

use std::net::SocketAddr;

use http::header::{HOST, HeaderMap, HeaderName, HeaderValue};

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST_ASKED: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Where a request comes from.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) address: SocketAddr,
    /// Its IP address, as a header has it.
    ip: HeaderValue,
}

impl Client {
    pub(super) fn new(address: SocketAddr) -> Self {
        // An address is always a header's value.
        let ip = HeaderValue::try_from(address.ip().to_string());
        Self { address, ip: ip.unwrap_or(HeaderValue::from_static("unknown")) }
    }
}

/// Sets `X-Forwarded-For`, `-Proto` and `-Host`. What the client says of itself is believed, and added to,
/// only where `trusted`: at an edge anybody can say anything.
pub(super) fn forwarded(headers: &mut HeaderMap, client: &Client, trusted: bool) {
    let chain = if trusted { longer(headers, client) } else { None };
    headers.insert(FOR, chain.unwrap_or_else(|| client.ip.clone()));
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

/// The chain that came, with the client at its end.
fn longer(headers: &HeaderMap, client: &Client) -> Option<HeaderValue> {
    let before = headers.get_all(FOR).iter().map(HeaderValue::as_bytes);
    let chain: Vec<&[u8]> = before.chain([client.ip.as_bytes()]).collect();
    HeaderValue::from_bytes(&chain.join(&b", "[..])).ok()
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
        forwarded(&mut inside, &Client::new(([127, 0, 0, 1], 80).into()), true);
        assert_eq!(inside[FOR], "192.0.2.1, 127.0.0.1");
        assert_eq!(
            (&inside[PROTO], &inside[HOST_ASKED]),
            (&"https".parse().unwrap(), &"shop".parse().unwrap())
        );
        let mut edge = headers();
        forwarded(&mut edge, &Client::new(([127, 0, 0, 1], 80).into()), false);
        assert_eq!((&edge[FOR], &edge[PROTO]), (&"127.0.0.1".parse().unwrap(), &"http".parse().unwrap()));
    }
}
