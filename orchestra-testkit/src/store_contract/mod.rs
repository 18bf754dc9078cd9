//! What every [`Store`] must do, as a test to run on yours.
//!
//! Each check is a rule of the trait's contract, and gets a fresh, empty store. What only a durable store can be asked,
//! such as what is there after a crash, is not in here.
//!
//! ```
//! use orchestra_core::store::MemoryStore;
//! use orchestra_testkit::store_contract;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! store_contract::run(|| async { MemoryStore::new() }).await;
//! # });
//! ```

mod commits;
mod concurrency;
mod ends;
mod fixture;
mod reads;
mod watches;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use orchestra_core::store::Store;

/// How long a check may take before it counts as stuck. The slowest takes about a second on a slow disk.
const DEADLINE: Duration = Duration::from_secs(60);

type Run = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A rule, and how it is checked.
struct Check {
    name: &'static str,
    run: fn(Arc<dyn Store>) -> Run,
}

macro_rules! checks {
    ($($module:ident::$check:ident),* $(,)?) => {
        &[$(Check { name: stringify!($check), run: |store| Box::pin($module::$check(store)) }),*]
    };
}

const CHECKS: &[Check] = checks![
    commits::revisions_strictly_grow,
    commits::objects_carry_the_revision_of_their_commit,
    commits::a_commit_that_changes_nothing_has_no_revision,
    commits::a_commit_answers_for_each_write,
    commits::each_precondition_holds_or_stops_all,
    commits::a_key_is_written_once_in_a_commit,
    commits::an_object_that_others_hold_is_not_changed,
    commits::a_large_commit_is_one,
    commits::a_smaller_epoch_is_fenced_off,
    reads::a_list_has_its_scope_in_order,
    reads::an_acknowledged_commit_is_read,
    reads::each_scope_has_its_last_revision,
    watches::a_watch_delivers_each_commit_once_in_order_and_whole,
    watches::a_watch_delivers_its_scope_only,
    watches::a_watch_resumes_after_any_revision,
    watches::a_watch_behind_the_history_says_so,
    watches::a_watch_that_falls_behind_has_no_gap,
    watches::a_cancelled_wait_loses_nothing,
    concurrency::concurrent_increments_are_linearizable,
    concurrency::every_watcher_folds_to_the_list,
    concurrency::a_dropped_commit_is_done_or_not,
    concurrency::one_of_many_creations_wins,
    ends::a_closed_store_refuses_everything,
    ends::watches_end_with_the_store,
    ends::close_waits_for_what_was_accepted,
];

/// Checks the stores that `factory` makes; each must be empty. Call it inside a tokio runtime with time enabled; on
/// one with several threads the checks of concurrency are stricter.
///
/// # Panics
/// Where a rule is broken, or its check does not end. The message names the rule.
pub async fn run<S, F>(factory: impl Fn() -> F)
where
    S: Store,
    F: Future<Output = S>,
{
    for check in CHECKS {
        let store: Arc<dyn Store> = Arc::new(factory().await);
        tracing::debug!(rule = check.name, ?store, "checks");
        // On a task of its own, so that a broken rule can be named.
        let mut task = tokio::task::JoinSet::new();
        task.spawn((check.run)(Arc::clone(&store)));
        match tokio::time::timeout(DEADLINE, task.join_next()).await {
            Ok(Some(Ok(()))) => {}
            Ok(Some(Err(error))) => panic!("the store breaks the rule `{}`: {error}", check.name),
            Ok(None) | Err(_) => panic!("the check of the rule `{}` does not end", check.name),
        }
        if let Err(error) = store.close().await {
            panic!("after the check of `{}` the store can't be closed: {error}", check.name);
        }
    }
}
