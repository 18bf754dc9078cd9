//! The socket that clients send to.

use std::io;
#[cfg(target_os = "linux")]
use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
#[cfg(target_os = "linux")]
use std::os::fd::{AsFd, BorrowedFd};

#[cfg(target_os = "linux")]
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use socket2::SockRef;
#[cfg(target_os = "linux")]
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// The largest datagram that there is, and the most that the kernel joins, in bytes.
pub(crate) const LARGEST: usize = 65_535;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    /// Which of this host's addresses it sends to, where the socket has more than one: it waits for answers from there.
    asked: Option<IpAddr>,
}

/// Datagrams of one client: the kernel may join some that came in a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    pub(crate) client: Client,
    /// Of all, in bytes.
    length: usize,
    /// Of each but the last, in bytes.
    each: usize,
}

impl Received {
    /// The datagrams, in the buffer that they were received into.
    pub(crate) fn datagrams<'b>(&self, buffer: &'b [u8]) -> impl Iterator<Item = &'b [u8]> {
        // One may be empty.
        let empty = (self.length == 0).then_some(&buffer[..0]);
        empty.into_iter().chain(buffer[..self.length].chunks(self.each.max(1)))
    }
}

/// A socket that speaks with nobody but `peer`, from a port that the system chooses.
pub(crate) async fn connected(peer: SocketAddr) -> io::Result<UdpSocket> {
    let any = match peer.ip() {
        IpAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        IpAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(peer).await?;
    Ok(socket)
}

/// The socket that clients send to. Where it has all of the host's addresses, of IPv4 and on Linux, it answers from the one that was asked.
#[derive(Debug)]
pub(crate) struct ClientSocket {
    socket: UdpSocket,
    #[cfg(target_os = "linux")]
    of_all: Option<UdpSocketState>,
}

impl ClientSocket {
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::at(std::net::UdpSocket::bind(address)?)
    }

    /// The same with a socket that is bound.
    pub(crate) fn at(socket: std::net::UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let socket = UdpSocket::from_std(socket)?;
        #[cfg(target_os = "linux")]
        let of_all = match socket.local_addr()?.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Some(tell_addresses(&socket)?),
            _ => None,
        };
        Ok(Self {
            socket,
            #[cfg(target_os = "linux")]
            of_all,
        })
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    pub(crate) async fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        #[cfg(target_os = "linux")]
        if let Some(state) = &self.of_all {
            let mut told = [RecvMeta::default()];
            let receiving = || {
                let mut buffers = [IoSliceMut::new(&mut *buffer)];
                state.recv((&self.socket).into(), &mut buffers, &mut told)
            };
            self.socket.async_io(Interest::READABLE, receiving).await?;
            let [told] = told;
            let client = Client { address: told.addr, asked: told.dst_ip };
            return Ok(Received { client, length: told.len, each: told.stride });
        }
        let (length, address) = self.socket.recv_from(buffer).await?;
        Ok(Received { client: Client { address, asked: None }, length, each: length })
    }

    /// Answers, where there is room for it.
    pub(crate) fn answer(&self, datagram: &[u8], client: Client) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        if let (Some(state), Some(asked)) = (&self.of_all, client.asked) {
            let transmit = Transmit {
                destination: client.address,
                ecn: None,
                contents: datagram,
                segment_size: None,
                src_ip: Some(asked),
            };
            match state.try_send((&self.socket).into(), &transmit) {
                // Nobody sends from where all are asked at once (broadcast).
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
                sent => return sent,
            }
        }
        SockRef::from(&self.socket).send_to(datagram, &client.address.into()).map(drop)
    }
}

#[cfg(target_os = "linux")]
impl AsFd for ClientSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Has the kernel tell which address each datagram was sent to.
#[cfg(target_os = "linux")]
fn tell_addresses(socket: &UdpSocket) -> io::Result<UdpSocketState> {
    use rustix::net::sockopt::{Ipv4PathMtuDiscovery, set_ip_mtu_discover};

    let state = UdpSocketState::new(socket.into())?;
    // It is made for QUIC, which lets no router take a datagram apart; others may be larger than what a link carries at once.
    set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::WANT)?;
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagrams(length: usize, each: usize) -> Vec<usize> {
        let client = Client { address: ([127, 0, 0, 1], 1).into(), asked: None };
        let received = Received { client, length, each };
        received.datagrams(&[0; 100]).map(<[u8]>::len).collect()
    }

    #[test]
    fn what_the_kernel_has_joined_comes_apart_and_nothing_is_a_datagram_too() {
        assert_eq!(datagrams(25, 10), [10, 10, 5]);
        assert_eq!(datagrams(20, 10), [10, 10]);
        assert_eq!(datagrams(7, 7), [7]);
        assert_eq!(datagrams(0, 0), [0]);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn large_answers_may_be_taken_apart_on_their_way() {
        use rustix::net::sockopt::{Ipv4PathMtuDiscovery, ip_mtu_discover};

        for address in [[0, 0, 0, 0], [127, 0, 0, 1]] {
            let bound = ClientSocket::bind((address, 0).into()).unwrap();
            assert_eq!(ip_mtu_discover(&bound.socket).unwrap(), Ipv4PathMtuDiscovery::WANT);
        }
    }
}
