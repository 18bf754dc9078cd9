//! Listening: accepting connections, within a bound, until told to end.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use orchestra_core::engine::Tasks;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::error::NetError;

/// How long accepting pauses after it failed: out of file descriptors, which others must close first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// An address that is listened on. Dropping it ends that: no new connections, and those that are open end
/// after their last request.
#[derive(Debug)]
#[must_use = "dropping it ends the listening"]
pub struct Listening {
    address: SocketAddr,
    tasks: Tasks,
}

impl Listening {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, and returns when the open connections have ended, each after its last request or when
    /// its time for that is over.
    pub async fn shutdown(&self) {
        self.tasks.shutdown().await;
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.tasks.cancel();
    }
}

/// Listens at `address`. `serve` is given each connection, and the group of tasks whose end it must heed.
pub(crate) async fn listen<F>(
    address: SocketAddr,
    what: String,
    max_connections: usize,
    tasks: &Tasks,
    serve: impl Fn(TcpStream, SocketAddr, Tasks) -> F + Send + Sync + 'static,
) -> Result<Listening, NetError>
where
    F: Future<Output = ()> + Send + 'static,
{
    let failed = |source: io::Error| NetError::Listen { address, what: what.clone(), source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let own = tasks.child();
    own.spawn("accept", accept(listener, max_connections, own.clone(), serve));
    // Whoever ends the outer group waits for these, too.
    let waiter = own.clone();
    tasks.spawn_graceful("listener", async move {
        waiter.cancelled().await;
        waiter.shutdown().await;
    });
    tracing::debug!(%address, what, "listening");
    Ok(Listening { address, tasks: own })
}

async fn accept<F>(
    listener: TcpListener,
    max_connections: usize,
    tasks: Tasks,
    serve: impl Fn(TcpStream, SocketAddr, Tasks) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(max_connections));
    loop {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, client)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%client, %error, "a client went away at once");
                    continue;
                }
                let served = serve(stream, client, tasks.clone());
                tasks.spawn_graceful("connection", async move {
                    served.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection; pauses");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
