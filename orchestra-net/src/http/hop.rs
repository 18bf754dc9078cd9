//! Headers that are meant for the next hop only.

use http::header::{CONNECTION, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, TE, UPGRADE};

/// What belongs to one connection, whether or not `Connection` names it (RFC 9110, 7.6.1). The framing is among
/// it: each side has its own.
const FIXED: [&str; 8] = [
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "transfer-encoding",
    "upgrade",
];

/// What `Connection` can't take out: without it the request would be another one, or what we say of its client be lost.
static KEPT: [HeaderName; 7] = [
    HOST,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-host"),
    FORWARDED,
    super::identity::REQUEST_ID,
    super::identity::TRACEPARENT,
];

/// Takes out what is meant for the next hop only, and what `Connection` names besides. That the sender takes trailers
/// is passed on, as we pass them on.
pub(super) fn strip(headers: &mut HeaderMap) {
    // Most messages have none of these, and comparing a few names, most of which are of another length, is cheaper than looking
    // eight times.
    if !headers
        .keys()
        .any(|name| may_be_fixed(name.as_str()) && (*name == TE || FIXED.contains(&name.as_str())))
    {
        return;
    }
    let trailers = has_token(headers, TE, "trailers");
    if let Some(named) = named(headers) {
        for name in named.iter().filter(|name| !KEPT.contains(name)) {
            headers.remove(name);
        }
    }
    for name in FIXED {
        headers.remove(name);
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    } else {
        headers.remove(TE);
    }
}

/// Whether a name has the length of one of those.
fn may_be_fixed(name: &str) -> bool {
    matches!(name.len(), 2 | 7 | 10 | 14 | 16..=19)
}

/// Takes out what `Connection` names before anything is put in, so that it can't take away what we say. It then names
/// nothing but a change of the protocol, if that is asked for.
pub(super) fn settle(headers: &mut HeaderMap) {
    let Some(named) = named(headers) else { return };
    let upgrades = named.contains(&UPGRADE);
    // Those two are still looked at.
    for name in named.iter().filter(|name| !KEPT.contains(name) && ![TE, UPGRADE].contains(name)) {
        headers.remove(name);
    }
    match upgrades {
        true => drop(headers.insert(CONNECTION, HeaderValue::from_static("upgrade"))),
        false => drop(headers.remove(CONNECTION)),
    }
}

fn named(headers: &HeaderMap) -> Option<Vec<HeaderName>> {
    headers.get(CONNECTION)?;
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    Some(values.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok()).collect())
}

/// Whether a header's comma-separated list has `token`, in any case.
pub(super) fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|found| found.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(headers: &[(&'static str, &'static str)]) -> Vec<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        strip(&mut map);
        map.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
    }

    #[test]
    fn what_is_for_the_next_hop_goes_also_what_connection_names() {
        let left = stripped(&[
            ("connection", "close, X-Secret"),
            ("connection", "x-other"),
            ("x-secret", "1"),
            ("x-other", "1"),
            ("transfer-encoding", "chunked"),
            ("keep-alive", "timeout=5"),
            ("upgrade", "h2c"),
            ("x-kept", "1"),
        ]);
        assert_eq!(left, ["x-kept: 1"]);
    }

    #[test]
    fn no_fixed_name_is_overlooked_by_its_length() {
        assert!(FIXED.iter().chain(&[TE.as_str()]).all(|name| may_be_fixed(name)));
    }

    #[test]
    fn connection_cannot_take_away_the_host_and_what_we_say_of_the_client() {
        let said = [("connection", "X-Forwarded-For, x-forwarded-proto"), ("x-forwarded-for", "192.0.2.1")];
        assert_eq!(stripped(&said), ["x-forwarded-for: 192.0.2.1"]);
        assert_eq!(stripped(&[("connection", "host"), ("host", "shop")]), ["host: shop"]);
    }

    #[test]
    fn once_settled_it_takes_nothing_away_that_is_put_in() {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("connection", "close, X-Auth, te"), ("connection", "Upgrade"), ("x-auth", "me")]
        {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers.insert(UPGRADE, HeaderValue::from_static("echo"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        settle(&mut headers);
        assert_eq!(
            (headers.get("x-auth"), &headers[CONNECTION]),
            (None, &HeaderValue::from_static("upgrade"))
        );
        assert!(headers.contains_key(UPGRADE) && headers.contains_key(TE));
        headers.insert("x-auth", HeaderValue::from_static("us"));
        strip(&mut headers);
        assert_eq!(headers["x-auth"], "us");
        assert!(!headers.contains_key(CONNECTION) && !headers.contains_key(UPGRADE));
    }

    #[test]
    fn that_trailers_are_taken_is_passed_on() {
        assert_eq!(stripped(&[("connection", "te"), ("te", "trailers")]), ["te: trailers"]);
        assert_eq!(stripped(&[("te", "gzip, trailers")]), ["te: trailers"]);
        assert_eq!(stripped(&[("te", "gzip")]), Vec::<String>::new());
    }
}
