//! A certificate with its private key.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use webpki::EndEntityCert;

use super::{TlsError, provider};

/// A certificate, those that vouch for it, and its private key: who a server or a client is.
#[derive(Clone)]
pub struct Identity {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) names: Vec<String>,
    /// Where it comes from, for people.
    pub(super) what: String,
}

impl Identity {
    /// From PEM: `chain` has the own certificate first, then those that vouch for it, without the root; `key` its private
    /// key in PKCS#8, PKCS#1 or SEC 1, not encrypted. Both may be the same text.
    ///
    /// # Errors
    /// [`TlsError`] says what is wrong with which.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        Self::parse(chain, key, "the certificate chain", "the private key")
    }

    /// The same from files. Reads at once, so not for a runtime's thread that serves.
    ///
    /// # Errors
    /// As [`from_pem`](Self::from_pem), and [`TlsError::Read`].
    pub fn from_files(chain: &Path, key: &Path) -> Result<Self, TlsError> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
        };
        Self::parse(&read(chain)?, &read(key)?, &chain.display().to_string(), &key.display().to_string())
    }

    /// The hosts that the certificate is for: DNS names, also of the form `*.shop.local`.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The same, shown for these hosts; none: for those that the certificate is for.
    pub(crate) fn for_hosts(mut self, hosts: &[String]) -> Self {
        if !hosts.is_empty() {
            self.names = hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        }
        self
    }

    fn parse(chain: &[u8], key: &[u8], chain_is: &str, key_is: &str) -> Result<Self, TlsError> {
        let chain = certificates(chain, chain_is)?;
        let invalid = |source| TlsError::Certificate { what: chain_is.to_owned(), source };
        let own = EndEntityCert::try_from(&chain[0]).map_err(|source| invalid(Box::new(source)))?;
        let names = own.valid_dns_names().map(str::to_ascii_lowercase).collect();
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|source| match source {
            pem::Error::NoItemsFound => TlsError::NoKey { what: key_is.to_owned() },
            source => TlsError::Pem { what: key_is.to_owned(), source: Box::new(source) },
        })?;
        let key = CertifiedKey::from_der(chain, key, &provider())
            .map_err(|source| TlsError::Key { what: key_is.to_owned(), source: Box::new(source) })?;
        Ok(Self { key: Arc::new(key), names, what: chain_is.to_owned() })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("names", &self.names).finish_non_exhaustive()
    }
}

/// All certificates of a text; there is at least one.
pub(super) fn certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|source| TlsError::Pem { what: what.to_owned(), source: Box::new(source) })?;
    match all.is_empty() {
        true => Err(TlsError::NoCertificate { what: what.to_owned() }),
        false => Ok(all),
    }
}
