//! A small DNS server for the names of a cluster. It knows its own zone, and asks others about the rest or refuses it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use orchestra_core::engine::Tasks;
use tokio::net::TcpStream;

use super::dns_elsewhere::Elsewhere;
use super::dns_forward::{self as forward, Forwarder};
use super::dns_message::{Reply, reply};
use super::{DnsOptions, Zone, dns_stream};
use crate::error::NetError;
use crate::listener::{Listening, Place, listen};
use crate::udp::socket::{Client, ClientSocket, LARGEST};

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

/// What is served.
#[derive(Clone, Debug)]
struct Served {
    zone: Zone,
    /// Who may know what is not in the zone.
    others: Option<Arc<Forwarder>>,
}

/// Who is asked, and the question's place there.
type Admitted = (Arc<Forwarder>, forward::Place);

impl DnsServer {
    /// Serves `zone` at `address`; port 0 takes one that is free for both UDP and TCP.
    ///
    /// # Errors
    /// [`NetError::Listen`] where the address can't be had; [`NetError::NameServers`] where the system's name servers are asked for and
    /// not known.
    pub async fn bind(
        address: SocketAddr,
        zone: Zone,
        options: DnsOptions,
        tasks: &Tasks,
    ) -> Result<Self, NetError> {
        let udp = tasks.child();
        let others = Forwarder::new(&options, address, tasks, &udp)?;
        let served = Served { zone, others: others.map(Arc::new) };
        let mut tries = 0;
        loop {
            let over_tcp = served.clone();
            let serve = move |stream, _client, tasks, place| over_tcp.clone().tcp(stream, tasks, place);
            let tcp = listen(address, "the DNS server".to_owned(), MAX_CONNECTIONS, tasks, serve).await?;
            match ClientSocket::bind(tcp.address()) {
                Ok(socket) => {
                    let serving = served.clone().udp(Arc::new(socket), udp.clone(), tasks.clone());
                    tasks.spawn("dns-udp", ending_with(udp.clone(), serving));
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

/// `task`, for as long as `tasks` are not to end.
pub(super) async fn ending_with(tasks: Tasks, task: impl Future<Output = ()>) {
    tokio::select! {
        biased;
        () = tasks.cancelled() => {}
        () = task => {}
    }
}

impl Served {
    fn reply(&self, query: &[u8], udp: bool) -> Option<Reply> {
        reply(&self.zone, query, udp, self.others.is_some())
    }

    /// Answers datagrams. What others are asked about is asked in `tasks`, until `own` are to end.
    async fn udp(self, socket: Arc<ClientSocket>, own: Tasks, tasks: Tasks) {
        let mut buffer = vec![0; LARGEST];
        loop {
            // An error here is about a datagram that was sent before (ICMP), not about this socket.
            let Ok(received) = socket.receive(&mut buffer).await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let client = received.client;
            for query in received.datagrams(&buffer) {
                let answer = match self.reply(&query[..query.len().min(LARGEST_QUERY)], true) {
                    None => continue,
                    Some(Reply::Here(answer)) => Some(answer),
                    Some(Reply::Elsewhere(question)) => match self.admit() {
                        Err(code) => question.answered(Err(code)),
                        Ok(admitted) => {
                            let socket = Arc::clone(&socket);
                            let asking =
                                async move { send(&socket, asked(*question, admitted).await, client) };
                            tasks.spawn("dns-forward", ending_with(own.clone(), asking));
                            continue;
                        }
                    },
                };
                send(&socket, answer, client);
            }
        }
    }

    /// Who may be asked about what is not in the zone, and a place for such a question.
    fn admit(&self) -> Result<Admitted, ResponseCode> {
        let others = self.others.as_ref().ok_or(ResponseCode::Refused)?;
        Ok((Arc::clone(others), others.admit()?))
    }

    async fn tcp(self, mut stream: TcpStream, tasks: Tasks, _place: Place) {
        let serving = async {
            // Ends by an error: the client closes, or says nothing for long.
            loop {
                let exchanged = tokio::time::timeout(IDLE, self.exchange(&mut stream)).await;
                if !matches!(exchanged, Ok(Ok(()))) {
                    return;
                }
            }
        };
        ending_with(tasks, serving).await;
    }

    async fn exchange(&self, stream: &mut TcpStream) -> std::io::Result<()> {
        let query = dns_stream::read(stream, LARGEST_QUERY).await?;
        let answer = match self.reply(&query, false) {
            None => None,
            Some(Reply::Here(answer)) => Some(answer),
            Some(Reply::Elsewhere(question)) => match self.admit() {
                Err(code) => question.answered(Err(code)),
                Ok(admitted) => asked(*question, admitted).await,
            },
        };
        dns_stream::write(stream, &answer.ok_or(std::io::ErrorKind::InvalidData)?).await
    }
}

/// The answer, with what others say.
async fn asked(question: Elsewhere, (others, place): Admitted) -> Option<Vec<u8>> {
    let found = others.ask(question.name.clone(), question.kind, place).await;
    question.answered(found)
}

/// Sends an answer, where there is one.
fn send(socket: &ClientSocket, answer: Option<Vec<u8>>, client: Client) {
    if let Some(Err(error)) = answer.map(|answer| socket.answer(&answer, client)) {
        tracing::debug!(client = %client.address, %error, "a DNS answer could not be sent");
    }
}
