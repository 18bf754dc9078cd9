//! What a pod takes from its node.

use std::borrow::Cow;
use std::net::IpAddr;

use super::{Container, PodSpec, Protocol, QosClass, ResourceRequirements};
use crate::model::{Quantity, ResourceList};

/// A port of the node that a pod takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// The node's address; none for all of them.
    pub ip: Option<IpAddr>,
    /// The protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
}

impl HostPort {
    /// Whether both can't be taken on one node.
    #[must_use]
    pub fn conflicts_with(&self, other: &Self) -> bool {
        let any = |ip: Option<IpAddr>| ip.is_none_or(|ip| ip.is_unspecified());
        self.port == other.port
            && self.protocol == other.protocol
            && (any(self.ip) || any(other.ip) || self.ip == other.ip)
    }
}

impl PodSpec {
    /// What is set aside for a pod on its node.
    ///
    /// What the pod says itself; of what it does not name, the containers and sidecars together, or the most that any init
    /// container needs together with the sidecars before it, whichever is more; and the overhead. (As Kubernetes' scheduler counts since sidecars exist.)
    #[must_use]
    pub fn requests(&self) -> ResourceList {
        self.requests_in_all().into_owned()
    }

    /// [`requests`](Self::requests), by reference where a single container has them all.
    pub(crate) fn requests_in_all(&self) -> Cow<'_, ResourceList> {
        let simple = self.overhead.is_empty() && self.resources.requests.is_empty();
        if let ([only], [], true) = (&*self.containers, &*self.init_containers, simple) {
            return Cow::Borrowed(&only.resources.requests);
        }
        let mut total = self.requests_of_containers();
        total.extend(self.resources.requests.iter().map(|(name, amount)| (name.clone(), *amount)));
        add(&mut total, &self.overhead);
        Cow::Owned(total)
    }

    /// What its containers need together, or at some time of its start, whichever is more.
    pub(super) fn requests_of_containers(&self) -> ResourceList {
        let (mut sidecars, mut peak) = (ResourceList::new(), ResourceList::new());
        for container in &self.init_containers {
            let requests = &container.resources.requests;
            if container.is_sidecar() {
                add(&mut sidecars, requests);
                raise(&mut peak, &sidecars);
            } else {
                let mut together = sidecars.clone();
                add(&mut together, requests);
                raise(&mut peak, &together);
            }
        }
        let mut total = sidecars;
        for container in &self.containers {
            add(&mut total, &container.resources.requests);
        }
        raise(&mut total, &peak);
        total
    }

    /// How important the pod is: the number behind its priority class; 0 where it has none.
    #[must_use]
    pub fn importance(&self) -> i32 {
        self.priority.unwrap_or(0)
    }

    /// The claims on persistent volumes that a pod uses, by name, in the order of its volumes.
    pub fn claims(&self) -> impl Iterator<Item = &str> {
        let claims = self.volumes.iter().filter_map(|volume| volume.persistent_volume_claim.as_ref());
        claims.map(|claim| claim.claim_name.as_str())
    }

    /// The ports of its node that a pod takes, in the order of its containers.
    pub fn host_ports(&self) -> impl Iterator<Item = HostPort> + '_ {
        let sidecars = self.init_containers.iter().filter(|c| c.is_sidecar());
        self.containers
            .iter()
            .chain(sidecars)
            .flat_map(|c| &c.ports)
            .map(|p| HostPort {
                ip: p.host_ip,
                protocol: p.protocol,
                port: if self.host_network && p.host_port == 0 { p.container_port } else { p.host_port },
            })
            .filter(|p| p.port != 0)
    }

    /// The container or init container called `name`.
    #[must_use]
    pub fn container(&self, name: &str) -> Option<&Container> {
        self.containers.iter().chain(&self.init_containers).find(|c| c.name == name)
    }

    /// How likely a pod is to be evicted when its node runs out of memory, after what its containers request and
    /// may use of CPU and memory.
    #[must_use]
    pub fn qos_class(&self) -> QosClass {
        let (mut any, mut all) = (false, true);
        let of_containers = self.containers.iter().chain(&self.init_containers).map(|c| &c.resources);
        let of_pod = (self.resources != ResourceRequirements::default()).then_some(&self.resources);
        let counts = of_pod.map_or_else(|| of_containers.collect(), |resources| vec![resources]);
        for resources in counts {
            for name in ["cpu", "memory"] {
                let positive = |list: &ResourceList| list.get(name).copied().filter(|q| !q.is_zero());
                let limit = positive(&resources.limits);
                let request = positive(&resources.requests).or(limit);
                any |= request.is_some();
                all &= limit.is_some() && request == limit;
            }
        }
        match (any, all) {
            (false, _) => QosClass::BestEffort,
            (true, false) => QosClass::Burstable,
            (true, true) => QosClass::Guaranteed,
        }
    }
}

fn add(total: &mut ResourceList, more: &ResourceList) {
    for (name, amount) in more {
        *entry(total, name) += *amount;
    }
}

fn raise(total: &mut ResourceList, to: &ResourceList) {
    for (name, amount) in to {
        let have = entry(total, name);
        *have = (*have).max(*amount);
    }
}

fn entry<'a>(list: &'a mut ResourceList, name: &str) -> &'a mut Quantity {
    if !list.contains_key(name) {
        list.insert(name.to_owned(), Quantity::ZERO);
    }
    list.entry(name.to_owned()).or_default()
}
