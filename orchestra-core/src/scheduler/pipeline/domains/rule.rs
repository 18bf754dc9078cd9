//! What a count means for the nodes of its domain.

use super::counter::Counter;
use crate::scheduler::view::topology::NO_DOMAIN;

/// 100 points, in thousandths.
const ALL: u64 = 100_000;

/// What a rule demands or prefers.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// There must be some.
    Beside,
    /// There must be none.
    Apart,
    /// The domain must not be fuller than the emptiest by more than `skew`, once the pod is there.
    Even { skew: i64, least_domains: u32, own: i64 },
    /// The emptier the better; one of `of` constraints.
    RatherEven { skew: u64, of: u64 },
    /// The more the better, for this part of 100 points: the first gives three quarters of it.
    RatherBeside { weight: u64, of: u64 },
    /// None is best, and the first costs three quarters.
    RatherApart { weight: u64, of: u64 },
    /// The sum of others' wishes: neutral at 50 points.
    Wanted,
}

/// A rule about one counter.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) counter: usize,
    pub(super) kind: Kind,
    /// The weight of the points, for a preference.
    pub(super) weight: u64,
    /// The number of the reason, for a demand.
    pub(super) reason: u16,
    /// The number of the reason for nodes without the label, for a demand that can't do without.
    pub(super) no_label: u16,
    /// Whether each domain is one node.
    pub(super) fine: bool,
}

impl Rule {
    /// The weighted points of a node in `domain`, in thousandths, or the number of the reason against it.
    ///
    /// `first` tells that no pod matches the required affinity yet and that the pod itself does: then it may be
    /// the first of its kind in any domain.
    pub(super) fn judge(&self, counter: &Counter, domain: u32, first: bool) -> Result<u32, u16> {
        let count = if domain == NO_DOMAIN { 0 } else { counter.get(domain) };
        let points = match self.kind {
            Kind::Beside if domain == NO_DOMAIN => return Err(self.no_label),
            Kind::Beside if count > 0 || first => 0,
            Kind::Apart if count <= 0 => 0,
            Kind::Even { .. } if domain == NO_DOMAIN => return Err(self.no_label),
            Kind::Even { skew, least_domains, own } => {
                let few = |e: &super::counter::Evenness| e.domains < least_domains;
                let least = counter.evenness.as_ref().map_or(0, |e| if few(e) { 0 } else { e.least() });
                if count + own - least > skew {
                    return Err(self.reason);
                }
                0
            }
            Kind::Beside | Kind::Apart => return Err(self.reason),
            Kind::RatherEven { .. } if domain == NO_DOMAIN => 0,
            Kind::RatherEven { skew, of } => {
                let least = counter.evenness.as_ref().map_or(0, super::counter::Evenness::least);
                ALL * skew / (skew + u64::try_from(count - least).unwrap_or(0)) / of
            }
            Kind::RatherBeside { weight, of } => {
                let count = u64::try_from(count).unwrap_or(0);
                ALL * weight / of * (3 * count) / (3 * count + 1)
            }
            Kind::RatherApart { weight, of } => {
                ALL * weight / of / (3 * u64::try_from(count).unwrap_or(0) + 1)
            }
            Kind::Wanted => {
                // A wish of weight 100 moves the points by three quarters, as one pod does above.
                let part = i64::try_from(ALL / 2).unwrap_or(0);
                u64::try_from(part + part * count / (count.abs() + 33)).unwrap_or(0)
            }
        };
        Ok(u32::try_from(points * self.weight).unwrap_or(u32::MAX))
    }

    /// Whether the answer for every domain depends on the emptiest one.
    pub(super) fn follows_least(&self) -> bool {
        matches!(self.kind, Kind::Even { .. } | Kind::RatherEven { .. })
    }
}
