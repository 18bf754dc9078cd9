//! Things that have numbers, and are found by a hash of what tells them apart.

use hashbrown::HashTable;

/// Entries have numbers, which stay the same and are used again when an entry is gone. What tells entries apart is kept in the
/// entries alone, and must not change.
#[derive(Debug)]
pub(super) struct Numbered<T> {
    /// With their hashes.
    entries: Vec<Option<(u64, T)>>,
    free: Vec<u32>,
    numbers: HashTable<u32>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), free: Vec::new(), numbers: HashTable::new() }
    }
}

const IN_USE: &str = "numbers in use have an entry";

impl<T> Numbered<T> {
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// The number of the entry with this hash that `is` the one.
    #[inline]
    pub(super) fn find(&self, hash: u64, is: impl Fn(&T) -> bool) -> Option<u32> {
        self.numbers.find(hash, |number| is(self.get(*number))).copied()
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

    /// Adds an entry that is not there yet.
    pub(super) fn insert(&mut self, hash: u64, entry: T) -> u32 {
        let entry = Some((hash, entry));
        let number = if let Some(number) = self.free.pop() {
            self.entries[number as usize] = entry;
            number
        } else {
            self.entries.push(entry);
            u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX)
        };
        let entries = &self.entries;
        let hash_of = |number: &u32| entries[*number as usize].as_ref().map_or(0, |(hash, _)| *hash);
        self.numbers.insert_unique(hash, number, hash_of);
        number
    }

    pub(super) fn remove(&mut self, number: u32) -> T {
        let (hash, entry) = self.entries[number as usize].take().expect(IN_USE);
        if let Ok(known) = self.numbers.find_entry(hash, |other| *other == number) {
            known.remove();
        }
        self.free.push(number);
        entry
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().flatten().map(|(_, entry)| entry)
    }
}
