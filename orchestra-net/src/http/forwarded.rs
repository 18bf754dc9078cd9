//! Telling the endpoint who asked, and how.

use std::net::{IpAddr, SocketAddr};

use http::header::{HOST, HeaderMap, HeaderName, HeaderValue};

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED: HeaderName = http::header::FORWARDED;
const HOST_ASKED: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Where a request comes from.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) address: SocketAddr,
    /// Its IP address, as a header has it.
    ip: HeaderValue,
    /// What it speaks: `http`, or `https`.
    pub(super) scheme: &'static str,
}

impl Client {
    pub(super) fn new(address: SocketAddr) -> Self {
        // An address is always a header's value.
        let ip = HeaderValue::try_from(address.ip().to_string());
        Self { address, ip: ip.unwrap_or(HeaderValue::from_static("unknown")), scheme: "http" }
    }

    #[cfg(feature = "tls")]
    pub(super) fn over_tls(address: SocketAddr) -> Self {
        Self { scheme: "https", ..Self::new(address) }
    }
}

/// Sets `X-Forwarded-For`, `-Proto` and `-Host`, and, where `standard`, `Forwarded`. What the client says of itself is believed, and added to,
/// only where `trusted`: at an edge anybody can say anything.
pub(super) fn forwarded(headers: &mut HeaderMap, client: &Client, trusted: bool, standard: bool) {
    if standard {
        standardized(headers, client, trusted);
    } else if !trusted {
        headers.remove(FORWARDED);
    }
    let chain = if trusted { longer(headers, client) } else { None };
    headers.insert(FOR, chain.unwrap_or_else(|| client.ip.clone()));
    if !(trusted && headers.contains_key(PROTO)) {
        headers.insert(PROTO, HeaderValue::from_static(client.scheme));
    }
    if !(trusted && headers.contains_key(HOST_ASKED)) {
        match headers.get(HOST).cloned() {
            Some(host) => drop(headers.insert(HOST_ASKED, host)),
            None => drop(headers.remove(HOST_ASKED)),
        }
    }
}

/// Sets `Forwarded` (RFC 7239), as the chain's last element where what came is trusted.
fn standardized(headers: &mut HeaderMap, client: &Client, trusted: bool) {
    let before: Vec<&[u8]> = match trusted {
        true => headers.get_all(FORWARDED).iter().map(HeaderValue::as_bytes).collect(),
        false => Vec::new(),
    };
    let node = match client.address.ip() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("\"[{ip}]\""),
    };
    let host =
        headers.get(HOST).and_then(|host| host.to_str().ok()).filter(|host| !host.contains(['"', '\\']));
    let host = host.map_or_else(String::new, |host| format!(";host=\"{host}\""));
    let element = format!("for={node}{host};proto={}", client.scheme);
    let chain = [before, vec![element.as_bytes()]].concat().join(&b", "[..]);
    if let Ok(chain) = HeaderValue::from_bytes(&chain) {
        headers.insert(FORWARDED, chain);
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
        headers.insert(FORWARDED, HeaderValue::from_static("for=192.0.2.1"));
        headers.insert(HOST, HeaderValue::from_static("shop"));
        headers
    }

    #[test]
    fn inside_the_chain_grows_and_at_the_edge_it_begins() {
        let mut inside = headers();
        forwarded(&mut inside, &Client::new(([127, 0, 0, 1], 80).into()), true, true);
        assert_eq!(inside[FORWARDED], "for=192.0.2.1, for=127.0.0.1;host=\"shop\";proto=http");
        assert_eq!(inside[FOR], "192.0.2.1, 127.0.0.1");
        assert_eq!(
            (&inside[PROTO], &inside[HOST_ASKED]),
            (&"https".parse().unwrap(), &"shop".parse().unwrap())
        );
        let mut edge = headers();
        forwarded(&mut edge, &Client::new(([127, 0, 0, 1], 80).into()), false, false);
        assert!(!edge.contains_key(FORWARDED), "what nobody vouches for");
        assert_eq!((&edge[FOR], &edge[PROTO]), (&"127.0.0.1".parse().unwrap(), &"http".parse().unwrap()));
    }
}
