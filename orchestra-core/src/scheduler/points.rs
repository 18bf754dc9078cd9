//! How good a node is, as a number that means the same for every node and every plugin.

use std::fmt;

/// Thousandths in one point.
const MILLI: u32 = 1000;

/// A score from 0 (worst) to 100 (best), in thousandths.
///
/// Points are absolute: what a node gets must not depend on how other nodes score, so that a change of one
/// node leaves the points of all others standing. Numbers out of range are clamped, and not-a-number is 0.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Points(u32);

impl Points {
    /// The worst score.
    pub const ZERO: Self = Self(0);
    /// The best score: 100 points.
    pub const MAX: Self = Self(100 * MILLI);

    /// `points` as a score, rounded to thousandths.
    #[must_use]
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the value is clamped to 0..=100000"
    )]
    pub fn new(points: f64) -> Self {
        // Casting cuts off the fraction, and makes 0 of not-a-number. `round` would be a call.
        Self((points.clamp(0.0, 100.0) * f64::from(MILLI) + 0.5) as u32)
    }

    /// From a part of a whole: 0.0 is the worst score, 1.0 the best.
    #[must_use]
    pub fn fraction(part: f64) -> Self {
        Self::new(part * 100.0)
    }

    /// From thousandths of a point, which must be 0.0 to 100,000.0: the nearest whole number, of two the even one.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "casting clamps what the caller should have"
    )]
    #[inline]
    pub(crate) fn rounded(thousandths: f32) -> Self {
        Self((nearest(thousandths) as u32).min(Self::MAX.0))
    }

    /// The score in thousandths of a point: 0 to 100,000.
    #[must_use]
    #[inline]
    pub const fn as_millis(self) -> u32 {
        self.0
    }

    /// The score as a number from 0 to 100.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / f64::from(MILLI)
    }
}

/// The nearest whole number to one from 0.0 to 2^22, of two the even one. Two additions, where `round` would be a call:
/// from 2^23 on floats are whole numbers.
#[inline(always)]
pub(crate) fn nearest(number: f32) -> f32 {
    const WHOLE: f32 = 8_388_608.0;
    (number + WHOLE) - WHOLE
}

impl From<f64> for Points {
    fn from(points: f64) -> Self {
        Self::new(points)
    }
}

macro_rules! from_integer {
    ($($integer:ty),*) => {$(
        impl From<$integer> for Points {
            fn from(points: $integer) -> Self {
                Self(u32::try_from(points.clamp(0, 100)).unwrap_or(0) * MILLI)
            }
        }
    )*};
}
from_integer!(u8, u32, u64, usize, i32, i64);

impl fmt::Display for Points {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.as_f64(), f)
    }
}

impl fmt::Debug for Points {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_clamped_to_their_range() {
        assert_eq!(Points::from(-5), Points::ZERO);
        assert_eq!(Points::from(1_000_000_u64), Points::MAX);
        assert_eq!(Points::new(f64::NAN), Points::ZERO);
        assert_eq!(Points::new(f64::INFINITY), Points::MAX);
        assert_eq!(Points::fraction(0.123_456).as_millis(), 12_346);
        assert_eq!(Points::from(7).to_string(), "7");
        assert_eq!(Points::rounded(1e9), Points::MAX);
        assert_eq!(Points::rounded(-1.0), Points::ZERO);
    }

    #[test]
    fn numbers_are_rounded_to_the_nearest() {
        for (number, rounded) in [(0.0, 0), (0.499, 0), (0.501, 1), (1.5, 2), (2.5, 2), (99_999.6, 100_000)] {
            assert_eq!(Points::rounded(number).as_millis(), rounded, "{number}");
        }
    }
}
