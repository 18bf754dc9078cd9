//! How pods find services: addresses for services, and names for addresses.

mod cluster_ips;
#[cfg(feature = "dns")]
mod dns;
#[cfg(feature = "dns")]
mod dns_elsewhere;
#[cfg(feature = "dns-forward")]
mod dns_forward;
#[cfg(all(feature = "dns", not(feature = "dns-forward")))]
#[path = "dns_nowhere.rs"]
mod dns_forward;
#[cfg(feature = "dns")]
pub(crate) mod dns_message;
#[cfg(feature = "dns")]
mod dns_options;
#[cfg(feature = "dns-forward")]
mod dns_runtime;
#[cfg(feature = "dns-forward")]
mod dns_servers;
#[cfg(feature = "dns")]
mod dns_stream;
mod zone;

pub use self::cluster_ips::ClusterIps;
#[cfg(feature = "dns")]
pub use self::dns::DnsServer;
#[cfg(feature = "dns")]
pub use self::dns_options::DnsOptions;
#[cfg(feature = "dns-forward")]
pub use self::dns_servers::DnsForward;
pub use self::zone::{Answer, NamedPort, Question, ServiceRecord, Target, Zone};
