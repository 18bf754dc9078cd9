//! A count, or a share of one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A number of pods (`2`), or a share of all of them (`"25%"`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IntOrPercent {
    /// That many.
    Int(u32),
    /// That many of a hundred.
    Percent(u32),
}

impl Default for IntOrPercent {
    fn default() -> Self {
        Self::Int(0)
    }
}

impl IntOrPercent {
    /// How many that is out of `total`, a fraction rounded up. May be more than `total`.
    #[must_use]
    pub fn round_up(self, total: u32) -> u32 {
        self.of(total, 99)
    }

    /// How many that is out of `total`, a fraction rounded down. May be more than `total`.
    #[must_use]
    pub fn round_down(self, total: u32) -> u32 {
        self.of(total, 0)
    }

    fn of(self, total: u32, bias: u64) -> u32 {
        match self {
            Self::Int(n) => n,
            Self::Percent(p) => {
                u32::try_from((u64::from(p) * u64::from(total) + bias) / 100).unwrap_or(u32::MAX)
            }
        }
    }

    /// Whether this is nothing, whatever the total.
    #[must_use]
    pub fn is_zero(self) -> bool {
        matches!(self, Self::Int(0) | Self::Percent(0))
    }
}

impl From<u32> for IntOrPercent {
    fn from(n: u32) -> Self {
        Self::Int(n)
    }
}

impl fmt::Display for IntOrPercent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(n) => write!(f, "{n}"),
            Self::Percent(p) => write!(f, "{p}%"),
        }
    }
}

impl FromStr for IntOrPercent {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let (digits, make): (_, fn(u32) -> Self) = match s.strip_suffix('%') {
            Some(digits) => (digits, Self::Percent),
            None => (s, Self::Int),
        };
        let number = if digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None };
        number.map(make).ok_or_else(|| {
            format!("`{s}` is neither a number that is not negative nor a percentage such as 25%")
        })
    }
}

impl Serialize for IntOrPercent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Int(n) => serializer.serialize_u32(*n),
            Self::Percent(_) => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for IntOrPercent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = IntOrPercent;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number that is not negative or a percentage such as \"25%\"")
            }
            fn visit_u64<E: de::Error>(self, n: u64) -> Result<IntOrPercent, E> {
                u32::try_from(n)
                    .map(IntOrPercent::Int)
                    .map_err(|_e| E::invalid_value(de::Unexpected::Unsigned(n), &self))
            }
            fn visit_i64<E: de::Error>(self, n: i64) -> Result<IntOrPercent, E> {
                u32::try_from(n)
                    .map(IntOrPercent::Int)
                    .map_err(|_e| E::invalid_value(de::Unexpected::Signed(n), &self))
            }
            fn visit_str<E: de::Error>(self, s: &str) -> Result<IntOrPercent, E> {
                s.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_rounded_as_asked() {
        for (share, total, down, up) in [
            ("25%", 10, 2, 3),
            ("25%", 4, 1, 1),
            ("0%", 9, 0, 0),
            ("1%", 1, 0, 1),
            ("100%", 7, 7, 7),
            ("3", 2, 3, 3),
        ] {
            let share: IntOrPercent = share.parse().unwrap();
            assert_eq!((share.round_down(total), share.round_up(total)), (down, up), "{share} of {total}");
        }
        assert_eq!(IntOrPercent::Percent(u32::MAX).round_up(u32::MAX), u32::MAX);
    }

    #[test]
    fn reads_and_writes_numbers_and_percentages() {
        for text in ["5", "\"25%\"", "0"] {
            let read: IntOrPercent = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), text);
        }
        for wrong in ["-1", "\"-5%\"", "\"%\"", "\"+3\"", "\"x\"", "1.5", "null", "4294967296"] {
            assert!(serde_json::from_str::<IntOrPercent>(wrong).is_err(), "{wrong}");
        }
        // Kubernetes reads a number in quotes as a number too.
        assert_eq!(serde_json::from_str::<IntOrPercent>("\"3\"").unwrap(), IntOrPercent::Int(3));
    }
}
