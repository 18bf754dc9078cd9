//! What a request is called: its id, and its place in a trace.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use http::Request;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use tracing::Span;

use super::HttpOptions;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The longest id of a client's that is taken over: a log shall not be filled with them.
const LONGEST_ID: usize = 128;

/// Makes numbers that nobody has had: a counter under a keyed hash, whose key is the process's own.
#[derive(Debug)]
pub(super) struct Ids {
    made: AtomicU64,
    key: RandomState,
}

impl Ids {
    pub(super) fn new() -> Self {
        Self { made: AtomicU64::new(0), key: RandomState::new() }
    }

    fn number(&self) -> u64 {
        self.key.hash_one(self.made.fetch_add(1, Ordering::Relaxed))
    }

    /// Names the request, as the options say.
    pub(super) fn name<B>(&self, request: &mut Request<B>, options: &HttpOptions) {
        let joined = request.extensions_mut().remove::<Joined>();
        let headers = request.headers_mut();
        if options.request_ids && !(options.trust_forwarded && has_id(headers)) {
            headers.insert(REQUEST_ID, self.id());
        }
        match (options.propagator, joined) {
            (Some(propagator), Some(Joined(span))) => propagator.inject(&span, headers),
            (None, _) if options.trace_context => self.trace(headers),
            _ => {}
        }
    }

    fn id(&self) -> HeaderValue {
        let digits = format!("{:016x}{:016x}", self.number(), self.number());
        HeaderValue::try_from(digits).unwrap_or(HeaderValue::from_static("unknown"))
    }

    /// Puts the proxy between the caller and the endpoint in their trace.
    fn trace(&self, headers: &mut HeaderMap) {
        // 0 is no id.
        let span = self.number() | 1;
        let value = match parent(headers) {
            Some((trace, flags)) => format!("00-{trace}-{span:016x}-{flags}"),
            None => {
                // Of no use without its parent.
                headers.remove(TRACESTATE);
                format!("00-{:016x}{:016x}-{span:016x}-00", self.number(), self.number() | 1)
            }
        };
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(TRACEPARENT, value);
        }
    }
}

/// The span of a request, where an endpoint is to be told of it. The current one is another where this one is disabled.
#[derive(Clone)]
struct Joined(Span);

/// Takes a request's span into the trace that its headers name.
pub(super) fn join<B>(request: &mut Request<B>, span: &Span, options: &HttpOptions) {
    let Some(propagator) = options.propagator else { return };
    let headers = request.headers_mut();
    if parent(headers).is_none() {
        headers.remove(TRACEPARENT);
        headers.remove(TRACESTATE);
    }
    if !span.is_disabled() {
        span.record("otel.kind", "server");
        propagator.extract(headers, span);
        request.extensions_mut().insert(Joined(span.clone()));
    }
}

/// The trace's id and the flags, where a request names one trace.
fn parent(headers: &HeaderMap) -> Option<(&str, &str)> {
    let mut came = headers.get_all(TRACEPARENT).iter();
    match (came.next(), came.next()) {
        (Some(parent), None) => parse(parent.as_bytes()),
        _ => None,
    }
}

fn has_id(headers: &HeaderMap) -> bool {
    headers.get(REQUEST_ID).is_some_and(|id| !id.is_empty() && id.len() <= LONGEST_ID && id.to_str().is_ok())
}

/// The trace's id and the flags of a `traceparent` (W3C Trace Context, version 00 and what later ones have in common).
fn parse(value: &[u8]) -> Option<(&str, &str)> {
    let text = std::str::from_utf8(value).ok()?;
    let mut parts = text.splitn(5, '-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |part: &str, length| {
        part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let valid = hex(version, 2)
        && version != "ff"
        && (version != "00" || parts.next().is_none())
        && [(trace, 32), (parent, 16)]
            .iter()
            .all(|(id, length)| hex(id, *length) && id.bytes().any(|b| b != b'0'))
        && hex(flags, 2);
    valid.then_some((trace, flags))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAME: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn named(headers: &[(&'static str, &'static str)], trusted: bool) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        let options = HttpOptions::default()
            .with_request_ids(true)
            .with_trace_context(true)
            .with_trust_forwarded(trusted);
        let mut request = Request::new(());
        *request.headers_mut() = map;
        Ids::new().name(&mut request, &options);
        request.into_parts().0.headers
    }

    #[test]
    fn an_id_is_kept_only_of_those_who_are_trusted() {
        let id = |headers: &HeaderMap| headers[REQUEST_ID].to_str().unwrap().to_owned();
        assert_eq!(id(&named(&[("x-request-id", "abc")], true)), "abc");
        let new = id(&named(&[("x-request-id", "abc")], false));
        assert!(new.len() == 32 && new.bytes().all(|b| b.is_ascii_hexdigit()), "{new}");
        assert_ne!(id(&named(&[("x-request-id", "")], true)), "");
    }

    #[test]
    fn a_trace_goes_on_with_another_parent_and_what_is_none_begins_anew() {
        let headers = named(&[("traceparent", CAME), ("tracestate", "a=b")], false);
        let now = headers[TRACEPARENT].to_str().unwrap();
        assert!(now.starts_with(&CAME[..36]) && now.ends_with("-01") && now.len() == CAME.len(), "{now}");
        assert_ne!(now, CAME);
        assert_eq!(headers[TRACESTATE], "a=b");
        for none in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        ] {
            let headers = named(&[("traceparent", none), ("tracestate", "a=b")], true);
            let now = headers[TRACEPARENT].to_str().unwrap();
            assert!(
                now.len() == CAME.len() && now.ends_with("-00") && !now.contains("0af765"),
                "{none}: {now}"
            );
            assert!(!headers.contains_key(TRACESTATE));
        }
        let later = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-comes";
        assert!(
            named(&[("traceparent", later)], true)[TRACEPARENT]
                .to_str()
                .unwrap()
                .starts_with("00-0af7651916cd")
        );
    }
}
