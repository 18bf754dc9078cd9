//! What services and endpoint slices must be.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::manifest_error::WITHOUT_EFFECT;
use super::meta_rules::{record, validate_labels};
use super::names::{check_dns_label, check_dns_subdomain, check_label_key, check_port_name};
use super::object::Rules;
use super::{
    AddressType, ClientIpConfig, Endpoint, EndpointSlice, FieldErrors, PortRef, Protocol, Service,
    ServicePort, ServiceSpec, ServiceType, SessionAffinity, TrafficPolicy,
};

/// How long requests from one client go to one pod, in seconds, unless a service says otherwise: Kubernetes'
/// three hours.
const AFFINITY_SECONDS: u32 = 10_800;
/// The longest such time, in seconds: Kubernetes' day.
const MAX_AFFINITY_SECONDS: u32 = 86_400;
/// The most endpoints of a slice: Kubernetes' limit, which keeps slices small enough to watch.
const MAX_ENDPOINTS: usize = 1000;
/// The most addresses of an endpoint, and ports of a slice: Kubernetes' limit.
const MAX_ADDRESSES: usize = 100;

impl Rules for Service {
    fn set_defaults(&mut self) {
        let spec = &mut self.spec;
        for port in &mut spec.ports {
            if port.target_port.is_none() {
                port.target_port = Some(PortRef::Number(port.port));
            }
        }
        if spec.cluster_ips.is_empty() && !spec.cluster_ip.is_empty() {
            spec.cluster_ips = vec![spec.cluster_ip.clone()];
        }
        if let (true, Some(first)) = (spec.cluster_ip.is_empty(), spec.cluster_ips.first()) {
            spec.cluster_ip = first.clone();
        }
        if spec.session_affinity == SessionAffinity::ClientIP {
            let config = spec.session_affinity_config.get_or_insert_default();
            let client = config.client_ip.get_or_insert_with(ClientIpConfig::default);
            client.timeout_seconds.get_or_insert(AFFINITY_SECONDS);
        }
    }

    fn keep_allocated(&mut self, old: &Self) {
        keep_allocated(&mut self.spec, &old.spec);
    }

    fn validate(&self, errors: &mut FieldErrors) {
        errors.at("spec", |errors| {
            validate_labels("selector", &self.spec.selector, errors);
            validate_ports(&self.spec, errors);
            validate_address(&self.spec, errors);
            validate_affinity(&self.spec, errors);
            errors.at("externalTrafficPolicy", |errors| {
                let wrong =
                    self.spec.external_traffic_policy == TrafficPolicy::Local && !on_nodes(&self.spec);
                errors.require(!wrong, "can be Local only where the type is NodePort or LoadBalancer");
            });
        });
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        let (new, old) = (&self.spec, &old.spec);
        // A service that becomes another name, or stops being one, gets another address.
        if new.type_ == ServiceType::ExternalName || old.type_ == ServiceType::ExternalName {
            return;
        }
        errors.at("spec", |errors| {
            errors.at("clusterIP", |errors| {
                if !old.cluster_ip.is_empty() && new.cluster_ip != old.cluster_ip {
                    errors.push(format!(
                        "can't be changed: leave it at `{}`, or make a new service",
                        old.cluster_ip
                    ));
                }
            });
        });
    }

    fn without_effect(&self, fields: &mut FieldErrors) {
        fields.at("spec", |fields| without_effect(&self.spec, fields));
    }
}

/// As Kubernetes' `patchAllocatedValues` does it: who replaces a service knows neither the address nor the node ports
/// that it was given. A node port stays with the port of the same name, unless another port asks for it now.
fn keep_allocated(new: &mut ServiceSpec, old: &ServiceSpec) {
    let has_address = |spec: &ServiceSpec| spec.type_ != ServiceType::ExternalName;
    if has_address(new) && has_address(old) {
        // Either form may be the one that is set.
        let unset = new.cluster_ip.is_empty() && new.cluster_ips.is_empty();
        if unset {
            new.cluster_ip.clone_from(&old.cluster_ip);
        }
        if new.cluster_ips.is_empty() && new.cluster_ip == old.cluster_ip {
            new.cluster_ips.clone_from(&old.cluster_ips);
        }
    }
    if !on_nodes(new) || !on_nodes(old) {
        return;
    }
    let mut taken: BTreeSet<_> = new.ports.iter().map(|port| (port.node_port, port.protocol)).collect();
    for port in new.ports.iter_mut().filter(|port| port.node_port == 0) {
        let before = old.ports.iter().find(|before| before.name == port.name).map_or(0, |p| p.node_port);
        if before != 0 && taken.insert((before, port.protocol)) {
            port.node_port = before;
        }
    }
}

/// Whether its ports are ports of the nodes too.
fn on_nodes(spec: &ServiceSpec) -> bool {
    matches!(spec.type_, ServiceType::NodePort | ServiceType::LoadBalancer)
}

/// What the data plane does not do.
fn without_effect(spec: &ServiceSpec, fields: &mut FieldErrors) {
    fields.at("type", |fields| {
        fields.require(!on_nodes(spec), "kept, but nothing listens outside of the service's own address");
    });
    fields.each("ports", &spec.ports, |fields, port| {
        fields.at("protocol", |fields| {
            fields.require(port.protocol != Protocol::Sctp, "kept, but only TCP and UDP are listened for");
        });
    });
    for (field, policy) in [
        ("externalTrafficPolicy", spec.external_traffic_policy),
        ("internalTrafficPolicy", spec.internal_traffic_policy),
    ] {
        fields.at(field, |fields| fields.require(policy == TrafficPolicy::Cluster, WITHOUT_EFFECT));
    }
    let client = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    let lasts = client.is_none_or(|client| client.timeout_seconds.is_none());
    fields.at("sessionAffinityConfig", |fields| {
        fields.require(lasts, "kept, but affinity does not end while the endpoints stay the same");
    });
}

fn validate_ports(spec: &ServiceSpec, errors: &mut FieldErrors) {
    let may_be_empty = spec.is_headless() || spec.type_ == ServiceType::ExternalName;
    if spec.ports.is_empty() && !may_be_empty {
        errors.at("ports", |errors| errors.push("needs at least one"));
    }
    let (mut names, mut numbers, mut node_ports) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    errors.each("ports", &spec.ports, |errors, port| {
        errors.at("name", |errors| {
            if !port.name.is_empty() {
                record(check_dns_label(&port.name), errors);
            } else if spec.ports.len() > 1 {
                errors.push("is required where there are several ports");
            }
            errors.require(names.insert(&port.name), "is the name of another port too");
        });
        errors.at("port", |errors| {
            let unique = numbers.insert((port.port, port.protocol));
            errors.require(unique, "is there twice with the same protocol");
        });
        errors.at("nodePort", |errors| {
            if port.node_port != 0 {
                errors.require(on_nodes(spec), "can be set only where the type is NodePort or LoadBalancer");
                let unique = node_ports.insert((port.node_port, port.protocol));
                errors.require(unique, "is there twice with the same protocol");
            }
        });
        validate_port(port, errors);
    });
}

fn validate_port(port: &ServicePort, errors: &mut FieldErrors) {
    errors.at("port", |errors| errors.require(port.port != 0, "must be from 1 to 65535"));
    errors.at("targetPort", |errors| match &port.target_port {
        Some(PortRef::Number(0)) => errors.push("must be from 1 to 65535"),
        Some(PortRef::Name(name)) => record(check_port_name(name), errors),
        _ => {}
    });
    if !port.app_protocol.is_empty() {
        errors.at("appProtocol", |errors| record(check_label_key(&port.app_protocol), errors));
    }
}

fn validate_address(spec: &ServiceSpec, errors: &mut FieldErrors) {
    if spec.type_ == ServiceType::ExternalName {
        errors.at("externalName", |errors| {
            let name = spec.external_name.trim_end_matches('.');
            record(check_dns_subdomain(name), errors);
        });
        errors.at("clusterIP", |errors| {
            errors.require(spec.cluster_ip.is_empty(), "must not be set where the type is ExternalName");
        });
        return;
    }
    if spec.is_headless() {
        errors.at("clusterIP", |errors| {
            let plain = spec.type_ == ServiceType::ClusterIP;
            errors.require(plain, "can be None only where the type is ClusterIP");
        });
    } else if !spec.cluster_ip.is_empty() && spec.cluster_ip.parse::<IpAddr>().is_err() {
        let message = format!("`{}` is neither an IP address nor None", spec.cluster_ip);
        errors.at("clusterIP", |errors| errors.push(message));
    }
    errors.at("clusterIPs", |errors| {
        let first_is_it = spec.cluster_ips.first().is_none_or(|first| *first == spec.cluster_ip);
        errors.require(first_is_it, "the first must be clusterIP");
        errors.require(spec.cluster_ips.len() <= 2, "must not be more than two, one for each family");
        for (i, address) in spec.cluster_ips.iter().enumerate().skip(1) {
            errors.index(i, |errors| {
                errors.require(address.parse::<IpAddr>().is_ok(), "is not an IP address");
            });
        }
    });
}

fn validate_affinity(spec: &ServiceSpec, errors: &mut FieldErrors) {
    let Some(config) = &spec.session_affinity_config else { return };
    errors.at("sessionAffinityConfig", |errors| {
        if spec.session_affinity == SessionAffinity::None {
            errors.push("must not be set where sessionAffinity is None");
        }
        let seconds = config.client_ip.as_ref().and_then(|c| c.timeout_seconds);
        if seconds.is_some_and(|s| !(1..=MAX_AFFINITY_SECONDS).contains(&s)) {
            errors.at("clientIP", |errors| {
                errors.at("timeoutSeconds", |errors| errors.push("must be from 1 to 86400"));
            });
        }
    });
}

impl Rules for EndpointSlice {
    fn validate(&self, errors: &mut FieldErrors) {
        errors.at("endpoints", |errors| {
            errors.require(
                self.endpoints.len() <= MAX_ENDPOINTS,
                "must not be more than 1000: use several slices",
            );
        });
        errors.each("endpoints", &self.endpoints, |errors, endpoint| {
            validate_endpoint(endpoint, self.address_type, errors);
        });
        errors.at("ports", |errors| {
            errors.require(self.ports.len() <= MAX_ADDRESSES, "must not be more than 100");
        });
        let mut names = BTreeSet::new();
        errors.each("ports", &self.ports, |errors, port| {
            errors.at("name", |errors| {
                if !port.name.is_empty() {
                    record(check_dns_label(&port.name), errors);
                }
                errors.require(names.insert(&port.name), "is the name of another port too");
            });
            errors.at("port", |errors| errors.require(port.port != Some(0), "must be from 1 to 65535"));
        });
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        errors.at("addressType", |errors| {
            errors.require(self.address_type == old.address_type, "can't be changed: make a new slice");
        });
    }
}

fn validate_endpoint(endpoint: &Endpoint, type_: AddressType, errors: &mut FieldErrors) {
    errors.at("addresses", |errors| {
        let count = endpoint.addresses.len();
        errors.require((1..=MAX_ADDRESSES).contains(&count), "must be from 1 to 100");
    });
    errors.each("addresses", &endpoint.addresses, |errors, address| match type_ {
        AddressType::IPv4 => {
            errors.require(address.parse().is_ok_and(|a: IpAddr| a.is_ipv4()), "is not an IPv4 address")
        }
        AddressType::IPv6 => {
            errors.require(address.parse().is_ok_and(|a: IpAddr| a.is_ipv6()), "is not an IPv6 address")
        }
        AddressType::FQDN => record(check_dns_subdomain(address), errors),
    });
    if !endpoint.hostname.is_empty() {
        errors.at("hostname", |errors| record(check_dns_label(&endpoint.hostname), errors));
    }
}
