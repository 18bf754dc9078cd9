//! What is written to a store: several changes that happen together, under conditions.

use crate::model::{AnyObject, Object, ObjectKey, Revision, Uid};

/// The generation of a writer: each new leader has a greater one. Zero is the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// What must hold just before a commit, or nothing of it happens.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Precondition {
    /// There is no object at this key.
    Absent(ObjectKey),
    /// There is an object at this key, and its last commit had this revision.
    Revision(ObjectKey, Revision),
    /// There is an object at this key, and it has this identity.
    Uid(ObjectKey, Uid),
}

impl Precondition {
    /// The key that the condition is about.
    #[must_use]
    pub fn key(&self) -> &ObjectKey {
        match self {
            Self::Absent(key) | Self::Revision(key, _) | Self::Uid(key, _) => key,
        }
    }
}

/// One change in a commit.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Write {
    /// Stores the object at its key, whether or not there is one already.
    Put(AnyObject),
    /// Removes the object at the key; nothing where there is none.
    Delete(ObjectKey),
}

impl Write {
    /// The key that is written to.
    #[must_use]
    pub fn key(&self) -> ObjectKey {
        match self {
            Self::Put(object) => ObjectKey::of(&**object),
            Self::Delete(key) => key.clone(),
        }
    }
}

/// Changes that happen together, in order, or not at all.
///
/// ```
/// use orchestra_core::model::{ConfigMap, ObjectKey};
/// use orchestra_core::store::{Commit, Precondition};
///
/// let map = ConfigMap::new("settings").entry("colour", "blue");
/// let commit = Commit::new()
///     .require(Precondition::Absent(ObjectKey::new::<ConfigMap>("", "settings")))
///     .put(map);
/// assert_eq!(commit.writes.len(), 1);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// What must hold first.
    pub preconditions: Vec<Precondition>,
    /// What is changed. A key may be written at most once.
    pub writes: Vec<Write>,
    /// The writer's generation, where it has one.
    pub epoch: Option<Epoch>,
}

impl Commit {
    /// A commit of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition.
    #[must_use]
    pub fn require(mut self, precondition: Precondition) -> Self {
        self.preconditions.push(precondition);
        self
    }

    /// Adds a write of `object`.
    #[must_use]
    pub fn put(self, object: impl Object) -> Self {
        self.put_any(std::sync::Arc::new(object))
    }

    /// Adds a write of an object of any kind. Best the only reference to it: the store sets its revision
    /// in place, and copies the object where it is shared.
    #[must_use]
    pub fn put_any(mut self, object: AnyObject) -> Self {
        self.writes.push(Write::Put(object));
        self
    }

    /// Adds a removal.
    #[must_use]
    pub fn delete(mut self, key: ObjectKey) -> Self {
        self.writes.push(Write::Delete(key));
        self
    }

    /// Stamps the commit with its writer's generation.
    #[must_use]
    pub fn epoch(mut self, epoch: Epoch) -> Self {
        self.epoch = Some(epoch);
        self
    }
}

/// What a commit did.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The commit's revision; where nothing changed (only removals of what was not there), the last one.
    pub revision: Revision,
    /// For each write in order, the object as stored, or as it was before its removal; `None` for a
    /// removal that found nothing.
    pub objects: Vec<Option<AnyObject>>,
}
