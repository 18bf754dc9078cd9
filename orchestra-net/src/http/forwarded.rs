//! Telling the endpoint who asked, and how.

use std::net::{IpAddr, SocketAddr};

use http::header::{HOST, HeaderMap, HeaderName, HeaderValue};

use crate::proxy_protocol::canonical;

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
        let address = canonical(address);
        // An address is always a header's value.
        let ip = HeaderValue::try_from(address.ip().to_string());
        Self { address, ip: ip.unwrap_or(HeaderValue::from_static("unknown")), scheme: "http" }
    }

    #[cfg(feature = "tls")]
    pub(super) fn over_tls(address: SocketAddr) -> Self {
        Self { scheme: "https", ..Self::new(address) }
    }

    /// The client that the proxy before us says that it asks for: the last one of `X-Forwarded-For`, which is the one that it saw
    /// itself, and how that one asked it. Its port is not known, and 0.
    pub(super) fn told(&self, headers: &HeaderMap) -> Self {
        let last = headers.get_all(FOR).iter().next_back().and_then(|value| value.to_str().ok());
        let told = last.and_then(|chain| address(chain.rsplit(',').next()?.trim()));
        let scheme = match headers.get(PROTO).map(HeaderValue::as_bytes) {
            Some(b"https") => "https",
            Some(b"http") => "http",
            _ => self.scheme,
        };
        Self { scheme, ..told.map_or_else(|| self.clone(), Self::new) }
    }
}

/// An address, with or without a port.
fn address(text: &str) -> Option<SocketAddr> {
    let ip = text.parse::<IpAddr>().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    Some(SocketAddr::new(ip.ok()?, 0))
}

/// Whether a name is one by which proxies say what they know of a client, however it is written: servers that pass headers to programs
/// make `_` of `-`.
fn is_said_of_clients(name: &str) -> bool {
    let is = |said: &str, name: &str| {
        name.bytes().map(|byte| if byte == b'_' { b'-' } else { byte }).eq(said.bytes())
    };
    match name.get(..12) {
        Some(begin) => is("x-forwarded-", begin),
        None => is("x-real-ip", name),
    }
}

/// Sets `X-Forwarded-For`, `-Proto` and `-Host`, and, where `standard`, `Forwarded`. What the client says of itself, also by other
/// such names, is believed, and added to, only where `trusted`: at an edge anybody can say anything.
pub(super) fn forwarded(headers: &mut HeaderMap, client: &Client, trusted: bool, standard: bool) {
    if !trusted {
        forget(headers);
    }
    if standard {
        standardized(headers, client, trusted);
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

/// Takes out what the client says of itself.
fn forget(headers: &mut HeaderMap) {
    // Nearly no client says anything.
    let said = |name: &&HeaderName| **name == FORWARDED || is_said_of_clients(name.as_str());
    while let Some(name) = headers.keys().find(said).cloned() {
        headers.remove(name);
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
        let others = ["x-real-ip", "x_real_ip", "x-forwarded-port", "x_forwarded_for", "x-forwarded_prefix"];
        for other in others {
            edge.insert(other, HeaderValue::from_static("1"));
        }
        edge.insert("x-forward", HeaderValue::from_static("not one of them"));
        forwarded(&mut edge, &Client::new(([127, 0, 0, 1], 80).into()), false, false);
        assert!(!edge.contains_key(FORWARDED) && others.iter().all(|other| !edge.contains_key(*other)));
        assert!(edge.contains_key("x-forward"));
        assert_eq!((&edge[FOR], &edge[PROTO]), (&"127.0.0.1".parse().unwrap(), &"http".parse().unwrap()));
    }

    #[test]
    fn the_client_is_the_last_one_that_the_proxy_before_us_names() {
        let peer = Client::new("[::ffff:127.0.0.1]:80".parse().unwrap());
        assert_eq!(peer.address, SocketAddr::from(([127, 0, 0, 1], 80)), "as IPv4 has it");
        let told = |chain: &'static str| {
            let mut headers = headers();
            headers.insert(FOR, HeaderValue::from_static(chain));
            peer.told(&headers).address.ip().to_string()
        };
        assert_eq!(told("192.0.2.9, 192.0.2.1"), "192.0.2.1");
        assert_eq!(told("192.0.2.1:4711"), "192.0.2.1");
        assert_eq!(told("2001:db8::1"), "2001:db8::1");
        assert_eq!(told("[2001:db8::1]:80"), "2001:db8::1");
        assert_eq!(told("unknown"), "127.0.0.1");
        assert_eq!(peer.told(&headers()).scheme, "https");
        assert_eq!(peer.told(&HeaderMap::new()).scheme, "http");
    }
}
