//! What pods must know and nobody else.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;

use super::absent::is_default;
use super::config_map::{IMMUTABLE, validate_entries};
use super::object::Rules;
use super::{ByteString, Extra, FieldErrors, ObjectMeta, TypeMeta};
use crate::object;

/// Passwords, keys and the like, which pods take as environment or as files.
///
/// Debug shows the names of the entries and nothing else, and no error shows a value.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Secret {
    /// `v1`, `Secret`.
    #[serde(flatten)]
    pub type_meta: TypeMeta<Self>,
    /// Name, namespace, labels.
    pub metadata: ObjectMeta,
    /// The entries, base64 in the manifest.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "entries")]
    pub data: BTreeMap<String, ByteString>,
    /// Entries as plain text. [`set_defaults`](super::Object::set_defaults) moves them into `data`, over
    /// what is there.
    #[serde(skip_serializing_if = "is_default", deserialize_with = "texts")]
    pub string_data: BTreeMap<String, String>,
    /// What is in it, for people and tools: `Opaque` unless told otherwise.
    #[serde(rename = "type", skip_serializing_if = "is_default")]
    pub type_: String,
    /// Whether the entries may not change any more. Can't be taken back.
    #[serde(skip_serializing_if = "is_default")]
    pub immutable: bool,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

object!(Secret, "", "v1", "secrets", namespaced: true, desired: [data, string_data, type_, immutable, extra]);

/// Text whose errors don't show what was found.
#[derive(Deserialize)]
struct Text(#[serde(deserialize_with = "text")] String);

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(text) => Ok(text),
        _ => Err(de::Error::custom("must be text: put it in quotes (the value is not shown)")),
    }
}

fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    Ok(entries::<Text, D>(deserializer)?.into_iter().map(|(k, v)| (k, v.0)).collect())
}

/// A map whose errors don't show what was found instead of one.
fn entries<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, T>, D::Error> {
    struct Entries<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Entries<T> {
        type Value = BTreeMap<String, T>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map")
        }
        fn visit_str<E: de::Error>(self, _: &str) -> Result<Self::Value, E> {
            Err(E::custom("must be a map (the value is not shown)"))
        }
        fn visit_i64<E: de::Error>(self, _: i64) -> Result<Self::Value, E> {
            self.visit_str("")
        }
        fn visit_u64<E: de::Error>(self, _: u64) -> Result<Self::Value, E> {
            self.visit_str("")
        }
        fn visit_f64<E: de::Error>(self, _: f64) -> Result<Self::Value, E> {
            self.visit_str("")
        }
        fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut entries = BTreeMap::new();
            while let Some((key, value)) = map.next_entry()? {
                entries.insert(key, value);
            }
            Ok(entries)
        }
    }
    // Not `deserialize_map`: its own message would show what is there.
    deserializer.deserialize_any(Entries(PhantomData))
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not even the annotations: `kubectl apply` keeps a copy of the whole manifest there.
        f.debug_struct("Secret")
            .field("namespace", &self.metadata.namespace)
            .field("name", &self.metadata.name)
            .field("type", &self.type_)
            .field("entries", &self.data.keys().chain(self.string_data.keys()).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl Secret {
    /// An empty one, of type `Opaque`.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { metadata: ObjectMeta::named(name), type_: OPAQUE.into(), ..Self::default() }
    }

    /// Puts it into a namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.metadata.namespace = namespace.into();
        self
    }

    /// Adds a label.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.labels.insert(key.into(), value.into());
        self
    }

    /// Adds an entry.
    #[must_use]
    pub fn entry(mut self, key: impl Into<String>, value: impl AsRef<[u8]>) -> Self {
        self.data.insert(key.into(), ByteString::from(value));
        self
    }
}

/// The type of a secret that says nothing about itself.
const OPAQUE: &str = "Opaque";

/// Entries that secrets of some types must have: all of one of the lists.
const REQUIRED: &[(&str, &[&[&str]])] = &[
    ("kubernetes.io/tls", &[&["tls.crt", "tls.key"]]),
    ("kubernetes.io/basic-auth", &[&["username"], &["password"]]),
    ("kubernetes.io/ssh-auth", &[&["ssh-privatekey"]]),
    ("kubernetes.io/dockerconfigjson", &[&[".dockerconfigjson"]]),
    ("kubernetes.io/dockercfg", &[&[".dockercfg"]]),
];

impl Rules for Secret {
    fn set_defaults(&mut self) {
        for (key, text) in std::mem::take(&mut self.string_data) {
            self.data.insert(key, ByteString::from(text));
        }
        if self.type_.is_empty() {
            self.type_ = OPAQUE.into();
        }
    }

    fn validate(&self, errors: &mut FieldErrors) {
        let data = self.data.iter().map(|(k, v)| ("data", k, v.len()));
        let texts = self.string_data.iter().map(|(k, v)| ("stringData", k, v.len()));
        validate_entries(data.chain(texts), errors);
        let has = |key: &&str| self.data.contains_key(*key) || self.string_data.contains_key(*key);
        for (type_, lists) in REQUIRED.iter().filter(|(type_, _)| *type_ == self.type_) {
            if !lists.iter().any(|keys| keys.iter().all(has)) {
                let lists: Vec<_> = lists.iter().map(|keys| keys.join(" and ")).collect();
                let message = format!("needs {}: the type is {type_}", lists.join(" or "));
                errors.at("data", |errors| errors.push(message));
            }
        }
        for key in [".dockerconfigjson", ".dockercfg"] {
            let Some(json) = self.data.get(key).filter(|_| self.type_.ends_with(&key[1..])) else { continue };
            if serde_json::from_slice::<de::IgnoredAny>(json.as_bytes()).is_err() {
                errors.at(&format!("data[{key}]"), |errors| errors.push("is not JSON"));
            }
        }
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        let same_type = self.type_ == old.type_;
        errors.at("type", |errors| errors.require(same_type, "can't be changed: make a new secret"));
        if old.immutable {
            errors.at("immutable", |errors| errors.require(self.immutable, "can't be taken back"));
            errors.at("data", |errors| errors.require(self.data == old.data, IMMUTABLE));
        }
    }
}
