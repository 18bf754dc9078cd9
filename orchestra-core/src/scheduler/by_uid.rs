//! Things that belong to one pod each, by number and by the pod's identity.

use std::hash::BuildHasher;

use hashbrown::DefaultHashBuilder;

use super::numbered::Numbered;
use crate::model::Uid;

/// What belongs to a pod.
pub(super) trait OfPod {
    /// The pod's identity: it must not change.
    fn uid(&self) -> &Uid;
}

/// The hash of an identity in one table: worked out once for all looks at one pod.
#[derive(Clone, Copy, Debug)]
pub(super) struct UidHash(u64);

/// One entry for each pod. Entries have numbers; the identities are kept in the entries alone.
#[derive(Debug)]
pub(super) struct ByUid<T> {
    entries: Numbered<T>,
    hasher: DefaultHashBuilder,
}

impl<T> Default for ByUid<T> {
    fn default() -> Self {
        Self { entries: Numbered::default(), hasher: DefaultHashBuilder::default() }
    }
}

impl<T: OfPod> ByUid<T> {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn hash(&self, uid: &Uid) -> UidHash {
        UidHash(self.hasher.hash_one(uid))
    }

    pub(super) fn find(&self, uid: &Uid) -> Option<u32> {
        self.find_hashed(self.hash(uid), uid)
    }

    /// The number of a pod's entry; `hash` is that of `uid`.
    #[inline]
    pub(super) fn find_hashed(&self, hash: UidHash, uid: &Uid) -> Option<u32> {
        self.entries.find(hash.0, |entry| entry.uid() == uid)
    }

    /// The entry with a number that is in use.
    #[inline]
    pub(super) fn get(&self, number: u32) -> &T {
        self.entries.get(number)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, number: u32) -> &mut T {
        self.entries.get_mut(number)
    }

    /// Adds the entry of a pod that has none; `hash` is that of its identity.
    pub(super) fn insert(&mut self, hash: UidHash, entry: T) -> u32 {
        self.entries.insert(hash.0, entry)
    }

    pub(super) fn remove(&mut self, number: u32) -> T {
        self.entries.remove(number)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Thing(Uid);

    impl OfPod for Thing {
        fn uid(&self) -> &Uid {
            &self.0
        }
    }

    #[test]
    fn entries_are_found_by_identity_while_they_are_there() {
        let mut things = ByUid::default();
        let uid = |i: usize| Uid::from(format!("u{i}"));
        let put = |things: &mut ByUid<Thing>, i: usize| things.insert(things.hash(&uid(i)), Thing(uid(i)));
        let numbers: Vec<u32> = (0..1000).map(|i| put(&mut things, i)).collect();
        for i in (0..1000).step_by(2) {
            assert_eq!(things.remove(numbers[i]).0, uid(i));
        }
        assert_eq!((things.len(), things.iter().count()), (500, 500));
        for (i, number) in numbers.iter().enumerate() {
            assert_eq!(things.find(&uid(i)), (i % 2 == 1).then_some(*number));
        }
        let again = put(&mut things, 1000);
        assert!(numbers.contains(&again), "the number of one that is gone is used again");
        assert_eq!(things.find(&uid(1000)), Some(again));
    }
}
