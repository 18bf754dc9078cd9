//! The names of a cluster: which addresses stand behind them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, PoisonError, RwLock};

use orchestra_core::model::Protocol;

/// The names of a cluster's services and pods, as Kubernetes' DNS specification has them. Clones share them.
///
/// `service.namespace.svc.DOMAIN` leads to the service's address, or to its pods where it is headless;
/// `_port._protocol.` before it to ports; `hostname.` or the dashed address before it to one pod of a headless
/// service; `10-0-0-1.namespace.pod.DOMAIN` to that address.
#[derive(Clone, Debug)]
pub struct Zone {
    domain: Arc<str>,
    services: Arc<RwLock<BTreeMap<(String, String), ServiceRecord>>>,
}

/// What is known of a service under its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceRecord {
    /// Its address; `None`: it is headless, its name leads to its targets.
    pub address: Option<IpAddr>,
    /// Another name that it stands for; empty where it doesn't.
    pub alias: String,
    /// Its ports.
    pub ports: Vec<NamedPort>,
    /// The pods behind it.
    pub targets: Vec<Target>,
}

/// A port with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPort {
    /// The name; empty for the only port of a service.
    pub name: String,
    /// What is spoken below the application.
    pub protocol: Protocol,
    /// The number.
    pub port: u16,
}

/// A pod behind a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its address.
    pub address: IpAddr,
    /// Its name below that of the service; empty where it has none.
    pub hostname: String,
    /// Its ports, by the names that the service gives them.
    pub ports: Vec<NamedPort>,
}

/// What is asked about a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// Its addresses, of both families.
    Addresses,
    /// Where its port is.
    Service,
    /// Whether there is anything.
    Other,
}

/// What is known about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// These addresses; none where the name exists without any.
    Addresses(Vec<IpAddr>),
    /// These ports at these names, each with its address.
    Ports(Vec<(u16, String, IpAddr)>),
    /// It is another name for this one.
    Alias(String),
    /// The name exists, but not with what is asked for.
    Nothing,
    /// There is no such name.
    NoName,
    /// The name is not in this zone.
    Elsewhere,
}

impl Zone {
    /// An empty zone for this domain, such as `cluster.local`.
    #[must_use]
    pub fn new(domain: &str) -> Self {
        let domain = domain.trim_matches('.').to_ascii_lowercase();
        Self { domain: domain.into(), services: Arc::default() }
    }

    /// The domain, without dots at its ends.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Adds or replaces a service.
    pub fn set(&self, namespace: &str, name: &str, record: ServiceRecord) {
        let mut services = self.services.write().unwrap_or_else(PoisonError::into_inner);
        services.insert((namespace.to_owned(), name.to_owned()), record);
    }

    /// Removes a service.
    pub fn remove(&self, namespace: &str, name: &str) {
        let mut services = self.services.write().unwrap_or_else(PoisonError::into_inner);
        services.remove(&(namespace.to_owned(), name.to_owned()));
    }

    /// Whether a service or a pod behind one has this address. Looks at all of them.
    #[cfg(feature = "dns")]
    pub(crate) fn has(&self, address: IpAddr) -> bool {
        let services = self.services.read().unwrap_or_else(PoisonError::into_inner);
        let of = |record: &ServiceRecord| {
            record.address == Some(address) || record.targets.iter().any(|target| target.address == address)
        };
        services.values().any(of)
    }

    /// What is known about `name`, in any case, with or without a dot at its end.
    #[must_use]
    pub fn lookup(&self, name: &str, question: Question) -> Answer {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let Some(below) = name.strip_suffix(&*self.domain) else { return Answer::Elsewhere };
        if below.is_empty() {
            return Answer::Nothing;
        }
        let Some(below) = below.strip_suffix('.') else { return Answer::Elsewhere };
        let labels: Vec<&str> = below.split('.').rev().collect();
        match labels.as_slice() {
            ["svc", rest @ ..] => self.service(rest, question),
            ["pod", rest @ ..] => pod(rest, question),
            _ => Answer::NoName,
        }
    }

    /// `labels` are those before `svc`, the last one first.
    fn service(&self, labels: &[&str], question: Question) -> Answer {
        let services = self.services.read().unwrap_or_else(PoisonError::into_inner);
        let (namespace, name, rest) = match labels {
            [] => return Answer::Nothing,
            [namespace] => {
                let any = services.keys().any(|(other, _)| other == namespace);
                return if any { Answer::Nothing } else { Answer::NoName };
            }
            [namespace, name, rest @ ..] => (*namespace, *name, rest),
        };
        let Some(record) = services.get(&(namespace.to_owned(), name.to_owned())) else {
            return Answer::NoName;
        };
        let host = format!("{name}.{namespace}.svc.{}", self.domain);
        match rest {
            [] => record.itself(question),
            [protocol] if protocol.starts_with('_') => Answer::Nothing,
            [protocol, port] if protocol.starts_with('_') && port.starts_with('_') => {
                record.ports(&port[1..], &protocol[1..], &host, question)
            }
            [target] if record.address.is_none() => record.target(target, question),
            _ => Answer::NoName,
        }
    }
}

impl ServiceRecord {
    fn itself(&self, question: Question) -> Answer {
        if !self.alias.is_empty() {
            return Answer::Alias(self.alias.clone());
        }
        match question {
            Question::Addresses => Answer::Addresses(match self.address {
                Some(address) => vec![address],
                None => self.targets.iter().map(|target| target.address).collect(),
            }),
            _ => Answer::Nothing,
        }
    }

    fn target(&self, label: &str, question: Question) -> Answer {
        let named =
            self.targets.iter().filter(|target| target.label() == label || dashed(target.address) == label);
        let addresses: Vec<IpAddr> = named.map(|target| target.address).collect();
        match question {
            _ if addresses.is_empty() => Answer::NoName,
            Question::Addresses => Answer::Addresses(addresses),
            _ => Answer::Nothing,
        }
    }

    fn ports(&self, name: &str, protocol: &str, host: &str, question: Question) -> Answer {
        let wanted =
            |port: &&NamedPort| port.name == name && port.protocol.to_string().eq_ignore_ascii_case(protocol);
        let found: Vec<(u16, String, IpAddr)> = match self.address {
            Some(address) => {
                self.ports.iter().filter(wanted).map(|port| (port.port, host.to_owned(), address)).collect()
            }
            None => {
                let each = |target: &Target| {
                    let port = target.ports.iter().find(wanted)?;
                    Some((port.port, format!("{}.{host}", target.label()), target.address))
                };
                self.targets.iter().filter_map(each).collect()
            }
        };
        match question {
            _ if found.is_empty() => Answer::NoName,
            Question::Service => Answer::Ports(found),
            _ => Answer::Nothing,
        }
    }
}

impl Target {
    fn label(&self) -> String {
        if self.hostname.is_empty() { dashed(self.address) } else { self.hostname.to_ascii_lowercase() }
    }
}

fn dashed(address: IpAddr) -> String {
    address.to_string().replace(['.', ':'], "-")
}

/// `labels` are those before `pod`, the last one first.
fn pod(labels: &[&str], question: Question) -> Answer {
    match labels {
        [] | [_] => Answer::Nothing,
        [_namespace, address] => match (address.replace('-', ".").parse::<Ipv4Addr>(), question) {
            (Ok(address), Question::Addresses) => Answer::Addresses(vec![address.into()]),
            (Ok(_), _) => Answer::Nothing,
            (Err(_), _) => Answer::NoName,
        },
        _ => Answer::NoName,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: Protocol = Protocol::Tcp;

    fn ip(last: u8) -> IpAddr {
        [127, 0, 0, last].into()
    }

    fn port(name: &str, port: u16) -> NamedPort {
        NamedPort { name: name.to_owned(), protocol: TCP, port }
    }

    fn zone() -> Zone {
        let zone = Zone::new("cluster.local.");
        let cart =
            ServiceRecord { address: Some(ip(9)), ports: vec![port("http", 80)], ..ServiceRecord::default() };
        zone.set("shop", "cart", cart);
        let target = |last, hostname: &str| Target {
            address: ip(last),
            hostname: hostname.to_owned(),
            ports: vec![port("sql", 5432)],
        };
        let db =
            ServiceRecord { targets: vec![target(1, "db-0"), target(2, "")], ..ServiceRecord::default() };
        zone.set("shop", "db", db);
        zone.set(
            "shop",
            "mail",
            ServiceRecord { alias: "mail.example".to_owned(), ..ServiceRecord::default() },
        );
        zone
    }

    #[test]
    fn names_lead_where_kubernetes_says() {
        use Question::{Addresses, Other, Service};
        let zone = zone();
        let ask = |name: &str, question| zone.lookup(name, question);
        assert_eq!(ask("Cart.Shop.svc.cluster.local.", Addresses), Answer::Addresses(vec![ip(9)]));
        assert_eq!(ask("cart.shop.svc.cluster.local", Other), Answer::Nothing);
        assert_eq!(ask("db.shop.svc.cluster.local", Addresses), Answer::Addresses(vec![ip(1), ip(2)]));
        assert_eq!(ask("db-0.db.shop.svc.cluster.local", Addresses), Answer::Addresses(vec![ip(1)]));
        assert_eq!(ask("127-0-0-2.db.shop.svc.cluster.local", Addresses), Answer::Addresses(vec![ip(2)]));
        assert_eq!(ask("mail.shop.svc.cluster.local", Addresses), Answer::Alias("mail.example".to_owned()));
        assert_eq!(
            ask("10-1-2-3.shop.pod.cluster.local", Addresses),
            Answer::Addresses(vec![[10, 1, 2, 3].into()])
        );
        let srv = |name: &str| match ask(name, Service) {
            Answer::Ports(ports) => ports.iter().map(|(port, host, _)| format!("{host}:{port}")).collect(),
            other => vec![format!("{other:?}")],
        };
        assert_eq!(srv("_http._tcp.cart.shop.svc.cluster.local"), ["cart.shop.svc.cluster.local:80"]);
        assert_eq!(
            srv("_sql._tcp.db.shop.svc.cluster.local"),
            ["db-0.db.shop.svc.cluster.local:5432", "127-0-0-2.db.shop.svc.cluster.local:5432"]
        );
        assert_eq!(srv("_http._udp.cart.shop.svc.cluster.local"), ["NoName"]);
    }

    #[test]
    fn what_is_not_there_has_no_name_and_other_zones_are_elsewhere() {
        let zone = zone();
        for name in [
            "x.shop.svc.cluster.local",
            "cart.x.svc.cluster.local",
            "a.cart.shop.svc.cluster.local",
            "x.cluster.local",
            "ten.shop.pod.cluster.local",
        ] {
            assert_eq!(zone.lookup(name, Question::Addresses), Answer::NoName, "{name}");
        }
        for name in ["example.com", "xcluster.local", ""] {
            assert_eq!(zone.lookup(name, Question::Addresses), Answer::Elsewhere, "{name}");
        }
        assert_eq!(zone.lookup("cluster.local", Question::Other), Answer::Nothing);
        zone.remove("shop", "cart");
        assert_eq!(zone.lookup("cart.shop.svc.cluster.local", Question::Addresses), Answer::NoName);
    }
}
