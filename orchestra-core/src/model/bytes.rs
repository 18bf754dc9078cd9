//! Bytes in a manifest.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

/// Bytes that a manifest writes as base64. A clone shares them. Debug shows their number, never the bytes.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteString(Arc<[u8]>);

impl ByteString {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as text, where they are UTF-8.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// How many bytes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<B: AsRef<[u8]>> From<B> for ByteString {
    fn from(bytes: B) -> Self {
        Self(bytes.as_ref().into())
    }
}

impl fmt::Debug for ByteString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} bytes)", self.len())
    }
}

impl Serialize for ByteString {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for ByteString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // By way of a value, so that no error ever shows what it found: it may be a secret.
        let Value::String(mut text) = Value::deserialize(deserializer)? else {
            return Err(de::Error::custom("must be base64 text (the value is not shown)"));
        };
        // Block scalars of YAML end in a newline and long ones are wrapped; Kubernetes takes both.
        text.retain(|c| c != '\n' && c != '\r');
        match STANDARD.decode(text) {
            Ok(bytes) => Ok(Self(bytes.into())),
            Err(_) => Err(de::Error::custom(
                "is not base64 (the value is not shown); plain text goes to stringData",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_both_ways_and_never_shown() {
        let bytes: ByteString = serde_json::from_str(r#""aHVu\ndGVyMg==\n""#).unwrap();
        assert_eq!(bytes.as_text(), Some("hunter2"));
        assert_eq!(serde_json::to_string(&bytes).unwrap(), r#""aHVudGVyMg==""#);
        assert_eq!(format!("{bytes:?}"), "(7 bytes)");
        for bad in [r#""hunter2!""#, "4711", r#"["hunter2"]"#] {
            let error = serde_json::from_str::<ByteString>(bad).unwrap_err().to_string();
            assert!(!error.contains("hunter2") && !error.contains("4711"), "{error}");
        }
    }
}
