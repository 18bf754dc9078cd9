//! Tables from Kubernetes' own grammar, and properties.

use proptest::prelude::*;

use super::Quantity;

fn quantity(text: &str) -> Quantity {
    text.parse().unwrap()
}

#[test]
fn canonical_form_milli_and_value() {
    for (text, canonical, milli, value) in [
        ("0", "0", 0, 0),
        ("0Gi", "0", 0, 0),
        ("100m", "100m", 100, 1),
        ("1.5", "1500m", 1500, 2),
        ("0.5", "500m", 500, 1),
        (".5", "500m", 500, 1),
        ("5.", "5", 5000, 5),
        ("+2", "2", 2000, 2),
        ("1000m", "1", 1000, 1),
        ("1001m", "1001m", 1001, 2),
        ("-1500m", "-1500m", -1500, -1),
        ("1500k", "1500k", 1_500_000_000, 1_500_000),
        ("1000k", "1M", 1_000_000_000, 1_000_000),
        ("12000", "12k", 12_000_000, 12_000),
        ("1e3", "1e3", 1_000_000, 1000),
        ("1E3", "1e3", 1_000_000, 1000),
        ("12e-1", "1200e-3", 1200, 2),
        ("1E", "1E", i64::MAX, 1_000_000_000_000_000_000),
        ("2Gi", "2Gi", 2_147_483_648_000, 2_147_483_648),
        ("1024Mi", "1Gi", 1_073_741_824_000, 1_073_741_824),
        ("0.5Gi", "512Mi", 536_870_912_000, 536_870_912),
        ("1Ki", "1Ki", 1_024_000, 1024),
        ("0.5Ki", "512", 512_000, 512),
        ("1.1Ki", "1126400m", 1_126_400, 1127),
        ("1025Ki", "1025Ki", 1_049_600_000, 1_049_600),
        ("1n", "1n", 1, 1),
        ("1u", "1u", 1, 1),
        ("0.0000000001", "1n", 1, 1),
        ("-0.0000000001", "-1n", 0, 0),
        ("1e-30", "1e-9", 1, 1),
        ("100e-10", "10e-9", 1, 1),
        ("0.00001e20", "1e15", 1_000_000_000_000_000_000, 1_000_000_000_000_000),
        ("9223372036854775807", "9223372036854775807", i64::MAX, i64::MAX),
        ("9223372036854775808", "9223372036854775807", i64::MAX, i64::MAX),
        ("1e99", "9223372036854775807", i64::MAX, i64::MAX),
        ("0e99999999999", "0", 0, 0),
        ("100Ei", "9223372036854775807", i64::MAX, i64::MAX),
        ("-100Ei", "-9223372036854775807", i64::MIN, -i64::MAX),
    ] {
        let read = quantity(text);
        assert_eq!(
            (read.to_string().as_str(), read.milli(), read.value()),
            (canonical, milli, value),
            "{text}"
        );
    }
}

#[test]
fn what_is_not_a_quantity_is_refused_in_words() {
    let long = "1".repeat(65);
    for text in [
        "", " ", "m", "Gi", ".", "-", "1 ", " 1", "1.2.3", "1GB", "1ki", "1K", "1mm", "1e", "1e+", "1e1.5",
        "0x10", "--1", "1,5", "\u{664}", "1i", "NaN", &long,
    ] {
        let error = text.parse::<Quantity>().unwrap_err();
        assert!(error.contains("is not a quantity"), "{text}: {error}");
    }
}

#[test]
fn manifests_may_leave_out_the_quotes() {
    for (json, canonical) in
        [("2", "2"), ("0.1", "100m"), ("-1", "-1"), ("1.5e3", "1500"), ("\"1Gi\"", "1Gi"), ("1e-7", "100n")]
    {
        let read: Quantity = serde_json::from_str(json).unwrap();
        assert_eq!(read.to_string(), canonical, "{json}");
    }
    for json in ["null", "true", "[]", "\"\"", "{}"] {
        assert!(serde_json::from_str::<Quantity>(json).is_err(), "{json}");
    }
}

#[test]
fn arithmetic_saturates_and_keeps_the_style() {
    let max = Quantity::from_units(i64::MAX);
    assert_eq!(max + quantity("1Ki"), max);
    assert_eq!(Quantity::ZERO - max - max, Quantity::from_units(-i64::MAX));
    assert_eq!((Quantity::ZERO + quantity("1Gi")).to_string(), "1Gi");
    assert_eq!((quantity("1Gi") - quantity("1Mi")).to_string(), "1023Mi");
    assert_eq!([quantity("100m"), quantity("1")].into_iter().sum::<Quantity>().milli(), 1100);
    assert!(quantity("1Gi") > quantity("1G") && quantity("1") == quantity("1000m"));
    assert!((quantity("1") - quantity("2")).is_negative());
}

proptest! {
    #[test]
    fn canonical_text_reads_back_as_the_same_amount(
        whole in 0..=i64::MAX.cast_unsigned(), fraction in proptest::option::of(0_u32..1_000_000),
        negative: bool, suffix in prop::sample::select(vec![
            "", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "e3", "E-6", "e0",
        ]),
    ) {
        let fraction = fraction.map(|f| format!(".{f}")).unwrap_or_default();
        let read = quantity(&format!("{}{whole}{fraction}{suffix}", if negative { "-" } else { "" }));
        let canonical = read.to_string();
        prop_assert_eq!(quantity(&canonical), read);
        prop_assert_eq!(quantity(&canonical).to_string(), canonical, "the canonical form is canonical");
        // Where neither is at the end of its range, whole units are the thousandths rounded up.
        if read.milli() > i64::MIN && read.milli() < i64::MAX {
            prop_assert!((0..1000).contains(&(read.value() * 1000 - read.milli())));
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,20}") {
        if let Ok(read) = text.parse::<Quantity>() {
            prop_assert_eq!(quantity(&read.to_string()), read);
        }
    }

    #[test]
    fn adding_milli_amounts_is_exact(a in -1_000_000_000_i64..1_000_000_000, b in -1_000_000_000_i64..1_000_000_000) {
        let (qa, qb) = (Quantity::from_milli(a), Quantity::from_milli(b));
        prop_assert_eq!((qa + qb).milli(), a + b);
        prop_assert_eq!((qa - qb).milli(), a - b);
        prop_assert_eq!(qa.cmp(&qb), a.cmp(&b));
    }
}
