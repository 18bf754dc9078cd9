//! Copies of requests for another service.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use http::Request;
use http_body_util::BodyExt as _;
use orchestra_core::engine::Tasks;
use tokio::sync::oneshot;

use super::forward;
use super::route::part;
use crate::body::{Break, ProxyBody};
use crate::error::NetError;
use crate::upstream::{Affinity, Upstream};

/// How many copies may be on their way to one service at once. More are not made.
const MOST: usize = 256;

/// Where copies of a route's requests go, and of how many.
#[derive(Clone, Debug)]
pub(super) struct Mirror {
    pub(super) upstream: Arc<Upstream>,
    /// So many of so many.
    share: (u32, u32),
    turn: Arc<AtomicU64>,
}

impl Mirror {
    pub(super) fn new(upstream: Arc<Upstream>, share: (u32, u32)) -> Self {
        Self { upstream, share, turn: Arc::default() }
    }

    /// Sends a copy of a request, where one is to be made and may be: its body as it passes to the endpoint, so the copy is taken before
    /// anybody reads that. What becomes of it is nobody's concern. What is returned is to be dropped when the request itself has ended.
    pub(super) fn copy(&self, request: &mut Request<ProxyBody>, tasks: &Tasks) -> Option<Original> {
        let place = self.place()?;
        let body = request.body_mut().copied(&self.upstream.backlog)?;
        let broken_off = body.broken_off();
        let mut copy = forward::like(request, body);
        let upstream = Arc::clone(&self.upstream);
        let (original, ended) = oneshot::channel();
        tasks.spawn("mirror", async move {
            let _place = place;
            let service = upstream.name();
            tokio::select! {
                biased;
                // Also where it takes nothing more, and so does not see it.
                why = broken_off => {
                    if why == Break::Behind {
                        upstream.meters.mirrors_lost.increment(1);
                    }
                    tracing::debug!(%service, ?why, "a copy broke off");
                }
                sent = send(&upstream, &mut copy) => {
                    if let Err(error) = sent {
                        tracing::debug!(%error, "a mirror did not answer");
                    }
                }
                () = outlived(ended, &upstream) => {
                    tracing::debug!(%service, "a mirror answers for longer than anybody waited for the service");
                }
            }
        });
        Some(original)
    }

    /// Goes on where another one stands, if it is for the same.
    pub(super) fn go_on_from(&self, before: &Self) {
        if Arc::ptr_eq(&self.upstream, &before.upstream) && self.share == before.share {
            self.turn.store(before.turn.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// A place for a copy of the next request, where one is to be made and may be.
    pub(super) fn place(&self) -> Option<Place> {
        let (many, all) = self.share;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        if part(turn, all.into()) >= u128::from(many) {
            return None;
        }
        let under_way = &self.upstream.copies;
        let before = under_way.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(under_way));
        if before >= MOST {
            self.upstream.meters.mirrors_lost.increment(1);
            return None;
        }
        Some(place)
    }
}

/// Sends a copy, and reads its answer, which is thrown away.
async fn send(upstream: &Arc<Upstream>, copy: &mut Request<ProxyBody>) -> Result<(), NetError> {
    let mut answer = forward::forward(upstream, copy, Affinity::default(), None).await?.into_body();
    while let Some(Ok(_)) = answer.frame().await {}
    Ok(())
}

/// Returns when a copy has gone on for too long after the request itself has ended: one that its client has left may be answered without
/// an end.
async fn outlived(ended: oneshot::Receiver<Infallible>, upstream: &Upstream) {
    let _dropped = ended.await;
    tokio::time::sleep(upstream.options().response_timeout).await;
}

/// Held by a request for as long as it lasts.
pub(super) type Original = oneshot::Sender<Infallible>;

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
        // A route that stands in the place of another one has no places of its own.
        let places: Vec<Place> = (0..1000).filter_map(|_| all.place()).collect();
        let next = Mirror::new(Arc::clone(&all.upstream), (1, 1));
        assert!(next.place().is_none());
        drop(places);
        assert!(next.place().is_some());
    }
}
