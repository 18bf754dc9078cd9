//! Addresses for services, out of 127.0.0.0/16 or another network.

use std::any::Any;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use orchestra_core::client::{Admission, Operation};
use orchestra_core::model::{KindInfo, Object, Resource, Service, ServiceSpec, ServiceType, Uid};
use tokio::time::Instant;

/// Addresses in a block: a /24, so that most clusters need one.
const BLOCK: u32 = 256;

/// Where services have their addresses unless said otherwise.
const LOOPBACK: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 0);

/// Blocks are 127.0.64.0/24 to 127.0.255.0/24: below are name servers and what people use by hand, and pods on
/// the process runtime begin at 127.1.0.0. 192 blocks hold 48,000 services, more than one process proxies. Other
/// networks have the same blocks.
const BLOCKS: std::ops::Range<u32> = 64..256;

/// How long an address that somebody asked for by its number is kept for a Service that has not come into the store. Writes take
/// milliseconds; one that takes longer than this has failed.
const PROMISE: Duration = Duration::from_secs(10);

/// Gives each Service that wants one an address of its own when it is created: an [`Admission`].
///
/// The addresses are of the loopback interface, where Linux lets anybody listen on each; so they lead to
/// services from every process of this host. Two clusters on one host don't get the same: on Linux each block of
/// addresses is claimed by an abstract socket, which the kernel frees when its holder dies.
///
/// What has no part in this host's loopback interface, as containers do, does not reach them there: see
/// [`with_network`](Self::with_network).
#[derive(Debug)]
pub struct ClusterIps {
    /// The first address of the network.
    network: u32,
    first: u32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The blocks that are ours, with what holds the claim.
    blocks: BTreeMap<u32, Claim>,
    given: BTreeMap<Ipv4Addr, Owner>,
    /// After which address the next one is looked for: an address that was given back rests for a round.
    cursor: u32,
}

#[derive(Debug)]
struct Owner {
    namespace: String,
    name: String,
    /// Known once the service was seen in the store.
    uid: Option<Uid>,
    since: Instant,
}

impl ClusterIps {
    /// Addresses, beginning at a place that follows from `seed`: the same after a restart.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let count = u64::from(BLOCKS.end - BLOCKS.start);
        let first = BLOCKS.start + u32::try_from(seed % count).unwrap_or(0);
        Self { network: LOOPBACK.into(), first, state: Mutex::default() }
    }

    /// Gives addresses out of the /16 that `network` is in, instead of 127.0.0.0/16. The host must have them: a
    /// container runtime, or `ip route add local NETWORK/16 dev lo`, makes it so.
    #[must_use]
    pub fn with_network(self, network: Ipv4Addr) -> Self {
        Self { network: u32::from(network) & 0xffff_0000, ..self }
    }

    fn base(&self, block: u32) -> u32 {
        self.network | (block * BLOCK)
    }

    fn block_of(&self, address: Ipv4Addr) -> Option<u32> {
        let address = u32::from(address);
        let block = (address & 0xffff) / BLOCK;
        (address & 0xffff_0000 == self.network && BLOCKS.contains(&block)).then_some(block)
    }

    fn claim(&self, block: u32) -> Option<Claim> {
        Claim::take(Ipv4Addr::from(self.base(block)))
    }

    /// The first free address after the last one given, going round.
    fn free(&self, state: &State) -> Option<Ipv4Addr> {
        let all =
            || state.blocks.keys().flat_map(|block| self.base(*block) + 1..self.base(*block) + BLOCK - 1);
        let ahead = all().filter(|address| *address > state.cursor);
        let behind = all().filter(|address| *address <= state.cursor);
        ahead.chain(behind).map(Ipv4Addr::from).find(|address| !state.given.contains_key(address))
    }

    /// Claims one more block.
    fn grow(&self, state: &mut State) -> Option<()> {
        let candidates = (self.first..BLOCKS.end).chain(BLOCKS.start..self.first);
        let (block, claim) = candidates
            .filter(|block| !state.blocks.contains_key(block))
            .find_map(|block| Some((block, self.claim(block)?)))?;
        state.blocks.insert(block, claim);
        Some(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The service is in the store: its address is its own.
    pub fn adopt(&self, service: &Service) {
        let Ok(address) = service.spec.cluster_ip.parse::<Ipv4Addr>() else { return };
        let mut state = self.lock();
        if let Some(block) = self.block_of(address)
            && !state.blocks.contains_key(&block)
            && let Some(claim) = self.claim(block)
        {
            state.blocks.insert(block, claim);
        }
        state.given.insert(address, Owner { uid: Some(service.metadata.uid.clone()), ..Owner::of(service) });
    }

    /// The service is gone: its address is free.
    pub fn release(&self, service: &Service) {
        let Ok(address) = service.spec.cluster_ip.parse::<Ipv4Addr>() else { return };
        let mut state = self.lock();
        // Another service of that name may have it by now.
        if state.given.get(&address).is_some_and(|owner| owner.uid.as_ref() == Some(&service.metadata.uid)) {
            state.given.remove(&address);
        }
    }

    fn give(&self, service: &Service) -> Result<Ipv4Addr, String> {
        let mut state = self.lock();
        let owner = Owner::of(service);
        // The same write again, after a conflict.
        let is_ours = |other: &Owner| other.uid.is_none() && other.is_named_like(&owner);
        if let Some((address, _)) = state.given.iter().find(|(_, other)| is_ours(other)) {
            return Ok(*address);
        }
        let address = self.free(&state).or_else(|| {
            self.grow(&mut state)?;
            self.free(&state)
        });
        let address = address.or_else(|| {
            // Creations that failed have left some behind.
            state.given.retain(|_, owner| owner.uid.is_some());
            self.free(&state)
        });
        let address = address.ok_or_else(|| {
            let (from, to) = (self.base(BLOCKS.start), self.base(BLOCKS.end - 1) + BLOCK - 1);
            let (from, to) = (Ipv4Addr::from(from), Ipv4Addr::from(to));
            format!("no address of {from} to {to} is free for spec.clusterIP")
        })?;
        state.cursor = address.into();
        state.given.insert(address, owner);
        Ok(address)
    }

    fn reserve(&self, service: &Service) -> Result<(), String> {
        let text = &service.spec.cluster_ip;
        let Ok(address) = text.parse::<Ipv4Addr>() else { return Ok(()) };
        let owner = Owner::of(service);
        let mut state = self.lock();
        match state.given.get(&address) {
            Some(other) if other.is_named_like(&owner) => Ok(()),
            Some(other) if other.uid.is_some() || other.since.elapsed() < PROMISE => {
                Err(format!("spec.clusterIP: {text} belongs to Service {}/{}", other.namespace, other.name))
            }
            _ => {
                state.given.insert(address, owner);
                Ok(())
            }
        }
    }
}

impl Owner {
    fn of(service: &Service) -> Self {
        let meta = &service.metadata;
        let (namespace, name) = (meta.namespace.clone(), meta.name.clone());
        Self { namespace, name, uid: None, since: Instant::now() }
    }

    fn is_named_like(&self, other: &Self) -> bool {
        (&self.namespace, &self.name) == (&other.namespace, &other.name)
    }
}

impl Admission for ClusterIps {
    fn applies_to(&self, kind: &KindInfo) -> bool {
        *kind == Service::INFO
    }

    fn admit(
        &self,
        _operation: Operation,
        object: &mut dyn Object,
        old: Option<&dyn Object>,
    ) -> Result<(), String> {
        let object: &mut dyn Any = object;
        let Some(service) = object.downcast_mut::<Service>() else { return Ok(()) };
        if service.spec.type_ == ServiceType::ExternalName || service.spec.cluster_ip == ServiceSpec::HEADLESS
        {
            return Ok(());
        }
        let old = old.and_then(|old| (old as &dyn Any).downcast_ref::<Service>());
        if service.spec.cluster_ip.is_empty() {
            let kept = old.map(|old| old.spec.cluster_ip.clone()).filter(|ip| !ip.is_empty());
            service.spec.cluster_ip = match kept {
                Some(kept) => kept,
                None => self.give(service)?.to_string(),
            };
        } else {
            self.reserve(service)?;
        }
        service.spec.cluster_ips = vec![service.spec.cluster_ip.clone()];
        Ok(())
    }
}

/// The right to give out the addresses of a block, against other processes of this host.
#[derive(Debug)]
struct Claim {
    #[cfg(target_os = "linux")]
    _socket: std::os::unix::net::UnixDatagram,
}

impl Claim {
    #[cfg(target_os = "linux")]
    fn take(block: Ipv4Addr) -> Option<Self> {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::net::{SocketAddr, UnixDatagram};
        let name = format!("orchestra-net/{block}/24");
        let address = SocketAddr::from_abstract_name(name).ok()?;
        Some(Self { _socket: UnixDatagram::bind_addr(&address).ok()? })
    }

    #[cfg(not(target_os = "linux"))]
    fn take(_block: Ipv4Addr) -> Option<Self> {
        Some(Self {})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(ips: &ClusterIps, service: &Service, old: Option<&Service>) -> Result<Service, String> {
        let mut service = service.clone();
        ips.admit(Operation::Create, &mut service, old.map(|old| old as &dyn Object))?;
        Ok(service)
    }

    fn stored(mut service: Service, uid: &str) -> Service {
        service.metadata.uid = uid.into();
        service
    }

    #[test]
    fn each_service_has_its_own_address_and_keeps_it() {
        let ips = ClusterIps::new(1);
        let web = Service::new("web").namespace("shop").port(80);
        let one = admit(&ips, &web, None).unwrap();
        assert!(one.spec.cluster_ip.starts_with("127.0."), "{}", one.spec.cluster_ip);
        assert_eq!(one.spec.cluster_ips, [one.spec.cluster_ip.as_str()]);
        assert_eq!(admit(&ips, &web, None).unwrap(), one, "the same write again");
        let two = admit(&ips, &Service::new("api").namespace("shop").port(80), None).unwrap();
        assert_ne!(one.spec.cluster_ip, two.spec.cluster_ip);
        let kept = admit(&ips, &web.clone().port(81), Some(&one)).unwrap();
        assert_eq!(kept.spec.cluster_ip, one.spec.cluster_ip);
        let mut thief = Service::new("thief").namespace("shop");
        thief.spec.cluster_ip.clone_from(&one.spec.cluster_ip);
        assert!(admit(&ips, &thief, None).unwrap_err().contains("shop/web"));
        assert!(admit(&ips, &web.clone().headless(), None).unwrap().spec.is_headless());
        let external = Service::new("mail").service_type(ServiceType::ExternalName);
        assert_eq!(admit(&ips, &external, None).unwrap().spec.cluster_ip, "");
    }

    #[test]
    fn another_network_has_the_same_blocks() {
        let ips = ClusterIps::new(1).with_network(Ipv4Addr::new(10, 96, 7, 1));
        let given = |name: &str| admit(&ips, &Service::new(name), None).unwrap().spec.cluster_ip;
        let first: Ipv4Addr = given("web").parse().unwrap();
        assert_eq!(first.octets()[..2], [10, 96]);
        assert!(BLOCKS.contains(&u32::from(first.octets()[2])), "{first}");
        assert_ne!(given("api"), first.to_string());
    }

    #[test]
    fn an_address_is_free_again_when_its_service_is_gone_and_not_before() {
        let ips = ClusterIps::new(2);
        let web = Service::new("web").namespace("shop");
        let first = stored(admit(&ips, &web, None).unwrap(), "1");
        ips.adopt(&first);
        let again = stored(admit(&ips, &web, None).unwrap(), "2");
        ips.adopt(&again);
        ips.release(&again);
        let mut other = Service::new("other").namespace("shop");
        other.spec.cluster_ip.clone_from(&again.spec.cluster_ip);
        let other = stored(admit(&ips, &other, None).unwrap(), "3");
        ips.adopt(&other);
        ips.release(&again);
        assert!(admit(&ips, &stored(again, "4"), None).is_err(), "releasing twice took it from another");
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_failed_creation_asked_for_is_free_after_a_while() {
        let ips = ClusterIps::new(4);
        let named = |name: &str| {
            let mut service = Service::new(name);
            service.spec.cluster_ip = "127.0.64.9".to_owned();
            service
        };
        admit(&ips, &named("failed"), None).unwrap();
        assert!(admit(&ips, &named("other"), None).is_err(), "it may be on its way");
        tokio::time::advance(PROMISE).await;
        let other = stored(admit(&ips, &named("other"), None).unwrap(), "1");
        ips.adopt(&other);
        tokio::time::advance(PROMISE).await;
        assert!(admit(&ips, &named("third"), None).is_err());
    }

    #[test]
    fn addresses_do_not_run_out_by_failed_creations_and_two_clusters_do_not_share() {
        let (one, two) = (ClusterIps::new(3), ClusterIps::new(3));
        let ip = |ips: &ClusterIps, i: usize| {
            admit(ips, &Service::new(format!("s{i}")), None).unwrap().spec.cluster_ip
        };
        let many: std::collections::BTreeSet<String> = (0..600).map(|i| ip(&one, i)).collect();
        assert_eq!(many.len(), 600);
        assert!((0..10).all(|i| !many.contains(&ip(&two, i))), "claimed blocks belong to one cluster");
    }
}
