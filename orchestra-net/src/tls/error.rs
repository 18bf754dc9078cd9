//! What can be wrong with keys and certificates.

use std::path::PathBuf;

use crate::error::Cause;

/// Why TLS can't be spoken with these keys and certificates. Told when they are given, not when a client comes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file can't be read.
    #[error("can't read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no PEM.
    #[error("{what} is broken PEM: give it as it came, with its BEGIN and END lines")]
    Pem {
        /// The file, or what it was to be.
        what: String,
        /// Why.
        source: Cause,
    },
    /// There is no certificate in it.
    #[error(
        "{what} holds no certificate: a section BEGIN CERTIFICATE in PEM is needed, the server's own first"
    )]
    NoCertificate {
        /// The file, or what it was to be.
        what: String,
    },
    /// There is a certificate in it that is none.
    #[error("{what} holds a certificate that can't be used")]
    Certificate {
        /// The file, or what it was to be.
        what: String,
        /// Why.
        source: Cause,
    },
    /// There is no private key in it.
    #[error("{what} holds no private key: a section BEGIN PRIVATE KEY in PEM is needed, not encrypted")]
    NoKey {
        /// The file, or what it was to be.
        what: String,
    },
    /// The key is of a kind that is not known, broken, or another certificate's.
    #[error("{what} can't be used with its certificate: it must be that one's RSA, ECDSA or Ed25519 key")]
    Key {
        /// The file, or what it was to be.
        what: String,
        /// Why.
        source: Cause,
    },
    /// A listener has nothing to show.
    #[error("a TLS listener needs a certificate, and none was given")]
    NothingToShow,
    /// A certificate would never be shown.
    #[error("{what} names no host, so no client would get it: only the first certificate may be such a one")]
    NoNames {
        /// The file, or what it was to be.
        what: String,
    },
    /// What endpoints are to be called is no name.
    #[error(
        "endpoints can't be called {name:?}: the DNS name or the IP address in their certificate is needed"
    )]
    ServerName {
        /// What was given.
        name: String,
        /// Why.
        source: Cause,
    },
    /// The cryptography can't be set up.
    #[error("TLS can't be set up")]
    Setup {
        /// Why.
        source: Cause,
    },
}
