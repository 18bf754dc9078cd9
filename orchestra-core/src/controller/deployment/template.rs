//! Telling versions apart.

use crate::model::PodTemplateSpec;

/// The label that tells the pods of one version from those of another: Kubernetes' own.
pub const HASH_LABEL: &str = "pod-template-hash";

/// Kubernetes' characters for such names: no vowels, so no words.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// How many characters a hash has.
const LENGTH: usize = 10;

/// The template without the label that a replica set adds to it.
pub(super) fn without_hash(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    if template.metadata.labels.contains_key(HASH_LABEL) {
        template.metadata.labels.remove(HASH_LABEL);
    }
    template
}

/// Whether two templates make the same pods, but for the label that tells versions apart.
///
/// This, not the hash, decides whether a version exists already: so another way of hashing, or another version of
/// this program, makes no new replica set.
pub(super) fn same(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    a.spec == b.spec && without_hash(a) == without_hash(b)
}

/// A short name for a template: FNV-1a over its JSON form, and over how often such a name was taken already.
pub(super) fn hash(template: &PodTemplateSpec, collisions: u32) -> String {
    // The model's maps have string keys and its numbers are finite, so this can't fail.
    let mut bytes = serde_json::to_vec(&without_hash(template)).unwrap_or_default();
    if collisions > 0 {
        bytes.extend(collisions.to_le_bytes());
    }
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in bytes {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let mut name = String::with_capacity(LENGTH);
    for _ in 0..LENGTH {
        let digit = usize::try_from(hash % 27).unwrap_or(0);
        name.push(char::from(ALPHABET[digit]));
        hash /= 27;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Deployment;

    #[test]
    fn a_hash_stays_what_it_is() {
        let web = Deployment::new("web").image("shop/web:1").env("COLOUR", "blue").port(8080);
        let template = &web.spec.template;
        assert_eq!(hash(template, 0), "q7nt9bc6mr", "changing this renames the replica sets of every user");
        assert_ne!(hash(template, 1), hash(template, 0));
        let mut labelled = template.clone();
        labelled.metadata.labels.insert(HASH_LABEL.to_owned(), "x".to_owned());
        assert_eq!(hash(&labelled, 0), hash(template, 0));
        assert!(same(&labelled, template));
        assert!(!same(&Deployment::new("web").image("shop/web:2").spec.template, template));
    }
}
