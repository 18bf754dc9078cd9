//! What controllers run on: caches of objects, queues of keys, drivers that reconcile, tasks that end together.
//!
//! A controller is a [`Reconciler`] and a [`Controller`] that says which changes concern which key:
//!
//! ```text
//! store --watch--> Cache<T> --on_change--> Queue (keys, each once) --> Reconciler::reconcile(key)
//!                     ^                                                        |
//!                     +------------------ commit <-----------------------------+
//! ```
//!
//! A key is reconciled by one worker at a time, and not again before the caches have seen what the last time
//! wrote: a reconciler always reads its own writes.

mod cache;
mod controller;
mod events;
mod progress;
mod queue;
mod tasks;

pub use cache::{Cache, CacheChange, Caches, Index};
pub(crate) use controller::reconcile;
pub use controller::{Controller, Next, ReconcileError, Reconciler};
pub use events::Recorder;
pub(crate) use progress::Progress;
pub use queue::{Backoff, Queue};
pub use tasks::Tasks;
