//! What a DNS server does with questions about names that are not its own.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use crate::error::NetError;
use crate::setters::setters;

/// Where the system's name servers are written down.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The port of name servers.
const PORT: u16 = 53;

/// How a [`DnsServer`](super::DnsServer) treats questions about names outside of its zone.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DnsOptions {
    /// Where they are passed on to, for whoever reaches the server: it should listen where none but pods and this host do.
    pub forward: DnsForward,
    /// How long all servers that are asked may take together. Each has an equal share of what is left when its turn comes.
    /// A client over TCP waits for ten seconds at most.
    pub forward_timeout: Duration,
}

/// Which servers are asked about other names, in this order. One that has not answered is asked last for a while.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DnsForward {
    /// None: such questions are refused.
    #[default]
    Nowhere,
    /// Those of `/etc/resolv.conf`, as it is when the server starts.
    System,
    /// These, where there are any.
    To(Vec<SocketAddr>),
}

impl Default for DnsOptions {
    fn default() -> Self {
        // Resolvers in C libraries ask again after five seconds.
        Self { forward: DnsForward::default(), forward_timeout: Duration::from_millis(4500) }
    }
}

impl DnsOptions {
    setters! {
        with_forward: forward: DnsForward;
        with_forward_timeout: forward_timeout: Duration;
    }
}

impl DnsForward {
    /// The servers; none where nothing is passed on.
    pub(super) fn servers(&self) -> Result<Vec<SocketAddr>, NetError> {
        match self {
            Self::Nowhere => Ok(Vec::new()),
            Self::To(servers) => Ok(servers.clone()),
            Self::System => {
                let none = || io::Error::new(io::ErrorKind::InvalidData, "it names none");
                let read = std::fs::read_to_string(RESOLV_CONF).map(|text| name_servers(&text));
                read.and_then(|servers| if servers.is_empty() { Err(none()) } else { Ok(servers) })
                    .map_err(|source| NetError::NameServers { path: Path::new(RESOLV_CONF), source })
            }
        }
    }
}

/// The name servers of a `resolv.conf`: see resolv.conf(5).
fn name_servers(text: &str) -> Vec<SocketAddr> {
    let named = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        words.next().filter(|keyword| *keyword == "nameserver").and(words.next())
    });
    let address = |word: &str| match word.parse::<IpAddr>() {
        Ok(address) => Some(SocketAddr::new(address, PORT)),
        Err(error) => {
            tracing::warn!(server = word, %error, "passes no DNS questions on to a name server of {RESOLV_CONF}");
            None
        }
    };
    named.filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_servers_of_a_system_are_found_in_their_order() {
        let text = "# nameserver 10.0.0.9\nsearch example.org\nnameserver  10.0.0.2 # the near one\n;nameserver 10.0.0.8\n\
                    nameserver\nnameserver fe80::1%eth0\n\tnameserver ::1\noptions ndots:5\nnameservers 10.0.0.7\n";
        let found: Vec<String> = name_servers(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["10.0.0.2:53", "[::1]:53"]);
    }
}
