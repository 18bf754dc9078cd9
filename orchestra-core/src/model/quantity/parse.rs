//! Reading a quantity: text, and the numbers that manifests use without quotes.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{BINARY_SUFFIXES, DECIMAL_SUFFIXES, Format, NANOS, Quantity};

/// No amount that can be held exactly needs more characters: 19 digits before the point, 9 behind it.
const MAX_LENGTH: usize = 64;
/// Exponents beyond this give the largest or the smallest amount, whatever the digits.
const MAX_EXPONENT: i32 = 128;

/// The quantity that `text` stands for: `<sign><digits>.<digits><suffix>`, Kubernetes' grammar.
pub(super) fn parse(text: &str) -> Option<Quantity> {
    if text.len() > MAX_LENGTH {
        return None;
    }
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let digits_end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(digits_end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let (unit, exponent, format) = suffix_unit(suffix)?;
    let (whole, fraction) = shift_point(whole, fraction, exponent);
    let nanos = whole_nanos(&whole, unit).saturating_add(fraction_nanos(&fraction, unit));
    Some(Quantity::bounded(if negative { -nanos } else { nanos }, format))
}

/// What one unit with `suffix` is in nano-units, the power of ten to multiply with beside it, and the style.
fn suffix_unit(suffix: &str) -> Option<(i128, i32, Format)> {
    if let Some(power) = DECIMAL_SUFFIXES.iter().position(|s| *s == suffix) {
        return Some((1000_i128.pow(u32::try_from(power).ok()?), 0, Format::Decimal));
    }
    if let Some(power) = BINARY_SUFFIXES.iter().position(|s| *s == suffix) {
        return Some((NANOS * 1024_i128.pow(u32::try_from(power).ok()? + 1), 0, Format::Binary));
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?;
    let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let size = digits.parse::<i32>().unwrap_or(MAX_EXPONENT).min(MAX_EXPONENT);
    Some((NANOS, if exponent.starts_with('-') { -size } else { size }, Format::Exponent))
}

/// The digits before and behind the point after multiplying with `10^exponent`.
fn shift_point(whole: &str, fraction: &str, exponent: i32) -> (String, String) {
    let by = usize::try_from(exponent.unsigned_abs()).unwrap_or(0);
    let zeros = "0".repeat(by);
    if exponent >= 0 {
        let digits = format!("{fraction}{zeros}");
        let (moved, rest) = digits.split_at(by);
        (format!("{whole}{moved}"), rest.to_owned())
    } else {
        let digits = format!("{zeros}{whole}");
        let (rest, moved) = digits.split_at(digits.len() - by);
        (rest.to_owned(), format!("{moved}{fraction}"))
    }
}

fn whole_nanos(digits: &str, unit: i128) -> i128 {
    digits
        .bytes()
        .fold(0_i128, |n, digit| n.saturating_mul(10).saturating_add(i128::from(digit - b'0')))
        .saturating_mul(unit)
}

/// `0.digits * unit`, rounded up.
fn fraction_nanos(digits: &str, unit: i128) -> i128 {
    // From the last digit to the first: the whole part stays exact, and any remainder rounds the result up.
    let (nanos, inexact) = digits.bytes().rev().fold((0_i128, false), |(nanos, inexact), digit| {
        let sum = i128::from(digit - b'0') * unit + nanos;
        (sum / 10, inexact || sum % 10 != 0)
    });
    nanos + i128::from(inexact)
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Quantity;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity such as 100m, 1.5, 2Gi or 1e3")
            }
            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Quantity, E> {
                Ok(Quantity::bounded(i128::from(n) * NANOS, Format::Decimal))
            }
            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Quantity, E> {
                Ok(Quantity::bounded(i128::from(n) * NANOS, Format::Decimal))
            }
            fn visit_f64<E: de::Error>(self, n: f64) -> Result<Quantity, E> {
                // The shortest decimal text of the number: what stood in the manifest.
                format!("{n:e}")
                    .parse()
                    .map(|q: Quantity| Quantity { format: Format::Decimal, ..q })
                    .map_err(E::custom)
            }
            fn visit_str<E: de::Error>(self, s: &str) -> Result<Quantity, E> {
                s.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
