//! A shared store is a store.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Commit, Committed, Listing, Scope, Store, StoreError, Watch};
use crate::model::{AnyObject, ObjectKey, Revision};

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<S: Store + ?Sized> Store for Arc<S> {
    async fn get(&self, key: &ObjectKey) -> Result<Option<AnyObject>, StoreError> {
        (**self).get(key).await
    }

    async fn list(&self, scope: &Scope) -> Result<Listing, StoreError> {
        (**self).list(scope).await
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        (**self).commit(commit).await
    }

    async fn watch(&self, scope: &Scope, after: Revision) -> Result<Watch, StoreError> {
        (**self).watch(scope, after).await
    }

    async fn revision(&self, scope: &Scope) -> Result<Revision, StoreError> {
        (**self).revision(scope).await
    }

    async fn compact(&self, through: Revision) -> Result<(), StoreError> {
        (**self).compact(through).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        (**self).close().await
    }
}
