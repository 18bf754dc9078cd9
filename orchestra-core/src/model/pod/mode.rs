//! The permissions of files.

use std::fmt;

use serde::de::{self, Deserializer};

/// Reads permissions: a number, or, as YAML 1.1 and thus Kubernetes reads it, digits that start with a zero,
/// which are octal (`0644`). To YAML 1.2 those are text.
pub(super) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    struct Visitor;
    impl de::Visitor<'_> for Visitor {
        type Value = u32;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("permissions such as 0644, or 420, which is the same")
        }
        fn visit_u64<E: de::Error>(self, mode: u64) -> Result<u32, E> {
            u32::try_from(mode).map_err(|_e| E::invalid_value(de::Unexpected::Unsigned(mode), &self))
        }
        fn visit_i64<E: de::Error>(self, mode: i64) -> Result<u32, E> {
            u32::try_from(mode).map_err(|_e| E::invalid_value(de::Unexpected::Signed(mode), &self))
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<u32, E> {
            let octal = text.strip_prefix('0').filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
            let mode = octal.and_then(|digits| u32::from_str_radix(digits, 8).ok());
            mode.ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
        }
    }
    deserializer.deserialize_any(Visitor)
}

/// As [`read`], for a field that may be absent.
pub(super) fn read_some<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    read(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use crate::model::{KeyToPath, SecretVolume};

    #[test]
    fn octal_and_decimal_permissions_are_read() {
        for (text, mode) in [("0400", 0o400), ("420", 0o644), ("0o644", 0o644), ("0", 0)] {
            let volume: SecretVolume = serde_yaml_ng::from_str(&format!("defaultMode: {text}")).unwrap();
            assert_eq!(volume.default_mode, mode, "{text}");
            let item: KeyToPath =
                serde_yaml_ng::from_str(&format!("{{key: a, path: b, mode: {text}}}")).unwrap();
            assert_eq!(item.mode, Some(mode), "{text}");
        }
        for wrong in ["rw-r--r--", "0800", "-1", "0x", "'644'"] {
            let error =
                serde_yaml_ng::from_str::<SecretVolume>(&format!("defaultMode: {wrong}")).unwrap_err();
            assert!(error.to_string().contains("expected permissions such as 0644"), "{error}");
        }
        assert_eq!(serde_yaml_ng::from_str::<SecretVolume>("{}").unwrap().default_mode, 0o644);
    }
}
