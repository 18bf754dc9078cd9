//! Work on several threads whose results are taken in order.

use std::collections::VecDeque;
use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

/// How many threads work at most. Beyond it the one that takes the results is what the others wait for.
const THREADS: usize = 8;
/// How many items there are for each thread at most, being worked on or done and not yet taken, so that memory is bounded.
const AHEAD: usize = 3;

/// Takes what `work` makes of each item that `next` gives, in the order of the items. `next` and `take` run on the
/// calling thread; threads are used from the second item on. Ends with the first error of `next` or `take`.
///
/// # Errors
/// Those of `next` and `take`.
///
/// # Panics
/// Where `work` does.
pub(super) fn in_order<T: Send, R: Send, E>(
    mut next: impl FnMut() -> Result<Option<T>, E>,
    work: impl Fn(T) -> R + Sync,
    mut take: impl FnMut(R) -> Result<(), E>,
) -> Result<(), E> {
    let Some(first) = next()? else { return Ok(()) };
    let Some(second) = next()? else { return take(work(first)) };
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(THREADS);
    let (jobs, queue) = mpsc::channel::<(T, mpsc::SyncSender<R>)>();
    let queue = Arc::new(Mutex::new(queue));
    let work = &work;
    thread::scope(|scope| {
        for _ in 0..threads {
            let queue = Arc::clone(&queue);
            scope.spawn(move || {
                // Whoever waits for an item holds the lock, and the others wait for it.
                let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                while let Ok((item, result)) = next() {
                    // Nobody takes it after an error.
                    result.send(work(item)).ok();
                }
            });
        }
        drop(queue);
        // Dropped at the end, also at an error, which ends the threads.
        let jobs = jobs;
        let mut results = VecDeque::new();
        let mut items = [first, second].into_iter();
        while let Some(item) = items.next().map_or_else(&mut next, |item| Ok(Some(item)))? {
            let (result, taken) = mpsc::sync_channel(1);
            jobs.send((item, result)).ok();
            results.push_back(taken);
            if results.len() >= threads * AHEAD
                && let Some(Ok(result)) = results.pop_front().map(|result| result.recv())
            {
                take(result)?;
            }
        }
        // A result that doesn't come is of a thread that panicked, and the scope ends so too.
        results.into_iter().map_while(|result| result.recv().ok()).try_for_each(take)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(
        count: usize,
        fails_at: Option<usize>,
        work: impl Fn(usize) -> usize + Sync,
    ) -> (Vec<usize>, Result<(), usize>) {
        let mut taken = Vec::new();
        let mut items = 0..count;
        let ended = in_order(
            || Ok(items.next()),
            work,
            |result| {
                taken.push(result);
                if Some(result) == fails_at { Err(result) } else { Ok(()) }
            },
        );
        (taken, ended)
    }

    #[test]
    fn results_come_in_the_order_of_the_items() {
        for count in [0, 1, 2, 3, 500] {
            // The earlier ones of each ten take longer.
            let work = |item: usize| {
                (0..(10 - item % 10) * 1_000).fold(item, |sum, n| std::hint::black_box(sum ^ n ^ n))
            };
            assert_eq!(run(count, None, work), ((0..count).collect(), Ok(())));
        }
    }

    #[test]
    fn an_error_ends_it() {
        for at in [0, 1, 77] {
            assert_eq!(run(200, Some(at), |item| item), ((0..=at).collect(), Err(at)));
        }
        let mut left = 5;
        let mut next = || {
            left -= 1;
            if left == 0 { Err("unreadable") } else { Ok(Some(())) }
        };
        assert_eq!(in_order(&mut next, |()| (), |()| Ok(())), Err("unreadable"));
    }

    #[test]
    #[should_panic(expected = "scoped thread panicked")]
    fn a_panic_is_not_lost() {
        let (taken, _) = run(50, None, |item| if item == 20 { panic!("at 20") } else { item });
        unreachable!("{taken:?}");
    }
}
