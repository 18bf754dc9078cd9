//! What slices say about a service.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use orchestra_core::balance::Endpoint;
use orchestra_core::model::{Endpoint as Listed, EndpointSlice, Protocol, Service, ServicePort, ServiceType};

use crate::discovery::{NamedPort, ServiceRecord, Target};
use crate::upstream::Drained;

/// The `appProtocol` of HTTP/2 with prior knowledge, without TLS.
const H2C: &str = "kubernetes.io/h2c";

/// The slices of one service, by their names.
pub(super) type Slices = BTreeMap<String, Arc<EndpointSlice>>;

/// The endpoints that get requests for this port of the service: those that are ready, not ending, and
/// not drained.
pub(super) fn ready(slices: &Slices, port: &ServicePort, drained: &Drained) -> Vec<Endpoint> {
    let mut endpoints = Vec::new();
    for slice in slices.values() {
        let Some(number) = slice.ports.iter().find(|p| p.name == port.name).and_then(|p| p.port) else {
            continue;
        };
        for listed in slice.endpoints.iter().filter(|listed| serves(listed, drained)) {
            let Some(ip) = address(listed) else { continue };
            let address = SocketAddr::new(ip, number);
            let mut endpoint = match &listed.target_ref {
                Some(target) if !target.uid.is_empty() => Endpoint::new(target.uid.clone(), address),
                // No pod: the address is all there is to know it by.
                _ => Endpoint::new(address.to_string(), address),
            };
            endpoint.zone = listed.zone.as_str().into();
            endpoints.push(endpoint);
        }
    }
    endpoints
}

fn serves(listed: &Listed, drained: &Drained) -> bool {
    let is_drained = || listed.target_ref.as_ref().is_some_and(|target| drained.contains(&target.uid));
    listed.conditions.is_ready() && !listed.conditions.is_terminating() && !is_drained()
}

/// The first address counts.
fn address(listed: &Listed) -> Option<IpAddr> {
    let text = listed.addresses.first()?;
    match text.parse() {
        Ok(ip) => Some(ip),
        Err(error) => {
            tracing::warn!(address = %text, %error, "an endpoint's address is none");
            None
        }
    }
}

/// What the cluster's names say of the service.
pub(super) fn record(service: &Service, slices: &Slices, drained: &Drained) -> ServiceRecord {
    let mut record = ServiceRecord::default();
    let spec = &service.spec;
    if spec.type_ == ServiceType::ExternalName {
        record.alias.clone_from(&spec.external_name);
        return record;
    }
    record.address = spec.cluster_ip.parse().ok();
    let named =
        |port: &ServicePort| NamedPort { name: port.name.clone(), protocol: port.protocol, port: port.port };
    record.ports = spec.ports.iter().map(named).collect();
    if record.address.is_some() {
        return record;
    }
    for slice in slices.values() {
        let named = |p: &orchestra_core::model::EndpointPort| {
            Some(NamedPort { name: p.name.clone(), protocol: p.protocol, port: p.port? })
        };
        let ports: Vec<NamedPort> = slice.ports.iter().filter_map(named).collect();
        for listed in slice.endpoints.iter().filter(|listed| serves(listed, drained)) {
            if let Some(address) = address(listed) {
                let hostname = listed.hostname.clone();
                record.targets.push(Target { address, hostname, ports: ports.clone() });
            }
        }
    }
    record
}

/// Whether HTTP is spoken at a port: its `appProtocol` says so, or its name is `http` or begins with `http-`.
pub(super) fn speaks_http(port: &ServicePort) -> bool {
    match port.app_protocol.as_str() {
        "" => port.name == "http" || port.name.starts_with("http-"),
        said => said.eq_ignore_ascii_case("http") || said == "kubernetes.io/ws" || said == H2C,
    }
}

/// Whether the endpoints of a port speak HTTP/2 from the first byte on.
pub(super) fn speaks_http2(port: &ServicePort) -> bool {
    port.app_protocol == H2C
}

/// Whether a service's port can be listened on.
pub(super) fn is_served(port: &ServicePort) -> bool {
    matches!(port.protocol, Protocol::Tcp | Protocol::Udp) && port.port != 0
}
