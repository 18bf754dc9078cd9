//! What a route changes of requests and answers.

use http::header::{HOST, HeaderMap, HeaderName, HeaderValue, LOCATION};
use http::uri::PathAndQuery;
use http::{Request, Response, StatusCode, Uri};

use crate::error::NetError;

/// Another path for a request. Its query stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathChange {
    /// This one.
    Full(String),
    /// This one instead of the part that the route names: of a route for `/api`, `/api/x` becomes `/v1/x` by `/v1`.
    Prefix(String),
}

impl PathChange {
    fn apply(&self, uri: &Uri, prefix_length: usize) -> Result<PathAndQuery, NetError> {
        let path = match self {
            Self::Full(path) => path.clone(),
            Self::Prefix(prefix) => {
                let rest = uri.path().get(prefix_length..).unwrap_or_default();
                let path = format!("{}{rest}", prefix.trim_end_matches('/'));
                if path.is_empty() { "/".to_owned() } else { path }
            }
        };
        let whole = uri.query().map_or_else(|| path.clone(), |query| format!("{path}?{query}"));
        whole.parse().map_err(|_e| NetError::BadRequest("its path can't be rewritten"))
    }
}

/// Changes of headers, made in this order: removed, set, added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderChanges {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
}

impl HeaderChanges {
    /// Takes these out.
    #[must_use]
    pub fn remove(mut self, name: HeaderName) -> Self {
        self.remove.push(name);
        self
    }

    /// Puts this one in, in place of all of its name.
    #[must_use]
    pub fn set(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.set.push((name, value));
        self
    }

    /// Puts this one in, beside those of its name.
    #[must_use]
    pub fn add(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.add.push((name, value));
        self
    }

    pub(super) fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name.clone(), value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name.clone(), value.clone());
        }
    }
}

/// What a request becomes on its way to a service.
#[derive(Clone, Debug, Default)]
pub(super) struct Rewrite {
    pub(super) host: Option<HeaderValue>,
    pub(super) path: Option<PathChange>,
    pub(super) headers: HeaderChanges,
}

impl Rewrite {
    pub(super) fn apply<B>(&self, request: &mut Request<B>, prefix_length: usize) -> Result<(), NetError> {
        if let Some(path) = &self.path {
            *request.uri_mut() = path.apply(request.uri(), prefix_length)?.into();
        }
        if let Some(host) = &self.host {
            request.headers_mut().insert(HOST, host.clone());
        }
        self.headers.apply(request.headers_mut());
        Ok(())
    }
}

/// Where clients are sent instead. What it does not say stays as the client asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    status: StatusCode,
    scheme: Option<String>,
    host: Option<String>,
    port: Option<u16>,
    path: Option<PathChange>,
}

impl Redirect {
    /// A redirect with this status: 301, 302, 303, 307 or 308; any other counts as 302.
    #[must_use]
    pub fn new(status: StatusCode) -> Self {
        let status =
            if matches!(status.as_u16(), 301..=303 | 307 | 308) { status } else { StatusCode::FOUND };
        Self { status, scheme: None, host: None, port: None, path: None }
    }

    /// Sets the scheme: `https`.
    #[must_use]
    pub fn scheme(mut self, scheme: impl Into<String>) -> Self {
        self.scheme = Some(scheme.into());
        self
    }

    /// Sets the host, without a port.
    #[must_use]
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = Some(host.into());
        self
    }

    /// Sets the port.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Sets the path.
    #[must_use]
    pub fn path(mut self, path: PathChange) -> Self {
        self.path = Some(path);
        self
    }

    pub(super) fn answer(
        &self,
        uri: &Uri,
        asked_scheme: &str,
        host: &str,
        prefix_length: usize,
    ) -> Result<Response<()>, NetError> {
        let (name, asked_port) = match host.rfind(':').filter(|at| !host[*at..].contains(']')) {
            Some(at) => (&host[..at], host[at + 1..].parse().ok()),
            None => (host, None),
        };
        let scheme = self.scheme.as_deref().unwrap_or(asked_scheme);
        // Another scheme has another port.
        let port = self.port.or(if self.scheme.is_some() { None } else { asked_port });
        let port = port.filter(|port| !matches!((scheme, port), ("http", 80) | ("https", 443)));
        let port = port.map_or_else(String::new, |port| format!(":{port}"));
        let path = match &self.path {
            Some(path) => path.apply(uri, prefix_length)?.to_string(),
            None => uri.path_and_query().map_or("/", PathAndQuery::as_str).to_owned(),
        };
        let target = format!("{scheme}://{}{port}{path}", self.host.as_deref().unwrap_or(name));
        let location = HeaderValue::try_from(target);
        let location = location.map_err(|_e| NetError::BadRequest("it can't be redirected"))?;
        let mut response = Response::new(());
        *response.status_mut() = self.status;
        response.headers_mut().insert(LOCATION, location);
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_change_as_the_gateway_api_has_it() {
        // The route's prefix, the new one, the path, what becomes of it.
        for (prefix, new, path, expected) in [
            ("/foo", "/xyz", "/foo/bar", "/xyz/bar"),
            ("/foo", "/xyz/", "/foo/bar", "/xyz/bar"),
            ("/foo", "/xyz", "/foo", "/xyz"),
            ("/foo", "/xyz", "/foo/", "/xyz/"),
            ("/foo", "/", "/foo/bar", "/bar"),
            ("/foo", "/", "/foo", "/"),
            ("", "/xyz", "/bar?a=b", "/xyz/bar?a=b"),
        ] {
            let changed = PathChange::Prefix(new.to_owned()).apply(&path.parse().unwrap(), prefix.len());
            assert_eq!(changed.unwrap(), expected, "{prefix} to {new}: {path}");
        }
        let full = PathChange::Full("/x".to_owned()).apply(&"/a/b?c".parse().unwrap(), 0).unwrap();
        assert_eq!(full, "/x?c");
    }

    #[test]
    fn what_a_redirect_does_not_say_stays() {
        let asked: Uri = "/a?b".parse().unwrap();
        let location = |redirect: Redirect, host: &str| {
            redirect.answer(&asked, "http", host, 0).unwrap().headers()[LOCATION].to_str().unwrap().to_owned()
        };
        let moved = || Redirect::new(StatusCode::MOVED_PERMANENTLY);
        assert_eq!(location(moved().scheme("https"), "shop:8080"), "https://shop/a?b");
        assert_eq!(location(moved().host("other"), "shop:8080"), "http://other:8080/a?b");
        assert_eq!(location(moved().port(80), "[::1]:8080"), "http://[::1]/a?b");
        assert_eq!(location(moved().path(PathChange::Full("/c".to_owned())), "[::1]"), "http://[::1]/c?b");
    }
}
