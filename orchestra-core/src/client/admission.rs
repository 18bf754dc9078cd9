//! Rules of the application over what may be stored.

use std::fmt::Debug;

use crate::model::{KindInfo, Object};

/// What a change does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A new object.
    Create,
    /// A change of what is desired, or of metadata.
    Update,
}

/// Looks at each object before it is stored; may change it, and may refuse it.
///
/// # Contract
/// Synchronous and quick: it runs inside every write. It is called after defaults were filled in, and again
/// when a write is tried again after a conflict; the object is validated afterwards. Status changes and
/// deletions do not pass here.
pub trait Admission: Debug + Send + Sync + 'static {
    /// Whether objects of this kind are of interest. Pods of one template are admitted together unless an
    /// admission wants to see each.
    fn applies_to(&self, kind: &KindInfo) -> bool;

    /// Admits `object`, which replaces `old`.
    ///
    /// # Errors
    /// Why the object is refused, in words for the person who wrote it.
    fn admit(
        &self,
        operation: Operation,
        object: &mut dyn Object,
        old: Option<&dyn Object>,
    ) -> Result<(), String>;
}

const _: fn(&dyn Admission) = |_| {};
