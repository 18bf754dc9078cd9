//! Wall-clock time as a value.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A point in wall-clock time: whole microseconds since 1970-01-01T00:00:00Z.
///
/// Serialises as RFC 3339 in UTC, as Kubernetes' `metav1.Time` does; the fraction is written only where it
/// is not zero. It is a plain value: only a [`Clock`](crate::clock::Clock) knows what time it is.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// The first and the last time with a text form, and so that can be stored: what is added up stays within.
    const FIRST: Self = Self(-377_705_023_201_000_000);
    const LAST: Self = Self(253_402_207_200_000_000);

    /// From microseconds since the epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The time that passed from `earlier` until `self`; zero where `earlier` is the later one.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        u64::try_from(self.0.saturating_sub(earlier.0)).map_or(Duration::ZERO, Duration::from_micros)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(rhs.as_micros()).unwrap_or(i64::MAX))).min(Self::LAST)
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(rhs.as_micros()).unwrap_or(i64::MAX))).max(Self::FIRST)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What lies beyond the times with a text form is written as the nearest that has one, so that it can be read again.
        let micros = self.0.clamp(Self::FIRST.0, Self::LAST.0);
        match jiff::Timestamp::from_microsecond(micros) {
            Ok(t) => write!(f, "{t}"),
            Err(_) => write!(f, "{micros}us"),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        s.parse::<jiff::Timestamp>()
            .map(|t| Self(t.as_microsecond()))
            .map_err(|e| format!("`{s}` is not an RFC 3339 time such as 2026-01-31T08:00:00Z: {e}"))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let s = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        s.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_is_rfc3339_and_round_trips() {
        let t: Timestamp = "2026-01-31T08:00:00Z".parse().unwrap();
        assert_eq!(t.to_string(), "2026-01-31T08:00:00Z");
        let later = t + Duration::from_micros(1_500_000);
        assert_eq!(later.to_string(), "2026-01-31T08:00:01.5Z");
        assert_eq!(later.since(t), Duration::from_millis(1500));
        assert_eq!(t.since(later), Duration::ZERO);
        for end in [t + Duration::MAX, t - Duration::MAX] {
            assert_eq!(end.to_string().parse(), Ok(end));
            let beyond = Timestamp::from_micros(if end < t { i64::MIN } else { i64::MAX });
            assert_eq!(beyond.to_string().parse(), Ok(end), "what is stored can be read again");
        }
        assert!("yesterday".parse::<Timestamp>().is_err());
    }
}
