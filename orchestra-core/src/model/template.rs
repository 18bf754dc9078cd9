//! The form that a controller makes pods of.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Extra, ObjectMeta, PodSpec};

/// What the pods of a controller are made of. A clone shares the pod's spec.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodTemplateSpec {
    /// The pods' labels and annotations.
    pub metadata: ObjectMeta,
    /// What is desired of the pods.
    pub spec: Arc<PodSpec>,
    /// Fields not acted on.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The letters and digits of a hash: none that look alike, and no vowels, which could form words.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// How long a hash is: 47 bits, so that among a thousand versions of one deployment two are alike once in some
/// hundred million cases. A collision is then counted, and the hash made anew with the count.
const HASH_LENGTH: usize = 10;

impl PodTemplateSpec {
    /// The label that names the version of a pod: the [`hash`](Self::hash) of the template that it was made of.
    pub const HASH_LABEL: &'static str = "pod-template-hash";

    /// The pods' spec, to change. Copied first where it is shared.
    pub fn spec_mut(&mut self) -> &mut PodSpec {
        Arc::make_mut(&mut self.spec)
    }

    /// A short name for what the template says: ten letters and digits that are allowed in names.
    ///
    /// Equal templates have equal hashes, also in later versions of Orchestra: it is computed over the manifest,
    /// with the fields of each map in order. The label [`HASH_LABEL`](Self::HASH_LABEL) does not count.
    #[must_use]
    pub fn hash(&self) -> String {
        self.hash_avoiding(0)
    }

    /// As [`hash`](Self::hash), where the name was taken already that many times.
    #[must_use]
    pub fn hash_avoiding(&self, collisions: u32) -> String {
        // The model's maps have string keys and its numbers are finite, so this can't fail.
        let mut value = serde_json::to_value(self).unwrap_or_default();
        if let Some(labels) = value.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
            labels.remove(Self::HASH_LABEL);
        }
        let mut hash = Fnv::default();
        hash.value(&value);
        if collisions > 0 {
            hash.bytes(&collisions.to_le_bytes());
        }
        let mut rest = hash.0;
        let mut text = String::with_capacity(HASH_LENGTH);
        for _ in 0..HASH_LENGTH {
            let digit = usize::try_from(rest % ALPHABET.len() as u64).unwrap_or_default();
            text.push(char::from(ALPHABET[digit]));
            rest /= ALPHABET.len() as u64;
        }
        text
    }

    /// Whether pods of both templates are alike, whatever version their labels name.
    #[must_use]
    pub fn same_pods(&self, other: &Self) -> bool {
        let labels = |t: &Self| t.metadata.labels.iter().filter(|(k, _)| *k != Self::HASH_LABEL).count();
        (Arc::ptr_eq(&self.spec, &other.spec) || self.spec == other.spec)
            && self.extra == other.extra
            && labels(self) == labels(other)
            && self.metadata.labels.iter().all(|(key, value)| {
                key == Self::HASH_LABEL || other.metadata.labels.value(key) == Some(value)
            })
            && self.metadata.annotations == other.metadata.annotations
    }
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo), over a JSON value.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// Adds a value; what is empty in a map counts as not there, so that it doesn't matter whether it is written.
    fn value(&mut self, value: &Value) {
        match value {
            Value::Object(fields) => {
                self.bytes(b"{");
                let mut fields: Vec<_> = fields.iter().filter(|(_, v)| !is_empty(v)).collect();
                fields.sort_unstable_by_key(|(key, _)| *key);
                for (key, value) in fields {
                    self.text(key);
                    self.value(value);
                }
                self.bytes(b"}");
            }
            Value::Array(items) => {
                self.bytes(b"[");
                items.iter().for_each(|item| self.value(item));
                self.bytes(b"]");
            }
            Value::String(text) => self.text(text),
            other => {
                self.bytes(other.to_string().as_bytes());
                self.bytes(b",");
            }
        }
    }

    fn text(&mut self, text: &str) {
        self.bytes(b"\"");
        self.bytes(text.as_bytes());
        // No UTF-8 text contains this byte, so two texts can't be taken for one.
        self.bytes(&[0xff]);
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Deployment, Probe};

    fn template(change: impl FnOnce(Deployment) -> Deployment) -> PodTemplateSpec {
        let base = Deployment::new("web")
            .image("shop/web:1")
            .env("A", "b")
            .port(8080)
            .request("cpu", "250m")
            .limit("memory", "64Mi")
            .readiness(Probe::http("/ready", 8080));
        change(base).spec.template
    }

    #[test]
    fn the_hash_stays_what_it_was() {
        // A change here starts a rollout of every deployment of every user: it must not happen.
        assert_eq!(template(|d| d).hash(), "k2wf42btdn");
        assert_eq!(PodTemplateSpec::default().hash(), "mjmjxn796f");
        assert_eq!(template(|d| d).hash_avoiding(1), "td4p5z5f2m");
    }

    #[test]
    fn every_change_of_the_pods_counts_and_nothing_else() {
        let base = template(|d| d);
        let mut hashes = vec![base.hash()];
        hashes.push(template(|d| d.image("shop/web:2")).hash());
        hashes.push(template(|d| d.env("B", "")).hash());
        hashes.push(template(|d| d.label("tier", "front")).hash());
        hashes.push(template(|d| d.pod_annotation("at", "noon")).hash());
        hashes.push(base.hash_avoiding(1));
        hashes.push(base.hash_avoiding(2));
        let mut extra = base.clone();
        extra.spec_mut().extra.0.insert("dnsConfig".into(), serde_json::json!({"a": 1}));
        hashes.push(extra.hash());
        let all = hashes.len();
        hashes.sort();
        hashes.dedup();
        assert_eq!(hashes.len(), all);
        assert_eq!(template(|d| d.replicas(9).annotation("a", "b")).hash(), base.hash());
    }

    #[test]
    fn the_label_of_the_version_does_not_count() {
        let base = template(|d| d);
        let mut labelled = base.clone();
        labelled.metadata.labels.insert(PodTemplateSpec::HASH_LABEL.into(), base.hash());
        assert_eq!(labelled.hash(), base.hash());
        assert!(labelled.same_pods(&base) && base.same_pods(&labelled));
        labelled.metadata.labels.insert("a".into(), "b".into());
        assert!(!labelled.same_pods(&base) && !base.same_pods(&labelled));
    }
}
