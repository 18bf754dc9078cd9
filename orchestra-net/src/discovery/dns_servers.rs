//! Which other name servers are asked.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use hickory_resolver::config::ResolverConfig;
use hickory_resolver::system_conf;

use crate::error::NetError;
use crate::proxy_protocol::canonical;

/// The port of name servers.
const PORT: u16 = 53;

/// Which servers are asked about other names. All should know the same: the two that answered best are asked at once, and the first
/// answer counts, also that there is no such name. One that fails or says nothing is followed by the others, and asked last for a while.
///
/// One that is the asking server itself is left out, as far as addresses tell that, and so are link-local ones, whose interface can't be
/// told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DnsForward {
    /// None: such questions are refused.
    #[default]
    Nowhere,
    /// Those of the system, of `/etc/resolv.conf` on Linux, as they are when the server starts. Nothing else in there counts.
    System,
    /// These, where there are any.
    To(Vec<SocketAddr>),
}

impl DnsForward {
    /// Whom the server at `own` asks; none where nothing is passed on.
    pub(super) fn servers(&self, own: SocketAddr) -> Result<Vec<SocketAddr>, NetError> {
        let named = match self {
            Self::Nowhere => return Ok(Vec::new()),
            Self::To(servers) if servers.is_empty() => return Ok(Vec::new()),
            Self::To(servers) => servers.clone(),
            Self::System => {
                let read = system_conf::read_system_conf();
                addresses(&read.map_err(|error| self.failed(io::Error::other(error)))?.0)
            }
        };
        let usable: Vec<_> = named.into_iter().filter(|server| is_usable(*server, own)).collect();
        if usable.is_empty() {
            return Err(self.failed(io::Error::other("it names none that can be asked")));
        }
        Ok(usable)
    }

    /// That these servers can't be asked.
    pub(super) fn failed(&self, source: io::Error) -> NetError {
        let from = if *self == Self::System { "the system" } else { "DnsForward::To" };
        NetError::NameServers { from, source }
    }
}

fn addresses(config: &ResolverConfig) -> Vec<SocketAddr> {
    config.name_servers().iter().map(|server| SocketAddr::new(server.ip, PORT)).collect()
}

fn is_usable(server: SocketAddr, own: SocketAddr) -> bool {
    let why = match server.ip() {
        _ if is_own(server, own) => "that is this very server",
        IpAddr::V6(ip) if ip.is_unicast_link_local() => "its interface is not known",
        _ => return true,
    };
    tracing::warn!(%server, why, "passes no DNS questions on to a name server");
    false
}

/// Whether `server` is the one that listens at `own`, as far as addresses tell.
fn is_own(server: SocketAddr, own: SocketAddr) -> bool {
    let (server, own) = (canonical(server), canonical(own));
    let ip = match server.ip() {
        // A system connects to itself by these.
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let any = own.ip().is_unspecified() && (own.is_ipv6() || ip.is_ipv4());
    server.port() == own.port() && (ip == own.ip() || any && is_local(ip))
}

/// Whether `ip` is this host's: it would be reached from there. Nothing is sent.
fn is_local(ip: IpAddr) -> bool {
    let any: IpAddr = if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let from = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((ip, PORT))?;
        socket.local_addr()
    });
    ip.is_loopback() || from.is_ok_and(|from| from.ip() == ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> SocketAddr {
        address.parse().unwrap()
    }

    #[cfg(unix)]
    #[test]
    fn the_name_servers_of_a_system_are_found_in_their_order() {
        let text = "# nameserver 10.0.0.9\nsearch example.org\nnameserver  10.0.0.2 # the near one\n;nameserver 10.0.0.8\n\
                    nameserver\n\tnameserver ::1\noptions ndots:5\nnameservers 10.0.0.7\n";
        let (config, _) = system_conf::parse_resolv_conf(text).unwrap();
        let found: Vec<String> = addresses(&config).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["10.0.0.2:53", "[::1]:53"]);
    }

    #[test]
    fn a_server_knows_itself_by_all_of_its_addresses() {
        for (server, own, is) in [
            ("127.0.0.1:53", "127.0.0.1:53", true),
            ("0.0.0.0:53", "127.0.0.1:53", true),
            ("127.0.0.9:53", "127.0.0.1:53", false),
            ("127.0.0.1:54", "127.0.0.1:53", false),
            ("127.0.0.9:53", "0.0.0.0:53", true),
            ("127.0.0.9:53", "[::]:53", true),
            ("[::ffff:127.0.0.9]:53", "0.0.0.0:53", true),
            ("[::1]:53", "[::]:53", true),
            ("[::1]:53", "0.0.0.0:53", false),
            ("192.0.2.1:53", "0.0.0.0:53", false),
        ] {
            assert_eq!(is_own(at(server), at(own)), is, "{server} for {own}");
        }
        // Where there is a network, the address by which the host is there.
        let socket = UdpSocket::bind(("0.0.0.0", 0)).unwrap();
        if socket.connect("192.0.2.1:53").is_ok() {
            let host = socket.local_addr().unwrap().ip();
            assert!(is_own(SocketAddr::new(host, 53), at("0.0.0.0:53")), "{host}");
        }
    }

    #[test]
    fn who_has_nobody_else_to_ask_is_told() {
        let own = at("127.0.0.1:53");
        let to = |servers: &[&str]| DnsForward::To(servers.iter().copied().map(at).collect());
        assert_eq!(to(&[]).servers(own).unwrap(), []);
        assert_eq!(to(&["127.0.0.1:53", "192.0.2.1:53"]).servers(own).unwrap(), [at("192.0.2.1:53")]);
        let error = to(&["127.0.0.1:53", "[fe80::1]:53"]).servers(own).unwrap_err();
        assert!(error.to_string().contains("DnsForward::To"), "{error}");
    }
}
