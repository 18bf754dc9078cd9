//! Listening: accepting connections, within a bound, until told to end.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use orchestra_core::engine::Tasks;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::error::NetError;
use crate::workers::Workers;

/// How long accepting pauses after it failed: out of file descriptors, which others must close first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How many connections may wait in the kernel, for each worker: as tokio's own listeners have it.
const BACKLOG: i32 = 1024;

/// An address that is listened on. Dropping it ends that: no new connections, and those that are open end
/// after their last request.
#[derive(Debug)]
#[must_use = "dropping it ends the listening"]
pub struct Listening {
    address: SocketAddr,
    tasks: Tasks,
    /// They go on for as long as it listens.
    _workers: Option<Workers>,
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

/// Listens at `address`, on the current runtime. `serve` is given each connection, and the group of tasks whose end it
/// must heed.
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
    socket2::SockRef::from(&listener).set_tcp_nodelay(true).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let own = tasks.child();
    let places = Arc::new(Semaphore::new(max_connections));
    own.spawn("accept", accept(listener, places, own.clone(), serve));
    Ok(listening(address, &what, tasks, own, None))
}

/// The same on every worker: each has a socket of its own at the address, and the kernel spreads the connections.
pub(crate) async fn listen_on<F>(
    workers: &Workers,
    address: SocketAddr,
    what: String,
    max_connections: usize,
    tasks: &Tasks,
    serve: impl Fn(TcpStream, SocketAddr, Tasks) -> F + Clone + Send + Sync + 'static,
) -> Result<Listening, NetError>
where
    F: Future<Output = ()> + Send + 'static,
{
    let failed = |source: io::Error| NetError::Listen { address, what: what.clone(), source };
    // Sockets that share an address also share it with other programs of this user; this one says if there is any.
    let address = TcpListener::bind(address).await.and_then(|alone| alone.local_addr()).map_err(failed)?;
    let own = tasks.child();
    let places = Arc::new(Semaphore::new(max_connections));
    let sockets: Result<Vec<_>, _> = workers.handles().iter().map(|_| shared(address)).collect();
    for (handle, socket) in workers.handles().iter().zip(sockets.map_err(failed)?) {
        let _inside = handle.enter();
        let listener = TcpListener::from_std(socket.into()).map_err(failed)?;
        own.spawn("accept", accept(listener, Arc::clone(&places), own.clone(), serve.clone()));
    }
    Ok(listening(address, &what, tasks, own, Some(workers.clone())))
}

/// What listens, in `own`, a group of `tasks`.
pub(crate) fn listening(
    address: SocketAddr,
    what: &str,
    tasks: &Tasks,
    own: Tasks,
    workers: Option<Workers>,
) -> Listening {
    // Whoever ends the outer group waits for these, too.
    let waiter = own.clone();
    tasks.spawn_graceful("listener", async move {
        waiter.cancelled().await;
        waiter.shutdown().await;
    });
    tracing::debug!(%address, what, "listening");
    Listening { address, tasks: own, _workers: workers }
}

/// A socket at an address that others of this program listen on, too.
fn shared(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

async fn accept<F>(
    listener: TcpListener,
    places: Arc<Semaphore>,
    tasks: Tasks,
    serve: impl Fn(TcpStream, SocketAddr, Tasks) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, client)) => {
                // Linux gives it the listener's options.
                if !cfg!(target_os = "linux")
                    && let Err(error) = stream.set_nodelay(true)
                {
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
