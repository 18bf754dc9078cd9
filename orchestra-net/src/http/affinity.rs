//! Which requests belong together, so that they meet the same endpoint.

use std::fmt::Write as _;
use std::time::Duration;

use http::header::{COOKIE, HeaderMap, HeaderName, HeaderValue, SET_COOKIE};

use super::forwarded::Client;
use super::proxy::{FNV, fnv, hash};
use crate::error::NetError;
use crate::upstream::Session;

/// What equal requests have in common, for balancers that send equal ones to the same endpoint:
/// [`ConsistentHash`](orchestra_core::balance::ConsistentHash) and [`Maglev`](orchestra_core::balance::Maglev). Others don't
/// look at it.
///
/// A request without it goes to any endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HashPolicy {
    /// The address of the client, as the proxy sees it, or as the PROXY protocol says it.
    ClientAddress,
    /// The value of this header, the first of that name.
    Header(HeaderName),
    /// The value of the cookie of this name.
    Cookie(String),
}

impl HashPolicy {
    pub(super) fn hash(&self, headers: &HeaderMap, client: &Client) -> Option<u64> {
        match self {
            Self::ClientAddress => Some(hash(client.address)),
            Self::Header(name) => headers.get(name).map(|value| fnv(FNV, value.as_bytes())),
            Self::Cookie(name) => cookie(headers, name).map(|value| fnv(FNV, value)),
        }
    }
}

/// The value of a cookie; of two of one name the first (RFC 6265, 5.4 puts the more exact one there).
fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h [u8]> {
    let lines = headers.get_all(COOKIE).into_iter().map(HeaderValue::as_bytes);
    let pairs = lines.flat_map(|line| line.split(|byte| *byte == b';'));
    let mut named =
        pairs.filter_map(|pair| pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"="));
    named.next()
}

/// Whether browsers send a cookie along with requests that other sites cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SameSite {
    /// Never.
    Strict,
    /// When people follow a link.
    Lax,
    /// Always; browsers want [`StickyCookie::secure`] for it.
    None,
}

/// A cookie that the proxy issues, so that all requests of a session go to the endpoint that answered its first one.
///
/// It names the endpoint by a number that says nothing about it. An endpoint that has left, is ejected, unhealthy or full is
/// replaced by another one, which the balancer picks and a new cookie names; one that drains, too: its sessions move.
///
/// ```
/// use std::time::Duration;
/// use orchestra_net::{SameSite, StickyCookie};
///
/// let cookie = StickyCookie::new("lb").unwrap().max_age(Duration::from_secs(3600)).same_site(SameSite::Lax);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StickyCookie {
    name: String,
    path: String,
    domain: Option<String>,
    max_age: Option<Duration>,
    secure: bool,
    http_only: bool,
    same_site: Option<SameSite>,
}

impl StickyCookie {
    /// A cookie of this name, for all paths of the host that was asked, for as long as the browser runs, and not for scripts.
    ///
    /// # Errors
    /// [`NetError::BadCookie`] where that is no name of a cookie.
    pub fn new(name: &str) -> Result<Self, NetError> {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(NetError::BadCookie { what: "name", value: name.to_owned() });
        }
        Ok(Self {
            name: name.to_owned(),
            path: "/".to_owned(),
            domain: None,
            max_age: None,
            secure: false,
            http_only: true,
            same_site: None,
        })
    }

    /// Only for this path and those below it.
    ///
    /// # Errors
    /// [`NetError::BadCookie`] where a cookie can't say so.
    pub fn path(self, path: &str) -> Result<Self, NetError> {
        Ok(Self { path: attribute("path", path)?, ..self })
    }

    /// For this domain and those below it, instead of the host that was asked.
    ///
    /// # Errors
    /// [`NetError::BadCookie`] where a cookie can't say so.
    pub fn domain(self, domain: &str) -> Result<Self, NetError> {
        Ok(Self { domain: Some(attribute("domain", domain)?), ..self })
    }

    /// How long the browser keeps it, from when it was issued, in whole seconds. Then the session may move.
    #[must_use]
    pub fn max_age(self, max_age: Duration) -> Self {
        Self { max_age: Some(max_age), ..self }
    }

    /// Whether it is sent over TLS only.
    #[must_use]
    pub fn secure(self, secure: bool) -> Self {
        Self { secure, ..self }
    }

    /// Whether it is kept from scripts: it is, until this says otherwise.
    #[must_use]
    pub fn http_only(self, http_only: bool) -> Self {
        Self { http_only, ..self }
    }

    /// Whether it is sent along with requests that other sites cause; browsers decide where nothing is said.
    #[must_use]
    pub fn same_site(self, same_site: SameSite) -> Self {
        Self { same_site: Some(same_site), ..self }
    }

    /// The session that a request belongs to.
    pub(super) fn session(&self, headers: &HeaderMap) -> Session {
        let value = cookie(headers, &self.name).and_then(|value| std::str::from_utf8(value).ok());
        let number =
            value.filter(|value| value.len() == 16).and_then(|value| u64::from_str_radix(value, 16).ok());
        number.map_or(Session::New, Session::Of)
    }

    /// Tells the client of the endpoint that has answered, where it does not know.
    pub(super) fn issue(&self, headers: &mut HeaderMap, session: Option<Session>, endpoint: u64) {
        if session == Some(Session::Of(endpoint)) {
            return;
        }
        if let Ok(cookie) = HeaderValue::try_from(self.text(endpoint)) {
            headers.append(SET_COOKIE, cookie);
        }
    }

    fn text(&self, endpoint: u64) -> String {
        let mut text = format!("{}={endpoint:016x}; Path={}", self.name, self.path);
        // Writing to a string does not fail.
        if let Some(domain) = &self.domain {
            let _written = write!(text, "; Domain={domain}");
        }
        if let Some(age) = self.max_age {
            let _written = write!(text, "; Max-Age={}", age.as_secs());
        }
        if self.secure {
            text.push_str("; Secure");
        }
        if self.http_only {
            text.push_str("; HttpOnly");
        }
        match self.same_site {
            Some(SameSite::Strict) => text.push_str("; SameSite=Strict"),
            Some(SameSite::Lax) => text.push_str("; SameSite=Lax"),
            Some(SameSite::None) => text.push_str("; SameSite=None"),
            None => {}
        }
        text
    }
}

fn attribute(what: &'static str, value: &str) -> Result<String, NetError> {
    match value.is_empty() || value.bytes().any(|byte| byte == b';' || !(b' '..=b'~').contains(&byte)) {
        true => Err(NetError::BadCookie { what, value: value.to_owned() }),
        false => Ok(value.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&'static str]) -> HeaderMap {
        lines.iter().map(|line| (COOKIE, HeaderValue::from_static(line))).collect()
    }

    #[test]
    fn a_cookie_is_found_among_others_and_what_is_no_number_of_ours_is_no_session() {
        let sticky = StickyCookie::new("lb").unwrap();
        let session = |lines: &[&'static str]| sticky.session(&headers(lines));
        let known = Session::Of(0x00ab_cdef_0123_4567);
        assert_eq!(session(&["a=b; lb=00abcdef01234567; c"]), known);
        assert_eq!(session(&["a=b", "lb=00abcdef01234567;lb=0000000000000000"]), known);
        for none in
            ["", "xlb=00abcdef01234567", "lb=", "lb=1", "lb=00abcdef0123456x", "lb=+0abcdef01234567x", "lb"]
        {
            assert_eq!(session(&[none]), Session::New, "{none}");
        }
    }

    #[test]
    fn it_says_what_was_set_and_is_issued_only_where_it_is_news() {
        let sticky = StickyCookie::new("lb").unwrap();
        assert_eq!(sticky.text(1), "lb=0000000000000001; Path=/; HttpOnly");
        let all = sticky.clone().path("/shop").unwrap().domain("shop.local").unwrap();
        let all =
            all.max_age(Duration::from_secs(60)).secure(true).http_only(false).same_site(SameSite::None);
        let expected =
            "lb=00000000000000ff; Path=/shop; Domain=shop.local; Max-Age=60; Secure; SameSite=None";
        assert_eq!(all.text(255), expected);
        let mut answer = HeaderMap::new();
        sticky.issue(&mut answer, Some(Session::Of(7)), 7);
        assert!(answer.is_empty());
        sticky.issue(&mut answer, Some(Session::New), 7);
        sticky.issue(&mut answer, Some(Session::Of(8)), 7);
        assert_eq!(answer.get_all(SET_COOKIE).iter().count(), 2);
    }

    #[test]
    fn what_a_cookie_can_not_be_called_is_refused() {
        for name in ["", "a b", "a=b", "ä", "a;"] {
            assert!(StickyCookie::new(name).is_err(), "{name}");
        }
        let error = StickyCookie::new("lb").unwrap().path("/;x").unwrap_err();
        assert!(error.to_string().contains("path \"/;x\""), "{error}");
    }

    #[test]
    fn equal_values_have_equal_hashes() {
        let client = |last| Client::new(([127, 0, 0, last], 80).into());
        let by_cookie = HashPolicy::Cookie("user".to_owned());
        let hash = |line| by_cookie.hash(&headers(&[line]), &client(1));
        assert!(hash("user=me").is_some() && hash("user=me") == hash("x=y; user=me"));
        assert_ne!(hash("user=me"), hash("user=you"));
        assert_eq!(hash("x=y"), None);
        let by_address = |last| HashPolicy::ClientAddress.hash(&HeaderMap::new(), &client(last));
        assert_ne!(by_address(1), by_address(2));
        let by_header = HashPolicy::Header(COOKIE);
        assert_eq!(
            by_header.hash(&headers(&["a", "b"]), &client(1)),
            by_header.hash(&headers(&["a"]), &client(2))
        );
    }
}
