//! The TCP proxy: each connection goes to one endpoint of a service.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use orchestra_core::balance::Outcome;
use orchestra_core::engine::Tasks;
use socket2::SockRef;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::connection::connect;
use crate::error::NetError;
use crate::idle::{Motion, keep_alive};
use crate::listener::{Listening, Place, ended_for, listen, listen_on};
use crate::proxy_protocol::{ProxyProtocol, who};
use crate::pump::both_ways;
use crate::setters::setters;
use crate::upstream::{Affinity, Ticket, Tries, Upstream};
use crate::workers::Workers;

/// How long a client may take to say who it is.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// How a [`TcpProxy`] treats its clients.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct TcpOptions {
    /// How long open connections may go on when the proxy shuts down.
    pub shutdown_grace: Duration,
    /// How long a connection may go on without a byte of either side before it is closed, up to twice as long in fact, as it is not looked
    /// at more often. `None`: for ever. A side that has vanished without a word is found out by the kernel after two minutes (keep-alive),
    /// whatever this says.
    pub idle_timeout: Option<Duration>,
    /// How many connections there may be. More wait in the kernel until one has ended.
    pub max_connections: usize,
    /// Whether connections of one client address go to one endpoint. Counts where the balancer is one that
    /// looks at it.
    pub hash_client_address: bool,
    /// Whether each connection begins with a header of the PROXY protocol, of either version, that says who the client is.
    /// Only for listeners that nobody but such a proxy reaches: a connection without one, within ten seconds, is closed.
    pub proxy_protocol: bool,
    /// Whether, and how, endpoints are told by such a header who the client is.
    pub send_proxy: Option<ProxyProtocol>,
}

impl Default for TcpOptions {
    fn default() -> Self {
        // At up to 1 MB in pipes and sockets for a connection that carries much: 4 GB at the worst, of the kernel's.
        Self {
            shutdown_grace: Duration::from_secs(10),
            // As HAProxy's examples and Envoy have it. Protocols that rest for longer ask for more.
            idle_timeout: Some(Duration::from_secs(3600)),
            max_connections: 4096,
            hash_client_address: false,
            proxy_protocol: false,
            send_proxy: None,
        }
    }
}

impl TcpOptions {
    setters! {
        with_shutdown_grace: shutdown_grace: Duration;
        with_idle_timeout: idle_timeout: Option<Duration>;
        with_max_connections: max_connections: usize;
        with_hash_client_address: hash_client_address: bool;
        with_proxy_protocol: proxy_protocol: bool;
        with_send_proxy: send_proxy: Option<ProxyProtocol>;
    }
}

/// A TCP proxy in front of a service. A connection's end counts as the request's: a drain waits for it.
#[derive(Clone, Debug)]
pub struct TcpProxy {
    upstream: Arc<Upstream>,
    options: TcpOptions,
    tasks: Tasks,
}

impl TcpProxy {
    /// A proxy for this service, whose tasks run in `tasks`.
    #[must_use]
    pub fn new(upstream: Arc<Upstream>, options: TcpOptions, tasks: &Tasks) -> Self {
        Self { upstream, options, tasks: tasks.clone() }
    }

    /// Listens at `address` (port 0: any free one) until the returned value is shut down or dropped, or the
    /// proxy's tasks end.
    ///
    /// # Errors
    /// [`NetError::Listen`] where the address can't be had.
    pub async fn bind(&self, address: SocketAddr) -> Result<Listening, NetError> {
        let (proxy, options) = (self.clone(), self.options);
        let serve = move |stream, client, tasks, place| proxy.clone().serve(stream, client, tasks, place);
        listen(address, self.upstream.name().to_string(), options.max_connections, &self.tasks, serve).await
    }

    /// The same on every one of these threads, which then share the load of the address.
    ///
    /// # Errors
    /// [`NetError::Listen`] where the address can't be had.
    pub async fn bind_to(&self, workers: &Workers, address: SocketAddr) -> Result<Listening, NetError> {
        let (proxy, options) = (self.clone(), self.options);
        let serve = move |stream, client, tasks, place| proxy.clone().serve(stream, client, tasks, place);
        let what = self.upstream.name().to_string();
        listen_on(workers, address, what, options.max_connections, &self.tasks, serve).await
    }

    pub(crate) async fn serve(self, mut client: TcpStream, from: SocketAddr, tasks: Tasks, _place: Place) {
        let from = match self.options.proxy_protocol {
            false => from,
            true => {
                let told = who(&mut client, from, HEADER_TIMEOUT, self.options.shutdown_grace, &tasks).await;
                let Some(from) = told else { return };
                from
            }
        };
        let hash = self.upstream.hash_of(from, self.options.hash_client_address);
        let (ticket, mut endpoint) = match open(&self.upstream, hash).await {
            Ok(opened) => opened,
            Err(error) => {
                tracing::warn!(%from, %error, "closes a connection that no endpoint takes");
                return;
            }
        };
        if let Some(version) = self.options.send_proxy
            && let Err(error) = tell(version, from, &client, &mut endpoint).await
        {
            tracing::debug!(%from, endpoint = ?ticket.id(), %error, "a connection broke off at its begin");
            return;
        }
        let (grace, idle) = (self.options.shutdown_grace, self.options.idle_timeout);
        let motion = Motion::default();
        tokio::select! {
            biased;
            () = ended_for(&tasks, grace) => tracing::warn!(%from, "cut a connection off: the proxy shuts down"),
            carried = both_ways(&client, &endpoint, &motion) => {
                if let Err(error) = carried {
                    tracing::debug!(%from, endpoint = ?ticket.id(), %error, "a connection broke off");
                }
            }
            () = motion.ceased(idle) => {
                tracing::debug!(%from, endpoint = ?ticket.id(), ?idle, "closes a connection on which nothing moves");
            }
        }
    }
}

/// Tells the endpoint who the client is. The header fits any socket's buffer, so it needs no bound of its own.
async fn tell(
    version: ProxyProtocol,
    from: SocketAddr,
    client: &TcpStream,
    endpoint: &mut TcpStream,
) -> io::Result<()> {
    endpoint.write_all(&version.header(from, client.local_addr()?)?).await
}

async fn open(upstream: &Arc<Upstream>, hash: Option<u64>) -> Result<(Ticket, TcpStream), NetError> {
    let mut tries =
        Tries::new(upstream, Affinity { hash, ..Affinity::default() }, upstream.options().attempts);
    loop {
        let mut ticket = tries.next().await?;
        let id = ticket.id().clone();
        upstream.meters.connections.increment(1);
        let limit = upstream.options().connect_timeout;
        let connecting = async {
            let stream = connect(id.address, limit).await?;
            keep_alive(&SockRef::from(&stream))?;
            io::Result::Ok(stream)
        };
        match ticket.backend().while_open(connecting).await {
            Ok(stream) => {
                ticket.ended(Outcome::Success);
                return Ok((ticket, stream));
            }
            Err(cause) => {
                ticket.ended(Outcome::Failure);
                tries.failed(id, cause);
            }
        }
    }
}
