//! The host's own addresses.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;

/// The kernel's table of routes, with all addresses of IPv4 that are the host's own: no other file has them.
const ROUTES: &str = "/proc/net/fib_trie";

/// Where a port listens that is to be open on the host: 127.0.0.1, and each address that the host has on its networks.
///
/// Not all addresses at once, `0.0.0.0`: the rest of 127.0.0.0/8 is where pods and services listen, and who listens
/// at all addresses takes the port from each of them. Where the kernel does not name its addresses there is nothing else.
pub(crate) fn own() -> BTreeSet<Ipv4Addr> {
    match fs::read_to_string(ROUTES) {
        Ok(routes) => local(&routes),
        Err(error) => {
            tracing::warn!(%error, "the host's addresses are not known: its ports are opened on all that there may be");
            BTreeSet::from([Ipv4Addr::UNSPECIFIED])
        }
    }
}

/// The single addresses among the routes that lead to the host itself: `/32 host LOCAL` below `|-- 192.0.2.2`. A whole network
/// that does, `/16 host LOCAL`, is somebody's for another purpose.
fn local(routes: &str) -> BTreeSet<Ipv4Addr> {
    let mut found = BTreeSet::from([Ipv4Addr::LOCALHOST]);
    let mut last = None;
    for line in routes.lines().map(str::trim_start) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.trim_end().parse().ok();
        } else if line.starts_with("/32 host LOCAL") {
            found.extend(last.filter(|address: &Ipv4Addr| !address.is_loopback()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_addresses_are_those_of_its_networks_and_one_of_loopback() {
        let routes = "Main:
  +-- 0.0.0.0/0 3 0 4
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 127.0.0.0/8 2 0 2
        +-- 127.0.0.0/31 1 0 0
           |-- 127.0.0.0
              /8 host LOCAL
           |-- 127.0.0.1
              /32 host LOCAL
        |-- 127.0.1.1
           /32 host LOCAL
     |-- 10.96.0.0
        /16 host LOCAL
     +-- 192.0.2.0/30 2 0 2
        |-- 192.0.2.2
           /32 host LOCAL
        |-- 192.0.2.255
           /32 link BROADCAST
";
        let expected = [Ipv4Addr::LOCALHOST, Ipv4Addr::new(192, 0, 2, 2)];
        assert_eq!(local(routes), BTreeSet::from(expected));
        assert!(own().contains(&Ipv4Addr::LOCALHOST));
    }
}
