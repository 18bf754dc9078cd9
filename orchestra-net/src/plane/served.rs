//! Where services are to be listened on.

use std::net::{IpAddr, SocketAddr};

use orchestra_core::model::{Protocol, Service, ServiceType, SessionAffinity};

use super::endpoints;

/// An address that a service is to be reached at.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listener {
    /// The service's namespace.
    pub namespace: String,
    /// The service's name.
    pub service: String,
    /// The service's port.
    pub port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Whether HTTP is spoken there.
    pub http: bool,
    /// Whether requests from one client address go to one endpoint.
    pub sticky: bool,
}

impl Listener {
    /// Whether both are for the same port of the same service, however that is spoken to.
    pub(super) fn leads_where(&self, other: &Self) -> bool {
        (&self.namespace, &self.service, self.port) == (&other.namespace, &other.service, other.port)
    }
}

/// Whether the service asks for that.
pub(super) fn is_sticky(service: &Service) -> bool {
    service.spec.session_affinity == SessionAffinity::ClientIP
}

/// All of a service.
pub(super) fn listeners(service: &Service) -> Vec<((SocketAddr, Protocol), Listener)> {
    if service.spec.type_ == ServiceType::ExternalName {
        return Vec::new();
    }
    let Ok(ip) = service.spec.cluster_ip.parse::<IpAddr>() else { return Vec::new() };
    let sticky = is_sticky(service);
    let ports = service.spec.ports.iter().filter(|port| endpoints::is_served(port));
    ports
        .map(|port| {
            let listener = Listener {
                namespace: service.metadata.namespace.clone(),
                service: service.metadata.name.clone(),
                port: port.port,
                protocol: port.protocol,
                http: port.protocol == Protocol::Tcp && endpoints::speaks_http(port),
                sticky,
            };
            ((SocketAddr::new(ip, port.port), port.protocol), listener)
        })
        .collect()
}
