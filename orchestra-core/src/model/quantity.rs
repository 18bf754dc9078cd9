//! Amounts of resources, as Kubernetes writes them.

mod parse;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::str::FromStr;

use parse::parse;

/// Resources by name: `cpu`, `memory`, `ephemeral-storage`, `pods`, `example.com/gpu`.
pub type ResourceList = BTreeMap<String, Quantity>;

/// Nano-units in a unit: the finest amount a quantity holds.
const NANOS: i128 = 1_000_000_000;
/// The largest amount, 2^63 - 1 units, as in Kubernetes. Anything beyond is taken for this.
const MAX_NANOS: i128 = i64::MAX as i128 * NANOS;

/// An amount of a resource: `100m` of a CPU, `1.5`, `2Gi` of memory, `500k`, `1e3`.
///
/// Exact down to a billionth of a unit (finer amounts are rounded away from zero) and up to 2^63 - 1 units;
/// arithmetic saturates there. Two quantities are equal where their amounts are, however they were written. A
/// quantity remembers which kind of suffix it was written with, and displays in Kubernetes' canonical form: no
/// fraction, and the largest suffix that needs none, so that `1.5` becomes `1500m` and `1024Mi` becomes `1Gi`.
///
/// ```
/// # use orchestra_core::model::Quantity;
/// let cpu: Quantity = "1.5".parse()?;
/// assert_eq!((cpu.milli(), cpu.value()), (1500, 2));
/// assert_eq!(cpu.to_string(), "1500m");
/// assert!("1024Mi".parse::<Quantity>()? == "1Gi".parse()?);
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, Default)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// The kind of suffix.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Format {
    /// `m`, `k`, `M`, `G`, ...
    #[default]
    Decimal,
    /// `Ki`, `Mi`, `Gi`, ...
    Binary,
    /// `e3`, `e6`, ...
    Exponent,
}

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self { nanos: 0, format: Format::Decimal };

    /// `units` whole units: CPUs, pods.
    #[must_use]
    pub const fn from_units(units: i64) -> Self {
        Self { nanos: units as i128 * NANOS, format: Format::Decimal }
    }

    /// `milli` thousandths of a unit, as CPU is often counted.
    #[must_use]
    pub const fn from_milli(milli: i64) -> Self {
        Self { nanos: milli as i128 * (NANOS / 1000), format: Format::Decimal }
    }

    /// `bytes` bytes, displayed with `Ki`, `Mi`, `Gi` where that is exact.
    #[must_use]
    pub const fn from_bytes(bytes: i64) -> Self {
        Self { nanos: bytes as i128 * NANOS, format: Format::Binary }
    }

    /// The amount in thousandths of a unit, rounded up; saturates at the ends of `i64`.
    #[must_use]
    pub fn milli(self) -> i64 {
        saturate(ceil_div(self.nanos, NANOS / 1000))
    }

    /// The amount in whole units, rounded up.
    #[must_use]
    pub fn value(self) -> i64 {
        saturate(ceil_div(self.nanos, NANOS))
    }

    /// Whether the amount is nothing.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// Whether the amount is a number of whole units.
    #[must_use]
    pub fn is_whole(self) -> bool {
        self.nanos % NANOS == 0
    }

    /// Whether the amount is below nothing: a difference, or a mistake.
    #[must_use]
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// `nanos`, held within the largest amounts.
    fn bounded(nanos: i128, format: Format) -> Self {
        Self { nanos: nanos.clamp(-MAX_NANOS, MAX_NANOS), format }
    }

    /// How the result of adding or subtracting `other` is displayed: zero has no style of its own.
    fn format_with(self, other: Self) -> Format {
        if self.is_zero() { other.format } else { self.format }
    }
}

/// `n / d` rounded up, for a positive `d`.
fn ceil_div(n: i128, d: i128) -> i128 {
    n.div_euclid(d) + i128::from(n.rem_euclid(d) > 0)
}

fn saturate(n: i128) -> i64 {
    i64::try_from(n).unwrap_or(if n < 0 { i64::MIN } else { i64::MAX })
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl Hash for Quantity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.nanos.hash(state);
    }
}

impl Add for Quantity {
    type Output = Self;
    fn add(self, rhs: Self) -> Self {
        Self::bounded(self.nanos + rhs.nanos, self.format_with(rhs))
    }
}

impl Sub for Quantity {
    type Output = Self;
    fn sub(self, rhs: Self) -> Self {
        Self::bounded(self.nanos - rhs.nanos, self.format_with(rhs))
    }
}

impl AddAssign for Quantity {
    fn add_assign(&mut self, rhs: Self) {
        *self = *self + rhs;
    }
}

impl SubAssign for Quantity {
    fn sub_assign(&mut self, rhs: Self) {
        *self = *self - rhs;
    }
}

impl Sum for Quantity {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

/// Suffixes for powers of 1000, from 1000^-3.
const DECIMAL_SUFFIXES: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
/// Suffixes for powers of 1024, from 1024^1.
const BINARY_SUFFIXES: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        // Below 1024, and where a fraction remains, a binary suffix would not be exact.
        if self.format == Format::Binary && self.nanos.abs() >= 1024 * NANOS && self.nanos % NANOS == 0 {
            let (mut n, mut power) = (self.nanos / NANOS, 0);
            while n % 1024 == 0 && power < BINARY_SUFFIXES.len() {
                n /= 1024;
                power += 1;
            }
            return write!(f, "{n}{}", if power == 0 { "" } else { BINARY_SUFFIXES[power - 1] });
        }
        let (mut n, mut power) = (self.nanos, 0);
        while n % 1000 == 0 && power + 1 < DECIMAL_SUFFIXES.len() {
            n /= 1000;
            power += 1;
        }
        match (self.format, DECIMAL_SUFFIXES[power]) {
            (_, "") => write!(f, "{n}"),
            // `power` is at most 9, so that the exponent fits.
            (Format::Exponent, _) => write!(f, "{n}e{}", i32::try_from(power).unwrap_or(0) * 3 - 9),
            (_, suffix) => write!(f, "{n}{suffix}"),
        }
    }
}

impl fmt::Debug for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<&str> for Quantity {
    type Error = String;
    fn try_from(s: &str) -> Result<Self, String> {
        s.parse()
    }
}

impl From<i32> for Quantity {
    fn from(units: i32) -> Self {
        Self::from_units(i64::from(units))
    }
}

impl From<i64> for Quantity {
    fn from(units: i64) -> Self {
        Self::from_units(units)
    }
}

/// Sets the amount of the resource `name`, for builders.
///
/// # Panics
/// Where `amount` is not a quantity: the text is part of the program, and the program is wrong.
pub(crate) fn set_amount<Q>(list: &mut ResourceList, name: &str, amount: Q)
where
    Q: TryInto<Quantity, Error: fmt::Display>,
{
    match amount.try_into() {
        Ok(amount) => list.insert(name.to_owned(), amount),
        Err(e) => panic!("resource {name}: {e}"),
    };
}

impl FromStr for Quantity {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        parse(s).ok_or_else(|| {
            format!("`{s}` is not a quantity: expected a number and optionally a suffix, such as 100m, 1.5, 2Gi or 1e3")
        })
    }
}
