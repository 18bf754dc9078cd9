//! The network of the services' addresses: the host answers for it, so that pods reach who listens there.

use std::net::Ipv4Addr;

use bollard::models::HostConfig;
use bollard::query_parameters::ListNetworksOptions;
use orchestra_core::runtime::RuntimeError;

use crate::core::Core;
use crate::{error, helper};

/// How long the prefix of a service network is.
const PREFIX: u32 = 16;

/// Makes the engine's host answer for the /16 that `network` is in.
pub(crate) async fn open(core: &Core, network: Ipv4Addr) -> Result<(), RuntimeError> {
    let networks = core.docker.list_networks(None::<ListNetworksOptions>).await;
    let networks = networks.map_err(|error| error::read("the engine", "list networks", error))?;
    let of = |network: &bollard::models::Network| network.ipam.as_ref()?.config.clone();
    let subnets = networks.iter().filter_map(of).flatten().filter_map(|config| config.subnet);
    if let Some(taken) = subnets.into_iter().find(|subnet| overlaps(network, subnet)) {
        let what = format!("a part of it, by the engine's network {taken},");
        return Err(RuntimeError::InUse { subject: name(network), what });
    }
    route(core, network, "add").await
}

/// Ends it.
pub(crate) async fn close(core: &Core, network: Ipv4Addr) -> Result<(), RuntimeError> {
    route(core, network, "del").await
}

async fn route(core: &Core, network: Ipv4Addr, operation: &str) -> Result<(), RuntimeError> {
    let subject = name(network);
    let [first, second, ..] = network.octets();
    let words = ["route".to_owned(), operation.to_owned(), first.to_string(), second.to_string()];
    let in_the_hosts_network = HostConfig {
        network_mode: Some("host".to_owned()),
        cap_add: Some(vec!["NET_ADMIN".to_owned()]),
        ..HostConfig::default()
    };
    match helper::run(core, &subject, words.into(), in_the_hosts_network).await? {
        0 => Ok(()),
        code => Err(error::refused(&subject, "route it to the host", &format!("the kernel's error {code}"))),
    }
}

fn name(network: Ipv4Addr) -> String {
    let [first, second, ..] = network.octets();
    format!("the service network {first}.{second}.0.0/{PREFIX}")
}

/// Whether a subnet as the engine writes it, `172.17.0.0/16`, has addresses of the /16 that `network` is in.
fn overlaps(network: Ipv4Addr, subnet: &str) -> bool {
    let Some((address, length)) = subnet.split_once('/') else { return false };
    let (Ok(address), Ok(length)) = (address.parse::<Ipv4Addr>(), length.parse::<u32>()) else {
        return false;
    };
    let shared = length.min(PREFIX);
    let mask = u32::MAX.checked_shl(32 - shared).unwrap_or(0);
    u32::from(address) & mask == u32::from(network) & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_that_share_addresses_overlap() {
        let network = Ipv4Addr::new(10, 96, 0, 0);
        for (subnet, expected) in [
            ("10.96.3.0/24", true),
            ("10.0.0.0/8", true),
            ("0.0.0.0/0", true),
            ("10.97.0.0/16", false),
            ("172.17.0.0/16", false),
            ("fd00::/64", false),
            ("nothing", false),
        ] {
            assert_eq!(overlaps(network, subnet), expected, "{subnet}");
        }
    }
}
