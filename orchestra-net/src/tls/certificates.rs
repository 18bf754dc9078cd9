//! The certificates of a listener: chosen by the name that a client asks for, replaced while it serves.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;

use super::{Identity, TlsError};

#[derive(Debug)]
pub(super) struct Certificates(ArcSwap<Named>);

#[derive(Debug)]
struct Named {
    /// For clients that name no host, or one that no certificate is for.
    first: Arc<CertifiedKey>,
    exact: BTreeMap<String, Arc<CertifiedKey>>,
    /// Those of `*.shop.local`, by `shop.local`.
    below: BTreeMap<String, Arc<CertifiedKey>>,
}

impl Certificates {
    pub(super) fn new(identities: impl IntoIterator<Item = Identity>) -> Result<Self, TlsError> {
        Ok(Self(ArcSwap::from_pointee(Named::new(identities)?)))
    }

    pub(super) fn replace(&self, identities: impl IntoIterator<Item = Identity>) -> Result<(), TlsError> {
        self.0.store(Arc::new(Named::new(identities)?));
        Ok(())
    }
}

impl Named {
    fn new(identities: impl IntoIterator<Item = Identity>) -> Result<Self, TlsError> {
        let mut identities = identities.into_iter().peekable();
        let first = Arc::clone(&identities.peek().ok_or(TlsError::NothingToShow)?.key);
        let mut named = Self { first, exact: BTreeMap::new(), below: BTreeMap::new() };
        for (i, identity) in identities.enumerate() {
            if i > 0 && identity.names.is_empty() {
                return Err(TlsError::NoNames { what: identity.what });
            }
            for name in identity.names {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(below) => (&mut named.below, below.to_owned()),
                    None => (&mut named.exact, name),
                };
                // Of two for one name the first one counts.
                map.entry(name).or_insert_with(|| Arc::clone(&identity.key));
            }
        }
        Ok(named)
    }

    fn find(&self, name: &str) -> &Arc<CertifiedKey> {
        // A star is for one label (RFC 6125, 6.4.3).
        let below = || self.below.get(name.split_once('.')?.1);
        self.exact.get(name).or_else(below).unwrap_or(&self.first)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = self.0.load();
        Some(match hello.server_name() {
            Some(name) => Arc::clone(named.find(&name.to_ascii_lowercase())),
            None => Arc::clone(&named.first),
        })
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
        let named = Named::new(all).unwrap();
        let found = |name: &str| keys.iter().position(|key| Arc::ptr_eq(key, named.find(name))).unwrap();
        assert_eq!(["a.local", "other", "", "y.x.a.local"].map(found), [0; 4]);
        assert_eq!(["b.local", "y.a.local"].map(found), [1; 2]);
        assert_eq!(found("x.a.local"), 2, "the exact name counts before the star");
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
