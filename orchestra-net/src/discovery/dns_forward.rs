//! Asking other name servers.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::dns_stream;
use crate::proxy_protocol::canonical;
use crate::udp::socket::connected;

/// Questions under way at once, each with a socket of its own: what a resolver answers in 50 ms, asked 5000 times a second.
const MAX_QUESTIONS: usize = 256;

/// How long a datagram's answer is waited for before it is sent again: it may have been lost.
const AGAIN: Duration = Duration::from_secs(1);

/// How long a server that did not answer is asked last.
const REST: Duration = Duration::from_secs(10);

/// The largest datagram that is read, in bytes. Servers are asked for less.
const LARGEST_DATAGRAM: usize = 4096;

/// Other name servers.
#[derive(Debug)]
pub(super) struct Forwarder {
    servers: Vec<Server>,
    timeout: Duration,
    places: Arc<Semaphore>,
    /// Where questions under way come from.
    ours: Mutex<BTreeSet<SocketAddr>>,
    /// Whether it was told that one of the servers is this one.
    told: AtomicBool,
}

#[derive(Debug)]
struct Server {
    address: SocketAddr,
    /// When it failed to answer, unless it has answered since.
    failed: Mutex<Option<Instant>>,
}

/// A question's place among those that may be under way.
pub(super) type Place = OwnedSemaphorePermit;

impl Forwarder {
    /// Questions go to these servers, which may take so long together.
    pub(super) fn new(servers: Vec<SocketAddr>, timeout: Duration) -> Self {
        let server = |address| Server { address, failed: Mutex::default() };
        Self {
            servers: servers.into_iter().map(server).collect(),
            timeout,
            places: Arc::new(Semaphore::new(MAX_QUESTIONS)),
            ours: Mutex::default(),
            told: AtomicBool::new(false),
        }
    }

    /// Whether there is nobody to ask.
    pub(super) fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// A place for a question of this client, or why there is none: there are too many, or it is one that was asked from here, so
    /// that one of the servers is ourselves.
    pub(super) fn admit(&self, client: SocketAddr) -> Result<Place, ResponseCode> {
        if self.ours.lock().unwrap_or_else(PoisonError::into_inner).contains(&canonical(client)) {
            if !self.told.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    "DNS questions are passed on to this very server, which refuses them: name others"
                );
            }
            return Err(ResponseCode::Refused);
        }
        Arc::clone(&self.places).try_acquire_owned().map_err(|_full| {
            tracing::debug!(most = MAX_QUESTIONS, "as many DNS questions are passed on as may be");
            ResponseCode::ServFail
        })
    }

    /// What the first server says that knows. `whole`: not without what doesn't fit a datagram.
    pub(super) async fn ask(
        &self,
        query: &Message,
        whole: bool,
        _place: Place,
    ) -> Result<Message, ResponseCode> {
        let bytes = query.to_vec().map_err(|_too_long| ResponseCode::ServFail)?;
        let end = Instant::now() + self.timeout;
        let (failed, well): (Vec<&Server>, _) = self.servers.iter().partition(|server| server.has_failed());
        for (server, left) in well.into_iter().chain(failed).zip((1..=self.servers.len()).rev()) {
            let share =
                end.saturating_duration_since(Instant::now()) / u32::try_from(left).unwrap_or(u32::MAX);
            let answer = timeout(share, self.ask_one(server.address, query, &bytes, whole)).await;
            let answer = answer.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()));
            let why = match answer {
                Ok(answer) if is_final(answer.metadata.response_code) => {
                    server.note(None);
                    return Ok(answer);
                }
                Ok(answer) => answer.metadata.response_code.to_string(),
                Err(error) => {
                    server.note(Some(Instant::now()));
                    error.to_string()
                }
            };
            tracing::debug!(server = %server.address, why, "a name server does not answer");
        }
        Err(ResponseCode::ServFail)
    }

    async fn ask_one(
        &self,
        server: SocketAddr,
        query: &Message,
        bytes: &[u8],
        whole: bool,
    ) -> io::Result<Message> {
        let answer = self.ask_by_datagram(server, query, bytes).await?;
        if whole && answer.metadata.truncation {
            return self.ask_by_stream(server, query, bytes).await;
        }
        Ok(answer)
    }

    /// From a port of its own, which the system chooses as it likes; nobody else's datagrams come through.
    async fn ask_by_datagram(
        &self,
        server: SocketAddr,
        query: &Message,
        bytes: &[u8],
    ) -> io::Result<Message> {
        let socket = connected(server).await?;
        let _ours = self.asks_from(socket.local_addr()?);
        let mut datagram = vec![0; LARGEST_DATAGRAM];
        loop {
            socket.send(bytes).await?;
            let hearing = async {
                loop {
                    let length = socket.recv(&mut datagram).await?;
                    if let Some(answer) = answer_to(query, &datagram[..length]) {
                        return Ok(answer);
                    }
                }
            };
            if let Ok(heard) = timeout(AGAIN, hearing).await {
                return heard;
            }
        }
    }

    async fn ask_by_stream(&self, server: SocketAddr, query: &Message, bytes: &[u8]) -> io::Result<Message> {
        let mut stream = TcpStream::connect(server).await?;
        let _ours = self.asks_from(stream.local_addr()?);
        dns_stream::write(&mut stream, bytes).await?;
        let answer = dns_stream::read(&mut stream, usize::from(u16::MAX)).await?;
        answer_to(query, &answer).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn asks_from(&self, address: SocketAddr) -> Ours<'_> {
        self.ours.lock().unwrap_or_else(PoisonError::into_inner).insert(address);
        Ours { forwarder: self, address }
    }
}

impl Server {
    fn has_failed(&self) -> bool {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_some_and(|at| at.elapsed() < REST)
    }

    fn note(&self, failed: Option<Instant>) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = failed;
    }
}

/// An address that a question comes from, until it is dropped.
struct Ours<'f> {
    forwarder: &'f Forwarder,
    address: SocketAddr,
}

impl Drop for Ours<'_> {
    fn drop(&mut self) {
        self.forwarder.ours.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.address);
    }
}

/// Whether no other server is asked after this. One that fails, refuses or does not understand knows no more than nobody.
fn is_final(code: ResponseCode) -> bool {
    !matches!(
        code,
        ResponseCode::ServFail | ResponseCode::Refused | ResponseCode::NotImp | ResponseCode::FormErr
    )
}

/// The message, where it answers this query.
fn answer_to(query: &Message, bytes: &[u8]) -> Option<Message> {
    let answer = Message::from_vec(bytes).ok()?;
    let is_answer = answer.metadata.message_type == MessageType::Response
        && answer.metadata.id == query.metadata.id
        && answer.queries == query.queries;
    is_answer.then_some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_of_our_own_and_too_many_find_no_place() {
        let forwarder = Forwarder::new(Vec::new(), Duration::from_secs(1));
        let ours: SocketAddr = "127.0.0.1:5000".parse().unwrap();
        let asking = forwarder.asks_from(ours);
        assert_eq!(forwarder.admit(ours).unwrap_err(), ResponseCode::Refused);
        assert_eq!(
            forwarder.admit("[::ffff:127.0.0.1]:5000".parse().unwrap()).unwrap_err(),
            ResponseCode::Refused
        );
        drop(asking);
        let places: Vec<Place> = (0..MAX_QUESTIONS).map(|_| forwarder.admit(ours).unwrap()).collect();
        assert_eq!(forwarder.admit(ours).unwrap_err(), ResponseCode::ServFail);
        drop(places);
        drop(forwarder.admit(ours).unwrap());
    }
}
