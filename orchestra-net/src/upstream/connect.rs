//! Connecting to an endpoint, over TLS where it speaks that.

use std::net::SocketAddr;
use std::time::Duration;

use super::Upstream;
use crate::connection::connect;
use crate::error::Cause;
use crate::stream::Stream;

impl Upstream {
    /// Endpoints speak TLS, from the next connection to them on; `None`: they do not. It counts for HTTP, upgrades and
    /// health checks; a [`TcpProxy`](crate::TcpProxy) passes on what its clients speak.
    ///
    /// With [`UpstreamOptions::http2`](crate::UpstreamOptions::http2) an endpoint must offer HTTP/2 by ALPN. A new
    /// certificate of ours is another [`ClientTls`](crate::ClientTls): connections that are open keep the one before.
    #[cfg(feature = "tls")]
    pub fn set_tls(&self, tls: Option<crate::tls::ClientTls>) {
        self.tls.store(tls.map(std::sync::Arc::new));
    }

    /// Connects within `limit`, with the handshake.
    pub(crate) async fn connect(
        &self,
        address: SocketAddr,
        limit: Duration,
        http2: bool,
    ) -> Result<Stream, Cause> {
        #[cfg(feature = "tls")]
        if let Some(tls) = self.tls.load_full() {
            return over_tls(&tls, address, limit, http2).await;
        }
        #[cfg(not(feature = "tls"))]
        let _ = http2;
        Ok(Stream::Plain(connect(address, limit).await?))
    }
}

#[cfg(feature = "tls")]
async fn over_tls(
    tls: &crate::tls::ClientTls,
    address: SocketAddr,
    limit: Duration,
    http2: bool,
) -> Result<Stream, Cause> {
    let shaking = async {
        let stream = connect(address, limit).await?;
        tls.connect(stream, http2).await
    };
    // Boxed: it takes kilobytes, and connections are few beside requests.
    let shaken = tokio::time::timeout(limit, Box::pin(shaking)).await;
    let late = |_elapsed| {
        let text = format!("{address} did not finish its handshake within {limit:?}");
        std::io::Error::new(std::io::ErrorKind::TimedOut, text)
    };
    Ok(Stream::Tls(Box::new(shaken.map_err(late)??)))
}
