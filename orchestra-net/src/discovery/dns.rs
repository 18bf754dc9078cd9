//! A small DNS server for the names of a cluster. It knows its own zone and refuses all others.

use std::net::SocketAddr;
use std::time::Duration;

use orchestra_core::engine::Tasks;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Zone;
use super::dns_message::answer;
use crate::error::NetError;
use crate::listener::{Listening, Place, listen};
use crate::udp::socket::{ClientSocket, LARGEST};

/// The largest query that is read: what EDNS lets a client send.
const LARGEST_QUERY: usize = 4096;

/// TCP connections at once: each holds a few KB, and is needed only for answers that don't fit a datagram.
const MAX_CONNECTIONS: usize = 256;

/// How long a TCP client may be silent.
const IDLE: Duration = Duration::from_secs(10);

/// How long the UDP socket pauses after an error.
const PAUSE: Duration = Duration::from_millis(1);

/// How often another port is tried where port 0 was asked for and TCP's choice is taken for UDP.
const PORT_TRIES: usize = 16;

/// A DNS server for a [`Zone`], over UDP and TCP. Dropping it ends it.
#[derive(Debug)]
#[must_use = "dropping it ends the server"]
pub struct DnsServer {
    tcp: Listening,
    udp: Tasks,
}

impl DnsServer {
    /// Serves `zone` at `address`; port 0 takes one that is free for both UDP and TCP.
    ///
    /// # Errors
    /// [`NetError::Listen`] where the address can't be had.
    pub async fn bind(address: SocketAddr, zone: Zone, tasks: &Tasks) -> Result<Self, NetError> {
        let mut tries = 0;
        loop {
            let served = zone.clone();
            let serve = move |stream, _client, tasks, place| serve_tcp(stream, served.clone(), tasks, place);
            let tcp = listen(address, "the DNS server".to_owned(), MAX_CONNECTIONS, tasks, serve).await?;
            match ClientSocket::bind(tcp.address()).await {
                Ok(socket) => {
                    let udp = tasks.child();
                    tasks.spawn("dns-udp", ending_with(udp.clone(), serve_udp(socket, zone)));
                    return Ok(Self { tcp, udp });
                }
                Err(_) if address.port() == 0 && tries < PORT_TRIES => tries += 1,
                Err(source) => {
                    return Err(NetError::Listen { address, what: "the DNS server".to_owned(), source });
                }
            }
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.tcp.address()
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.udp.cancel();
    }
}

async fn ending_with(tasks: Tasks, task: impl Future<Output = ()>) {
    tokio::select! {
        biased;
        () = tasks.cancelled() => {}
        () = task => {}
    }
}

async fn serve_udp(socket: ClientSocket, zone: Zone) {
    let mut buffer = vec![0; LARGEST];
    loop {
        // An error here is about a datagram that was sent before (ICMP), not about this socket.
        let Ok(received) = socket.receive(&mut buffer).await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        for query in received.datagrams(&buffer) {
            let query = &query[..query.len().min(LARGEST_QUERY)];
            if let Some(answer) = answer(&zone, query, true)
                && let Err(error) = socket.answer(&answer, received.client)
            {
                tracing::debug!(client = %received.client.address, %error, "a DNS answer could not be sent");
            }
        }
    }
}

async fn serve_tcp(mut stream: TcpStream, zone: Zone, tasks: Tasks, _place: Place) {
    let serving = async {
        // Ends by an error: the client closes, or says nothing for long.
        loop {
            let exchanged = tokio::time::timeout(IDLE, exchange(&mut stream, &zone)).await;
            if !matches!(exchanged, Ok(Ok(()))) {
                return;
            }
        }
    };
    ending_with(tasks, serving).await;
}

async fn exchange(stream: &mut TcpStream, zone: &Zone) -> std::io::Result<()> {
    let length = usize::from(stream.read_u16().await?);
    if length > LARGEST_QUERY {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    let mut query = vec![0; length];
    stream.read_exact(&mut query).await?;
    let Some(answer) = answer(zone, &query, false) else {
        return Err(std::io::ErrorKind::InvalidData.into());
    };
    let length = u16::try_from(answer.len()).map_err(std::io::Error::other)?;
    let framed: Vec<u8> = length.to_be_bytes().into_iter().chain(answer).collect();
    stream.write_all(&framed).await
}
