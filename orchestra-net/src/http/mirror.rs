//! Copies of requests for another service.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::route::part;
use crate::upstream::Upstream;

/// How many copies of a route's requests may be on their way to one service at once. More are not made.
const MOST: usize = 256;

/// Where copies of a route's requests go, and of how many.
#[derive(Clone, Debug)]
pub(super) struct Mirror {
    pub(super) upstream: Arc<Upstream>,
    /// So many of so many.
    share: (u32, u32),
    turn: Arc<AtomicU64>,
    under_way: Arc<AtomicUsize>,
}

impl Mirror {
    pub(super) fn new(upstream: Arc<Upstream>, share: (u32, u32)) -> Self {
        Self { upstream, share, turn: Arc::default(), under_way: Arc::default() }
    }

    /// A place for a copy of the next request, where one is to be made and may be.
    pub(super) fn place(&self) -> Option<Place> {
        let (many, all) = self.share;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        if part(turn, all.into()) >= u128::from(many) {
            return None;
        }
        let before = self.under_way.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(&self.under_way));
        (before < MOST).then_some(place)
    }
}

/// A copy of a request on its way.
pub(super) struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_so_many_requests_so_many_are_copied_and_only_so_many_at_once() {
        let mirror = |share| Mirror::new(Upstream::named("copy"), share);
        let copied = |mirror: &Mirror, of: usize| (0..of).filter_map(|_| mirror.place()).count();
        assert_eq!(copied(&mirror((1, 1)), 100), 100);
        assert_eq!(copied(&mirror((0, 100)), 100), 0);
        assert!((99..=101).contains(&copied(&mirror((1, 100)), 10_000)));
        let all = mirror((1, 1));
        let places: Vec<Place> = (0..1000).filter_map(|_| all.place()).collect();
        assert_eq!(places.len(), MOST);
        drop(places);
        assert!(all.place().is_some());
    }
}
