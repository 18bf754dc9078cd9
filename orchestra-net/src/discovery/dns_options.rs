//! What a DNS server does with questions about names that are not its own.

#[cfg(feature = "dns-forward")]
use std::time::Duration;

#[cfg(feature = "dns-forward")]
use super::DnsForward;
#[cfg(feature = "dns-forward")]
use crate::setters::setters;

/// How a [`DnsServer`](super::DnsServer) treats questions about names outside of its zone: without the feature `dns-forward` they are
/// refused, and there is nothing to choose.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "dns-forward"), derive(Default))]
#[non_exhaustive]
pub struct DnsOptions {
    /// Where they are passed on to, for whoever reaches the server: it should listen where none but pods and this host do. Needs the
    /// feature `dns-forward`.
    #[cfg(feature = "dns-forward")]
    pub forward: DnsForward,
    /// How long all servers that are asked may take together: two rounds share it. More than an hour counts as one. A client over
    /// TCP waits for ten seconds at most. Needs the feature `dns-forward`.
    #[cfg(feature = "dns-forward")]
    pub forward_timeout: Duration,
}

#[cfg(feature = "dns-forward")]
impl Default for DnsOptions {
    fn default() -> Self {
        // Resolvers in C libraries ask again after five seconds.
        Self { forward: DnsForward::default(), forward_timeout: Duration::from_millis(4500) }
    }
}

#[cfg(feature = "dns-forward")]
impl DnsOptions {
    setters! {
        with_forward: forward: DnsForward;
        with_forward_timeout: forward_timeout: Duration;
    }
}
