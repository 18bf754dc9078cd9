//! The PROXY protocol: who a connection comes from, said by the proxy before us, and to the endpoint behind us.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use orchestra_core::engine::Tasks;
use ppp::{HeaderResult, PartialResult as _, v1, v2};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::listener::ended_for;

/// How much is looked at once: a header without extras is 107 bytes at most.
const STEP: usize = 256;

/// The longest header, in bytes: room for the extras of the second version, which are passed over.
const LONGEST: usize = 4096;

/// How a proxy says who a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProxyProtocol {
    /// As a line of text.
    V1,
    /// In binary.
    V2,
}

impl ProxyProtocol {
    /// What is said of a connection from `source` to `destination`.
    pub(crate) fn header(self, source: SocketAddr, destination: SocketAddr) -> io::Result<Vec<u8>> {
        let addresses = of_one_family(source, destination);
        match self {
            Self::V1 => Ok(v1::Addresses::from(addresses).to_string().into_bytes()),
            Self::V2 => {
                let command = v2::Version::Two | v2::Command::Proxy;
                v2::Builder::with_addresses(command, v2::Protocol::Stream, addresses).build()
            }
        }
    }
}

/// Both addresses as a header can say them: it has one family for both, and would leave out who the client is. IPv4 is what it is, whatever
/// the listening socket calls it; beside IPv6 it is mapped.
fn of_one_family(source: SocketAddr, destination: SocketAddr) -> (SocketAddr, SocketAddr) {
    let [source, destination] = [source, destination].map(canonical);
    match source.is_ipv4() == destination.is_ipv4() {
        true => (source, destination),
        false => (mapped(source), mapped(destination)),
    }
}

/// An address of IPv4 as such, whatever the socket that it came to calls it.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

/// Who a connection from `client` comes from, by the header that it begins with; `None` where it has none, or the tasks
/// have ended for `grace` before.
pub(crate) async fn who(
    stream: &mut TcpStream,
    client: SocketAddr,
    within: Duration,
    grace: Duration,
    tasks: &Tasks,
) -> Option<SocketAddr> {
    let told = tokio::select! {
        biased;
        () = ended_for(tasks, grace) => return None,
        told = take(stream, within) => told,
    };
    match told {
        Ok(told) => Some(told.unwrap_or(client)),
        Err(error) => {
            tracing::debug!(%client, %error, "closes a connection that does not say who it comes from");
            None
        }
    }
}

/// Takes the header off the stream, and nothing else. Returns who it says the connection comes from; `None` where it says
/// that it is the proxy's own.
///
/// # Errors
/// Where there is none: what comes without one is not guessed at.
async fn take(stream: &mut TcpStream, within: Duration) -> io::Result<Option<SocketAddr>> {
    let late =
        |_elapsed| io::Error::new(io::ErrorKind::TimedOut, format!("no PROXY header came within {within:?}"));
    tokio::time::timeout(within, read(stream)).await.map_err(late)?
}

async fn read(stream: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    let mut seen = Vec::new();
    loop {
        let taken = seen.len();
        seen.resize(taken + STEP, 0);
        let more = stream.peek(&mut seen[taken..]).await?;
        seen.truncate(taken + more);
        let whole = match parse(&seen) {
            Parsed::Whole(source, length) => Some((source, length)),
            Parsed::Part if more == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            Parsed::Part if seen.len() < LONGEST => None,
            Parsed::Part | Parsed::Other => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it begins with no PROXY header"));
            }
        };
        // What was looked at is taken, up to the header's end.
        let end = whole.map_or(seen.len(), |(_, length)| length);
        stream.read_exact(&mut seen[taken..end]).await?;
        if let Some((source, _)) = whole {
            return Ok(source);
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// Who it comes from, and the header's length.
    Whole(Option<SocketAddr>, usize),
    /// The begin of one.
    Part,
    Other,
}

/// What a header of text begins with, and how long it may be.
const TEXT: &[u8] = b"PROXY ";
const LONGEST_TEXT: usize = 107;

pub(crate) fn parse(mut bytes: &[u8]) -> Parsed {
    if bytes.starts_with(TEXT) || TEXT.starts_with(bytes) {
        // The parser is given one whole line: it takes some that are not whole for none, and may end one at a lone CR.
        let end = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len());
        match &bytes[end..] {
            [b'\r', b'\n', ..] => bytes = &bytes[..end + 2],
            [] | [b'\r'] if bytes.len() < LONGEST_TEXT => return Parsed::Part,
            _ => return Parsed::Other,
        }
    }
    let header = HeaderResult::parse(bytes);
    let part = header.is_incomplete();
    match header {
        HeaderResult::V1(Ok(header)) => {
            let source = match header.addresses {
                v1::Addresses::Tcp4(ip) => Some(SocketAddr::from((ip.source_address, ip.source_port))),
                v1::Addresses::Tcp6(ip) => Some(SocketAddr::from((ip.source_address, ip.source_port))),
                v1::Addresses::Unknown => None,
            };
            Parsed::Whole(source.map(canonical), header.header.len())
        }
        HeaderResult::V2(Ok(header)) => {
            let source = match (header.command, header.addresses) {
                (v2::Command::Proxy, v2::Addresses::IPv4(ip)) => {
                    Some(SocketAddr::from((ip.source_address, ip.source_port)))
                }
                (v2::Command::Proxy, v2::Addresses::IPv6(ip)) => {
                    Some(SocketAddr::from((ip.source_address, ip.source_port)))
                }
                _ => None,
            };
            Parsed::Whole(source.map(canonical), header.len())
        }
        _ if part => Parsed::Part,
        _ => Parsed::Other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_said_is_heard_and_nothing_behind_it(
            source: SocketAddr, destination: SocketAddr, v2: bool, behind: Vec<u8>,
        ) {
            let version = if v2 { ProxyProtocol::V2 } else { ProxyProtocol::V1 };
            let header = version.header(source, destination).unwrap();
            // Of an IPv4 address that is written as IPv6 both forms are the same client.
            let heard = Some(SocketAddr::new(source.ip().to_canonical(), source.port()));
            let all = [header.clone(), behind].concat();
            prop_assert_eq!(parse(&all), Parsed::Whole(heard, header.len()));
            for end in 1..header.len() {
                prop_assert_eq!(parse(&header[..end]), Parsed::Part, "{} of {:?}", end, &header);
            }
        }

        #[test]
        fn anything_may_come(bytes: Vec<u8>) {
            if let Parsed::Whole(_, length) = parse(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }
    }

    #[test]
    fn a_client_is_told_whatever_the_family_of_the_address_that_it_reached() {
        let said = |source: &str, destination: &str| {
            let header = ProxyProtocol::V1.header(source.parse().unwrap(), destination.parse().unwrap());
            String::from_utf8(header.unwrap()).unwrap()
        };
        let (six, mapped) = ("[2001:db8::7]:1", "[::ffff:192.0.2.7]:1");
        assert_eq!(said(six, "10.0.0.1:80"), "PROXY TCP6 2001:db8::7 ::ffff:10.0.0.1 1 80\r\n");
        assert_eq!(said("192.0.2.7:1", "[::1]:80"), "PROXY TCP6 ::ffff:192.0.2.7 ::1 1 80\r\n");
        assert_eq!(said(mapped, "[::ffff:10.0.0.1]:80"), "PROXY TCP4 192.0.2.7 10.0.0.1 1 80\r\n");
    }

    #[test]
    fn what_is_no_header_is_told_at_once() {
        let endless = format!("PROXY UNKNOWN {}\r", "x".repeat(LONGEST_TEXT));
        for other in [
            endless.as_str(),
            "GET / HTTP/1.1\r\nhost: x\r\n\r\n",
            "PROXY TCP4 a b c d\r\n",
            "PROXY TCP9 ::1 ::1 1 1\r\n",
            "PROXY UNKNOWN \n WW\r\rN\r\n",
            "PROXY UNKNOWN\rN\r\n",
            "PROXY UNKNOWN\n",
        ] {
            assert_eq!(parse(other.as_bytes()), Parsed::Other, "{other}");
        }
    }
}
