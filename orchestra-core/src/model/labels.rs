//! Labels and annotations: string maps that many objects share.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

static EMPTY: BTreeMap<String, String> = BTreeMap::new();

/// An ordered string map, copied only when written to.
///
/// A clone shares the map with the original until one of them changes, so the ten thousand pods of a
/// Deployment hold one map of labels. It dereferences to a [`BTreeMap`].
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Option<Arc<BTreeMap<String, String>>>);

impl Labels {
    /// An empty map. It allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self(None)
    }

    /// Whether both are empty or hold the same map: then they are equal, which this finds without comparing.
    #[must_use]
    pub fn is_shared_with(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        }
    }

    /// The value of `key`.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }

    /// Adds `key` with `value`, for building.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.insert(key.into(), value.into());
        self
    }
}

impl Deref for Labels {
    type Target = BTreeMap<String, String>;
    fn deref(&self) -> &Self::Target {
        self.0.as_deref().unwrap_or(&EMPTY)
    }
}

impl DerefMut for Labels {
    fn deref_mut(&mut self) -> &mut Self::Target {
        Arc::make_mut(self.0.get_or_insert_default())
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(iter: I) -> Self {
        let map: BTreeMap<_, _> = iter.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        Self((!map.is_empty()).then(|| Arc::new(map)))
    }
}

impl<K: Into<String>, V: Into<String>, const N: usize> From<[(K, V); N]> for Labels {
    fn from(pairs: [(K, V); N]) -> Self {
        pairs.into_iter().collect()
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A manifest may say `labels:` with nothing behind it.
        let map = Option::<BTreeMap<String, String>>::deserialize(deserializer)?.unwrap_or_default();
        Ok(map.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_shares_until_one_side_writes() {
        let a = Labels::from([("app", "web")]);
        let mut b = a.clone();
        assert!(Arc::ptr_eq(a.0.as_ref().unwrap(), b.0.as_ref().unwrap()));
        b.insert("tier".into(), "front".into());
        assert_eq!(a.len(), 1);
        assert_eq!(b.value("tier"), Some("front"));
        assert_eq!(Labels::new(), Labels::from_iter(Vec::<(String, String)>::new()));
    }
}
