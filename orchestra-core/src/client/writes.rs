//! What one piece of work wrote, so that its next run reads it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::{Backoff, Caches};
use crate::model::{GroupKind, Revision};
use crate::store::StoreError;

/// The commits made through a [recorded](super::Client::recorded) client.
#[derive(Clone, Debug, Default)]
pub struct Writes(Arc<Mutex<Log>>);

#[derive(Debug, Default)]
struct Log {
    last: BTreeMap<GroupKind, Revision>,
    unknown: bool,
}

impl Writes {
    pub(super) fn committed(&self, kinds: impl Iterator<Item = GroupKind>, revision: Revision) {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for kind in kinds {
            let last = log.last.entry(kind).or_default();
            *last = (*last).max(revision);
        }
    }

    pub(super) fn unknown(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).unknown = true;
    }

    /// Waits until `caches` show all that was written. After an unknown outcome that is all that is stored,
    /// which needs the store to answer: it is asked until it does.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn settle(&self, caches: &Caches) -> Result<(), StoreError> {
        let log = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for (kind, revision) in log.last {
            caches.wait_for(&kind, revision).await;
        }
        if !log.unknown {
            return Ok(());
        }
        let mut failures = 0;
        loop {
            match caches.barrier().await {
                Ok(()) => return Ok(()),
                Err(StoreError::Closed) => return Err(StoreError::Closed),
                Err(_) => {
                    failures += 1;
                    tokio::time::sleep(Backoff::default().after(failures)).await;
                }
            }
        }
    }
}
