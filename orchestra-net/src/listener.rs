//! Listening: accepting connections, within a bound, until told to end.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use orchestra_core::engine::Tasks;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinHandle;

use crate::error::NetError;
use crate::idle::keep_alive;
use crate::udp::socket::ClientSocket;
use crate::workers::Workers;

/// How long accepting pauses after it failed: out of file descriptors, which others must close first.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How many connections may wait in the kernel, for each worker: as tokio's own listeners have it.
const BACKLOG: i32 = 1024;

/// A connection's place among those that there may be, for as long as anything is left of it.
pub(crate) type Place = OwnedSemaphorePermit;

/// A socket that can be passed to another process.
#[derive(Debug)]
pub(crate) enum Passed {
    Connections(Weak<TcpListener>),
    /// What reads them holds a receiver, and stops when it is told anything.
    Datagrams(Weak<ClientSocket>, watch::Sender<()>),
}

/// An address that is listened on. Dropping it ends that: no new connections, and those that are open end
/// after their last request.
#[derive(Debug)]
#[must_use = "dropping it ends the listening"]
pub struct Listening {
    address: SocketAddr,
    tasks: Tasks,
    /// What accepts.
    accepting: Vec<JoinHandle<()>>,
    /// They are there for as long as somebody accepts.
    sockets: Vec<Passed>,
    /// They go on for as long as it listens.
    _workers: Option<Workers>,
}

impl Listening {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The sockets that connections and datagrams come from, once more.
    #[cfg(target_os = "linux")]
    pub(crate) fn sockets(&self) -> io::Result<Vec<std::os::fd::OwnedFd>> {
        use std::os::fd::AsFd as _;
        let again = |socket: &Passed| match socket {
            Passed::Connections(socket) => Some(socket.upgrade()?.as_fd().try_clone_to_owned()),
            Passed::Datagrams(socket, _) => Some(socket.upgrade()?.as_fd().try_clone_to_owned()),
        };
        self.sockets.iter().filter_map(again).collect()
    }

    /// Another process serves here: returns when no datagrams are read any more, so that each client's go to one of both. What has been
    /// read is still answered.
    #[cfg(target_os = "linux")]
    pub(crate) async fn passed_on(&self) {
        for socket in &self.sockets {
            if let Passed::Datagrams(_, stop) = socket {
                stop.send_replace(());
                stop.closed().await;
            }
        }
    }

    /// The same, where these sockets are read by these tasks.
    pub(crate) fn with(mut self, sockets: Vec<Passed>, accepting: Vec<JoinHandle<()>>) -> Self {
        (self.sockets, self.accepting) = (sockets, accepting);
        self
    }

    /// Stops accepting, and returns when the open connections have ended, each after its last request or when
    /// its time for that is over. Those that changed their protocol are connections, too.
    pub async fn shutdown(&self) {
        self.tasks.shutdown().await;
    }

    /// Stops accepting, and returns when the address is free for another listener. The open connections end in their own time.
    pub(crate) async fn close(mut self) {
        self.tasks.cancel();
        for accepting in &mut self.accepting {
            // Also where it panicked.
            let _ended = accepting.await;
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.tasks.cancel();
    }
}

/// Listens at `address`, on the current runtime, for as many connections as may be.
pub(crate) async fn listen<F>(
    address: SocketAddr,
    what: String,
    max_connections: usize,
    tasks: &Tasks,
    serve: impl Fn(TcpStream, SocketAddr, Tasks, Place) -> F + Send + Sync + 'static,
) -> Result<Listening, NetError>
where
    F: Future<Output = ()> + Send + 'static,
{
    let places = places(max_connections);
    listen_in(move || Arc::clone(&places), address, what, tasks, serve).await
}

/// Room for as many connections, or for as many as can be counted.
pub(crate) fn places(max_connections: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS)))
}

/// The same, where the next connection takes one of those `places` that there are then. `serve` is given each connection, the group of tasks whose end it must heed, and
/// the connection's place.
pub(crate) async fn listen_in<F>(
    places: impl Fn() -> Arc<Semaphore> + Send + Sync + 'static,
    address: SocketAddr,
    what: String,
    tasks: &Tasks,
    serve: impl Fn(TcpStream, SocketAddr, Tasks, Place) -> F + Send + Sync + 'static,
) -> Result<Listening, NetError>
where
    F: Future<Output = ()> + Send + 'static,
{
    let failed = |source: io::Error| NetError::Listen { address, what: what.clone(), source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    prepare(&SockRef::from(&listener)).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let own = tasks.child();
    let listener = Arc::new(listener);
    let sockets = vec![Passed::Connections(Arc::downgrade(&listener))];
    let accepting = vec![own.spawn("accept", accept(listener, places, own.clone(), serve))];
    Ok(listening(address, &what, tasks, own, None).with(sockets, accepting))
}

/// The same on every worker: each has a socket of its own at the address, and the kernel spreads the connections.
pub(crate) async fn listen_on<F>(
    workers: &Workers,
    address: SocketAddr,
    what: String,
    max_connections: usize,
    tasks: &Tasks,
    serve: impl Fn(TcpStream, SocketAddr, Tasks, Place) -> F + Clone + Send + Sync + 'static,
) -> Result<Listening, NetError>
where
    F: Future<Output = ()> + Send + 'static,
{
    let failed = |source: io::Error| NetError::Listen { address, what: what.clone(), source };
    let mut all = workers.inherited(address, Type::STREAM);
    let address = match all.is_empty() {
        // Sockets that share an address also share it with other programs of this user; this one says if there is any.
        true => TcpListener::bind(address).await.and_then(|alone| alone.local_addr()).map_err(failed)?,
        false => address,
    };
    while all.len() < workers.count() {
        all.push(another(all.first(), address).map_err(failed)?);
    }
    let own = tasks.child();
    let places = places(max_connections);
    let (mut sockets, mut accepting) = (Vec::new(), Vec::new());
    // Of sockets that were inherited there may be more than threads.
    for (handle, socket) in workers.handles().iter().cycle().zip(all) {
        let _inside = handle.enter();
        let listener = Arc::new(TcpListener::from_std(socket.into()).map_err(failed)?);
        prepare(&SockRef::from(&*listener)).map_err(failed)?;
        sockets.push(Passed::Connections(Arc::downgrade(&listener)));
        let places = Arc::clone(&places);
        let places = move || Arc::clone(&places);
        accepting.push(own.spawn("accept", accept(listener, places, own.clone(), serve.clone())));
    }
    Ok(listening(address, &what, tasks, own, Some(workers.clone())).with(sockets, accepting))
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
    Listening { address, tasks: own, accepting: Vec::new(), sockets: Vec::new(), _workers: workers }
}

/// Returns when `tasks` have been told to end for so long.
pub(crate) async fn ended_for(tasks: &Tasks, grace: Duration) {
    tasks.cancelled().await;
    tokio::time::sleep(grace).await;
}

/// What a connection is to be like: without Nagle's delay, and over when its client has vanished. Connections have it of the listener
/// on Linux, without a call for each.
fn prepare(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    keep_alive(socket)
}

/// One more socket at the address of `first`, where there is one. A process before may have made that for itself alone: then it is the same
/// one once more, with one queue for all.
fn another(first: Option<&Socket>, address: SocketAddr) -> io::Result<Socket> {
    #[cfg(target_os = "linux")]
    if let Some(first) = first
        && !first.reuse_port()?
    {
        return first.try_clone();
    }
    #[cfg(not(target_os = "linux"))]
    let _ = first;
    shared(address)
}

/// A socket at an address that others of this program listen on, too.
fn shared(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

async fn accept<F>(
    listener: Arc<TcpListener>,
    places: impl Fn() -> Arc<Semaphore>,
    tasks: Tasks,
    serve: impl Fn(TcpStream, SocketAddr, Tasks, Place) -> F + Send + Sync + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    // Also of the connections that wait for their place.
    let serve = Arc::new(serve);
    loop {
        // What is too much waits in the kernel. Nobody holds a place meanwhile: another thread may need it sooner.
        drop(places().acquire_owned().await);
        match listener.accept().await {
            Ok((stream, client)) => {
                if !cfg!(target_os = "linux")
                    && let Err(error) = prepare(&SockRef::from(&stream))
                {
                    tracing::debug!(%client, %error, "a client went away at once");
                    continue;
                }
                match places().try_acquire_owned() {
                    Ok(place) => {
                        tasks.spawn_graceful("connection", serve(stream, client, tasks.clone(), place));
                    }
                    // Another thread has just taken the last one.
                    Err(_none) => {
                        let (serve, place, own) =
                            (Arc::clone(&serve), places().acquire_owned(), tasks.clone());
                        tasks.spawn_graceful("connection", async move {
                            // The semaphore is never closed.
                            let Ok(place) = place.await else { return };
                            serve(stream, client, own, place).await;
                        });
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection; pauses");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn connections_have_the_options_of_their_listener() {
        let (tasks, workers) = (Tasks::new(), Workers::start(std::num::NonZeroUsize::MIN).unwrap());
        let (tell, mut told) = tokio::sync::mpsc::channel(2);
        let serve = move |stream, _client, _tasks, _place| {
            let tell = tell.clone();
            async move { tell.send(stream).await.unwrap() }
        };
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let one = listen(any, "one".to_owned(), 8, &tasks, serve.clone()).await.unwrap();
        let other = listen_on(&workers, any, "other".to_owned(), 8, &tasks, serve).await.unwrap();
        for listening in [one, other] {
            let _client = TcpStream::connect(listening.address()).await.unwrap();
            let stream: TcpStream = told.recv().await.unwrap();
            let socket = SockRef::from(&stream);
            assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
            assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(60));
            assert_eq!(socket.tcp_keepalive_retries().unwrap(), 4);
        }
        workers.shutdown().await;
    }
}
