//! What is, divided by what shall be: exactly.

use std::cmp::Ordering;

use crate::model::Quantity;

/// A tenth: how far a measurement may be from its target before anything is done about it, unless told otherwise.
const TOLERANCE_MILLI: i64 = 100;

/// What is, divided by what shall be. Not negative. Exact, where Kubernetes' floating point turns 1.1 times 10 into 12.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ratio {
    is: u128,
    shall: u128,
}

impl Ratio {
    /// `None` where there is no target to divide by.
    pub(super) fn new(is: i128, shall: i128) -> Option<Self> {
        let shall = u128::try_from(shall).ok().filter(|n| *n > 0)?;
        Some(Self { is: u128::try_from(is.max(0)).unwrap_or(0), shall })
    }

    /// How it compares with one.
    pub(super) fn direction(self) -> Ordering {
        self.is.cmp(&self.shall)
    }

    /// Whether it is near enough to one.
    pub(super) fn within(self, tolerance: Tolerance) -> bool {
        let (is, shall) = (self.is.saturating_mul(1000), self.shall);
        is >= shall.saturating_mul(1000u128.saturating_sub(tolerance.down))
            && is <= shall.saturating_mul(1000u128.saturating_add(tolerance.up))
    }

    /// It times `n`, rounded up.
    pub(super) fn times(self, n: usize) -> u32 {
        let n = u128::try_from(n).unwrap_or(u128::MAX);
        u32::try_from(self.is.saturating_mul(n).div_ceil(self.shall)).unwrap_or(u32::MAX)
    }
}

/// How far a measurement may be from its target before anything is done about it, in thousandths.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tolerance {
    up: u128,
    down: u128,
}

impl Tolerance {
    pub(super) fn new(up: Option<Quantity>, down: Option<Quantity>) -> Self {
        let milli = |tolerance: Option<Quantity>| {
            u128::try_from(tolerance.map_or(TOLERANCE_MILLI, Quantity::milli)).unwrap_or(0)
        };
        Self { up: milli(up), down: milli(down) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_exact_at_the_edges() {
        let tolerance = Tolerance::new(None, None);
        let within = |is, shall| Ratio::new(is, shall).unwrap().within(tolerance);
        assert!(within(110, 100) && within(90, 100));
        assert!(!within(1101, 1000) && !within(899, 1000));
        assert_eq!(Ratio::new(11, 10).unwrap().times(10), 11);
        assert_eq!(Ratio::new(101, 100).unwrap().times(10), 11);
        assert_eq!(Ratio::new(i128::MAX, 1).unwrap().times(usize::MAX), u32::MAX);
        assert!(Ratio::new(1, 0).is_none() && Ratio::new(1, -1).is_none());
        assert!(!Ratio::new(101, 100).unwrap().within(Tolerance::new(Some(Quantity::ZERO), None)));
    }
}
