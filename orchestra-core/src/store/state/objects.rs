//! The objects of one kind, ordered by namespace and name.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{AnyObject, ObjectKey};

/// Two maps, one in the other: a search compares names only, where one over whole keys would compare group, kind and
/// namespace each time, which are the same for thousands.
#[derive(Debug, Default)]
pub(super) struct Objects {
    /// No namespace is empty.
    namespaces: BTreeMap<Arc<str>, BTreeMap<Arc<str>, AnyObject>>,
}

impl Objects {
    pub(super) fn get(&self, key: &ObjectKey) -> Option<&AnyObject> {
        self.namespaces.get(&*key.namespace)?.get(&*key.name)
    }

    /// Puts `object` at `key`, and gives what was there.
    pub(super) fn insert(&mut self, key: &ObjectKey, object: AnyObject) -> Option<AnyObject> {
        if !self.namespaces.contains_key(&*key.namespace) {
            self.namespaces.insert(Arc::clone(&key.namespace), BTreeMap::new());
        }
        self.namespaces.get_mut(&*key.namespace)?.insert(Arc::clone(&key.name), object)
    }

    /// Takes out what is at `key`.
    pub(super) fn remove(&mut self, key: &ObjectKey) -> Option<AnyObject> {
        let names = self.namespaces.get_mut(&*key.namespace)?;
        let removed = names.remove(&*key.name);
        if names.is_empty() {
            self.namespaces.remove(&*key.namespace);
        }
        removed
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &AnyObject> {
        self.namespaces.values().flat_map(BTreeMap::values)
    }

    pub(super) fn in_namespace(&self, namespace: &str) -> impl Iterator<Item = &AnyObject> {
        self.namespaces.get(namespace).into_iter().flat_map(BTreeMap::values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ConfigMap;

    #[test]
    fn objects_are_ordered_by_namespace_and_name() {
        let key = |namespace: &str, name: &str| ObjectKey::new::<ConfigMap>(namespace, name);
        let object = |key: &ObjectKey| -> AnyObject {
            Arc::new(ConfigMap::new(&*key.name).namespace(&*key.namespace))
        };
        let names = |objects: &mut dyn Iterator<Item = &AnyObject>| -> Vec<String> {
            objects.map(|object| ObjectKey::of(&**object).to_string()).collect()
        };
        let mut objects = Objects::default();
        for (namespace, name) in [("b", "1"), ("a", "2"), ("", "3"), ("a", "1"), ("a/", "0")] {
            let key = key(namespace, name);
            assert!(objects.insert(&key, object(&key)).is_none());
        }
        let expected = ["ConfigMap 3", "ConfigMap a/1", "ConfigMap a/2", "ConfigMap a//0", "ConfigMap b/1"];
        assert_eq!(names(&mut objects.all()), expected);
        assert_eq!(names(&mut objects.in_namespace("a")), expected[1..3]);
        assert!(objects.insert(&key("a", "1"), object(&key("a", "1"))).is_some());
        assert!(objects.remove(&key("b", "1")).is_some() && objects.remove(&key("b", "1")).is_none());
        assert!(objects.get(&key("b", "1")).is_none() && objects.get(&key("a", "2")).is_some());
        assert_eq!(names(&mut objects.all()), expected[..4]);
        assert!(!objects.namespaces.contains_key("b"), "a namespace without objects takes no memory");
    }
}
