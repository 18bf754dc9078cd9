//! Names of a service's ports.

use std::fmt;

use orchestra_core::model::{Protocol, ServicePort};

/// Which port of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortKey {
    /// The first one.
    #[default]
    First,
    /// The one with this number; where there are two, the one that is not of UDP.
    Number(u16),
    /// The one of UDP with this number.
    Udp(u16),
    /// The one with this name.
    Name(String),
}

impl PortKey {
    /// What a port that is known goes by.
    pub(super) fn of(port: &ServicePort) -> Self {
        match port.protocol {
            Protocol::Udp => Self::Udp(port.port),
            _ => Self::Number(port.port),
        }
    }

    /// The port of a service that is meant.
    pub(super) fn find<'p>(&self, ports: &'p [ServicePort]) -> Option<&'p ServicePort> {
        match self {
            Self::First => ports.first(),
            Self::Number(number) => {
                let of_number = || ports.iter().filter(|port| port.port == *number);
                of_number().find(|port| port.protocol != Protocol::Udp).or_else(|| of_number().next())
            }
            Self::Udp(number) => {
                ports.iter().find(|port| port.port == *number && port.protocol == Protocol::Udp)
            }
            Self::Name(name) => ports.iter().find(|port| port.name == *name),
        }
    }
}

impl From<u16> for PortKey {
    fn from(port: u16) -> Self {
        Self::Number(port)
    }
}

impl From<&str> for PortKey {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

impl fmt::Display for PortKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First => Ok(()),
            Self::Number(port) => write!(f, ":{port}"),
            Self::Udp(port) => write!(f, ":{port}/udp"),
            Self::Name(name) => write!(f, ":{name}"),
        }
    }
}
