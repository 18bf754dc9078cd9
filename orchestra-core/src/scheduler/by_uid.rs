//! Things that belong to one pod each, by number and by the pod's identity.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::model::Uid;

/// What belongs to a pod.
pub(super) trait OfPod {
    /// The pod's identity: it must not change.
    fn uid(&self) -> &Uid;
}

/// The hash of an identity in one table: worked out once for all looks at one pod.
#[derive(Clone, Copy, Debug)]
pub(super) struct UidHash(u64);

/// One entry for each pod. Entries have numbers, which stay the same and are used again when an entry is gone; the
/// identities are kept in the entries alone.
#[derive(Debug)]
pub(super) struct ByUid<T> {
    entries: Vec<Option<(UidHash, T)>>,
    free: Vec<u32>,
    numbers: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl<T> Default for ByUid<T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
            numbers: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
        }
    }
}

const IN_USE: &str = "numbers in use have an entry";

impl<T: OfPod> ByUid<T> {
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
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
        self.numbers.find(hash.0, |number| self.get(*number).uid() == uid).copied()
    }

    /// The entry with a number that is in use.
    #[inline]
    pub(super) fn get(&self, number: u32) -> &T {
        &self.entries[number as usize].as_ref().expect(IN_USE).1
    }

    #[inline]
    pub(super) fn get_mut(&mut self, number: u32) -> &mut T {
        &mut self.entries[number as usize].as_mut().expect(IN_USE).1
    }

    /// Adds the entry of a pod that has none; `hash` is that of its identity.
    pub(super) fn insert(&mut self, hash: UidHash, entry: T) -> u32 {
        let entry = Some((hash, entry));
        let number = if let Some(number) = self.free.pop() {
            self.entries[number as usize] = entry;
            number
        } else {
            self.entries.push(entry);
            u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX)
        };
        let entries = &self.entries;
        let hash_of = |number: &u32| entries[*number as usize].as_ref().map_or(0, |(hash, _)| hash.0);
        self.numbers.insert_unique(hash.0, number, hash_of);
        number
    }

    pub(super) fn remove(&mut self, number: u32) -> T {
        let (hash, entry) = self.entries[number as usize].take().expect(IN_USE);
        if let Ok(known) = self.numbers.find_entry(hash.0, |other| *other == number) {
            known.remove();
        }
        self.free.push(number);
        entry
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().flatten().map(|(_, entry)| entry)
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
