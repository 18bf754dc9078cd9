//! How many requests a client may send.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How many requests a client may send in a second, and how many at once.
///
/// The generic cell rate algorithm (ITU-T I.371): as a bucket of `burst` tokens into which `per_second` fall. A client is
/// an IPv4 address, or the 64 bits of an IPv6 address that name its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimit {
    /// How many in a second, in the long run.
    pub per_second: NonZeroU32,
    /// How many at once, of a client that has sent none for long.
    pub burst: NonZeroU32,
}

impl RateLimit {
    /// So many in a second, and as many at once.
    #[must_use]
    pub fn per_second(per_second: NonZeroU32) -> Self {
        Self { per_second, burst: per_second }
    }

    /// Sets [`burst`](Self::burst).
    #[must_use]
    pub fn burst(self, burst: NonZeroU32) -> Self {
        Self { burst, ..self }
    }
}

/// Parts that are locked one by one.
const PARTS: usize = 16;

/// How many clients each part knows. Who is not known has sent nothing; of more than this none is counted until others
/// have been silent. All of it takes some 8 MB.
const CLIENTS: usize = 8 * 1024;

/// How often a full part is searched for clients to forget, at most.
const SWEEP: Duration = Duration::from_secs(1);

/// What clients have sent.
#[derive(Debug)]
pub(super) struct Rates {
    origin: Instant,
    hasher: RandomState,
    parts: [Mutex<Part>; PARTS],
}

#[derive(Debug, Default)]
struct Part {
    /// For each client, when its bucket will be full again, since the origin.
    clients: HashMap<IpAddr, Duration>,
    /// When those whose buckets are full were forgotten last.
    swept: Duration,
}

impl Part {
    /// Whether there is room for this client, which may be made.
    fn has_room(&mut self, client: &IpAddr, now: Duration) -> bool {
        if self.clients.len() >= CLIENTS && now >= self.swept + SWEEP {
            self.clients.retain(|_, full| *full > now);
            self.swept = now;
        }
        self.clients.len() < CLIENTS || self.clients.contains_key(client)
    }
}

impl Rates {
    pub(super) fn new() -> Self {
        Self {
            origin: Instant::now(),
            hasher: RandomState::new(),
            parts: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// How long it would have to wait, where the client has sent too many.
    pub(super) fn take(&self, client: IpAddr, limit: RateLimit) -> Result<(), Duration> {
        self.take_at(client, limit, self.origin.elapsed())
    }

    fn take_at(&self, client: IpAddr, limit: RateLimit, now: Duration) -> Result<(), Duration> {
        let client = network(client);
        let part = usize::try_from(self.hasher.hash_one(client) % PARTS as u64).unwrap_or(0);
        let mut part = self.parts[part].lock().unwrap_or_else(PoisonError::into_inner);
        let each = Duration::from_secs(1) / limit.per_second.get();
        let full = part.clients.get(&client).copied().unwrap_or_default().max(now) + each;
        let wait = full.saturating_sub(now).saturating_sub(each * limit.burst.get());
        if !wait.is_zero() {
            return Err(wait);
        }
        if part.has_room(&client, now) {
            part.clients.insert(client, full);
        }
        Ok(())
    }
}

fn network(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_gets_its_burst_and_then_its_rate_and_others_theirs() {
        let rates = Rates::new();
        let number = |n| NonZeroU32::new(n).unwrap();
        let limit = RateLimit::per_second(number(10)).burst(number(3));
        let client = IpAddr::from([192, 0, 2, 1]);
        let at = |millis| Duration::from_millis(millis);
        for _ in 0..3 {
            assert_eq!(rates.take_at(client, limit, at(0)), Ok(()));
        }
        assert_eq!(rates.take_at(client, limit, at(0)), Err(at(100)));
        assert_eq!(rates.take_at(client, limit, at(60)), Err(at(40)));
        assert_eq!(rates.take_at(client, limit, at(100)), Ok(()));
        assert_eq!(rates.take_at(client, limit, at(100)), Err(at(100)));
        assert_eq!(rates.take_at([192, 0, 2, 2].into(), limit, at(100)), Ok(()));
        // In the long run.
        let taken = (1..=10_000).filter(|i| rates.take_at(client, limit, at(100 + i)).is_ok()).count();
        assert_eq!(taken, 100);
    }

    #[tokio::test]
    async fn one_network_of_ipv6_is_one_client_and_many_clients_take_bounded_memory() {
        let rates = Rates::new();
        let limit = RateLimit::per_second(NonZeroU32::MIN);
        assert_eq!(rates.take_at("2001:db8::1".parse().unwrap(), limit, Duration::ZERO), Ok(()));
        assert!(rates.take_at("2001:db8::ffff:1".parse().unwrap(), limit, Duration::ZERO).is_err());
        for i in 0..u32::try_from(2 * PARTS * CLIENTS).unwrap() {
            assert_eq!(rates.take_at(IpAddr::V4(i.into()), limit, Duration::from_millis(1)), Ok(()));
        }
        assert!(rates.parts.iter().all(|part| part.lock().unwrap().clients.len() <= CLIENTS));
    }
}
