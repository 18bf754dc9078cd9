//! Which addresses stand behind a Service.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;

use super::selected::{Selected, Selects};
use crate::client::{Client, DeleteOptions};
use crate::engine::{Cache, Caches, Controller, Index, Next, ReconcileError, Reconciler, Tasks};
use crate::model::{
    Endpoint, EndpointConditions, EndpointPort, EndpointSlice, Node, Object, ObjectKey, ObjectReference,
    OwnerReference, Pod, PortRef, Service, ServicePort, ZONE,
};
use crate::rng::Rng;

/// A pod with this label set to `off` is kept out of traffic: a rollout is still trying it out.
pub const TRAFFIC_LABEL: &str = "orchestra.dev/traffic";

/// How many endpoints one slice holds: Kubernetes' default. A change rewrites one slice, not all endpoints.
const SLICE_SIZE: usize = 100;

/// Keeps the EndpointSlices of each Service equal to the pods it selects.
///
/// A pod is listed from the moment it has an address until its object is gone; `ready` says whether it may
/// get new requests, `terminating` that it is on its way out.
#[derive(Debug)]
pub struct EndpointsController {
    services: Arc<Cache<Service>>,
    selected: Selected<Service>,
    nodes: Arc<Cache<Node>>,
    slices: Index<EndpointSlice, (String, String)>,
}

impl EndpointsController {
    /// Starts the controller in `tasks`.
    pub fn start(client: &Client, caches: &Caches, rng: &Rng, tasks: &Tasks) {
        let selected = Selected::new(caches);
        let slices = caches.of::<EndpointSlice>().index(|slice| service_of(slice).into_iter().collect());
        let nodes = caches.of::<Node>();
        let reconciler =
            Self { services: caches.of(), selected: selected.clone(), nodes: Arc::clone(&nodes), slices };
        let controller = Controller::new("endpoints", client, caches, rng).on::<Service>();
        let (queue, by_slice) = (controller.queue(), selected.clone());
        caches.of::<EndpointSlice>().on_change(move |change| {
            // Mostly what this controller wrote itself, so not more urgent than a pod.
            for (namespace, name) in
                [change.old, change.new].into_iter().flatten().filter_map(|s| service_of(s))
            {
                by_slice.look(&queue, ObjectKey::new::<Service>(namespace, name));
            }
        });
        let (queue, by_node) = (controller.queue(), selected.clone());
        let pods_on = caches.pods_on_nodes();
        nodes.on_change(move |change| {
            // The pods of a node that is gone go, too.
            let Some(new) = change.new else { return };
            if change.old.map_or("", |old| zone(old)) != zone(new) {
                for pod in pods_on.get(&change.key.name) {
                    by_node.look_for(&queue, &pod.metadata.namespace, &[&pod]);
                }
            }
        });
        selected.look_on_change(controller.queue(), matters);
        controller.start(reconciler, tasks);
    }
}

impl Selects for Service {
    fn has(&self, pod: &Pod) -> bool {
        selects(self, pod)
    }

    fn selects_like(&self, other: &Self) -> bool {
        self.spec.selector == other.spec.selector
    }
}

/// The zone that a node is in; empty where its labels do not say.
fn zone(node: &Node) -> &str {
    node.metadata.labels.value(ZONE).unwrap_or_default()
}

fn service_of(slice: &EndpointSlice) -> Option<(String, String)> {
    Some((slice.metadata.namespace.clone(), slice.service_name()?.to_owned()))
}

/// Whether `service` made the slice.
fn is_of(slice: &EndpointSlice, service: &Service) -> bool {
    slice.metadata.controller().is_some_and(|owner| owner.uid == service.metadata.uid)
}

/// Whether the change of a pod can matter to the services that select it.
fn matters(old: &Pod, new: &Pod) -> bool {
    old.metadata.labels != new.metadata.labels
        || old.status.pod_ip != new.status.pod_ip
        || old.is_ready() != new.is_ready()
        || old.is_terminal() != new.is_terminal()
        || old.metadata.is_deleting() != new.metadata.is_deleting()
}

/// Whether `service` chooses its endpoints by labels, and chooses this pod.
pub(crate) fn selects(service: &Service, pod: &Pod) -> bool {
    let selector = &service.spec.selector;
    !selector.is_empty() && selector.iter().all(|(k, v)| pod.metadata.labels.get(k) == Some(v))
}

#[async_trait]
impl Reconciler for EndpointsController {
    async fn reconcile(&self, key: &ObjectKey, client: &Client) -> Result<Next, ReconcileError> {
        let Some(service) = self.services.get(key).filter(|s| !s.metadata.is_deleting()) else {
            return Ok(Next::OnChange);
        };
        if service.spec.selector.is_empty() {
            return Ok(Next::OnChange);
        }
        let mut wanted = self.endpoints(&service, &self.selected.pods(key));
        let live = self.slices.get(&(key.namespace.to_string(), key.name.to_string()));
        let client = client.namespace(Arc::clone(&key.namespace));
        let mut transaction = client.transaction();
        let mut writes = 0;
        let mut taken: BTreeSet<String> = BTreeSet::new();
        let mut room: Vec<EndpointSlice> = Vec::new();
        taken.extend(live.iter().map(|slice| slice.metadata.name.clone()));
        // Others may list endpoints of the service, too: people, or a controller of theirs.
        let own = live.into_iter().filter(|slice| is_of(slice, &service));
        let live: BTreeMap<_, _> = own.map(|s| (s.metadata.name.clone(), s)).collect();
        for slice in live.values() {
            let mut kept = (**slice).clone();
            take_kept(&mut kept, &mut wanted);
            room.push(kept);
        }
        fill(&service, &mut room, wanted, &mut taken);
        let mut left = room.len();
        for slice in room {
            match live.get(&slice.metadata.name) {
                None => transaction = transaction.create(slice),
                Some(live) if slice.endpoints.is_empty() && left > 1 => {
                    left -= 1;
                    let options = DeleteOptions::default().revision(live.metadata.resource_version);
                    transaction = transaction.delete::<EndpointSlice>(&slice.metadata.name, options);
                }
                Some(live) if slice.same_desired(&**live) => continue,
                Some(_) => transaction = transaction.update(slice),
            }
            writes += 1;
        }
        if writes > 0 {
            transaction.commit().await?;
        }
        Ok(Next::OnChange)
    }
}

/// The endpoints a service shall have, by the ports they resolve to and then by their pod.
type Wanted = BTreeMap<Vec<(String, Option<u16>)>, (Vec<EndpointPort>, BTreeMap<String, Endpoint>)>;

impl EndpointsController {
    fn endpoints(&self, service: &Service, pods: &[Arc<Pod>]) -> Wanted {
        let mut wanted = Wanted::new();
        for pod in pods {
            let Some(ip) = pod.status.pod_ip.filter(|_| !pod.is_terminal()) else { continue };
            let ports = ports(service, pod);
            let by = ports.iter().map(|p| (p.name.clone(), p.port)).collect();
            let (_, group) = wanted.entry(by).or_insert_with(|| (ports, BTreeMap::new()));
            let node = pod.node_name.as_ref().map(|name| ObjectKey::new::<Node>("", Arc::clone(name)));
            let node = node.and_then(|key| self.nodes.get(&key));
            let zone = node.as_deref().map_or("", zone);
            group.insert(pod.metadata.uid.to_string(), endpoint(service, pod, ip, zone));
        }
        wanted
    }
}

fn endpoint(service: &Service, pod: &Pod, ip: IpAddr, zone: &str) -> Endpoint {
    let terminating = pod.metadata.is_deleting();
    let held_back = pod.metadata.labels.value(TRAFFIC_LABEL) == Some("off");
    let serving = pod.is_ready() && !held_back;
    Endpoint {
        addresses: vec![ip.to_string()],
        conditions: EndpointConditions {
            ready: Some((serving && !terminating) || service.spec.publish_not_ready_addresses),
            serving: Some(serving),
            terminating: Some(terminating),
            ..EndpointConditions::default()
        },
        hostname: pod.spec.hostname.clone(),
        node_name: pod.node_name.as_deref().unwrap_or_default().to_owned(),
        zone: zone.to_owned(),
        target_ref: Some(ObjectReference {
            // The revision would make every pod change an endpoint change.
            resource_version: String::new(),
            ..ObjectReference::to(pod)
        }),
        ..Endpoint::default()
    }
}

/// The ports of the service, as this pod has them. A named target that the pod lacks is left out.
fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let resolve = |port: &ServicePort| {
        let number = match port.target() {
            PortRef::Number(number) => number,
            PortRef::Name(name) => {
                let mut ports = pod.spec.containers.iter().flat_map(|c| &c.ports);
                ports.find(|p| p.name == name)?.container_port
            }
        };
        Some(EndpointPort {
            name: port.name.clone(),
            port: Some(number),
            protocol: port.protocol,
            app_protocol: port.app_protocol.clone(),
            ..EndpointPort::default()
        })
    };
    service.spec.ports.iter().filter_map(resolve).collect()
}

/// Leaves a slice the endpoints that it keeps, as they shall be; they are taken out of what is still wanted. What its
/// ports speak may have changed.
fn take_kept(slice: &mut EndpointSlice, wanted: &mut Wanted) {
    let by: Vec<_> = slice.ports.iter().map(|p| (p.name.clone(), p.port)).collect();
    let Some((ports, group)) = wanted.get_mut(&by) else { return slice.endpoints.clear() };
    slice.ports.clone_from(ports);
    let uid = |e: &Endpoint| e.target_ref.as_ref().map(|t| t.uid.to_string()).unwrap_or_default();
    let kept = slice.endpoints.iter().filter_map(|e| group.remove(&uid(e)));
    slice.endpoints = kept.collect();
}

/// Puts what is still wanted where there is room, and into new slices.
fn fill(service: &Service, slices: &mut Vec<EndpointSlice>, wanted: Wanted, taken: &mut BTreeSet<String>) {
    for (ports, group) in wanted.into_values() {
        let mut rest = group.into_values();
        for slice in slices.iter_mut().filter(|s| s.ports == ports) {
            let room = SLICE_SIZE.saturating_sub(slice.endpoints.len());
            slice.endpoints.extend(rest.by_ref().take(room));
        }
        loop {
            let endpoints: Vec<Endpoint> = rest.by_ref().take(SLICE_SIZE).collect();
            if endpoints.is_empty() {
                break;
            }
            slices.push(slice(service, ports.clone(), endpoints, taken));
        }
    }
}

fn slice(
    service: &Service,
    ports: Vec<EndpointPort>,
    endpoints: Vec<Endpoint>,
    taken: &mut BTreeSet<String>,
) -> EndpointSlice {
    // The first free number, so that a repeated reconcile makes the same names.
    let name = (0..).map(|n| format!("{}-{n}", service.metadata.name)).find(|name| !taken.contains(name));
    let name = name.unwrap_or_default();
    taken.insert(name.clone());
    let mut slice =
        EndpointSlice::new(name).namespace(&service.metadata.namespace).service(&service.metadata.name);
    slice.metadata.owner_references = vec![OwnerReference::controller_of(service)];
    EndpointSlice { ports, endpoints, ..slice }
}
