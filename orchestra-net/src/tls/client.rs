//! TLS towards endpoints.

use std::fmt;
use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::sign::SingleCertAndKey;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::identity::certificates;
use super::{HTTP1, HTTP2, Identity, TlsError, provider};

/// How endpoints are spoken to over TLS, 1.2 and 1.3. Their certificates are verified: there is no way to leave that out.
#[derive(Clone)]
pub struct ClientTls {
    name: ServerName<'static>,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

impl ClientTls {
    /// Endpoints must show a certificate for `server_name`, a DNS name or an IP address, which one of `roots`, certificates
    /// in PEM, vouches for.
    ///
    /// # Errors
    /// [`TlsError`] says which of them can't be used.
    pub fn new(server_name: &str, roots: &[u8]) -> Result<Self, TlsError> {
        Self::build(server_name, roots, None)
    }

    /// The same, and endpoints that ask who we are, are shown this certificate.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_identity(server_name: &str, roots: &[u8], identity: &Identity) -> Result<Self, TlsError> {
        Self::build(server_name, roots, Some(identity))
    }

    fn build(server_name: &str, roots: &[u8], identity: Option<&Identity>) -> Result<Self, TlsError> {
        let what = "the file of roots";
        let mut store = RootCertStore::empty();
        for root in certificates(roots, what)? {
            let invalid = |source| TlsError::Certificate { what: what.to_owned(), source: Box::new(source) };
            store.add(root).map_err(invalid)?;
        }
        let name = ServerName::try_from(server_name.to_owned()).map_err(|source| TlsError::ServerName {
            name: server_name.to_owned(),
            source: Box::new(source),
        })?;
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|source| TlsError::Setup { source: Box::new(source) })?
            .with_root_certificates(store);
        let mut http1 = match identity {
            Some(identity) => {
                let shown = SingleCertAndKey::from((*identity.key).clone());
                builder.with_client_cert_resolver(Arc::new(shown))
            }
            None => builder.with_no_client_auth(),
        };
        let mut http2 = http1.clone();
        http1.alpn_protocols = vec![HTTP1.to_vec()];
        http2.alpn_protocols = vec![HTTP2.to_vec()];
        Ok(Self { name, http1: Arc::new(http1), http2: Arc::new(http2) })
    }

    /// Shakes hands with an endpoint.
    pub(crate) async fn connect(&self, stream: TcpStream, http2: bool) -> io::Result<TlsStream<TcpStream>> {
        let config = Arc::clone(if http2 { &self.http2 } else { &self.http1 });
        let stream = TlsConnector::from(config).connect(self.name.clone(), stream).await?;
        if http2 && stream.get_ref().1.alpn_protocol() != Some(HTTP2) {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the endpoint does not offer HTTP/2 by ALPN",
            ));
        }
        Ok(stream)
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").field("server_name", &self.name).finish_non_exhaustive()
    }
}
