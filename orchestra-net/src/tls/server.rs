//! TLS towards clients.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use orchestra_core::engine::Tasks;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::Ticketer;
use tokio_rustls::server::TlsStream;

use super::certificates::Certificates;
use super::{HTTP1, HTTP2, Identity, TlsError, provider};
use crate::http::HttpOptions;
use crate::lingering::linger;
use crate::listener::ended_for;
use crate::patient::Patient;

/// What is said to a client that speaks no TLS.
const PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: 39\r\n\
    connection: close\r\n\r\nThis port speaks TLS: ask for https://\n";

/// How a listener speaks TLS, 1.2 and 1.3. Clones are the same: certificates that are [replaced](Self::replace) are so for
/// all of them, and for every listener they were given to.
///
/// A client gets the certificate for the name that it asks for (SNI): one for this very name before one with a star; where
/// there is none, or it names none, the first. It may speak HTTP/2 or HTTP/1.1 (ALPN). Sessions are resumed by tickets,
/// whose key this process makes up.
#[derive(Clone)]
pub struct ServerTls {
    certificates: Arc<Certificates>,
    config: Arc<ServerConfig>,
    handshake_timeout: Duration,
}

impl ServerTls {
    /// Shows these certificates.
    ///
    /// # Errors
    /// [`TlsError::NothingToShow`] and [`TlsError::NoNames`], and [`TlsError::Setup`] where the system gives no random
    /// numbers.
    pub fn new(identities: impl IntoIterator<Item = Identity>) -> Result<Self, TlsError> {
        Self::with(Certificates::new(identities)?)
    }

    /// Shows no certificate, so that no handshake succeeds, before [`DataPlane::follow_tls`](crate::DataPlane::follow_tls) or
    /// [`replace`](Self::replace) gives it some.
    ///
    /// # Errors
    /// [`TlsError::Setup`] where the system gives no random numbers.
    pub fn without_certificates() -> Result<Self, TlsError> {
        Self::with(Certificates::none())
    }

    fn with(certificates: Certificates) -> Result<Self, TlsError> {
        let certificates = Arc::new(certificates);
        let setup = |source: tokio_rustls::rustls::Error| TlsError::Setup { source: Box::new(source) };
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(setup)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Certificates>::clone(&certificates));
        config.alpn_protocols = [HTTP2, HTTP1].map(<[u8]>::to_vec).to_vec();
        config.ticketer = Ticketer::new().map_err(setup)?;
        // A handshake is two round trips, on the slowest of links some seconds.
        Ok(Self { certificates, config: Arc::new(config), handshake_timeout: Duration::from_secs(10) })
    }

    /// Sets how long a client may take for its handshake: ten seconds where nothing is said.
    #[must_use]
    pub fn with_handshake_timeout(self, handshake_timeout: Duration) -> Self {
        Self { handshake_timeout, ..self }
    }

    /// Shows these certificates from here on, instead of those before. No listener and no connection is touched.
    ///
    /// # Errors
    /// As [`new`](Self::new); then those before stay.
    pub fn replace(&self, identities: impl IntoIterator<Item = Identity>) -> Result<(), TlsError> {
        self.certificates.replace(identities)
    }

    /// Shows these, too, instead of those that were followed before.
    pub(crate) fn follow(&self, identities: Vec<Identity>) {
        self.certificates.follow(identities);
    }

    /// Shakes hands with a client, in its own task. `None` where that comes to nothing, or `tasks` have ended before for as
    /// long as a client without a request is waited for.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
        client: SocketAddr,
        options: &HttpOptions,
        tasks: &Tasks,
    ) -> Option<TlsStream<Patient<TcpStream>>> {
        let limit = self.handshake_timeout;
        let late = |_elapsed| {
            io::Error::new(io::ErrorKind::TimedOut, format!("its handshake took longer than {limit:?}"))
        };
        let shaken = tokio::select! {
            biased;
            () = ended_for(tasks, options.idle_grace) => return None,
            shaken = tokio::time::timeout(limit, self.shake(stream, options.write_timeout)) => shaken,
        };
        match shaken.map_err(late).flatten() {
            Ok(stream) => Some(stream),
            Err(error) => {
                tracing::debug!(%client, %error, "closes a connection that speaks no TLS with us");
                None
            }
        }
    }

    async fn shake(
        &self,
        mut stream: TcpStream,
        patience: Duration,
    ) -> io::Result<TlsStream<Patient<TcpStream>>> {
        let mut first = [0];
        stream.peek(&mut first).await?;
        // A record of TLS begins with a number below any letter.
        if first[0].is_ascii_uppercase() {
            stream.write_all(PLAIN).await?;
            linger(stream).await;
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it speaks HTTP without TLS"));
        }
        TlsAcceptor::from(Arc::clone(&self.config)).accept(Patient::new(stream, patience)).await
    }
}

/// Whether the client has chosen HTTP/2.
pub(crate) fn chose_http2<S>(stream: &TlsStream<S>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(HTTP2)
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls")
            .field("handshake_timeout", &self.handshake_timeout)
            .finish_non_exhaustive()
    }
}
