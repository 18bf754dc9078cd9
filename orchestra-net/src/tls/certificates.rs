//! The certificates of a listener: chosen by the name that a client asks for, replaced while it serves.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;

use super::{Identity, TlsError};

#[derive(Debug)]
pub(super) struct Certificates {
    own: ArcSwap<Named>,
    /// Those that a cluster's objects name.
    followed: ArcSwap<Named>,
}

#[derive(Debug, Default)]
struct Named {
    /// For clients that name no host, or one that no certificate is for.
    first: Option<Arc<CertifiedKey>>,
    exact: BTreeMap<String, Arc<CertifiedKey>>,
    /// Those of `*.shop.local`, by `shop.local`.
    below: BTreeMap<String, Arc<CertifiedKey>>,
}

impl Certificates {
    pub(super) fn new(identities: impl IntoIterator<Item = Identity>) -> Result<Self, TlsError> {
        Ok(Self { own: ArcSwap::from_pointee(Named::new(identities)?), followed: ArcSwap::default() })
    }

    /// None, until some are followed.
    pub(super) fn none() -> Self {
        Self { own: ArcSwap::default(), followed: ArcSwap::default() }
    }

    /// Shows these, too. Those that name no host are shown where nothing else can be.
    pub(super) fn follow(&self, identities: Vec<Identity>) {
        let mut named = Named::default();
        identities.into_iter().for_each(|identity| named.add(identity));
        self.followed.store(Arc::new(named));
    }

    fn find(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let (own, followed) = (self.own.load(), self.followed.load());
        let named = |named: &Named| named.find(name?).cloned();
        let by_name = named(&own).or_else(|| named(&followed));
        by_name.or_else(|| own.first.clone()).or_else(|| followed.first.clone())
    }

    pub(super) fn replace(&self, identities: impl IntoIterator<Item = Identity>) -> Result<(), TlsError> {
        self.own.store(Arc::new(Named::new(identities)?));
        Ok(())
    }
}

impl Named {
    fn new(identities: impl IntoIterator<Item = Identity>) -> Result<Self, TlsError> {
        let mut named = Self::default();
        for identity in identities {
            if named.first.is_some() && identity.names.is_empty() {
                return Err(TlsError::NoNames { what: identity.what });
            }
            named.add(identity);
        }
        if named.first.is_none() {
            return Err(TlsError::NothingToShow);
        }
        Ok(named)
    }

    fn add(&mut self, identity: Identity) {
        self.first.get_or_insert_with(|| Arc::clone(&identity.key));
        for name in identity.names {
            let (map, name) = match name.strip_prefix("*.") {
                Some(below) => (&mut self.below, below.to_owned()),
                None => (&mut self.exact, name),
            };
            // Of two for one name the first one counts.
            map.entry(name).or_insert_with(|| Arc::clone(&identity.key));
        }
    }

    /// The one for this name.
    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        // A star is for one label (RFC 6125, 6.4.3).
        let below = || self.below.get(name.split_once('.')?.1);
        self.exact.get(name).or_else(below)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(hello.server_name().map(str::to_ascii_lowercase).as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(names: &[&str]) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        Identity::from_pem(made.cert.pem().as_bytes(), made.signing_key.serialize_pem().as_bytes()).unwrap()
    }

    #[test]
    fn the_name_that_is_asked_for_chooses() {
        let all = [identity(&["a.local"]), identity(&["*.a.local", "b.local"]), identity(&["x.a.local"])];
        let keys = all.each_ref().map(|identity| Arc::clone(&identity.key));
        let shown = Certificates::new(all).unwrap();
        let found = |name: &str| {
            let found = shown.find(Some(name)).unwrap();
            keys.iter().position(|key| Arc::ptr_eq(key, &found)).unwrap()
        };
        assert_eq!(["a.local", "other", "", "y.x.a.local"].map(found), [0; 4]);
        assert_eq!(["b.local", "y.a.local"].map(found), [1; 2]);
        assert_eq!(found("x.a.local"), 2, "the exact name counts before the star");
    }

    #[test]
    fn followed_ones_come_after_own_ones() {
        let own = identity(&["a.local"]);
        let followed =
            [identity(&["a.local", "b.local"]), identity(&["127.0.0.1"]).for_hosts(&["C.local".into()])];
        let (first, keys) =
            (Arc::clone(&own.key), followed.each_ref().map(|identity| Arc::clone(&identity.key)));
        let shown = Certificates::none();
        assert!(shown.find(Some("a.local")).is_none());
        shown.follow(followed.to_vec());
        let is = |name: Option<&str>, key: &Arc<CertifiedKey>| Arc::ptr_eq(&shown.find(name).unwrap(), key);
        assert!(is(Some("a.local"), &keys[0]) && is(Some("c.local"), &keys[1]) && is(None, &keys[0]));
        shown.replace([own]).unwrap();
        assert!(is(Some("a.local"), &first) && is(Some("b.local"), &keys[0]) && is(None, &first));
        shown.follow(Vec::new());
        assert!(is(Some("b.local"), &first));
    }

    #[test]
    fn what_would_never_be_shown_is_refused() {
        assert!(matches!(Named::new([]), Err(TlsError::NothingToShow)));
        let nameless = identity(&["127.0.0.1"]);
        let error = Named::new([identity(&["a.local"]), nameless.clone()]).unwrap_err();
        assert!(error.to_string().contains("the certificate chain names no host"), "{error}");
        assert!(Named::new([nameless]).is_ok());
    }
}
