//! The datagrams of one client.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use orchestra_core::balance::Outcome;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::Notify;

use super::socket::{Client, ClientSocket, LARGEST, connected};
use crate::idle::Motion;
use crate::upstream::Ticket;

/// A client's session with an endpoint.
#[derive(Debug)]
pub(super) struct Session {
    /// Connected to the endpoint, so that nobody else is heard, and its refusal is.
    socket: UdpSocket,
    /// Whether datagrams pass, of either side.
    motion: Motion,
    over: AtomicBool,
    /// The endpoint's refusal was heard when something was sent.
    refused: Notify,
}

/// Why a session ends.
enum End {
    Idle,
    Left,
    Told,
    Failed(io::Error),
}

impl Session {
    pub(super) async fn open(endpoint: SocketAddr) -> io::Result<Self> {
        let socket = connected(endpoint).await?;
        Ok(Self { socket, motion: Motion::default(), over: AtomicBool::new(false), refused: Notify::new() })
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Sends to the endpoint, where there is room for it. What else goes wrong is heard where its answers are.
    pub(super) fn send(&self, datagram: &[u8]) {
        self.motion.note();
        // Not by way of what tokio has heard of the socket, which at its begin is nothing.
        if let Err(error) = SockRef::from(&self.socket).send(datagram) {
            tracing::trace!(%error, "drops a datagram");
            // Whoever looks first hears of it, and nobody else.
            if error.kind() == io::ErrorKind::ConnectionRefused {
                self.over.store(true, Ordering::Relaxed);
                self.refused.notify_one();
            }
        }
    }

    /// Passes on what the endpoint answers, until the session is over, or `told` to end. It holds the place at the endpoint.
    pub(super) async fn carry(
        self: Arc<Self>,
        to: Arc<ClientSocket>,
        client: Client,
        mut ticket: Ticket,
        idle_timeout: Duration,
        told: impl Future<Output = ()>,
    ) {
        // Whether it is to answer is not known here, so that it does not is no silence.
        ticket.owes_nothing();
        let backend = Arc::clone(ticket.backend());
        let from = client.address;
        let end = tokio::select! {
            biased;
            () = backend.closed() => End::Left,
            () = told => End::Told,
            () = self.refused.notified() => End::Failed(io::ErrorKind::ConnectionRefused.into()),
            end = self.answers(&to, client, &mut ticket) => End::Failed(end),
            () = self.motion.ceased(Some(idle_timeout)) => End::Idle,
        };
        self.over.store(true, Ordering::Relaxed);
        let endpoint = &backend.id;
        match end {
            End::Idle => tracing::trace!(client = %from, ?endpoint, "a session ends: nothing came for long"),
            End::Left => tracing::debug!(client = %from, ?endpoint, "a session ends: its endpoint leaves"),
            End::Told => tracing::debug!(client = %from, ?endpoint, "a session ends: the proxy shuts down"),
            End::Failed(error) => {
                tracing::debug!(client = %from, ?endpoint, %error, "a session ends: its endpoint refuses");
                ticket.ended(Outcome::Failure);
            }
        }
    }

    /// Passes answers on. Returns why that can't go on.
    ///
    /// The first one is the session's success: how long the session then lasts is the client's doing. An endpoint that never
    /// answers may be one that is not to.
    async fn answers(&self, to: &ClientSocket, client: Client, ticket: &mut Ticket) -> io::Error {
        let mut answered = false;
        loop {
            let ready = match self.socket.ready(Interest::READABLE | Interest::ERROR).await {
                Ok(ready) => ready,
                Err(error) => return error,
            };
            if ready.is_error() {
                if let Ok(Some(error)) = self.socket.take_error() {
                    return error;
                }
                // It has been heard elsewhere: not to be woken for it again.
                let heard = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
                let _cleared = self.socket.try_io(Interest::ERROR, heard);
            }
            // Made when there is something to read, so that a session at rest has none.
            let mut datagram = Vec::with_capacity(LARGEST);
            loop {
                // An endpoint that never pauses has its turn, and others theirs.
                tokio::task::coop::consume_budget().await;
                datagram.clear();
                match self.socket.try_recv_buf(&mut datagram) {
                    Ok(_) => {
                        if !std::mem::replace(&mut answered, true) {
                            ticket.ended(Outcome::Success);
                        }
                        self.motion.note();
                        if let Err(error) = to.answer(&datagram, client) {
                            tracing::trace!(client = %client.address, %error, "drops an answer");
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return error,
                }
            }
        }
    }
}
