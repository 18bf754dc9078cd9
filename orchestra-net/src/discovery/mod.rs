//! How pods find services: addresses for services, and names for addresses.

mod cluster_ips;
#[cfg(feature = "dns")]
mod dns;
#[cfg(feature = "dns")]
pub(crate) mod dns_message;
mod zone;

pub use self::cluster_ips::ClusterIps;
#[cfg(feature = "dns")]
pub use self::dns::DnsServer;
pub use self::zone::{Answer, NamedPort, Question, ServiceRecord, Target, Zone};
