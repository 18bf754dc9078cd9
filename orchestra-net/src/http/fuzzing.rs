//! A request's head on its way through the proxy, for the fuzz target.

use std::net::SocketAddr;
use std::sync::OnceLock;

use http::header::{FORWARDED, HOST, HeaderName, HeaderValue};
use http::uri::Scheme;
use http::{HeaderMap, Method, Request, Uri, Version};
use orchestra_core::engine::Tasks;
use tokio::runtime::Runtime;

use super::forwarded::Client;
use super::proxy::Routed;
use super::tap::Tap;
use super::{
    HashPolicy, HttpOptions, HttpProxy, PathChange, Redirect, Route, Routes, StickyCookie, answers, hop,
};
use crate::body::ProxyBody;
use crate::http2::http2_form;
use crate::upstream::Upstream;

/// The proxies, with and without clients that are trusted. The runtime is never polled.
static PROXIES: OnceLock<(Runtime, [HttpProxy; 2])> = OnceLock::new();

const FOR: &str = "x-forwarded-for";

/// The head of a request: it is refused, or passes without what belongs to one hop, with one host, and with what the proxy says of
/// its client.
///
/// # Panics
/// Where that is not so.
pub fn request(head: &[u8]) {
    let Some(asked) = read(head) else { return };
    let (_runtime, proxies) = PROXIES.get_or_init(proxies);
    let client = Client::new(SocketAddr::from(([192, 0, 2, 7], 5000)));
    for proxy in proxies {
        let tap = Tap::new(head.len());
        tap.arrived(head);
        let mut request = asked.clone();
        let trusted = proxy.inner.options.trust_forwarded;
        let told = if trusted { client.told(request.headers()) } else { client.clone() };
        match proxy.route(&mut request, &client, &told, Some(&tap)) {
            Ok(Routed::To { .. }) => {
                hop::strip(request.headers_mut());
                passed(&request, trusted);
                if asked.version() == Version::HTTP_2 {
                    drop(http2_form(request.map(|()| ProxyBody::default()), &Scheme::HTTP));
                }
            }
            Ok(Routed::Redirected(answer)) => assert!(answer.status().is_redirection()),
            Err(error) => assert!(!answers::instead(&error, false).status().is_success()),
        }
    }
}

fn passed(request: &Request<()>, trusted: bool) {
    let headers = request.headers();
    let names = ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];
    assert!(names.iter().all(|name| !headers.contains_key(*name)), "for this hop only: {headers:?}");
    // A request of HTTP/1.0 may have none.
    let old = request.version() < Version::HTTP_11;
    let hosts = headers.get_all(HOST).iter().count();
    assert!(hosts == 1 || (old && hosts == 0), "one host");
    assert!(request.uri().authority().is_none(), "the target is a path");
    let segments = request.uri().path().to_ascii_lowercase().replace("%2e", ".").replace("%2f", "/");
    assert!(segments.split(['/', '\\']).all(|segment| segment != "." && segment != ".."), "{segments}");
    let said: Vec<&HeaderValue> = headers.get_all(FOR).iter().collect();
    assert!(said.len() == 1 && said[0].as_bytes().ends_with(b"192.0.2.7"), "{said:?}");
    assert!(trusted || (said[0] == "192.0.2.7" && headers.get_all(FORWARDED).iter().count() == 1));
}

/// Lines as HTTP/1.1 has them; what is none is left to hyper.
fn read(head: &[u8]) -> Option<Request<()>> {
    let text = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
    let mut lines = text.take_while(|line| !line.is_empty());
    let mut first = lines.next()?.split(|byte| *byte == b' ');
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(first.next()?).ok()?;
    *request.uri_mut() = Uri::try_from(first.next()?).ok()?;
    *request.version_mut() = match first.next() {
        Some(b"HTTP/2.0") => Version::HTTP_2,
        Some(b"HTTP/1.0") => Version::HTTP_10,
        _ => Version::HTTP_11,
    };
    let mut headers = HeaderMap::new();
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        headers.append(name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?);
    }
    *request.headers_mut() = headers;
    Some(request)
}

fn proxies() -> (Runtime, [HttpProxy; 2]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let inside = runtime.enter();
    let [all, api] = ["all", "api"].map(Upstream::named);
    let moved = PathChange::Prefix("/new".to_owned());
    let routes = Routes::to(all)
        .with(
            Route::to(api.clone())
                .host("*.local")
                .prefix("/api")
                .parameter("x", "1 2")
                .rewrite_path(PathChange::Prefix("/v1".to_owned()))
                .sticky(StickyCookie::new("lb").expect("a name")),
        )
        .with(Route::to(api).prefix("/cart").hash_by(HashPolicy::Cookie("a".to_owned())))
        .with(Route::redirect(Redirect::new(http::StatusCode::FOUND).path(moved)).prefix("/gone"));
    let proxies = [false, true].map(|trusted| {
        let options = HttpOptions::default().with_trust_forwarded(trusted).with_forwarded(true);
        HttpProxy::new(routes.clone(), options.with_request_ids(true).with_trace_context(true), &Tasks::new())
    });
    drop(inside);
    (runtime, proxies)
}
