//! What a proxy must not forward, because the two sides could read it differently, and what it does not do.
//!
//! hyper's parser has refused most of it before: malformed lengths, lengths that differ, transfer codings
//! that do not end in `chunked`, either in HTTP/1.0, spaces before a colon, folded lines. The rest is here.

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version, uri::Authority};

use super::tap::Tap;
use crate::error::NetError;

/// Refuses what could mean different things to us and to the endpoint, and what this proxy does not do. Then
/// the target is a path, and the host is in `Host`.
pub(super) fn admit<B>(request: &mut Request<B>, tap: Option<&Tap>) -> Result<(), NetError> {
    if request.method() == Method::CONNECT {
        return Err(NetError::Unsupported("CONNECT"));
    }
    if request.version() == Version::HTTP_2 {
        length(request.headers())?;
    }
    framing(request.headers(), tap)?;
    path(request.uri().path())?;
    host(request)
}

/// A server that takes out dot segments would answer for another path than the one that a route was found for. Some do so after
/// decoding what is encoded, take a backslash for a slash, or leave out what follows a semicolon.
fn path(path: &str) -> Result<(), NetError> {
    if !path.contains(['%', '\\']) && !path.contains("/.") {
        return Ok(());
    }
    let mut read = path.to_ascii_lowercase().replace('\\', "/");
    for (encoded, byte) in [("%2e", "."), ("%2f", "/"), ("%5c", "/"), ("%3b", ";")] {
        read = read.replace(encoded, byte);
    }
    let is_dots = |segment: &str| matches!(segment.split(';').next(), Some("." | ".."));
    match read.split('/').any(is_dots) {
        true => Err(NetError::BadRequest("its path has a segment . or ..")),
        false => Ok(()),
    }
}

/// HTTP/2 frames bodies by itself, so its parser lets a length pass that is none.
fn length(headers: &HeaderMap) -> Result<(), NetError> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let (length, second) = (lengths.next(), lengths.next());
    let is_number =
        |length: &HeaderValue| !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit);
    if second.is_some() || length.is_some_and(|length| !is_number(length)) {
        return Err(NetError::BadRequest("its Content-Length is no number"));
    }
    Ok(())
}

fn framing(headers: &HeaderMap, tap: Option<&Tap>) -> Result<(), NetError> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return Ok(()) };
    if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Err(NetError::Unsupported("a Transfer-Encoding other than chunked"));
    }
    // hyper takes the length out where there are both, so it is looked for in the bytes that came.
    if headers.contains_key(CONTENT_LENGTH) || tap.is_some_and(|tap| tap.head_has("content-length")) {
        return Err(NetError::BadRequest("it has both a Content-Length and a Transfer-Encoding"));
    }
    Ok(())
}

fn host<B>(request: &mut Request<B>) -> Result<(), NetError> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Err(NetError::BadRequest("it has more than one Host"));
    }
    let host = match host {
        Some(host) => Some(host.to_str().map_err(|_e| NetError::BadRequest("its Host is no text"))?),
        None => None,
    };
    let unclear = |host: &str| {
        !is_plain(host) && (host.parse::<Authority>().is_err() || host.contains('@') || !has_clear_port(host))
    };
    if host.is_some_and(unclear) {
        return Err(NetError::BadRequest("its Host is not a host and port"));
    }
    if request.uri().authority().is_some_and(|authority| unclear(authority.as_str())) {
        return Err(NetError::BadRequest("its target is not a host and port"));
    }
    match (request.uri().authority(), host) {
        (None, Some(_)) => return Ok(()),
        (None, None) if request.version() < Version::HTTP_11 => return Ok(()),
        (None, None) => return Err(NetError::BadRequest("it has no Host")),
        // The absolute form counts more than Host (RFC 9112, 3.2.2); a server that thinks otherwise would
        // see another request than we do.
        (Some(authority), Some(host)) if !authority.as_str().eq_ignore_ascii_case(host) => {
            return Err(NetError::BadRequest("its target and its Host differ"));
        }
        (Some(_), Some(_)) => {}
        (Some(authority), None) => {
            let host = authority.as_str().parse();
            let host = host.map_err(|_e| NetError::BadRequest("its target is not a host and port"))?;
            request.headers_mut().insert(HOST, host);
        }
    }
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
    Ok(())
}

/// Whether it is empty, or a name and perhaps a port, as nearly all are: that is found out faster than what else may be clear.
fn is_plain(host: &str) -> bool {
    let (name, port) = host.split_once(':').unwrap_or((host, "0"));
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    host.is_empty()
        || (!name.is_empty()
            && name.bytes().all(letters)
            && port.bytes().all(|byte| byte.is_ascii_digit())
            && port.parse::<u16>().is_ok())
}

/// Whether what follows the name, if anything, is a colon and a port or nothing.
fn has_clear_port(host: &str) -> bool {
    let name = host.rfind(']').map_or(0, |at| at + 1);
    match host[name..].split_once(':') {
        Some((before, port)) => {
            (name == 0 || before.is_empty())
                && port.bytes().all(|byte| byte.is_ascii_digit())
                && (port.is_empty() || port.parse::<u16>().is_ok())
        }
        None => name == 0 || name == host.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &str, headers: &[(&str, &str)]) -> Request<()> {
        let builder =
            headers.iter().fold(Request::builder().uri(target), |b, (name, value)| b.header(*name, *value));
        builder.body(()).unwrap()
    }

    fn admitted(target: &str, headers: &[(&str, &str)]) -> Result<Request<()>, String> {
        let mut request = request(target, headers);
        admit(&mut request, None).map(|()| request).map_err(|error| error.to_string())
    }

    #[test]
    fn requests_that_two_sides_could_read_differently_are_refused() {
        let refused: [(&str, &[(&str, &str)]); 8] = [
            ("/", &[]),
            ("/", &[("host", "a"), ("host", "a")]),
            ("/", &[("host", "a b")]),
            ("/", &[("host", "user@a")]),
            ("/", &[("host", "a"), ("transfer-encoding", "chunked"), ("content-length", "1")]),
            ("/", &[("host", "a"), ("transfer-encoding", "gzip, chunked")]),
            ("/", &[("host", "a"), ("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")]),
            ("http://a/", &[("host", "b")]),
        ];
        for (target, headers) in refused {
            assert!(admitted(target, headers).is_err(), "{target} {headers:?}");
        }
        let connect = Request::builder().method(Method::CONNECT).uri("a:443").body(()).unwrap();
        assert!(admit(&mut { connect }, None).is_err());
    }

    #[test]
    fn the_absolute_form_becomes_a_path_and_a_host() {
        let request = admitted("http://shop:81/cart?x=1", &[]).unwrap();
        assert_eq!(
            (request.uri().to_string().as_str(), &request.headers()[HOST]),
            ("/cart?x=1", &"shop:81".parse().unwrap())
        );
        assert_eq!(admitted("http://shop", &[("host", "SHOP")]).unwrap().uri(), "/");
    }
}
