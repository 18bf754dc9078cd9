//! The UDP proxy: the datagrams of each client go to one endpoint of a service, and its answers come back.

mod session;
pub(crate) mod socket;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use orchestra_core::engine::Tasks;
use socket2::Type;
use tokio::sync::{Semaphore, mpsc, watch};

use self::session::Session;
use self::socket::{Client, ClientSocket, LARGEST};
use crate::error::NetError;
use crate::listener::{Listening, Passed, ended_for, listening};
use crate::setters::setters;
use crate::upstream::Upstream;
use crate::workers::Workers;

/// How long receiving pauses after it failed: the system is short of memory.
const PAUSE: Duration = Duration::from_millis(50);

/// How a [`UdpProxy`] treats its clients.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct UdpOptions {
    /// How long a client's session lasts without a datagram of either side.
    pub idle_timeout: Duration,
    /// How many sessions there may be. Datagrams of further clients are dropped until one has ended. Each takes a socket and
    /// some 2 KB, and what the kernel keeps for its socket.
    pub max_sessions: usize,
    /// How long sessions are still answered after the listening is told to end. What their clients send meanwhile is left to whoever has
    /// taken over the socket, or lost.
    pub shutdown_grace: Duration,
    /// Whether sessions of one client address go to one endpoint. Counts where the balancer is one that looks at it.
    pub hash_client_address: bool,
}

impl Default for UdpOptions {
    fn default() -> Self {
        // As long as Envoy has it; questions of DNS take less than a second, and streams send more often.
        Self {
            idle_timeout: Duration::from_secs(60),
            max_sessions: 4096,
            shutdown_grace: Duration::ZERO,
            hash_client_address: false,
        }
    }
}

impl UdpOptions {
    setters! {
        with_idle_timeout: idle_timeout: Duration;
        with_max_sessions: max_sessions: usize;
        with_shutdown_grace: shutdown_grace: Duration;
        with_hash_client_address: hash_client_address: bool;
    }
}

/// A UDP proxy in front of a service. Clones are the same proxy.
///
/// A client is an address with its port. With its first datagram a session begins: an endpoint is picked, which gets all of its
/// datagrams, from a socket of the session's own, and whose answers go back to it. The session ends when nothing has come
/// of either side for long, and at once when the endpoint leaves, or refuses: the client's next datagram begins another one,
/// with another endpoint. So a drain waits for no client of UDP. As UDP itself, the proxy drops what it can't pass on at once:
/// where there is no endpoint, too many sessions, or a full buffer.
#[derive(Clone, Debug)]
pub struct UdpProxy {
    upstream: Arc<Upstream>,
    options: UdpOptions,
    tasks: Tasks,
}

impl UdpProxy {
    /// A proxy for this service, whose tasks run in `tasks`.
    #[must_use]
    pub fn new(upstream: Arc<Upstream>, options: UdpOptions, tasks: &Tasks) -> Self {
        Self { upstream, options, tasks: tasks.clone() }
    }

    /// Listens at `address` (port 0: any free one) until the returned value is shut down or dropped, or the
    /// proxy's tasks end.
    ///
    /// At 0.0.0.0, all addresses of IPv4, each client is answered from the address that it has asked, on Linux. At `[::]`, and on other
    /// systems, the kernel chooses, and a client that asked another address may not take the answer: bind each address there.
    ///
    /// # Errors
    /// [`NetError::Listen`] where the address can't be had.
    pub async fn bind(&self, address: SocketAddr) -> Result<Listening, NetError> {
        self.listen(address, None)
    }

    /// The same on one of these threads, which is chosen by the port. Where another process has listened at the address, it is its socket
    /// that is read, once this one [serves](crate::Inherited::serving).
    ///
    /// # Errors
    /// [`NetError::Listen`] where the address can't be had.
    pub async fn bind_to(&self, workers: &Workers, address: SocketAddr) -> Result<Listening, NetError> {
        let all = workers.handles();
        let _inside = all[usize::from(address.port()) % all.len()].enter();
        self.listen(address, Some(workers.clone()))
    }

    fn listen(&self, address: SocketAddr, workers: Option<Workers>) -> Result<Listening, NetError> {
        let what = self.upstream.name().to_string();
        let failed = |source: io::Error| NetError::Listen { address, what: what.clone(), source };
        let inherited = workers.as_ref().and_then(|workers| workers.inherited(address, Type::DGRAM).pop());
        let socket = match inherited {
            Some(socket) => ClientSocket::at(socket.into()),
            None => ClientSocket::bind(address),
        };
        let socket = Arc::new(socket.map_err(failed)?);
        let address = socket.local_addr().map_err(failed)?;
        let own = self.tasks.child();
        let (stop, mut stopped) = watch::channel(());
        let sockets = vec![Passed::Datagrams(Arc::downgrade(&socket), stop)];
        let sessions = Sessions {
            upstream: Arc::clone(&self.upstream),
            options: self.options,
            socket,
            open: BTreeMap::new(),
            tasks: own.clone(),
        };
        let may_read = workers.as_ref().map(Workers::may_read);
        let reading = async move {
            if let Some(may_read) = may_read {
                may_read.await;
            }
            sessions.run().await;
        };
        let reading = own.spawn("udp", async move {
            tokio::select! {
                biased;
                // Also where the listening is dropped.
                _ = stopped.changed() => {}
                () = reading => {}
            }
        });
        Ok(listening(address, &what, &self.tasks, own, workers).with(sockets, vec![reading]))
    }
}

/// The sessions of one listener.
struct Sessions {
    upstream: Arc<Upstream>,
    options: UdpOptions,
    socket: Arc<ClientSocket>,
    open: BTreeMap<Client, Arc<Session>>,
    tasks: Tasks,
}

impl Sessions {
    /// Passes on what clients send, until dropped.
    async fn run(mut self) {
        let mut buffer = vec![0; LARGEST];
        // Each session tells once of its end.
        let (tell, mut ended) = mpsc::channel(self.options.max_sessions.clamp(1, Semaphore::MAX_PERMITS));
        loop {
            tokio::select! {
                biased;
                Some(client) = ended.recv() => {
                    // Unless another one has begun meanwhile.
                    if self.open.get(&client).is_some_and(|session| session.is_over()) {
                        self.open.remove(&client);
                    }
                }
                received = self.socket.receive(&mut buffer) => match received {
                    Ok(received) => {
                        for datagram in received.datagrams(&buffer) {
                            self.pass(datagram, received.client, &tell).await;
                        }
                    }
                    Err(error) => {
                        tracing::debug!(%error, "could not receive a datagram; pauses");
                        tokio::time::sleep(PAUSE).await;
                    }
                },
            }
        }
    }

    async fn pass(&mut self, datagram: &[u8], client: Client, tell: &mpsc::Sender<Client>) {
        let session = match self.open.get(&client).filter(|session| !session.is_over()) {
            Some(session) => Arc::clone(session),
            None => match self.begin(client, tell).await {
                Ok(session) => session,
                Err(why) => {
                    tracing::debug!(client = %client.address, service = %self.upstream.name(), why, "drops a datagram");
                    return;
                }
            },
        };
        session.send(datagram);
    }

    async fn begin(
        &mut self,
        client: Client,
        tell: &mpsc::Sender<Client>,
    ) -> Result<Arc<Session>, &'static str> {
        // One that is over may still be listed, until it has said so.
        let others = self.open.len() - usize::from(self.open.contains_key(&client));
        if others >= self.options.max_sessions {
            return Err("there are as many sessions as there may be");
        }
        let hash = self.upstream.hash_of(client.address, self.options.hash_client_address);
        let ticket = self.upstream.pick(&[], hash).ok_or("no endpoint is ready")?;
        let opened = Session::open(ticket.id().address).await;
        let session = Arc::new(opened.map_err(|error| {
            tracing::warn!(%error, "no socket for a session");
            "the system gives no socket for its session"
        })?);
        self.upstream.meters.connections.increment(1);
        self.open.insert(client, Arc::clone(&session));
        let (carried, to) = (Arc::clone(&session), Arc::clone(&self.socket));
        let (options, tasks, tell) = (self.options, self.tasks.clone(), tell.clone());
        self.tasks.spawn_graceful("udp-session", async move {
            let told = ended_for(&tasks, options.shutdown_grace);
            carried.carry(to, client, ticket, options.idle_timeout, told).await;
            // Fails only where nobody counts sessions any more.
            let _told = tell.send(client).await;
        });
        Ok(session)
    }
}
